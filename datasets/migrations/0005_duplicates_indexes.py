from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Without a lock that keeps anybody waiting. What an interrupted run has left behind goes first."""

    atomic = False

    dependencies = [("datasets", "0004_fill_text_hash")]

    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS item_by_text", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="item",
            index=models.Index(
                condition=models.Q(("text_hash__isnull", False)),
                fields=["dataset", "text_hash", "id"],
                name="item_by_text",
            ),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS item_by_file", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="item",
            index=models.Index(
                condition=models.Q(("sha256__isnull", False), ("text", None)),
                fields=["dataset", "sha256", "id"],
                name="item_by_file",
            ),
        ),
    ]
