"""The query: words, examples, an uploaded image and a filter, compiled to one vector and one set of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import QuerySet

from datasets import filters, media, totals
from datasets.errors import Conflict, Refused
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, QueryImage

from . import coverage, encoders, indexing, planning, spaces, understanding, vectors
from .models import EmbeddingSpace
from .planning import Plan
from .understanding import Understood
from .vectors import Histogram, Place, Ranked, Vectors

MAX_WORDS = 2_000  # characters: an encoder reads some 250 tokens of them at most
MAX_EXAMPLES = 1_000
MAX_IMAGE_BYTES = 64 << 20
_ROUNDING = 1e-4  # between scores of the database and those computed here
_KEYS = {"text", "like", "unlike", "image", "filter", "literal"}


class InvalidQuery(Refused):
    """A query that cannot be read, or that asks for nothing."""


class ExampleNotReady(Conflict):
    """An example has no vector: not yet, or not at all."""


@dataclass(frozen=True)
class Query:
    """What to look for in a dataset, read and checked, but not yet turned into a vector."""

    dataset: Dataset
    text: str = ""
    is_literal: bool = False  # the text is words, whatever could be understood in it
    understood: Understood = field(default_factory=lambda: Understood(""))
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    image: QueryImage | None = None
    filter: filters.Filter = field(default_factory=filters.Filter)  # what was understood is in it

    @property
    def words(self) -> str:
        """What of the text is compared."""
        return self.understood.words

    @property
    def is_filter_alone(self) -> bool:
        return not (self.words or self.like or self.unlike or self.image)

    @property
    def items(self) -> QuerySet[Item]:
        """Those that the filter lets pass."""
        return self.filter.apply(filters.items_of(self.dataset))

    @property
    def said(self) -> dict[str, Any]:
        """The query as it can be sent again, without its filter."""
        return {
            "text": self.text,
            "like": list(self.like),
            "unlike": list(self.unlike),
            "image": self.image.sha256 if self.image else "",
            "literal": self.is_literal,
        }


@dataclass(frozen=True)
class Answer:
    space: EmbeddingSpace | None  # None: the filter alone has answered
    best: Ranked
    total: int  # items that the filter lets pass, embedded or not
    embedded: int  # of them with a vector
    histogram: Histogram
    is_exact: bool
    plan: Plan
    next: dict[str, Any] | None  # where the next page begins: what ``parse_after`` reads


@dataclass(frozen=True)
class After:
    """Where a page begins: after a place in the exact order, without those that an inexact first page has shown."""

    place: Place | None
    shown: tuple[int, ...] = ()


def parse(dataset: Dataset, raw: Mapping[str, Any]) -> Query:
    """Read ``raw`` (DESIGN §6; ``image`` is the reference of a kept one).

    Raises ``InvalidQuery``, ``InvalidFilter``, ``NoImageSpace``.
    """
    if not isinstance(raw, Mapping):
        raise InvalidQuery("A query is an object with text, like, unlike, image and filter.")
    if unknown := set(raw) - _KEYS - {"limit", "min_score"}:
        raise InvalidQuery(f"A query has no “{min(unknown)}”. Use text, like, unlike, image, filter.")
    text, is_literal = _text(raw.get("text")), raw.get("literal") or False
    if not isinstance(is_literal, bool):
        raise InvalidQuery("literal is true or false.")
    understood = Understood(text) if is_literal else understanding.understand(dataset, text)
    like, unlike = _examples(dataset, raw, "like"), _examples(dataset, raw, "unlike")
    image = _kept_image(dataset, raw.get("image"))
    if not (text or like or image) or (unlike and not (understood.words or like or image)):
        reason = "It says only what to avoid: add what to look for." if unlike else "It is empty."
        raise InvalidQuery(f"There is nothing to look for. {reason} Give text, like or image.")
    conditions = (
        *filters.parse(dataset, raw.get("filter")).conditions,
        *filters.parse(dataset, understood.filter).conditions,
    )
    return Query(dataset, text, is_literal, understood, like, unlike, image, filters.Filter(conditions))


def understand(dataset: Dataset, text: Any) -> Understood:
    """What a query in these words would mean. Raises ``InvalidQuery``."""
    return understanding.understand(dataset, _text(text))


def parse_after(raw: Any) -> After | None:
    """The ``next`` of an answer. Raises ``InvalidQuery``."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or set(raw) - {"place", "shown"}:
        raise InvalidQuery("after is the “next” of an earlier answer, as it came.")
    place, shown = raw.get("place"), raw.get("shown") or []
    is_place = place is None or (
        isinstance(place, list) and len(place) == 2 and all(isinstance(one, int | float) for one in place)
    )
    if not is_place or not isinstance(shown, list) or len(shown) > MAX_EXAMPLES or not all(_is_id(pk) for pk in shown):
        raise InvalidQuery("after is the “next” of an earlier answer, as it came.")
    return After((float(place[0]), int(place[1])) if place else None, tuple(shown))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def keep_image(dataset: Dataset, stream: IO[bytes]) -> QueryImage:
    """Keep an uploaded image to search with. Raises ``InvalidQuery`` when it is none, ``NoImageSpace`` for texts."""
    if dataset.modality != Modality.IMAGE:
        raise spaces.NoImageSpace(
            f"“{dataset.name}” holds texts and cannot be searched with an image. Search in words."
        )
    try:
        kept = media.keep(stream, max_bytes=MAX_IMAGE_BYTES)
    except media.TooLarge as error:
        raise InvalidQuery(f"The image has {error}. Send a smaller one.") from error
    try:
        with media.open_stored(kept.file) as file:
            read_image(file)
    except UnreadableImage as error:
        media.remove_unused([kept.sha256])
        raise InvalidQuery(f"The uploaded file cannot be searched with: {error}") from error
    image, _ = QueryImage.objects.get_or_create(dataset=dataset, sha256=kept.sha256, defaults={"file": kept.file})
    return image


