"""Answering a query: the best items through the index or by comparing all, page by page; all in order; a selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import QuerySet

from datasets import filters, passing
from datasets.models import Dataset, Item, Region

from . import calibration, comparing, coverage, fulltext, indexing, ordinary, planning, query, region_ranking, vectors
from .calibration import Calibration
from .examples import MAX_EXAMPLES, InvalidQuery
from .fulltext import Mode
from .models import EmbeddingSpace
from .planning import Plan
from .query import Part, Query
from .region_ranking import NoRegions
from .samples import Sample
from .scores import Histogram, Scores, Spread
from .vectors import Place, Ranked, Vectors

_MOST_SCORE = 2.0  # a cosine, and room for rounding
_MOST_BESIDE = 3  # places of the sample that are searched beside the query's own
_ROUNDING = 1e-4  # between scores of the database and those computed here


@dataclass(frozen=True)
class Answer:
    space: EmbeddingSpace | None  # None: the filter alone has answered
    best: Ranked
    total: int  # items that the filter lets pass, embedded or not
    embedded: int  # of them with a vector
    spread: Spread | None  # of the scores of everything compared; None: nothing was
    is_exact: bool
    plan: Plan
    next: dict[str, Any] | None  # where the next page begins: what ``parse_after`` reads
    matched: int | None = None  # items under the filter that hold the words, where words count as such
    calibration: Calibration = calibration.UNKNOWN

    @property
    def histogram(self) -> Histogram:
        return self.spread.histogram if self.spread else Histogram(0.0, 0.0, [])

    @property
    def percentiles(self) -> list[float | None]:
        """For each of ``best``: of all that were compared, the share that scores lower, 0 to 100. Through an index it goes by
        the place, for the sample knows nothing of the very best."""
        number = len(self.best.item_ids)
        if self.spread is None:
            return [None] * number
        lower = self.spread.lower(self.best.scores) if self.is_exact else 1 - (1 + np.arange(number)) / self.embedded
        return np.round(100 * np.maximum(lower, 0), 4).tolist()


@dataclass(frozen=True)
class After:
    """Where a page begins: after a place in the exact order, without those that an inexact first page has shown."""

    place: Place | None
    shown: tuple[int, ...] = ()


def parse_after(raw: Any) -> After | None:
    """The ``next`` of an answer. Raises ``InvalidQuery``."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or set(raw) - {"place", "shown"}:
        raise InvalidQuery("after is the “next” of an earlier answer, as it came.")
    place, shown = raw.get("place"), raw.get("shown") or []
    is_place = place is None or (
        isinstance(place, list)
        and len(place) == 2
        and isinstance(place[0], int | float)
        and abs(place[0]) <= _MOST_SCORE
        and _is_id(place[1])
    )
    if not is_place or not isinstance(shown, list) or len(shown) > MAX_EXAMPLES or not all(_is_id(pk) for pk in shown):
        raise InvalidQuery("after is the “next” of an earlier answer, as it came.")
    return After((float(place[0]), place[1]) if place else None, tuple(shown))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


@transaction.atomic
def run(
    asked: Query, *, limit: int, min_score: float | None = None, after: After | None = None, exact: bool = False
) -> Answer:
    """The best ``limit`` items of those that the filter lets pass.

    A large space answers the first page through its index, unless ``exact``; then ``is_exact`` is false, and the histogram
    is that of a sample. Further pages are exact: together with the first they hold every item once.

    With regions, every page is exact.

    Raises ``NoLanguageSpace``, ``NoImageSpace``, ``SpaceNotReady``, ``ExampleNotReady``, ``EncoderUnavailable``, ``NoRegions``.
    """
    if asked.is_filter_alone:
        return _listed(asked, limit, after)
    space, vector = query.compile(asked)
    if _by_region(asked, space):
        return _by_regions(space, vector, asked, limit=limit, min_score=min_score, after=after)
    if asked.mode is Mode.HYBRID and after is None:
        return _fused(asked, space, vector, limit=limit, min_score=min_score)
    items = asked.chosen
    plan = planning.choose(space, items, limit=limit)
    answer = None
    if plan.uses_index and after is None and not exact:
        answer = _through_index(space, vector, asked, plan, limit=limit, min_score=min_score)
    if answer is None:
        answer = _exactly(space, vector, asked, plan, limit=limit, min_score=min_score, after=after)
    return replace(answer, matched=answer.total) if asked.mode is Mode.WORDS else answer


