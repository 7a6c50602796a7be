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

from . import encoders, spaces, understanding, vectors
from .models import EmbeddingSpace
from .understanding import Understood
from .vectors import Histogram, Ranked, Vectors

MAX_WORDS = 2_000  # characters: an encoder reads some 250 tokens of them at most
MAX_EXAMPLES = 1_000
MAX_IMAGE_BYTES = 64 << 20
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
    ranked: Ranked
    total: int  # items that the filter lets pass, embedded or not
    is_exact: bool


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
    if query.is_filter_alone:
        return _filtered(query, limit)
    space, vector = compile(query)
    items = query.filter.apply(filters.items_of(query.dataset))
    ranked = vectors.rank(space, vector, items, limit=limit, min_score=min_score)
    return Answer(space, ranked, total=items.count(), is_exact=True)


def select(dataset: Dataset, raw: Mapping[str, Any], min_score: float | None) -> QuerySet[Item]:
    """The items that a query scores at least ``min_score``: the same scan as ``run``, so what was counted is meant."""
    query = parse(dataset, raw)
    items = query.filter.apply(filters.items_of(dataset))
    if query.is_filter_alone:
        return items
    space, vector = compile(query)
    return vectors.scoring_at_least(space, vector, items, min_score)


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


def _filtered(query: Query, limit: int | None) -> Answer:
    """Nothing is compared: what passes the filter, in the order of the ids, without scores."""
    items = query.filter.apply(filters.items_of(query.dataset))
    ids = np.fromiter(items.order_by("pk").values_list("pk", flat=True)[:limit].iterator(), dtype=np.int64)
    scores = np.full(len(ids), np.nan, dtype=np.float32)
    total = len(ids) if limit is None else items.count()
    return Answer(None, Ranked(ids, scores, total, Histogram(0.0, 0.0, [])), total=total, is_exact=True)


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
