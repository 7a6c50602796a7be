"""The query: words, examples, an uploaded image and a filter, compiled to one vector and one set of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from django.db import transaction
from django.db.models import QuerySet

from datasets import filters, media
from datasets.errors import Conflict, Refused
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, QueryImage

from . import encoders, fulltext, spaces, vectors
from .fulltext import Mode
from .models import EmbeddingSpace
from .vectors import Ranked, Vectors

MAX_WORDS = 2_000  # characters: an encoder reads some 250 tokens of them at most
MAX_EXAMPLES = 1_000
MAX_IMAGE_BYTES = 64 << 20
_KEYS = {"text", "like", "unlike", "image", "filter", "mode"}


class InvalidQuery(Refused):
    """A query that cannot be read, or that asks for nothing."""


class ExampleNotReady(Conflict):
    """An example has no vector: not yet, or not at all."""


@dataclass(frozen=True)
class Query:
    """What to look for in a dataset, read and checked, but not yet turned into a vector."""

    dataset: Dataset
    text: str = ""
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    image: QueryImage | None = None
    filter: filters.Filter = field(default_factory=filters.Filter)
    mode: Mode = Mode.MEANING

    @property
    def said(self) -> dict[str, Any]:
        """The query as it can be sent again, without its filter."""
        return {
            "text": self.text,
            "like": list(self.like),
            "unlike": list(self.unlike),
            "image": self.image.sha256 if self.image else "",
            "mode": self.mode,
        }


@dataclass(frozen=True)
class Answer:
    space: EmbeddingSpace
    ranked: Ranked
    total: int  # items that the filter lets pass, embedded or not
    is_exact: bool
    matched: int | None = None  # items under the filter that hold the words, where words count as such


def parse(dataset: Dataset, raw: Mapping[str, Any]) -> Query:
    """Read ``raw`` (DESIGN §6; ``image`` is the reference of a kept one).

    Raises ``InvalidQuery``, ``InvalidFilter``, ``NoImageSpace``.
    """
    if not isinstance(raw, Mapping):
        raise InvalidQuery("A query is an object with text, like, unlike, image and filter.")
    if unknown := set(raw) - _KEYS - {"limit", "min_score"}:
        raise InvalidQuery(f"A query has no “{min(unknown)}”. Use text, like, unlike, image, filter.")
    text = raw.get("text") or ""
    if not isinstance(text, str) or "\x00" in text:
        raise InvalidQuery("text is a string of words.")
    text = text.strip()
    if len(text) > MAX_WORDS:
        raise InvalidQuery(f"The text has {len(text):,} characters; a query takes {MAX_WORDS:,}. Shorten it.")
    like, unlike = _examples(dataset, raw, "like"), _examples(dataset, raw, "unlike")
    image = _kept_image(dataset, raw.get("image"))
    if not (text or like or image):
        reason = "It says only what to avoid: add what to look for." if unlike else "It is empty."
        raise InvalidQuery(f"There is nothing to look for. {reason} Give text, like or image.")
    filter, mode = filters.parse(dataset, raw.get("filter")), _mode(dataset, text, raw.get("mode"))
    if mode is Mode.WORDS:
        # A condition like any other, so that whoever selects or counts means the same items.
        filter = filters.Filter((*filter.conditions, filters.Condition("words", fulltext.holding(dataset, text))))
    return Query(dataset, text, like, unlike, image, filter, mode)


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
def run(query: Query, *, limit: int | None, min_score: float | None = None) -> Answer:
    """Answer exactly: every item that the filter lets pass and that has a vector is scored.

    Raises ``NoLanguageSpace``, ``NoImageSpace``, ``SpaceNotReady``, ``ExampleNotReady``, ``EncoderUnavailable``.
    """
    space, vector = compile(query)
    items = query.filter.apply(filters.items_of(query.dataset))
    if query.mode is Mode.HYBRID:
        return _fused(query, space, vector, limit=limit, min_score=min_score)
    ranked = vectors.rank(space, vector, items, limit=limit, min_score=min_score)
    total = items.count()
    return Answer(space, ranked, total, is_exact=True, matched=total if query.mode is Mode.WORDS else None)


def _fused(
    query: Query, space: EmbeddingSpace, vector: Vectors, *, limit: int | None, min_score: float | None
) -> Answer:
    """By likeness and by words, in one order. Of very many items that hold the words, the most alike are ranked by them."""
    items = query.filter.apply(filters.items_of(query.dataset))
    matching = items.filter(fulltext.holding(query.dataset, query.text))
    pool = limit and max(limit, fulltext.POOL)
    alike = vectors.rank(space, vector, items, limit=pool, min_score=min_score)
    holding = vectors.rank(space, vector, matching, limit=fulltext.POOL, min_score=min_score)
    words = fulltext.by_words(holding.item_ids.tolist(), query.text)
    ranked = fulltext.fuse(alike, holding, words, limit)
    return Answer(space, ranked, items.count(), is_exact=True, matched=matching.count())


def select(dataset: Dataset, raw: Mapping[str, Any], min_score: float | None) -> QuerySet[Item]:
    """The items that a query scores at least ``min_score``: the same scan as ``run``, so what was counted is meant."""
    return selected(parse(dataset, raw), min_score)


def selected(query: Query, min_score: float | None) -> QuerySet[Item]:
    """As ``select``, for a query that was read before."""
    space, vector = compile(query)
    items = query.filter.apply(filters.items_of(query.dataset))
    return vectors.scoring_at_least(space, vector, items, min_score)


def compile(query: Query) -> tuple[EmbeddingSpace, Vectors]:
    """The space to look in and the ``(dimension,)`` unit vector to look for.

    More-like and less-like combine as normalised ``2·mean(positives) − mean(negatives)`` (Rocchio's rule with those
    weights); words and an uploaded image count as one positive each.
    """
    examples = bool(query.like or query.unlike)
    space = spaces.space_for(query.dataset, words=bool(query.text), image=query.image is not None)
    known = vectors.of_items(space, [*query.like, *query.unlike]) if examples else {}
    if missing := [pk for pk in (*query.like, *query.unlike) if pk not in known]:
        spaces.must_be_ready(space)
        raise ExampleNotReady(
            f"Item {missing[0]} has no vector"
            + (f" (nor {len(missing) - 1} more)" if len(missing) > 1 else "")
            + ": it is not embedded yet, or could not be. Wait for the embedding, or choose another example."
        )
    positives = [known[pk] for pk in query.like]
    if query.text:
        is_text = query.dataset.modality == Modality.TEXT
        words = fulltext.plain(query.text) if is_text else query.text
        positives.append(encoders.get(space.encoder).encode_texts([words])[space.output][0])
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


def _mode(dataset: Dataset, text: str, raw: Any) -> Mode:
    if raw and raw not in list(Mode):
        raise InvalidQuery(f"mode is one of {', '.join(Mode)}, not “{str(raw)[:80]}”.")
    if dataset.modality == Modality.TEXT and text:
        return Mode(raw or Mode.HYBRID)
    if dataset.modality != Modality.TEXT and raw and raw != Mode.MEANING:
        raise InvalidQuery(f"“{dataset.name}” holds images, in which no words stand: its only mode is meaning.")
    return Mode.MEANING


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
