"""Ranking by the best of an item and of its regions: exact, one statement, whatever the number of regions.

The scan of the regions makes one number of each: its score above, its id below. The greatest of these for an item tells how
well the best region fits and which one it is, so that one hash aggregate, which Postgres runs in parallel, is all there
is: no sort, and no second look at millions of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from django.db.models import QuerySet

from datasets.errors import Conflict
from datasets.models import Item, Region

from . import vectors
from .models import EmbeddingSpace
from .scores import BINS, Spread
from .vectors import Place, Ranked, Vectors

# A score is a float32: from 1/64 on, thirty bits hold it to the last digit. Thirty-three hold eight thousand million ids.
_SCORE_STEPS = 2**29
_IDS = 2**33


class NoRegions(Conflict):
    """Regions are to be searched, and none has a vector in the space."""


@dataclass(frozen=True)
class RankedByRegion(Ranked):
    """As ``Ranked``; the score of an item is the best of it and of its regions."""

    region_ids: npt.NDArray[np.int64]  # the region that was best, for each of item_ids; 0: the item as a whole
    regions: int  # how many were compared


def has_vectors(space: EmbeddingSpace) -> bool:
    """Whether any region has a vector in ``space``. One query that reads one row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM search_regionembedding WHERE space_id = %s)", [space.pk])
        return cursor.fetchone()[0]


@dataclass(frozen=True)
class Found:
    best: RankedByRegion
    embedded: int  # items with a vector, of their own or of a region
    spread: Spread
    own: npt.NDArray[np.float64]  # scores of the items that are examples themselves


def rank(
    space: EmbeddingSpace,
    query: Vectors,
    items: QuerySet[Item],
    *,
    limit: int | None,
    min_score: float | None = None,
    after: Place | None = None,
    examples: Sequence[int] = (),
) -> Found:
    """As ``vectors.rank``; all with no ``limit``. Of equal ones the whole item goes before its regions, and a lower id before a
    higher."""
    scored, params = _scored(space, query, items)
    after_score, after_id = after or (None, None)
    named = {
        "limit": limit,
        "min_score": min_score,
        "bins": BINS,
        "examples": list(examples),
        "after_score": after_score,
        "after_id": after_id,
    }
    with _scanning() as cursor:
        cursor.execute(scored + _RANK, {**params, **named})
        embedded, regions, least, greatest, own, bins, item_ids, scores, region_ids = cursor.fetchone()
    best = RankedByRegion(
        item_ids=np.array(item_ids or [], dtype=np.int64),
        scores=np.array(scores or [], dtype=np.float64),
        region_ids=np.array(region_ids or [], dtype=np.int64),
        regions=regions or 0,
    )
    return Found(best, embedded, Spread.counted(least, greatest, bins), np.array(own or [], dtype=np.float64))


def scoring_at_least(
    space: EmbeddingSpace, query: Vectors, items: QuerySet[Item], min_score: float | None
) -> QuerySet[Item]:
    """Those of ``items`` that ``rank`` scores at least ``min_score`` (all that it scores, when ``None``)."""
    return items.filter(pk__in=_at_least(space, query, items, min_score, "item_id", "true"))


def regions_scoring_at_least(
    space: EmbeddingSpace, query: Vectors, items: QuerySet[Item], min_score: float | None
) -> QuerySet[Region]:
    """The regions that ``rank`` names for items that it scores at least ``min_score``: none where the whole item won."""
    ids = _at_least(space, query, items, min_score, "region_id", "region_id > 0")
    return Region.objects.standing().filter(pk__in=ids)


@contextmanager
def _scanning() -> Iterator[Any]:
    """A cursor with memory enough for one group an item of a million: with less, Postgres walks the regions by their index
    instead of hashing them, which takes three times as long."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        yield cursor


def _at_least(
    space: EmbeddingSpace, query: Vectors, items: QuerySet[Item], min_score: float | None, column: str, condition: str
) -> list[int]:
    scored, params = _scored(space, query, items)
    with _scanning() as cursor:
        cursor.execute(
            f"{scored} SELECT array_agg({column}) FROM scored"
            f" WHERE {condition} AND (%(min_score)s::float8 IS NULL OR score >= %(min_score)s)",
            {**params, "min_score": min_score},
        )
        return cursor.fetchone()[0] or []


def _scored(space: EmbeddingSpace, query: Vectors, items: QuerySet[Item]) -> tuple[str, dict[str, Any]]:
    """``scored``: item, score, region (0 for the whole), and how many regions it had. The exact scan of both partitions.

    No cast to ``halfvec(n)`` and no ORDER BY next to the distance: with them the planner may take an approximate index.
    """
    ids, id_params = items.order_by().values("pk").query.sql_with_params()
    named = {f"filter_{at}": value for at, value in enumerate(id_params)}
    wanted = ids % tuple(f"%({name})s" for name in named)
    statement = f"""
WITH whole AS MATERIALIZED (
    SELECT item_id, -(vector <#> %(query)s::halfvec) AS score
      FROM search_embedding WHERE space_id = %(space)s AND item_id IN ({wanted})
), best_region AS MATERIALIZED (
    SELECT item_id, count(*) AS regions,
           max((-(vector <#> %(query)s::halfvec) * {_SCORE_STEPS})::bigint * {_IDS} - region_id) AS best
      FROM search_regionembedding WHERE space_id = %(space)s AND item_id IN ({wanted}) GROUP BY item_id
), part AS (
    SELECT item_id, regions, -best & {_IDS - 1} AS region_id,
           (((best + (-best & {_IDS - 1})) / {_IDS})::float8 / {_SCORE_STEPS})::real::float8 AS score
      FROM best_region
), scored AS MATERIALIZED (
    SELECT item_id, coalesce(regions, 0) AS regions,
           greatest(whole.score, part.score) AS score,
           CASE WHEN part.score IS NULL OR whole.score >= part.score THEN 0 ELSE region_id END AS region_id
      FROM whole FULL JOIN part USING (item_id)
)
"""
    return statement, {"query": vectors.to_literal(query), "space": space.pk, **named}


_RANK = """
, bounds AS (
    SELECT count(*) AS embedded, sum(regions)::bigint AS regions, min(score) AS least, max(score) AS greatest,
           array_agg(score) FILTER (WHERE item_id = ANY(%(examples)s::bigint[])) AS own
      FROM scored
), bins AS (
    SELECT CASE WHEN greatest > least THEN least(width_bucket(score, least, greatest, %(bins)s), %(bins)s) ELSE 1 END AS bin,
           count(*) AS number
      FROM scored, bounds GROUP BY 1
), best AS (
    SELECT item_id, score, region_id FROM scored
     WHERE (%(min_score)s::float8 IS NULL OR score >= %(min_score)s)
       AND (%(after_score)s::float8 IS NULL OR score < %(after_score)s OR (score = %(after_score)s AND item_id > %(after_id)s))
     ORDER BY score DESC, item_id LIMIT %(limit)s
)
SELECT embedded, regions, least, greatest, own,
       (SELECT json_agg(json_build_array(bin, number)) FROM bins),
       (SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM best),
       (SELECT array_agg(score ORDER BY score DESC, item_id) FROM best),
       (SELECT array_agg(region_id ORDER BY score DESC, item_id) FROM best)
  FROM bounds
"""
