"""The examples of a query: whole items, and areas of images, be they stored regions or drawn for this search alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.db import connection

from datasets import media
from datasets.errors import Conflict, Refused
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, Region
from datasets.regions import InvalidShape, Shape, shape

from . import cutouts, encoders, regions, spaces, vectors
from .models import EmbeddingSpace
from .vectors import Vectors

MAX_EXAMPLES = 1_000
# Each of them is cut out of its file and encoded while somebody waits.
MAX_DRAWN = 20


class InvalidQuery(Refused):
    """A query that cannot be read, or that asks for nothing."""


class ExampleNotReady(Conflict):
    """An example has no vector: not yet, or not at all."""


@dataclass(frozen=True)
class Example:
    """An item, or an area of an image item: a stored region, or a shape that is nowhere stored."""

    item_id: int
    region_id: int | None = None
    shape: Shape | None = None

    @property
    def is_area(self) -> bool:
        return self.shape is not None

    @property
    def said(self) -> Any:
        """As it can be sent again."""
        if self.region_id is not None:
            return {"item": self.item_id, "region": self.region_id}
        return {"item": self.item_id, **shape_said(self.shape)} if self.shape else self.item_id


def shape_said(area: Shape) -> dict[str, Any]:
    if area.polygon is not None:
        return {"polygon": [list(point) for point in area.polygon]}
    return {"box": [area.x, area.y, area.width, area.height]}


# Reading -------------------------------------------------------------------------------------------------------------


def parse(dataset: Dataset, value: Any, name: str) -> tuple[Example, ...]:
    """Item ids and objects with an ``item`` and a ``box``, a ``polygon`` or a ``region``. Two queries at most.

    Raises ``InvalidQuery``, ``InvalidShape``.
    """
    if value is None or value == "":
        return ()
    given = value if isinstance(value, list) else [value]
    if len(given) > MAX_EXAMPLES:
        raise InvalidQuery(f"{name} holds {len(given):,} examples; a query takes {MAX_EXAMPLES:,}.")
    # Those that came in a form are texts.
    read = [_read(_from_form(one), name) for one in given]
    found = list(dict.fromkeys(_with_shapes(dataset, read)))
    if (drawn := sum(one.is_area for one in found)) > MAX_DRAWN:
        raise InvalidQuery(
            f"{name} holds {drawn} areas of images; a query takes {MAX_DRAWN}. Take whole items instead."
        )
    if dataset.modality != Modality.IMAGE and any(one.is_area for one in found):
        raise InvalidQuery(f"“{dataset.name}” holds texts; only images have areas. Take whole items as examples.")
    _check_items(dataset, {one.item_id for one in found})
    return tuple(found)


def area_of_image(raw: Mapping[str, Any]) -> Shape | None:
    """Of an uploaded image, ``image_box`` or ``image_polygon``. Raises ``InvalidQuery``, ``InvalidShape``."""
    box, polygon = (_from_form(raw.get(name)) for name in ("image_box", "image_polygon"))
    if box is not None and polygon is not None:
        raise InvalidQuery("Give image_box or image_polygon, not both.")
    if box is None and polygon is None:
        return None
    if not raw.get("image"):
        raise InvalidQuery("image_box and image_polygon are areas of an uploaded image; there is none. Send image too.")
    return _shape(box, polygon, "image_box" if polygon is None else "image_polygon")


def _from_form(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value else None
    except ValueError:
        return value


def _read(one: Any, name: str) -> Example:
    if isinstance(one, int) and not isinstance(one, bool):
        return Example(one)
    if not isinstance(one, Mapping) or not _is_id(one.get("item")):
        raise InvalidQuery(
            f"{name} is a list of item ids, and of areas such as {{item: 5, box: [x, y, width, height]}}."
        )
    kinds = [key for key in ("box", "polygon", "region") if one.get(key) is not None]
    if unknown := set(one) - {"item", "box", "polygon", "region"}:
        raise InvalidQuery(f"An example has no “{min(map(str, unknown))}”. Use item with box, polygon or region.")
    if len(kinds) > 1:
        raise InvalidQuery(f"An example has one of box, polygon and region; one in {name} has {' and '.join(kinds)}.")
    if not kinds:
        return Example(one["item"])
    if kinds == ["region"]:
        if not _is_id(one["region"]):
            raise InvalidQuery(f"In {name}, region is the id of a region, not {one['region']!r}.")
        return Example(one["item"], region_id=one["region"])
    return Example(one["item"], shape=_shape(one.get("box"), one.get("polygon"), kinds[0]))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shape(box: Any, polygon: Any, name: str) -> Shape:
    if polygon is None and not (_are_numbers(box) and len(box) == 4):
        raise InvalidShape(f"{name} is four numbers: [x, y, width, height], relative to the image: 0 to 1.")
    if polygon is not None and not (isinstance(polygon, list) and all(_are_numbers(point) for point in polygon)):
        raise InvalidShape(f"{name} is a list of points, [[x, y], …], relative to the image: 0 to 1.")
    return shape(box, polygon)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)


def _with_shapes(dataset: Dataset, read: list[Example]) -> list[Example]:
    """Stored regions get their shapes. Raises ``InvalidQuery`` for those that are not there."""
    ids = [one.region_id for one in read if one.region_id is not None and 0 < one.region_id < 2**63]
    stored = Region.objects.standing().filter(item__dataset=dataset).in_bulk(ids) if ids else {}
    known = []
    for one in read:
        if one.region_id is not None:
            region = stored.get(one.region_id)
            if region is None or region.item_id != one.item_id:
                raise InvalidQuery(
                    f"Item {one.item_id} has no region {one.region_id}: it has been removed, or made anew. Draw it again."
                )
            one = Example(one.item_id, one.region_id, regions.shape_of(region))
        known.append(one)
    return known


def _check_items(dataset: Dataset, wanted: Collection[int]) -> None:
    with connection.cursor() as cursor:
        possible = [pk for pk in wanted if 0 < pk < 2**63]
        cursor.execute("SELECT id FROM datasets_item WHERE dataset_id = %s AND id = ANY(%s)", [dataset.pk, possible])
        here = {pk for (pk,) in cursor.fetchall()}
    if missing := set(wanted) - here:
        raise InvalidQuery(f"“{dataset.name}” has no item {min(missing)}. Take another example.")


# Vectors -------------------------------------------------------------------------------------------------------------


def vectors_of(space: EmbeddingSpace, wanted: Sequence[Example]) -> list[Vectors]:
    """One ``(dimension,)`` for each: those that are stored are read, the others cut out and encoded now.

    Two queries, and each file opened once. Raises ``ExampleNotReady``, ``SpaceNotReady``, ``EncoderUnavailable``.
    """
    wholes = [one.item_id for one in wanted if not one.is_area]
    known = vectors.of_items(space, wholes) if wholes else {}
    if missing := [pk for pk in wholes if pk not in known]:
        spaces.must_be_ready(space)
        raise ExampleNotReady(
            f"Item {missing[0]} has no vector"
            + (f" (nor {len(missing) - 1} more)" if len(missing) > 1 else "")
            + ": it is not embedded yet, or could not be. Wait for the embedding, or choose another example."
        )
    areas = [one for one in wanted if one.is_area]
    made = _areas(space, areas) if areas else {}
    return [made[one] if one.is_area else known[one.item_id] for one in wanted]


def _areas(space: EmbeddingSpace, areas: list[Example]) -> dict[Example, Vectors]:
    stored = vectors.of_regions(space, [(one.item_id, one.region_id) for one in areas if one.region_id is not None])
    made = {one: stored[one.region_id] for one in areas if one.region_id in stored}
    by_item: dict[int, list[Example]] = defaultdict(list)
    for one in areas:
        if one not in made:
            by_item[one.item_id].append(one)
    items = Item.objects.in_bulk(list(by_item))
    for pk, of_item in by_item.items():
        if pk not in items:
            raise ExampleNotReady(f"Item {pk} has been deleted meanwhile. Take another example.")
        item, shapes = items[pk], [one.shape for one in of_item if one.shape is not None]
        try:
            encoded = encode(space, lambda item=item: media.open_original(item), shapes)  # type: ignore[misc]
        except (media.FileGone, UnreadableImage) as error:
            reason = str(error) if isinstance(error, media.FileGone) else f"{item.key}: {error}"
            raise ExampleNotReady(f"{reason} Until then, take another example.") from error
        made |= dict(zip(of_item, encoded, strict=True))
    return made


def encode(space: EmbeddingSpace, open_file: Callable[[], IO[bytes]], shapes: Sequence[Shape | None]) -> list[Vectors]:
    """What the encoder of ``space`` makes of these areas of an image (``None``: all of it), each ``(dimension,)``.

    They are cut as regions are for their vectors, so that an area and a region in the same place have the same.
    Raises ``UnreadableImage``, ``EncoderUnavailable``, and what ``open_file`` raises.
    """
    encoder = encoders.get(space.encoder)
    side = cutouts.least_side(encoder.spec.image_side, [one for one in shapes if one is not None])
    with open_file() as file:
        picture = read_image(file, least_side=side).pixels
    inputs = [encoder.preprocess(picture if one is None else cutouts.cut(picture, one)) for one in shapes]
    return list(encoder.encode_batch(inputs)[space.output])
