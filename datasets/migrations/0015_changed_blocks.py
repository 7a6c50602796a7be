from django.db import migrations

_TABLE = """
CREATE TABLE datasets_changedblock (
    dataset_id bigint NOT NULL,
    is_of_labels boolean NOT NULL,
    block bigint NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changed_block_since ON datasets_changedblock (dataset_id, xid);
CREATE INDEX changed_block_old ON datasets_changedblock USING brin (at);
"""

_FUNCTIONS = """
CREATE FUNCTION datasets_note_changed_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO datasets_changedblock (dataset_id, is_of_labels, block)
    SELECT DISTINCT dataset_id, false, id >> 12 FROM changed;
    RETURN NULL;
END $$;
CREATE FUNCTION datasets_note_changed_labels() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO datasets_changedblock (dataset_id, is_of_labels, block)
    SELECT DISTINCT class.dataset_id, true, changed.item_id >> 12
      FROM changed JOIN datasets_labelclass AS class ON class.id = changed.label_id;
    RETURN NULL;
END $$;
"""

_EVENTS = {"insert": "NEW", "update": "NEW", "delete": "OLD"}
_TRIGGERS = {"datasets_item": "datasets_note_changed_items", "datasets_annotation": "datasets_note_changed_labels"}


def _made() -> str:
    return "".join(
        f"CREATE TRIGGER note_{event} AFTER {event} ON {table} REFERENCING {rows} TABLE AS changed"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
        for table, function in _TRIGGERS.items()
        for event, rows in _EVENTS.items()
    )


def _dropped() -> str:
    return "".join(f"DROP TRIGGER note_{event} ON {table};\n" for table in _TRIGGERS for event in _EVENTS)


class Migration(migrations.Migration):
    """Which items changed, for `datasets.columns`: every statement that writes items or labels notes the blocks of ids that it
    touched. Triggers, so that no way of writing is forgotten; no model, for nothing but that module reads it. Making a trigger
    waits for writers, and holds them up, for a moment."""

    dependencies = [("datasets", "0014_words")]

    operations = [
        migrations.RunSQL(_TABLE, "DROP TABLE datasets_changedblock"),
        migrations.RunSQL(
            _FUNCTIONS, "DROP FUNCTION datasets_note_changed_items(); DROP FUNCTION datasets_note_changed_labels();"
        ),
        migrations.RunSQL(_made(), _dropped()),
    ]
