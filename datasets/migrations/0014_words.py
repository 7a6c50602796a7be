from django.db import migrations


class Migration(migrations.Migration):
    """Full text, for `search.fulltext`, whose expression this is word for word. Without a lock that keeps anybody waiting; what
    an interrupted run has left behind goes first."""

    atomic = False

    dependencies = [("datasets", "0013_saved_searches")]

    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS item_by_words", migrations.RunSQL.noop),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY item_by_words ON datasets_item"
            " USING gin (to_tsvector('simple', left(text, 100000))) WHERE text IS NOT NULL",
            "DROP INDEX CONCURRENTLY IF EXISTS item_by_words",
        ),
    ]
