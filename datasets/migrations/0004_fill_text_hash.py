from __future__ import annotations

from typing import Any

from django.db import connections, migrations

# How a text is normalised is said in one place. Whoever changes that must fill the column again.
from datasets.duplicates import text_hash

_BATCH = 2_000


def fill(apps: Any, schema_editor: Any) -> None:
    """In short transactions, so that no row is locked for long. Run again, it goes on with what is still empty."""
    items = apps.get_model("datasets", "Item").objects.using(schema_editor.connection.alias)
    missing = items.filter(text__isnull=False, text_hash=None).order_by("pk")
    last = 0
    while batch := list(missing.filter(pk__gt=last).values_list("pk", "text")[:_BATCH]):
        last = batch[-1][0]
        with connections[schema_editor.connection.alias].cursor() as cursor:
            cursor.execute(
                "UPDATE datasets_item AS item SET text_hash = hashed.text_hash"
                "  FROM unnest(%s::bigint[], %s::bytea[]) AS hashed (id, text_hash) WHERE item.id = hashed.id",
                [[pk for pk, _ in batch], [text_hash(text) for _, text in batch]],
            )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("datasets", "0003_text_hash")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=True)]