@transaction.atomic
def run(
    query: Query, *, limit: int, min_score: float | None = None, after: After | None = None, exact: bool = False
) -> Answer:
    """The best ``limit`` items of those that the filter lets pass.

    A large space answers the first page through its index, unless ``exact``; then ``is_exact`` is false, and the histogram
    is that of a sample. Further pages are exact: together with the first they hold every item once.

    Raises ``NoLanguageSpace``, ``NoImageSpace``, ``SpaceNotReady``, ``ExampleNotReady``, ``EncoderUnavailable``.
    """
    if query.is_filter_alone:
        return _listed(query, limit, after)
    space, vector = compile(query)
    items = query.items if query.filter else None
    plan = planning.choose(space, vector, items, limit=limit)
    answer = None
    if plan.uses_index and after is None and not exact:
        answer = _through_index(space, vector, query, plan, limit=limit, min_score=min_score)
    if answer is None:
        answer = _exactly(space, vector, query, plan, limit=limit, min_score=min_score, after=after)
    return answer


def _through_index(
    space: EmbeddingSpace, vector: Vectors, query: Query, plan: Plan, *, limit: int, min_score: float | None
) -> Answer | None:
    """``None`` when it does not find what there is: then only comparing them all can tell."""
    assert plan.sample is not None
    scores, sampled = plan.sample.scores(vector), plan.sample.item_ids
    if plan.passing is not None:
        scores, sampled = scores[: len(plan.passing)][plan.passing], sampled[: len(plan.passing)][plan.passing]
    for ef_search in (plan.ef_search, indexing.MOST_EF_SEARCH):
        best = _filtered(query, vectors.nearest(space, vector, number=plan.number, ef_search=ef_search), limit)
        if len(best.item_ids) == limit and not _is_astray(best, sampled, scores):
            break
    else:
        return None
    total = totals.of_items(query.items)
    embedded = coverage.embedded(space)
    if query.filter:
        is_complete = embedded == totals.of_items(filters.items_of(query.dataset))
        embedded = total if is_complete else coverage.embedded(space, query.items)
    shown = _at_least(best, min_score)
    return Answer(
        space,
        shown,
        total=total,
        embedded=embedded,
        histogram=Histogram.of(scores, standing_for=embedded),
        is_exact=False,
        plan=plan,
        next={"shown": best.item_ids.tolist()} if len(shown.item_ids) == limit else None,
    )


def _filtered(query: Query, found: Ranked, limit: int) -> Ranked:
    """The best ``limit`` that the filter lets pass."""
    if query.filter:
        keep = vectors.among(query.items, found.item_ids)
        found = Ranked(found.item_ids[keep], found.scores[keep])
    return Ranked(found.item_ids[:limit], found.scores[:limit])


def _is_astray(best: Ranked, sampled: npt.NDArray[np.int64], scores: Vectors) -> bool:
    """Whether the sample holds something better that was not found: in a space of lonely clusters, the index may look in
    the wrong one."""
    better = sampled[scores > best.scores[-1] + _ROUNDING]
    return len(better) > 0 and not np.isin(better, best.item_ids).all()


def _exactly(
    space: EmbeddingSpace,
    vector: Vectors,
    query: Query,
    plan: Plan,
    *,
    limit: int,
    min_score: float | None,
    after: After | None,
) -> Answer:
    after = after or After(None)
    items = query.items if query.filter else None
    found = vectors.rank(space, vector, items, limit=limit, min_score=min_score, after=after.place, without=after.shown)
    following = None
    if len(found.best.item_ids) == limit:
        place = (float(found.best.scores[-1]), int(found.best.item_ids[-1]))
        following = {"place": list(place), "shown": list(after.shown)}
    return Answer(
        space,
        found.best,
        total=totals.of_items(query.items) if items is None else found.total,
        embedded=found.embedded,
        histogram=found.histogram,
        is_exact=True,
        plan=plan,
        next=following,
    )


def _at_least(ranked: Ranked, min_score: float | None) -> Ranked:
    if min_score is None:
        return ranked
    keep = ranked.scores >= min_score
    return Ranked(ranked.item_ids[keep], ranked.scores[keep])


