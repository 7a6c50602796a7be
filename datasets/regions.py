"""Regions of image items: drawn, redrawn and removed by people; written in bulk for a layer.

A region that bears a label is never lost without a word: nobody can remove it until its labels are taken off, and a layer
that is made anew or removed leaves it to the people, as one of theirs. One that only once had a label is hidden, and its row
stays for the history and for undo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from . import signals
from .errors import Conflict, Missing, Refused
from .models import Annotation, Item, Region, RegionLayer

MOST_POINTS = 1_000
# What a browser's rounding may put outside.
_SLACK = 1e-6
_LEAST_AREA = 1e-10

Point = tuple[float, float]


class InvalidShape(Refused):
    """No box or polygon that lies in an image and has an area."""


class LabelledRegion(Conflict):
    """The region bears labels, so it cannot be removed."""


@dataclass(frozen=True)
class Shape:
    """A box, or a polygon with the box around it, relative to the upright image: 0..1."""

    x: float  # of the left edge
    y: float  # of the upper edge
    width: float
    height: float
    polygon: tuple[Point, ...] | None = None


def shape(box: Sequence[float] | None, polygon: Sequence[Sequence[float]] | None) -> Shape:
    """``box`` is x, y, width, height; it is found from ``polygon`` where there is one. Raises ``InvalidShape``."""
    if polygon is not None:
        return _polygon(polygon)
    if box is None:
        raise InvalidShape("A region needs x, y, width and height, or a polygon.")
    x, y, width, height = box
    if not all(math.isfinite(value) for value in box):
        raise InvalidShape("x, y, width and height are numbers.")
    if width <= 0 or height <= 0 or width * height < _LEAST_AREA:
        raise InvalidShape(f"The box has no area ({width:g} × {height:g}). Draw it larger.")
    if min(x, y) < -_SLACK or max(x + width, y + height) > 1 + _SLACK:
        raise InvalidShape(
            f"The box reaches from ({x:g}, {y:g}) to ({x + width:g}, {y + height:g}), which is outside of the image. Its "
            "coordinates are relative to the image: 0 to 1."
        )
    left, top = max(x, 0.0), max(y, 0.0)
    return Shape(left, top, min(width, 1 - left), min(height, 1 - top))


def _polygon(raw: Sequence[Sequence[float]]) -> Shape:
    if not 3 <= len(raw) <= MOST_POINTS:
        raise InvalidShape(f"A polygon has 3 to {MOST_POINTS:,} points; this one has {len(raw):,}.")
    if any(len(point) != 2 or not all(math.isfinite(value) for value in point) for point in raw):
        raise InvalidShape("Each point of a polygon is two numbers: [x, y].")
    if any(not -_SLACK <= value <= 1 + _SLACK for point in raw for value in point):
        raise InvalidShape(
            "A point of the polygon is outside of the image. Its coordinates are relative to it: 0 to 1."
        )
    points = tuple((min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in raw)
    following = (*points[1:], points[0])
    area = abs(sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in zip(points, following, strict=True))) / 2
    if area < _LEAST_AREA:
        raise InvalidShape("The polygon has no area. Draw it larger.")
    left, top = (min(values) for values in zip(*points, strict=True))
    right, bottom = (max(values) for values in zip(*points, strict=True))
    return Shape(left, top, right - left, bottom - top, points)


# By people -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def draw(item: Item, shape: Shape) -> Region:
    """A new region of an image item. Raises ``Refused`` for a text."""
    if item.text is not None:
        raise Refused(f"{item.key} is a text; only images have regions.")
    signals.region_changing.send(Region, item=item, region=None)
    return Region.objects.create(item=item, **_fields(shape))


@transaction.atomic
def redraw(region: Region, shape: Shape) -> Region:
    """Give the region another place. A detected one is from then on as if drawn. Raises ``Refused`` for a tile."""
    region = _held(region, "moved")
    for name, value in _fields(shape).items():
        setattr(region, name, value)
    if region.kind == Region.Kind.DETECTED:
        region.kind, region.layer = Region.Kind.DRAWN, None
        region.predictions.update(region=None)
    region.save()
    return region


@transaction.atomic
def remove(region: Region) -> None:
    """Raises ``LabelledRegion`` while it bears a label, ``Refused`` for a tile."""
    region = _held(region, "removed")
    standing = Annotation.objects.standing().filter(region=region).count()
    if standing:
        raise LabelledRegion(
            f"Region {region.pk} bears {standing} label{'s' if standing > 1 else ''}. Take off its labels first; it can be "
            "removed then."
        )
    if region.annotations.exists():
        region.predictions.update(region=None)
        region.removed_at = timezone.now()
        region.save(update_fields=["removed_at"])
    else:
        region.delete()


def _held(region: Region, what: str) -> Region:
    """The region's row, locked, after whoever makes its vector has let go of the item."""
    if region.kind == Region.Kind.TILE:
        raise Refused(f"Region {region.pk} is a tile, which cannot be {what} by itself. Draw a region instead.")
    signals.region_changing.send(Region, item=region.item, region=region)
    held = Region.objects.standing().select_for_update(of=("self",)).filter(pk=region.pk).first()
    if held is None:
        raise Missing(f"Region {region.pk} has been removed meanwhile.")
    return held


