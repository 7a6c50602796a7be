from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0015_changed_blocks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("import", "Import"),
                    ("embed", "Embed"),
                    ("vectors", "Vectors"),
                    ("regions", "Regions"),
                    ("comparison", "Comparison"),
                    ("index", "Index"),
                    ("findings", "Findings"),
                ],
                max_length=16,
            ),
        ),
    ]
