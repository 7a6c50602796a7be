"""Tiles: parts of an image that are looked at on their own, so that small objects become larger ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from .boxes import Boxes

# What ends this close to a tile's edge, relative to the tile, may be an object cut in two.
_AT_THE_EDGE = 0.01


@dataclass(frozen=True)
class Tile:
    """A rectangle in an image, relative to its size."""

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, image: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The part of ``image`` scaled to ``size`` (width, height): ``(height, width, 3)``."""
        box = (
            self.left * image.width,
            self.top * image.height,
            self.right * image.width,
            self.bottom * image.height,
        )
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))

    def in_image(self, boxes: Boxes) -> Boxes:
        """Boxes relative to the tile as boxes relative to the image."""
        size = np.array([self.right - self.left, self.bottom - self.top] * 2)
        return boxes * size + np.array([self.left, self.top] * 2)

    def holds_whole(self, boxes: Boxes) -> npt.NDArray[np.bool_]:
        """Which boxes, relative to the tile, end before each edge of it that is not an edge of the image."""
        whole = np.ones(len(boxes), dtype=bool)
        if self.left > 0:
            whole &= boxes[:, 0] >= _AT_THE_EDGE
        if self.top > 0:
            whole &= boxes[:, 1] >= _AT_THE_EDGE
        if self.right < 1:
            whole &= boxes[:, 2] <= 1 - _AT_THE_EDGE
        if self.bottom < 1:
            whole &= boxes[:, 3] <= 1 - _AT_THE_EDGE
        return whole


WHOLE = Tile(0, 0, 1, 1)


def quarters(side: float = 0.6) -> list[Tile]:
    """One tile at each corner, ``side`` of the image's width and height; above .5 they overlap."""
    return [Tile(x, y, min(x + side, 1), min(y + side, 1)) for y in (0, 1 - side) for x in (0, 1 - side)]
