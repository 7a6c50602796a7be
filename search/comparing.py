"""The exact answer to a query: every vector under the filter is compared, in memory where the space's vectors are (``matrix``), else
by Postgres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from . import matrix, vectors
from .matrix import Matrix
from .models import EmbeddingSpace
from .query import Query
from .scores import Spread
from .vectors import Place, Ranked, Scored, Vectors

# The last digits depend on who adds the products up, so Postgres has the last word on what may be among the best, and on its scores.
_ROUNDING = 1e-5
# With more in question than this, nearly all scores are the same.
_MOST_BESIDE = 2_000


def rank(
    space: EmbeddingSpace,
    query: Vectors,
    asked: Query,
    *,
    limit: int,
    min_score: float | None = None,
    after: Place | None = None,
    without: Sequence[int] = (),
) -> Scored:
    """As ``vectors.rank``, of what the filter of ``asked`` lets pass."""
    items, examples = asked.chosen, asked.example_items
    if (items is None or isinstance(items, np.ndarray)) and (held := matrix.of(space)) is not None:
        scored = _rank(held, space, query, items, limit, min_score, after, without, examples)
        if scored is not None:
            return scored
    return vectors.rank(
        space,
        query,
        asked.sent,
        limit=limit,
        min_score=min_score,
        after=after,
        without=without,
        examples=examples,
    )


def rank_all(space: EmbeddingSpace, query: Vectors, asked: Query) -> Ranked:
    """Every item that the filter lets pass and that has a vector, best first; ties go by id."""
    items = asked.chosen
    if (items is None or isinstance(items, np.ndarray)) and (held := matrix.of(space)) is not None:
        ids, rows = held.rows(items)
        scores = held.scores(query, rows).astype(np.float64)
        # Stable: those of equal scores stay in the order of their ids.
        order = np.argsort(-scores, kind="stable")
        return Ranked(ids[order], scores[order])
    return vectors.rank_all(space, query, asked.sent)


def _rank(
    held: Matrix,
    space: EmbeddingSpace,
    query: Vectors,
    items: npt.NDArray[np.int64] | None,
    limit: int,
    min_score: float | None,
    after: Place | None,
    without: Sequence[int],
    examples: Sequence[int],
) -> Scored | None:
    """``None`` where too many may be among the best."""
    ids, rows = held.rows(items)
    scores = held.scores(query, rows)
    may_be = np.ones(len(ids), dtype=bool)
    if min_score is not None:
        may_be &= scores >= min_score - _ROUNDING
    if after is not None:
        may_be &= scores <= after[0] + _ROUNDING
    if without:
        may_be &= ~np.isin(ids, without)
    places = np.flatnonzero(may_be)
    # Of those at the former page's end, some may have been on it.
    wanted = limit + (int(np.count_nonzero(scores[places] >= after[0] - _ROUNDING)) if after is not None else 0)
    if len(places) > wanted:
        least = np.partition(scores[places], len(places) - wanted)[len(places) - wanted]
        places = places[scores[places] >= least - _ROUNDING]
    if len(places) > limit + _MOST_BESIDE:
        return None
    best = vectors.scored(space, query, ids[places])
    keep = np.ones(len(best.item_ids), dtype=bool)
    if min_score is not None:
        keep &= best.scores >= min_score
    if after is not None:
        keep &= (best.scores < after[0]) | ((best.scores == after[0]) & (best.item_ids > after[1]))
    return Scored(
        Ranked(best.item_ids[keep][:limit], best.scores[keep][:limit]),
        total=len(ids) if items is None else len(items),
        embedded=len(ids),
        spread=Spread.of(scores),
        own=scores[np.isin(ids, examples)].astype(np.float64),
    )