def _fused(
    asked: Query, space: EmbeddingSpace, vector: Vectors, *, limit: int | None, min_score: float | None = None
) -> Answer:
    """By likeness and by words, in one order. Of very many items that hold the words, the most alike are ranked by them.
    What follows on further pages comes by likeness."""
    matching = asked.items.filter(fulltext.holding(asked.dataset, asked.text))
    holding = vectors.rank(space, vector, matching, limit=fulltext.POOL, min_score=min_score)
    words = fulltext.by_words(holding.best.item_ids.tolist(), asked.text)
    if limit is None:
        alike = comparing.rank_all(space, vector, asked)
        embedded, spread, own = len(alike.item_ids), Spread.of(alike.scores), _own(asked, alike)
    else:
        scored = comparing.rank(space, vector, asked, limit=max(limit, fulltext.POOL), min_score=min_score)
        alike, embedded, spread, own = scored.best, scored.embedded, scored.spread, scored.own
    best = fulltext.fuse(alike, holding.best, words, limit)
    return Answer(
        space,
        best,
        total=passing.count(asked.dataset, asked.filter),
        embedded=embedded,
        spread=spread,
        is_exact=True,
        plan=Plan(False, "Words are compared as they stand and by what they mean, each with every text.", embedded),
        next={"shown": best.item_ids.tolist()} if len(best.item_ids) == limit else None,
        matched=holding.total,
        calibration=_calibrated(space, asked, spread, own),
    )


def _through_index(
    space: EmbeddingSpace, vector: Vectors, asked: Query, plan: Plan, *, limit: int, min_score: float | None
) -> Answer | None:
    """``None`` when it does not find what there is: then only comparing them all can tell.

    What the sample holds and the index did not find shows where to look as well: in a space of lonely clusters, the index may
    search the wrong one.
    """
    assert plan.sample is not None
    sample = plan.sample.of(plan.passing)
    scores = sample.scores(vector)
    found = vectors.nearest(space, vector, number=plan.number, ef_search=plan.ef_search)
    passed = _passing(asked, found)
    while len(passed.item_ids) < plan.enough:
        if (farther := plan.farther()) is None:
            return None
        plan = farther
        found = vectors.nearest(space, vector, number=plan.number, ef_search=plan.ef_search)
        passed = _passing(asked, found)
    best = _first(passed, limit)
    if len(missed := _missed(best, sample, scores, limit)):
        beside = [
            vectors.nearest(space, place, number=plan.number, ef_search=plan.ef_search).item_ids
            for place in sample.vectors[missed[:_MOST_BESIDE]]
        ]
        found = vectors.scored(space, vector, np.union1d(found.item_ids, np.concatenate(beside)))
        best = _first(_passing(asked, found), limit)
        if len(_missed(best, sample, scores, limit)):
            return None
    if len(best.item_ids) < limit:
        return None
    total = passing.count(asked.dataset, asked.filter)
    embedded = coverage.embedded(space)
    if asked.filter:
        is_complete = embedded == passing.count(asked.dataset, filters.Filter())
        embedded = total if is_complete else coverage.embedded(space, asked.items)
    shown = _at_least(best, min_score)
    others = ~np.isin(sample.item_ids, asked.example_items)
    seen = Spread.of(scores[others], standing_for=embedded)
    top = best.scores[~np.isin(best.item_ids, asked.example_items)]
    return Answer(
        space,
        shown,
        total=total,
        embedded=embedded,
        spread=Spread.of(scores, standing_for=embedded),
        is_exact=False,
        plan=plan,
        next={"shown": best.item_ids.tolist()} if len(shown.item_ids) == limit else None,
        calibration=calibration.judge(
            seen, ordinary.of(space, plan.rows, asked.compared_words), best=float(top[0]) if len(top) else None
        ),
    )


