from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # The queue may hold a million rows, and workers are at it.
    atomic = False

    dependencies = [
        ("datasets", "0001_initial"),
        ("search", "0002_several_spaces"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="embeddingspace",
            options={"ordering": ["id"], "verbose_name": "space"},
        ),
        AddIndexConcurrently(
            model_name="pendingembedding",
            index=models.Index(
                condition=models.Q(("reason", "")), fields=["dataset", "encoder"], name="pending_by_encoder"
            ),
        ),
    ]
