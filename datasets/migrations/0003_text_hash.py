from django.db import migrations, models


class Migration(migrations.Migration):
    """A column without a default: no row is touched."""

    dependencies = [("datasets", "0002_job_kind_vectors")]

    operations = [
        migrations.AddField(model_name="item", name="text_hash", field=models.BinaryField(max_length=16, null=True)),
    ]