def _listed(query: Query, limit: int | None, after: After | None = None) -> Answer:
    """Nothing is compared: what passes the filter, in the order of the ids, without scores."""
    items = query.items
    if after and after.place:
        items = items.filter(pk__gt=after.place[1])
    ids = np.fromiter(items.order_by("pk").values_list("pk", flat=True)[:limit].iterator(), dtype=np.int64)
    return Answer(
        None,
        Ranked(ids, np.full(len(ids), np.nan)),
        total=query.items.count(),
        embedded=0,
        histogram=Histogram(0.0, 0.0, []),
        is_exact=True,
        plan=Plan(False, "Nothing is compared: the filter alone answers.", 0),
        next={"place": [0.0, int(ids[-1])]} if len(ids) == limit else None,
    )


@transaction.atomic
def rank_all(query: Query) -> Answer:
    """All embedded items that the filter lets pass, exactly ordered."""
    if query.is_filter_alone:
        return _listed(query, None)
    space, vector = compile(query)
    ranked = vectors.rank_all(space, vector, query.items if query.filter else None)
    total = query.items.count()
    histogram = Histogram.of(ranked.scores)
    plan = Plan(False, "All are wanted.", len(ranked.item_ids))
    return Answer(space, ranked, total, len(ranked.item_ids), histogram, is_exact=True, plan=plan, next=None)


def select(dataset: Dataset, raw: Mapping[str, Any], min_score: float | None) -> QuerySet[Item]:
    """The items that a query scores at least ``min_score``: the same scan as ``run``, so what was counted is meant."""
    query = parse(dataset, raw)
    if query.is_filter_alone:
        return query.items
    space, vector = compile(query)
    return vectors.scoring_at_least(space, vector, query.items, min_score)


def compile(query: Query) -> tuple[EmbeddingSpace, Vectors]:
    """The space to look in and the ``(dimension,)`` unit vector to look for.

    More-like and less-like combine as normalised ``2·mean(positives) − mean(negatives)`` (Rocchio's rule with those
    weights); words and an uploaded image count as one positive each.
    """
    examples = bool(query.like or query.unlike)
    space = spaces.space_for(query.dataset, words=bool(query.words), image=query.image is not None)
    known = vectors.of_items(space, [*query.like, *query.unlike]) if examples else {}
    if missing := [pk for pk in (*query.like, *query.unlike) if pk not in known]:
        spaces.must_be_ready(space)
        raise ExampleNotReady(
            f"Item {missing[0]} has no vector"
            + (f" (nor {len(missing) - 1} more)" if len(missing) > 1 else "")
            + ": it is not embedded yet, or could not be. Wait for the embedding, or choose another example."
        )
    positives = [known[pk] for pk in query.like]
    if query.words:
        positives.append(encoders.get(space.encoder).encode_texts([query.words])[space.output][0])
    if query.image:
        with media.open_stored(query.image.file) as file:
            encoder = encoders.get(space.encoder)
            pixels = read_image(file, least_side=encoder.spec.image_side).pixels
            positives.append(encoder.encode_batch([encoder.preprocess(pixels)])[space.output][0])
    combined = np.mean(positives, axis=0)
    if query.unlike:
        combined = 2 * combined - np.mean([known[pk] for pk in query.unlike], axis=0)
    try:
        return space, vectors.normalised(combined)
    except vectors.WrongVectors as error:
        raise InvalidQuery("What is to be like and unlike cancel out. Take another example.") from error


def _text(raw: Any) -> str:
    text = raw or ""
    if not isinstance(text, str) or "\x00" in text:
        raise InvalidQuery("text is a string of words.")
    text = text.strip()
    if len(text) > MAX_WORDS:
        raise InvalidQuery(f"The text has {len(text):,} characters; a query takes {MAX_WORDS:,}. Shorten it.")
    return text


def _examples(dataset: Dataset, raw: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value = raw.get(name) or []
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(pk, int) and not isinstance(pk, bool) for pk in value):
        raise InvalidQuery(f"{name} is a list of item ids.")
    if len(value) > MAX_EXAMPLES:
        raise InvalidQuery(f"{name} holds {len(value):,} examples; a query takes {MAX_EXAMPLES:,}.")
    wanted = list(dict.fromkeys(value))
    found = set(
        Item.objects.filter(dataset=dataset, pk__in=[pk for pk in wanted if 0 < pk < 2**63]).values_list(
            "pk", flat=True
        )
    )
    for pk in wanted:
        if pk not in found:
            raise InvalidQuery(f"“{dataset.name}” has no item {pk}. Take another example.")
    return tuple(wanted)


def _kept_image(dataset: Dataset, reference: Any) -> QueryImage | None:
    if not reference:
        return None
    if dataset.modality != Modality.IMAGE:
        raise spaces.NoImageSpace(
            f"“{dataset.name}” holds texts and cannot be searched with an image. Search in words."
        )
    image = QueryImage.objects.filter(dataset=dataset, sha256=reference).first() if isinstance(reference, str) else None
    if image is None:
        raise InvalidQuery("The image of this search is not kept here any more. Drop it on the search bar again.")
    return image
