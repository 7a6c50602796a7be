"""The query: words, examples, an uploaded image and a filter, compiled to one vector and one set of items."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, NamedTuple

import numpy as np
from django.db.models import QuerySet

from datasets import filters, media, passing
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, QueryImage
from datasets.regions import Shape

from . import encoders, examples, fulltext, spaces, understanding, vectors
from .examples import Example, ExampleNotReady, InvalidQuery  # noqa: F401  (what a query may raise)
from .fulltext import Mode
from .models import EmbeddingSpace
from .understanding import Understood
from .vectors import Chosen, Vectors

MAX_WORDS = 2_000  # characters: an encoder reads some 250 tokens of them at most
MAX_IMAGE_BYTES = 64 << 20
_SHOWN_SIDE = 1_000  # pixels
_MOST_SENT = 150_000  # ids, with a statement
KEYS = ("text", "literal", "mode", "like", "unlike", "image", "image_box", "image_polygon", "regions", "filter")


@dataclass(frozen=True)
class Query:
    """What to look for in a dataset, read and checked, but not yet turned into a vector."""

    dataset: Dataset
    text: str = ""
    is_literal: bool = False  # the text is words, whatever could be understood in it
    understood: Understood = field(default_factory=lambda: Understood(""))
    like: tuple[Example, ...] = ()
    unlike: tuple[Example, ...] = ()
    image: QueryImage | None = None
    image_area: Shape | None = None
    regions: bool | None = None  # whether items are searched by their regions too; None: when an example is an area
    filter: filters.Filter = field(default_factory=filters.Filter)  # what was understood is in it
    mode: Mode = Mode.MEANING

    @property
    def words(self) -> str:
        """What of the text is compared."""
        return self.understood.words

    @property
    def is_filter_alone(self) -> bool:
        return not (self.words or self.like or self.unlike or self.image)

    @property
    def has_areas(self) -> bool:
        return self.image_area is not None or any(one.is_area for one in (*self.like, *self.unlike))

    @property
    def compared_words(self) -> str:
        """What is compared where nothing but words is."""
        return "" if self.like or self.image else self.words

    @property
    def example_items(self) -> list[int]:
        """Items that are wanted as they are, or in part: what they score tells nothing of the others."""
        return [one.item_id for one in self.like]

    @property
    def items(self) -> QuerySet[Item]:
        """Those that the filter lets pass."""
        return self.filter.apply(filters.items_of(self.dataset))

    @cached_property
    def chosen(self) -> Chosen | None:
        """The same for what compares them; ``None``: all."""
        return passing.chosen(self.dataset, self.filter) if self.filter else None

    @property
    def sent(self) -> Chosen | None:
        """The same for Postgres: ids, unless they are too many to send."""
        chosen = self.chosen
        return self.items if isinstance(chosen, np.ndarray) and len(chosen) > _MOST_SENT else chosen

    @property
    def said(self) -> dict[str, Any]:
        """The query as it can be sent again, without its filter."""
        return {
            "text": self.text,
            "literal": self.is_literal,
            "mode": self.mode,
            "like": [one.said for one in self.like],
            "unlike": [one.said for one in self.unlike],
            "image": self.image.sha256 if self.image else "",
            **{f"image_{name}": value for name, value in _said(self.image_area).items()},
            "regions": self.regions,
        }


def _said(area: Shape | None) -> dict[str, Any]:
    return examples.shape_said(area) if area else {}


def parse(dataset: Dataset, raw: Mapping[str, Any]) -> Query:
    """Read ``raw`` (DESIGN §6; ``image`` is the reference of a kept one).

    Raises ``InvalidQuery``, ``InvalidFilter``, ``NoImageSpace``.
    """
    if not isinstance(raw, Mapping):
        raise InvalidQuery(f"A query is an object with some of {', '.join(KEYS)}.")
    if unknown := set(raw) - {*KEYS, "limit", "min_score"}:
        raise InvalidQuery(f"A query has no “{min(unknown)}”. Use {', '.join(KEYS)}.")
    text = _text(raw.get("text"))
    is_literal, regions = raw.get("literal") or False, raw.get("regions")
    if not isinstance(is_literal, bool):
        raise InvalidQuery("literal is true or false.")
    if regions is not None and not isinstance(regions, bool):
        raise InvalidQuery("regions is true or false: whether items are searched by their regions too.")
    understood = Understood(text) if is_literal else understanding.understand(dataset, text)
    like, unlike = (examples.parse(dataset, raw.get(name), name) for name in ("like", "unlike"))
    image, area = _kept_image(dataset, raw.get("image")), examples.area_of_image(raw)
    if not (text or like or image) or (unlike and not (understood.words or like or image)):
        reason = "It says only what to avoid: add what to look for." if unlike else "It is empty."
        raise InvalidQuery(f"There is nothing to look for. {reason} Give text, like or image.")
    mode = _mode(dataset, text, raw.get("mode"))
    conditions = [
        *filters.parse(dataset, raw.get("filter")).conditions,
        *filters.parse(dataset, understood.filter).conditions,
    ]
    if mode is Mode.WORDS:
        # A condition like any other, so that whoever selects or counts means the same items.
        conditions.append(filters.Condition("words", fulltext.holding(dataset, text)))
    filter = filters.Filter(tuple(conditions))
    return Query(dataset, text, is_literal, understood, like, unlike, image, area, regions, filter, mode)


def understand(dataset: Dataset, text: Any) -> Understood:
    """What a query in these words would mean. Raises ``InvalidQuery``."""
    return understanding.understand(dataset, _text(text))


def _text(raw: Any) -> str:
    text = raw or ""
    if not isinstance(text, str) or "\x00" in text:
        raise InvalidQuery("text is a string of words.")
    text = text.strip()
    if len(text) > MAX_WORDS:
        raise InvalidQuery(f"The text has {len(text):,} characters; a query takes {MAX_WORDS:,}. Shorten it.")
    return text


def _mode(dataset: Dataset, text: str, raw: Any) -> Mode:
    if raw and raw not in list(Mode):
        raise InvalidQuery(f"mode is one of {', '.join(Mode)}, not “{str(raw)[:80]}”.")
    if dataset.modality == Modality.TEXT and text:
        return Mode(raw or Mode.HYBRID)
    if dataset.modality != Modality.TEXT and raw and raw != Mode.MEANING:
        raise InvalidQuery(f"“{dataset.name}” holds images, in which no words stand: its only mode is meaning.")
    return Mode.MEANING


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


def show_image(dataset: Dataset, reference: str) -> bytes:
    """The kept image as a JPEG that a browser shows: upright, and not larger than a screen. Raises ``InvalidQuery``."""
    image = _kept_image(dataset, reference)
    if image is None:
        raise _image_gone()
    try:
        with media.open_stored(image.file) as file:
            pixels = read_image(file, least_side=_SHOWN_SIDE).pixels
    except FileNotFoundError as error:
        raise _image_gone() from error
    pixels.thumbnail((2 * _SHOWN_SIDE, 2 * _SHOWN_SIDE))
    shown = io.BytesIO()
    pixels.save(shown, "JPEG", quality=90)
    return shown.getvalue()


class Part(NamedTuple):
    """One thing that a query is made of, with its ``(dimension,)`` unit vector."""

    kind: str  # text, image or example
    is_wanted: bool
    vector: Vectors
    example: Example | None = None


def compile(query: Query) -> tuple[EmbeddingSpace, Vectors]:
    """The space to look in and the ``(dimension,)`` unit vector to look for.

    More-like and less-like combine as normalised ``2·mean(positives) − mean(negatives)`` (Rocchio's rule with those
    weights); words and an uploaded image count as one positive each.
    """
    space, parts = parts_of(query)
    return space, combine(parts)


def combine(parts: list[Part]) -> Vectors:
    """Raises ``InvalidQuery`` when they cancel out."""
    combined = np.mean([one.vector for one in parts if one.is_wanted], axis=0)
    if unwanted := [one.vector for one in parts if not one.is_wanted]:
        combined = 2 * combined - np.mean(unwanted, axis=0)
    try:
        return vectors.normalised(combined)
    except vectors.WrongVectors as error:
        raise InvalidQuery("What is to be like and unlike cancel out. Take another example.") from error


def parts_of(query: Query) -> tuple[EmbeddingSpace, list[Part]]:
    """The space to look in, and the vectors that ``compile`` combines."""
    # An area has to be encoded, unless its vector is there: the space must be one that images can be turned into.
    space = spaces.space_for(query.dataset, words=bool(query.words), image=query.image is not None or query.has_areas)
    given = [*query.like, *query.unlike]
    made = examples.vectors_of(space, given) if given else []
    wanted = [True] * len(query.like) + [False] * len(query.unlike)
    parts = [Part("example", *one) for one in zip(wanted, made, given, strict=True)]
    if query.words:
        is_text = query.dataset.modality == Modality.TEXT
        words = fulltext.plain(query.words) if is_text else query.words
        parts.append(Part("text", True, encoders.get(space.encoder).encode_texts([words])[space.output][0]))
    if query.image:
        parts.append(Part("image", True, _encoded(space, query.image, query.image_area)))
    return space, parts


def _encoded(space: EmbeddingSpace, image: QueryImage, area: Shape | None) -> Vectors:
    try:
        return examples.encode(space, lambda: media.open_stored(image.file), [area])[0]
    except FileNotFoundError as error:
        raise _image_gone() from error


def _kept_image(dataset: Dataset, reference: Any) -> QueryImage | None:
    if not reference:
        return None
    if dataset.modality != Modality.IMAGE:
        raise spaces.NoImageSpace(
            f"“{dataset.name}” holds texts and cannot be searched with an image. Search in words."
        )
    image = QueryImage.objects.filter(dataset=dataset, sha256=reference).first() if isinstance(reference, str) else None
    if image is None:
        raise _image_gone()
    return image


def _image_gone() -> InvalidQuery:
    return InvalidQuery("The image of this search is not kept here any more. Drop it on the search bar again.")
