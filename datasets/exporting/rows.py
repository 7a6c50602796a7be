"""The rows of an export, read with a server-side cursor."""

from __future__ import annotations

import json
from collections.abc import Iterator

from django.db import connection, transaction

from ..filters import Filter, items_of
from ..models import Dataset, Status
from .base import COLUMNS, Row

_FETCH = 2_000

_ROWS = """
SELECT item.id, item.key, item.text, item.split, item.status, item.tags, label.name, annotation.source, author.username,
       annotation.confidence, annotation.created_at, annotation.operation_id, item.width, item.height, item.metadata
  FROM datasets_item AS item
  LEFT JOIN datasets_annotation AS annotation
         ON annotation.item_id = item.id AND annotation.retracted_by_id IS NULL AND annotation.region_id IS NULL
  LEFT JOIN datasets_labelclass AS label ON label.id = annotation.label_id
  LEFT JOIN auth_user AS author ON author.id = annotation.author_id
 WHERE item.id IN ({ids})
 ORDER BY item.id, annotation.id
"""


def of(dataset: Dataset, filter: Filter, *, with_excluded: bool) -> Iterator[Row]:
    """One consistent reading, however long the client takes: everything comes from one snapshot."""
    items = filter.apply(items_of(dataset))
    if not with_excluded:
        items = items.exclude(status=Status.EXCLUDED)
    ids, params = items.order_by().values("pk").query.sql_with_params()
    # A server-side cursor lives in a transaction and on a connection; this one ends with the generator.
    with transaction.atomic():
        connection.ensure_connection()
        assert connection.connection is not None
        with connection.create_cursor(name="export") as cursor:
            cursor.itersize = _FETCH
            cursor.execute(_ROWS.format(ids=ids), params)
            for *values, metadata in cursor:
                yield dict(zip(COLUMNS, [*values, json.loads(metadata)], strict=True))
