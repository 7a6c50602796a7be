from django.db import migrations

_TABLE = """
CREATE TABLE search_changedvectors (
    space_id bigint NOT NULL,
    block bigint NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changed_vectors_since ON search_changedvectors (space_id, xid);
CREATE INDEX changed_vectors_old ON search_changedvectors USING brin (at);
"""

_FUNCTION = """
CREATE FUNCTION search_note_changed_vectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO search_changedvectors (space_id, block) SELECT DISTINCT space_id, item_id >> 12 FROM changed;
    RETURN NULL;
END $$;
"""

_EVENTS = {"insert": "NEW", "update": "NEW", "delete": "OLD"}


def _made() -> str:
    return "".join(
        f"CREATE TRIGGER note_{event} AFTER {event} ON search_embedding REFERENCING {rows} TABLE AS changed"
        " FOR EACH STATEMENT EXECUTE FUNCTION search_note_changed_vectors();\n"
        for event, rows in _EVENTS.items()
    )


def _dropped() -> str:
    return "".join(f"DROP TRIGGER note_{event} ON search_embedding;\n" for event in _EVENTS)


class Migration(migrations.Migration):
    """Which vectors changed, for `search.matrix`: every statement on `search_embedding` notes the blocks of items that it touched. A
    statement on one of its partitions would not, so nothing writes to these. Making a trigger waits for writers, and holds them
    up, for a moment."""

    dependencies = [("search", "0007_review")]

    operations = [
        migrations.RunSQL(_TABLE, "DROP TABLE search_changedvectors"),
        migrations.RunSQL(_FUNCTION, "DROP FUNCTION search_note_changed_vectors()"),
        migrations.RunSQL(_made(), _dropped()),
    ]
