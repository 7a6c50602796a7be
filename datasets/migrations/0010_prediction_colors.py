from django.db import migrations, models


class Migration(migrations.Migration):
    """A column that may be null and has no default: no row is written."""

    dependencies = [("datasets", "0009_unopened_files")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="colors",
            field=models.BinaryField(
                help_text="Shares of the box, a byte each (255 is all), in the order of datasets.colours.",
                max_length=11,
                null=True,
            ),
        ),
    ]
