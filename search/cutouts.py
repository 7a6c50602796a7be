"""What is cut out of a picture for an encoder, and how large the picture must be for that.

A region is laid in the middle of a grey square with a margin, so that an encoder that looks at the middle of a picture sees
all of it, undistorted, and nothing else. Of a polygon, what lies outside is grey as well. Of six ways tried with the starter
on 127 objects of 50 COCO photos, this one found the most of the same class, for boxes and for tiles (see docs/regions.md).
"""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from datasets.regions import Shape

# The mean colour of ImageNet, which nearly every encoder subtracts: for it, this is nothing.
GREY = (124, 116, 104)
# Encoders cut the middle seven eighths out of what they get.
_MARGIN = 8 / 7
# A box with a shorter side than this part of the image's is enlarged for the encoder: to have its pixels too would mean to
# decode every picture at its full size.
SMALLEST_SHARP = 0.25
_SAMPLE_SIDE = 32


def least_side(image_side: int, shapes: list[Shape]) -> int:
    """Pixels that the short side of a picture must have, so that no shape is enlarged to ``image_side``."""
    shortest = min((min(shape.width, shape.height) for shape in shapes), default=1.0)
    return math.ceil(image_side / max(shortest, SMALLEST_SHARP))


def cut(picture: Image.Image, shape: Shape) -> Image.Image:
    """What is inside the box or polygon, in the middle of a grey square."""
    box = _pixels(picture, shape)
    part = picture.crop(box)
    mask = None
    if shape.polygon is not None:
        mask = Image.new("1", part.size)
        points = [(x * picture.width - box[0], y * picture.height - box[1]) for x, y in shape.polygon]
        ImageDraw.Draw(mask).polygon(points, fill=1)
    side = math.ceil(max(part.size) * _MARGIN)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2), mask)
    return square


def sample(picture: Image.Image, shape: Shape) -> Image.Image:
    """Some pixels of the box as they are, at most a thousand."""
    left, top, right, bottom = box = _pixels(picture, shape)
    size = min(right - left, _SAMPLE_SIDE), min(bottom - top, _SAMPLE_SIDE)
    return picture.resize(size, Image.Resampling.NEAREST, box=box)


def _pixels(picture: Image.Image, shape: Shape) -> tuple[int, int, int, int]:
    """The box in whole pixels, at least one each way, inside the picture."""
    left = min(round(shape.x * picture.width), picture.width - 1)
    top = min(round(shape.y * picture.height), picture.height - 1)
    right = max(min(round((shape.x + shape.width) * picture.width), picture.width), left + 1)
    bottom = max(min(round((shape.y + shape.height) * picture.height), picture.height), top + 1)
    return left, top, right, bottom