def _fields(shape: Shape) -> dict[str, Any]:
    return {
        "x": shape.x,
        "y": shape.y,
        "width": shape.width,
        "height": shape.height,
        "polygon": [list(point) for point in shape.polygon] if shape.polygon else None,
    }


# In bulk -------------------------------------------------------------------------------------------------------------


@transaction.atomic
def replace(layer: RegionLayer, shapes: Mapping[int, Sequence[Shape]]) -> dict[int, list[int]]:
    """Make the regions of ``layer`` in the items that ``shapes`` names those, and no others. Item → ids, in its order.

    A handful of statements and one COPY, whatever the number.
    """
    clear(layer, list(shapes))
    number = sum(map(len, shapes.values()))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence('datasets_region', 'id')) FROM generate_series(1, %s)", [number]
        )
        ids = iter([pk for (pk,) in cursor.fetchall()])
        made = {item_id: [next(ids) for _ in found] for item_id, found in shapes.items()}
        now = timezone.now()
        with cursor.copy(
            "COPY datasets_region (id, item_id, layer_id, kind, x, y, width, height, created_at) FROM STDIN"
        ) as copy:
            for item_id, found in shapes.items():
                for pk, one in zip(made[item_id], found, strict=True):
                    copy.write_row((pk, item_id, layer.pk, layer.kind, one.x, one.y, one.width, one.height, now))
    return made


# Whoever is giving one of them a label comes before, and then it stays; or after, and finds it gone.
_HOLD = "SELECT FROM datasets_region WHERE item_id = ANY(%(items)s) AND layer_id = %(layer)s ORDER BY id FOR UPDATE"
_RELEASE = """
UPDATE datasets_region AS region SET kind = 'drawn', layer_id = NULL
 WHERE item_id = ANY(%(items)s) AND layer_id = %(layer)s
   AND EXISTS (SELECT FROM datasets_annotation AS annotation WHERE annotation.region_id = region.id)
RETURNING item_id
"""
_UNLINK = """
UPDATE datasets_prediction AS prediction SET region_id = NULL
  FROM datasets_region AS region
 WHERE region.item_id = ANY(%(items)s) AND region.layer_id = %(layer)s AND prediction.region_id = region.id
"""
_CLEAR = "DELETE FROM datasets_region WHERE item_id = ANY(%(items)s) AND layer_id = %(layer)s"


@transaction.atomic
def clear(layer: RegionLayer, item_ids: Sequence[int]) -> set[int]:
    """Delete the regions of ``layer`` in these items. Those that have or had labels stay, as drawn ones; in which items."""
    named: dict[str, Any] = {"items": list(item_ids), "layer": layer.pk}
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, named)
        cursor.execute(_UNLINK, named)
        cursor.execute(_RELEASE, named)
        kept = {item_id for (item_id,) in cursor.fetchall()}
        cursor.execute(_CLEAR, named)
    return kept


def forget_items(item_ids: Sequence[int]) -> None:
    """Delete the regions of items that go, and the labels on them, without reading them first."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM datasets_annotation WHERE item_id = ANY(%s)", [list(item_ids)])
        cursor.execute("DELETE FROM datasets_region WHERE item_id = ANY(%s)", [list(item_ids)])
