"""An image file, opened once: hash, size, orientation, thumbnail, quality measures and the pixels that encoders want.

Files are hostile. Whatever their bytes, the outcome is a ``Picture`` or ``UnreadableImage`` with one clear sentence.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from . import colours

MAX_PIXELS = 200_000_000
MAX_BYTES = 1 << 30
THUMBNAIL_SIDE = 384
_THUMBNAIL_QUALITY = 80
_MEASURED_SIDE = 128  # quality is measured at one size, so that it does not depend on the resolution
# Laplacian variance (of grey values 0..1) at which an image counts as half sharp.
_HALF_SHARP = 0.01

# Pillow's plug-in → content type; nothing else is ever decoded.
FORMATS = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "DIB": "image/bmp",
    "TIFF": "image/tiff",
}

Image.MAX_IMAGE_PIXELS = None  # we check the header ourselves, with a better sentence, before anything is decoded
ImageFile.LOAD_TRUNCATED_IMAGES = False


class UnreadableImage(Exception):
    """The file cannot be used; the message says why, without its name."""


@dataclass(frozen=True)
class Picture:
    """What one look at an image file yields."""

    sha256: str
    size_bytes: int
    content_type: str
    width: int  # after EXIF orientation
    height: int
    thumbnail: bytes  # WebP
    brightness: float  # mean luma, 0..1
    contrast: float  # twice the standard deviation of the luma, 0..1
    sharpness: float  # 0..1, see ``_sharpness``
    colors: npt.NDArray[np.float32]  # (11,), in the order of ``colours.COLOUR_NAMES``
    pixels: Image.Image  # RGB, upright, its short side at least what was asked for (or its own)


def read_image(source: IO[bytes], *, least_side: int = 0, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read and reduce an image. ``least_side``: pixels that the short side of ``pixels`` must keep.

    JPEGs are decoded at a reduced scale (``Image.draft``) where that leaves enough. Raises ``UnreadableImage``.
    """
    data = source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableImage(f"it has more than {MAX_BYTES:,} bytes. Make it smaller.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of in strange files, the checks here decide
        content_type, width, height, pixels = _decode(data, least_side, max_pixels)
    thumbnail = pixels.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
    encoded = io.BytesIO()
    thumbnail.save(encoded, "WEBP", quality=_THUMBNAIL_QUALITY, method=2)
    small = thumbnail.copy()
    small.thumbnail((_MEASURED_SIDE, _MEASURED_SIDE), Image.Resampling.BOX)
    luma = np.asarray(small.convert("L"), dtype=np.float32) / 255
    return Picture(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        content_type=content_type,
        width=width,
        height=height,
        thumbnail=encoded.getvalue(),
        brightness=round(float(luma.mean()), 4),
        contrast=round(min(1.0, 2 * float(luma.std())), 4),
        sharpness=round(_sharpness(np.asarray(thumbnail.convert("L"), dtype=np.float32) / 255), 4),
        colors=colours.shares(np.asarray(small)),
        pixels=pixels,
    )


def _decode(data: bytes, least_side: int, max_pixels: int) -> tuple[str, int, int, Image.Image]:
    if not data:
        raise UnreadableImage("the file is empty (0 bytes). Copy it again.")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
            content_type = FORMATS[str(image.format)]
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadableImage(
                    f"it has {width:,} × {height:,} pixels; the limit is {max_pixels:,} in all. Make it smaller."
                )
            upright = _orientation(image)
            if upright in (5, 6, 7, 8):
                width, height = height, width
            keep = max(least_side, THUMBNAIL_SIDE)
            if image.format in ("JPEG", "MPO") and min(image.size) > 2 * keep:
                image.draft(None, _scaled(image.size, keep))
            rgb = _rgb(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_what_it_is(data)) from None
    except MemoryError:
        raise UnreadableImage("there is not enough memory to decode it. Make it smaller.") from None
    except (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError, TypeError, OverflowError,
            ZeroDivisionError, AttributeError, RuntimeError, NotImplementedError, AssertionError) as error:  # fmt: skip
        # Pillow's plug-ins meet broken files with all of these.
        raise UnreadableImage(f"it is damaged or cut off ({_short(error)}). Copy it again from where it came.") from error
    if min(rgb.size) > 2 * keep:
        rgb = rgb.resize(_scaled(rgb.size, keep), Image.Resampling.BICUBIC, reducing_gap=2.0)
    rgb = _turned(rgb, upright)
    return content_type, width, height, rgb


def _scaled(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; broken EXIF counts as none."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, ValueError, struct.error, TypeError, KeyError, IndexError):
        return 1


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image) -> Image.Image:
    """The first frame as RGB: deep grey scaled to its range, transparency on white."""
    image.seek(0)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16 or 32 bits a pixel: 65,535 is white; what uses another range is stretched from its least to its greatest."""
    values = np.asarray(image).astype(np.float64)
    values[~np.isfinite(values)] = 0
    least, greatest = float(values.min()), float(values.max())
    if image.mode == "F" and 0 <= least and greatest <= 1:
        scaled = values * 255
    elif least >= 0 and greatest <= 65535:
        scaled = values / 257 if greatest > 255 else values
    else:
        scaled = (values - least) * (255 / max(greatest - least, 1e-12))
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8), "L").convert("RGB")


def _sharpness(luma: npt.NDArray[np.float32]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000), squashed to 0..1: v / (v + a constant)."""
    if min(luma.shape) < 3:
        return 0.0
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    variance = float(laplacian.var())
    return variance / (variance + _HALF_SHARP)


_SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "HTML, as a failed download leaves it. Download it again."),
    (b"<html", "HTML, as a failed download leaves it. Download it again."),
    (b"%pdf", "a PDF. Export its pages as pictures."),
    (b"pk\x03\x04", "a zip or an office document. Unpack it."),
    (b"\x1f\x8b", "a gzip archive. Unpack it."),
    (b"<svg", "an SVG drawing, which is not read. Export it as PNG."),
    (b"<?xml", "XML (perhaps an SVG drawing), which is not read. Export it as PNG."),
    (b"8bps", "a Photoshop file. Export it as PNG."),
    (b"{", "JSON. Is it an annotation file?"),
)


def _what_it_is(data: bytes) -> str:
    start = data[:256].lstrip().lower()
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "it is a HEIC photo, which is not read. Convert it to JPEG."
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "it is an AVIF image, which is not read. Convert it to JPEG or PNG."
    for sign, meaning in _SIGNS:
        if start.startswith(sign):
            return f"it is not an image: its first bytes look like {meaning}"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in data[:256]) and _is_text(data[:256]):
        return "it is not an image: its first bytes look like plain text. Remove it or replace it."
    return "it is not an image that can be read (JPEG, PNG, WebP, GIF, BMP, TIFF), or its header is damaged."


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start > len(data) - 4  # cut in the middle of a character
    return True


def _short(error: Any) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


