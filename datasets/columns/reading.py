"""Reading columns out of the database: of all items of a dataset, or of those in some blocks of ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from django.db import connection

from .. import packed
from ..models import Dataset, Modality, Source, Status
from .values import Array, Columns, Content, Labels, Values

BLOCK_BITS = 12  # a block is 4,096 ids: as the triggers have it
STATUSES, SOURCES = tuple(Status.values), tuple(Source.values)
# A metadata key is a facet when it has few different values, as seen in the first and the last items.
_MOST_VALUES, _SAMPLE, _MOST_KEYS = 12, 5_000, 8


def read(dataset: Dataset, keys: Collection[str], blocks: list[int] | None = None) -> Columns:
    """``keys``: of the metadata."""
    items = packed.fetch(
        _ITEMS[Modality(dataset.modality)].format(source=_source(blocks)),
        _params(dataset, blocks) | {"statuses": list(STATUSES)},
        {"id": "i8", "status": "i2", "brightness": "f8", "sharpness": "f8", "is_bad": "i2", "content": "i8"},
    )
    order = np.argsort(items["id"])
    items = {name: values[order] for name, values in items.items()}
    ids = items["id"]
    by_tag = _ids_by_value(dataset, blocks, "unnest(tags)", "tags <> '{}'")
    tags = {tag: (row := _rows(ids, found))[row >= 0] for tag, found in by_tag.items()}
    return Columns(
        ids,
        Values(items["status"].astype(np.int32), STATUSES),
        _valued(ids, _ids_by_value(dataset, blocks, "split", "split <> ''")),
        items["brightness"],
        items["sharpness"],
        items["is_bad"].astype(bool),
        Content(items["content"]),
        np.concatenate([*tags.values(), np.empty(0, np.int64)]).astype(np.int64),
        Values(np.repeat(np.arange(len(tags), dtype=np.int32), [len(rows) for rows in tags.values()]), tuple(tags)),
        {
            key: _valued(ids, _ids_by_value(dataset, blocks, "metadata ->> %(key)s", "metadata ? %(key)s", key=key))
            for key in keys
        },
        labels(dataset, ids, blocks),
    )


def labels(dataset: Dataset, ids: Array, blocks: list[int] | None = None) -> Labels:
    """Of the items ``ids``, whose rows these are."""
    source = "datasets_annotation"
    if blocks is not None:
        source = f"{_BLOCKS} JOIN datasets_annotation ON item_id >= start AND item_id < start + %(size)s"
    found = packed.fetch(
        _LABELS.format(source=source),
        _params(dataset, blocks) | {"sources": list(SOURCES)},
        {"id": "i8", "label": "i8", "source": "i2", "author": "i8", "day": "i4"},
    )
    row = _rows(ids, found["id"])
    is_here = row >= 0
    return Labels(row[is_here], *(found[name][is_here] for name in ("label", "source", "author", "day")))


def metadata_keys(dataset: Dataset) -> list[str]:
    """The keys with few different plain values."""
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, {"dataset": dataset.pk, "number": _SAMPLE, "values": _MOST_VALUES, "keys": _MOST_KEYS})
        return [key for (key,) in cursor.fetchall()]


_BLOCKS = "unnest(%(starts)s::bigint[]) AS block (start)"


def _source(blocks: list[int] | None) -> str:
    if blocks is None:
        return "datasets_item AS item WHERE dataset_id = %(dataset)s"
    return (
        f"{_BLOCKS} JOIN datasets_item AS item ON item.id >= start AND item.id < start + %(size)s"
        " WHERE dataset_id = %(dataset)s"
    )


def _params(dataset: Dataset, blocks: list[int] | None) -> dict[str, Any]:
    starts = [block << BLOCK_BITS for block in blocks or []]
    return {"dataset": dataset.pk, "starts": starts, "size": 1 << BLOCK_BITS}


def _items(content: str) -> str:
    return (
        "SELECT id, (array_position(%(statuses)s::text[], status::text) - 1)::smallint, coalesce(brightness, 'NaN'),"
        f" coalesce(sharpness, 'NaN'), (problem <> '')::int::smallint, coalesce({content}, 0) FROM {{source}}"
    )


_ITEMS = {
    Modality.IMAGE: _items("hashtextextended(sha256, 0)"),
    Modality.TEXT: _items("hashtextextended(encode(text_hash, 'hex'), 0)"),
}

_LABELS = """
SELECT item_id, label_id, (array_position(%(sources)s::text[], source::text) - 1)::smallint, coalesce(author_id, 0)::bigint,
       (created_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01'
  FROM {source}
 WHERE label_id IN (SELECT id FROM datasets_labelclass WHERE dataset_id = %(dataset)s)
   AND retracted_by_id IS NULL AND region_id IS NULL
"""

_KEYS = """
WITH sample AS (
    (SELECT id FROM datasets_item WHERE dataset_id = %(dataset)s ORDER BY id LIMIT %(number)s)
     UNION
    (SELECT id FROM datasets_item WHERE dataset_id = %(dataset)s ORDER BY id DESC LIMIT %(number)s))
SELECT name FROM sample JOIN datasets_item USING (id), jsonb_each(metadata) AS pair (name, value)
 WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(value::text) <= 60
 GROUP BY name HAVING count(DISTINCT value) <= %(values)s AND count(*) > count(DISTINCT value)
 ORDER BY name LIMIT %(keys)s
"""


def _ids_by_value(
    dataset: Dataset, blocks: list[int] | None, value: str, where: str, **params: Any
) -> dict[str, Array]:
    """Each value of an expression, and the items that have it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT value, string_agg(int8send(id), ''::bytea)"
            f" FROM (SELECT {value} AS value, id FROM {_source(blocks)} AND {where}) AS valued"
            " WHERE value <> '' GROUP BY value ORDER BY value",
            _params(dataset, blocks) | params,
        )
        return {name: np.frombuffer(sent, ">i8").astype(np.int64) for name, sent in cursor.fetchall()}


def _valued(ids: Array, by_value: Mapping[str, Array]) -> Values:
    """``""`` for the rows that have no value."""
    codes = np.zeros(len(ids), np.int32)
    for code, found in enumerate(by_value.values(), 1):
        row = _rows(ids, found)
        codes[row[row >= 0]] = code
    return Values(codes, ("", *by_value))


def _rows(ids: Array, found: Array) -> Array:
    """Where in ``ids`` each of ``found`` stands. -1: it came after ``ids`` were read; then its block is noted as changed, and will
    be read again."""
    if not len(ids):
        return np.full(len(found), -1)
    row = np.minimum(np.searchsorted(ids, found), len(ids) - 1)
    return np.where(ids[row] == found, row, -1)