def _passing(asked: Query, found: Ranked) -> Ranked:
    """What of it the filter lets pass."""
    if not asked.filter:
        return found
    assert asked.chosen is not None
    keep = vectors.among(asked.chosen, found.item_ids)
    return Ranked(found.item_ids[keep], found.scores[keep])


def _first(ranked: Ranked, limit: int) -> Ranked:
    return Ranked(ranked.item_ids[:limit], ranked.scores[:limit])


def _missed(best: Ranked, sample: Sample, scores: Vectors, limit: int) -> npt.NDArray[np.int64]:
    """Positions in the sample, the best first, of what should be among the best ``limit`` and was not found."""
    worst = best.scores[-1] + _ROUNDING if len(best.item_ids) == limit else -_MOST_SCORE
    better = np.flatnonzero(scores > worst)
    better = better[~np.isin(sample.item_ids[better], best.item_ids)]
    return better[np.argsort(-scores[better], kind="stable")]


def _exactly(
    space: EmbeddingSpace,
    vector: Vectors,
    asked: Query,
    plan: Plan,
    *,
    limit: int,
    min_score: float | None,
    after: After | None,
) -> Answer:
    after = after or After(None)
    items = asked.chosen
    found = comparing.rank(
        space, vector, asked, limit=limit, min_score=min_score, after=after.place, without=after.shown
    )
    return Answer(
        space,
        found.best,
        total=passing.count(asked.dataset, asked.filter) if items is None else found.total,
        embedded=found.embedded,
        spread=found.spread,
        is_exact=True,
        plan=plan,
        next=_following(found.best, limit, after),
        calibration=_calibrated(space, asked, found.spread, found.own),
    )


def _following(best: Ranked, limit: int, after: After) -> dict[str, Any] | None:
    if len(best.item_ids) < limit:
        return None
    return {"place": [float(best.scores[-1]), int(best.item_ids[-1])], "shown": list(after.shown)}


def _by_regions(
    space: EmbeddingSpace,
    vector: Vectors,
    asked: Query,
    *,
    limit: int | None,
    min_score: float | None = None,
    after: After | None = None,
) -> Answer:
    place = after.place if after else None
    found = region_ranking.rank(
        space, vector, asked.items, limit=limit, min_score=min_score, after=place, examples=asked.example_items
    )
    return Answer(
        space,
        found.best,
        total=passing.count(asked.dataset, asked.filter),
        embedded=found.embedded,
        spread=found.spread,
        is_exact=True,
        plan=Plan(False, "Every item and every region under the filter is compared.", found.embedded),
        next=_following(found.best, limit, after or After(None)) if limit else None,
        calibration=_calibrated(space, asked, found.spread, found.own),
    )


def _at_least(ranked: Ranked, min_score: float | None) -> Ranked:
    if min_score is None:
        return ranked
    keep = ranked.scores >= min_score
    return Ranked(ranked.item_ids[keep], ranked.scores[keep])


def _listed(asked: Query, limit: int | None, after: After | None = None) -> Answer:
    """Nothing is compared: what passes the filter, in the order of the ids, without scores."""
    items = asked.items
    if after and after.place:
        items = items.filter(pk__gt=after.place[1])
    ids = np.fromiter(items.order_by("pk").values_list("pk", flat=True)[:limit].iterator(), dtype=np.int64)
    return Answer(
        None,
        Ranked(ids, np.full(len(ids), np.nan)),
        total=len(ids) if limit is None else asked.items.count(),
        embedded=0,
        spread=None,
        is_exact=True,
        plan=Plan(False, "Nothing is compared: the filter alone answers.", 0),
        next={"place": [0.0, int(ids[-1])]} if len(ids) == limit else None,
    )


