"""How full a space is: counted when somebody asks, kept nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from datasets import totals
from datasets.models import Item

from . import vectors
from .models import EmbeddingSpace


@dataclass(frozen=True)
class Coverage:
    embedded: int = 0  # vectors it holds
    total: int = 0  # items of its dataset
    pending: int = 0  # items that wait for its encoder
    failed: int = 0  # items that its encoder could make no vector of
    size_bytes: int = 0  # of its partition and indexes, on disk


def of_spaces(spaces: list[EmbeddingSpace]) -> dict[int, Coverage]:
    """Space id → coverage. Four statements, whatever the number of spaces; each counts in an index alone, and what is large
    only when it was written to."""
    datasets = list({space.dataset_id for space in spaces})
    with connection.cursor() as cursor:
        embedded = _embedded(cursor, spaces)
        cursor.execute(_WAITING, {"datasets": datasets})
        waiting = {(dataset, encoder): (pending, failed) for dataset, encoder, pending, failed in cursor.fetchall()}
        cursor.execute(_ITEMS, {"datasets": datasets})
        items = dict(cursor.fetchall())
    result = {}
    for space in spaces:
        number, size = embedded.get(space.pk, (0, 0))
        pending, failed = waiting.get((space.dataset_id, space.encoder), (0, 0))
        result[space.pk] = Coverage(number, items.get(space.dataset_id, 0), pending, failed, size)
    return result


def embedded(space: EmbeddingSpace, items: QuerySet[Item] | None = None) -> int:
    """How many of ``items`` (of all) have a vector in ``space``."""
    partition = vectors.partition_name(space)
    if items is None:
        return totals.kept(partition, [partition], lambda: vectors.count(space))
    sql, params = items.order_by().values("pk").query.sql_with_params()
    return totals.kept((partition, sql, repr(params)), [partition, *totals.TABLES], lambda: vectors.count(space, items))


def embedded_in(spaces: list[EmbeddingSpace]) -> dict[int, int]:
    """Space id → its vectors. Two statements at most; what is large is counted only when it was written to."""
    with connection.cursor() as cursor:
        return {pk: number for pk, (number, _) in _embedded(cursor, spaces).items()}


_LARGE = 50_000  # vectors, from which on counting them takes longer than a page should wait
_counted: dict[int, tuple[int, int]] = {}  # space → its writes when it was counted, and its vectors


def _embedded(cursor: Any, spaces: list[EmbeddingSpace]) -> dict[int, tuple[int, int]]:
    """Space id → its vectors, and its size in bytes."""
    cursor.execute(_WRITTEN, {"spaces": [space.pk for space in spaces]})
    written = {space: (writes, size) for space, writes, size in cursor.fetchall()}
    known = {pk: number for pk, (before, number) in _counted.items() if pk in written and written[pk][0] == before}
    known = {pk: number for pk, number in known.items() if number >= _LARGE}
    cursor.execute(_VECTORS, {"spaces": [pk for pk in written if pk not in known]})
    counted = dict(cursor.fetchall())
    for pk, number in counted.items():
        _counted[pk] = (written[pk][0], number)
    numbers = dict.fromkeys(written, 0) | counted | known
    return {pk: (numbers[pk], size) for pk, (_, size) in written.items()}


_WRITTEN = """
SELECT id, coalesce(pg_stat_get_tuples_inserted(partition) + pg_stat_get_tuples_updated(partition) + pg_stat_get_tuples_deleted(partition), 0),
       coalesce(pg_total_relation_size(partition), 0)
  FROM (SELECT id, to_regclass('search_embedding_' || id) AS partition FROM unnest(%(spaces)s::bigint[]) AS space (id)) AS space
"""

_VECTORS = (
    "SELECT space_id, count(*) FROM search_embedding WHERE space_id = ANY(%(spaces)s::bigint[]) GROUP BY space_id"
)

_WAITING = """
SELECT dataset_id, encoder, sum(pending)::bigint, sum(failed)::bigint
  FROM (SELECT dataset_id, encoder, count(*) AS pending, 0 AS failed FROM search_pendingembedding
         WHERE dataset_id = ANY(%(datasets)s::bigint[]) AND reason = '' AND layer_id IS NULL GROUP BY dataset_id, encoder
         UNION ALL
        SELECT dataset_id, encoder, 0, count(*) FROM search_pendingembedding
         WHERE dataset_id = ANY(%(datasets)s::bigint[]) AND reason <> '' AND layer_id IS NULL GROUP BY dataset_id, encoder) AS counted
 GROUP BY dataset_id, encoder
"""

_ITEMS = (
    "SELECT dataset_id, count(*) FROM datasets_item WHERE dataset_id = ANY(%(datasets)s::bigint[]) GROUP BY dataset_id"
)


def missing(space: EmbeddingSpace) -> int:
    """How many readable items have neither a vector in the space nor a reason why there is none. Exact: a scan of all."""
    with connection.cursor() as cursor:
        cursor.execute(_MISSING, {"dataset": space.dataset_id, "space": space.pk, "encoder": space.encoder})
        return cursor.fetchone()[0]


_MISSING = """
SELECT count(*) FROM datasets_item AS item
 WHERE item.dataset_id = %(dataset)s AND item.problem = ''
   AND NOT EXISTS (SELECT FROM search_embedding WHERE space_id = %(space)s AND item_id = item.id)
   AND NOT EXISTS (SELECT FROM search_pendingembedding AS failed
                    WHERE failed.item_id = item.id AND failed.encoder = %(encoder)s AND failed.layer_id IS NULL AND failed.reason <> '')
"""
