from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Without a lock that keeps anybody waiting. What an interrupted run has left behind goes first."""

    atomic = False

    dependencies = [("datasets", "0008_prediction_model_labels")]

    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS item_by_unopened_file", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="item",
            index=models.Index(
                condition=models.Q(("sha256", None), models.Q(("file", ""), _negated=True)),
                fields=["file"],
                name="item_by_unopened_file",
            ),
        ),
    ]
