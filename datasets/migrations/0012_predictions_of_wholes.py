from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Without a lock that keeps anybody waiting. What an interrupted run has left behind goes first."""

    atomic = False

    dependencies = [("datasets", "0011_job_kind_index")]

    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS prediction_of_whole", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="prediction",
            index=models.Index(
                models.F("model"),
                models.F("item"),
                models.OrderBy(models.F("score"), descending=True),
                condition=models.Q(("x", None)),
                include=("label",),
                name="prediction_of_whole",
            ),
        ),
    ]