@transaction.atomic
def rank_all(asked: Query) -> Answer:
    """All embedded items that the filter lets pass, exactly ordered."""
    if asked.is_filter_alone:
        return _listed(asked, None)
    space, vector = query.compile(asked)
    if _by_region(asked, space):
        return _by_regions(space, vector, asked, limit=None)
    if asked.mode is Mode.HYBRID:
        return _fused(asked, space, vector, limit=None)
    ranked = comparing.rank_all(space, vector, asked)
    total = passing.count(asked.dataset, asked.filter)
    spread = Spread.of(ranked.scores)
    return Answer(
        space,
        ranked,
        total,
        len(ranked.item_ids),
        spread,
        is_exact=True,
        plan=Plan(False, "All are wanted.", len(ranked.item_ids)),
        next=None,
        matched=total if asked.mode is Mode.WORDS else None,
        calibration=_calibrated(space, asked, spread, _own(asked, ranked)),
    )


def _own(asked: Query, ranked: Ranked) -> Scores:
    """What the examples themselves score."""
    return ranked.scores[np.isin(ranked.item_ids, asked.example_items)]


def _calibrated(space: EmbeddingSpace, asked: Query, spread: Spread, own: Scores) -> Calibration:
    rows = max(indexing.standing_lately(space).rows, spread.counted_number)
    return calibration.judge(spread.without(own), ordinary.of(space, rows, asked.compared_words))


def rank_with_parts(asked: Query, items: QuerySet[Item]) -> tuple[EmbeddingSpace, list[Part], Ranked]:
    """``items`` scored as ``run`` scores them, whatever the filter, and what the query is made of."""
    space, parts = query.parts_of(asked)
    vector = query.combine(parts)
    if _by_region(asked, space):
        return space, parts, region_ranking.rank(space, vector, items, limit=None).best
    return space, parts, vectors.rank_all(space, vector, items)


def select(dataset: Dataset, raw: Mapping[str, Any], min_score: float | None) -> QuerySet[Item]:
    """The items that a query scores at least ``min_score``: the same scan as ``run``, so what was counted is meant."""
    return selected(query.parse(dataset, raw), min_score)


def selected(asked: Query, min_score: float | None) -> QuerySet[Item]:
    """As ``select``, for a query that was read before."""
    if asked.is_filter_alone:
        return asked.items
    space, vector = query.compile(asked)
    scoring = region_ranking if _by_region(asked, space) else vectors
    return scoring.scoring_at_least(space, vector, asked.items, min_score)


def select_regions(dataset: Dataset, raw: Mapping[str, Any], min_score: float | None) -> QuerySet[Region]:
    """The regions that ``run`` names in items that score at least ``min_score``. Raises ``NoRegions`` as well."""
    asked = query.parse(dataset, raw)
    space, vector = query.compile(asked)
    if not _by_region(asked, space):
        raise NoRegions("This search compares whole items, so it has found no regions. Search with regions: true.")
    return region_ranking.regions_scoring_at_least(space, vector, asked.items, min_score)


def _by_region(asked: Query, space: EmbeddingSpace) -> bool:
    """Whether items are scored by their regions too. Raises ``NoRegions`` when that is asked for and cannot be."""
    if asked.regions is False or not (asked.regions or asked.has_areas):
        return False
    if region_ranking.has_vectors(space):
        return True
    if asked.regions:
        raise NoRegions(
            f"No region of “{asked.dataset.name}” has a vector in {space.encoder}/{space.output} yet. Add tiles or a detector "
            "under Regions, wait until the first are there, or search whole items."
        )
    return False
