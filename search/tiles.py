"""Tiles: the same grids over every image, so that a small thing fills a part of the picture that an encoder looks at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from datasets.models import RegionLayer
from datasets.regions import Shape

# 2 × 2 and 3 × 3: the image as a whole has its vector already.
SCALES = (2, 3)
OVERLAP = 0.25
GREATEST_SCALE = 8
GREATEST_OVERLAP = 0.75


def of_layer(layer: RegionLayer) -> list[Shape]:
    return grids(layer.params["scales"], layer.params["overlap"])


def grids(scales: Sequence[int], overlap: float) -> list[Shape]:
    """For every ``n`` of ``scales`` n × n tiles that fill the image, row by row; neighbours share ``overlap`` of a side."""
    return [*_grids(tuple(scales), overlap)]


@cache
def _grids(scales: tuple[int, ...], overlap: float) -> tuple[Shape, ...]:
    shapes = []
    for number in scales:
        side = 1 / (number - (number - 1) * overlap)
        starts = [at * side * (1 - overlap) for at in range(number)]
        shapes += [Shape(x, y, min(side, 1 - x), min(side, 1 - y)) for y in starts for x in starts]
    return tuple(shapes)
