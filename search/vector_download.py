"""The vectors of a space as Parquet, row group by row group."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db import connection, transaction

from datasets import filters
from datasets.filters import Filter
from datasets.models import Status

from . import vectors
from .models import EmbeddingSpace

Precision = Literal["float16", "float32"]

_BYTES_PER_GROUP = 8 << 20

_ROWS = """
SELECT item.id, item.key, halfvec_send(embedding.vector)
  FROM search_embedding AS embedding
  JOIN datasets_item AS item ON item.id = embedding.item_id
 WHERE embedding.space_id = %s AND embedding.item_id IN ({ids})
 ORDER BY embedding.item_id
"""


def download(
    space: EmbeddingSpace, filter: Filter, *, precision: Precision = "float32", include_excluded: bool = False
) -> Iterator[bytes]:
    """A Parquet file, piece by piece: id, key, and the vector of each item under ``filter`` that has one.

    Vectors are stored with half precision; ``float32`` holds the same values for readers that know no other. Excluded
    items are left out as in an export. One consistent reading, in constant memory.
    """
    items = filter.apply(filters.items_of(space.dataset))
    if not include_excluded and not any(condition.key == "status" for condition in filter.conditions):
        items = items.exclude(status=Status.EXCLUDED)
    ids, params = items.order_by().values("pk").query.sql_with_params()
    number = max(1, _BYTES_PER_GROUP // (4 * space.dimension))
    pieces = _Pieces()
    writer = pq.ParquetWriter(
        pieces, _schema(space, precision), compression="none", use_dictionary=False, write_statistics=False
    )
    # A server-side cursor lives in a transaction and on a connection; this one ends with the generator.
    with transaction.atomic():
        connection.ensure_connection()
        with connection.create_cursor(name="vectors") as cursor:
            cursor.execute(_ROWS.format(ids=ids), [space.pk, *params], binary=True)
            while rows := cursor.fetchmany(number):
                writer.write_table(_table(rows, space, precision), row_group_size=number)
                yield pieces.taken()
    writer.close()
    yield pieces.taken()


def _schema(space: EmbeddingSpace, precision: Precision) -> pa.Schema:
    value = pa.float16() if precision == "float16" else pa.float32()
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("vector", pa.list_(value, space.dimension), nullable=False),
        ],
        {"space": f"{space.encoder}/{space.output}", "dataset": space.dataset.name},
    )


def _table(rows: list[tuple[int, str, bytes]], space: EmbeddingSpace, precision: Precision) -> pa.Table:
    sent = vectors.unpacked([vector for _, _, vector in rows], space.dimension)
    values = pa.array(sent.astype(np.dtype(precision)).reshape(-1))
    columns: list[Any] = [
        pa.array([pk for pk, _, _ in rows], pa.int64()),
        pa.array([key for _, key, _ in rows], pa.string()),
        pa.FixedSizeListArray.from_arrays(values, space.dimension),
    ]
    return pa.Table.from_arrays(columns, schema=_schema(space, precision))


class _Pieces(io.RawIOBase):
    """What the writer writes, until it is taken."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        self._position += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        return self._position

    def taken(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken
