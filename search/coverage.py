"""How full a space is: counted when somebody asks, kept nowhere."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Space id → coverage. Three statements, whatever the number of spaces; each counts in an index alone."""
    datasets = list({space.dataset_id for space in spaces})
    with connection.cursor() as cursor:
        cursor.execute(_EMBEDDED, {"spaces": [space.pk for space in spaces]})
        embedded = {space: (number, size) for space, number, size in cursor.fetchall()}
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


_EMBEDDED = """
SELECT space.id, coalesce(stored.number, 0), coalesce(pg_total_relation_size(to_regclass('search_embedding_' || space.id)), 0)
  FROM unnest(%(spaces)s::bigint[]) AS space (id)
  LEFT JOIN (SELECT space_id, count(*) AS number FROM search_embedding
              WHERE space_id = ANY(%(spaces)s::bigint[]) GROUP BY space_id) AS stored ON stored.space_id = space.id
"""

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
