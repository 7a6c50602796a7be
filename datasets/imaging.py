"""An image file, opened once: hash, size, orientation, thumbnail, quality measures and the pixels that encoders want.

Files are hostile. Whatever their bytes, the outcome is a ``Picture`` or ``UnreadableImage`` with one clear sentence.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from . import colours

MAX_PIXELS = 200_000_000
MAX_BYTES = 1 << 30
_USUAL_BYTES = 1 << 20  # room for all that may be read is made before anything is read
THUMBNAIL_SIDE = 384
_THUMBNAIL_QUALITY = 82
_COLOURS_SIDE = 80  # pixels are sampled, not mixed: red beside green is no brown
# An image is half sharp when its Laplacian varies by this share of what the image itself varies by.
_HALF_SHARP = 0.15
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# What rounding to whole numbers adds to the variance of the Laplacian: of the luma (1/12, times the squares of the
# Laplacian's weights), and before it of R, G and B. In a dark, smooth picture that is more than the picture's own.
_ROUNDING = 20 / 12 * (1 + float((_LUMA**2).sum()))
_LEVELS = np.arange(256)
_BLANK = 0.0065  # a variance that is none

# What Pillow calls it → content type; nothing else is ever decoded. An MPO is a JPEG with further views behind it.
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

_OPENED_AS = tuple(name for name in FORMATS if name != "MPO")  # Pillow opens MPO as JPEG and knows no other way

Image.MAX_IMAGE_PIXELS = None  # we check the header ourselves, with a better sentence, before anything is decoded
ImageFile.LOAD_TRUNCATED_IMAGES = False
# What Pillow warns of in strange files, the checks here decide. Set once: `catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


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
    thumbnail: bytes  # JPEG
    brightness: float  # mean luma, 0..1
    contrast: float  # twice the standard deviation of the luma, 0..1
    sharpness: float  # 0..1, see ``_sharpness``
    colors: npt.NDArray[np.float32]  # (11,), in the order of ``colours.COLOUR_NAMES``
    pixels: Image.Image  # RGB, upright, its short side at least what was asked for (or its own)


def read_image(source: IO[bytes], *, least_side: int = 0, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read and reduce an image. ``least_side``: pixels that the short side of ``pixels`` must keep.

    JPEGs are decoded at a reduced scale (``Image.draft``) where that leaves enough. Raises ``UnreadableImage``.
    """
    data = source.read(_USUAL_BYTES)
    if len(data) == _USUAL_BYTES:
        data += source.read(MAX_BYTES + 1 - len(data))
    if len(data) > MAX_BYTES:
        raise UnreadableImage(f"it has more than {MAX_BYTES:,} bytes. Make it smaller.")
    content_type, width, height, pixels = _decode(data, max(least_side, THUMBNAIL_SIDE), max_pixels)
    # Bilinear reads half as many pixels as bicubic, and nobody sees it in a picture that is made smaller.
    thumbnail = _within(pixels, THUMBNAIL_SIDE, Image.Resampling.BILINEAR)
    sample = _within(thumbnail, _COLOURS_SIDE, Image.Resampling.NEAREST)
    luma = thumbnail.convert("L")
    mean, variance = _mean_and_variance(luma)
    return Picture(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        content_type=content_type,
        width=width,
        height=height,
        thumbnail=_as_jpeg(thumbnail),
        brightness=round(mean / 255, 4),
        contrast=round(min(1.0, 2 * math.sqrt(variance) / 255), 4),
        sharpness=round(_sharpness(np.asarray(luma), variance), 4),
        colors=colours.shares(np.asarray(sample)),
        pixels=pixels,
    )


def _decode(data: bytes, keep: int, max_pixels: int) -> tuple[str, int, int, Image.Image]:
    """Content type, size, and the upright RGB image, reduced as far as its short side stays at least ``keep``."""
    if not data:
        raise UnreadableImage("the file is empty (0 bytes). Copy it again.")
    try:
        with Image.open(io.BytesIO(data), formats=_OPENED_AS) as image:
            content_type = FORMATS[str(image.format)]
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadableImage(
                    f"it has {width:,} × {height:,} pixels; the limit is {max_pixels:,} in all. Make it smaller."
                )
            orientation = _orientation(image)
            if image.format in ("JPEG", "MPO") and min(image.size) > 2 * keep:
                image.draft(None, _scaled(image.size, keep))
            rgb = _rgb(image, keep)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_what_it_is(data)) from None
    except MemoryError:
        raise UnreadableImage("there is not enough memory to decode it. Make it smaller.") from None
    except Exception as error:
        # Pillow's plug-ins meet broken files with every kind of exception, from struct.error to AttributeError.
        raise UnreadableImage(
            f"it is damaged or cut off ({_short(error)}). Copy it again from where it came."
        ) from error
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return content_type, width, height, _turned(rgb, orientation)


def _within(image: Image.Image, side: int, filter: Image.Resampling) -> Image.Image:
    """``image``, made smaller where its longer side has more pixels than ``side``."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), filter)


def _as_jpeg(image: Image.Image) -> bytes:
    # Into a file, be it one without a name in memory, Pillow writes while other threads run; into an object of Python's it
    # holds the interpreter's lock. On 16 cores that is 550 photographs a second opened instead of 440.
    file = os.fdopen(os.memfd_create("thumbnail"), "w+b") if hasattr(os, "memfd_create") else io.BytesIO()
    with file:
        # WebP would be a quarter smaller, and takes seven times as long: more than decoding the photograph.
        image.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
        file.seek(0)
        return file.read()


def _scaled(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; broken EXIF counts as none."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        # Broken EXIF raises as many kinds as a broken picture; the picture itself may be whole.
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


def _rgb(image: Image.Image, keep: int) -> Image.Image:
    """The first frame as reduced RGB: deep grey scaled to its range, transparency on white."""
    image.seek(0)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _reduced(_from_deep_grey(image), keep).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # Reduced before it is laid on white: at 200 megapixels every copy is most of a gigabyte.
        rgba = _reduced(image.convert("RGBA"), keep)
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode == "RGB":
        image.load()
        return _reduced(image, keep)
    if image.mode in ("L", "CMYK"):
        return _reduced(image, keep).convert("RGB")
    return _reduced(image.convert("RGB"), keep)


def _reduced(image: Image.Image, keep: int) -> Image.Image:
    if min(image.size) <= 2 * keep:
        return image
    return image.resize(_scaled(image.size, keep), Image.Resampling.BICUBIC, reducing_gap=2.0)


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Of 16 bits 65,535 is white. Of 32 bits and floats nobody says what is: 1, 255 or 65,535 if all values lie below;
    else the range is stretched from the least value to the greatest."""
    values = np.asarray(image).astype(np.float32)
    values[~np.isfinite(values)] = 0
    least, greatest = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        least, greatest = 0.0, 65535.0
    elif least >= 0:
        least = 0.0
        whites = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        greatest = next((white for white in whites if greatest <= white), greatest)
    values -= least
    values *= 255 / max(greatest - least, 1e-12)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8), "L")


def _mean_and_variance(luma: Image.Image) -> tuple[float, float]:
    """Of its levels, 0..255."""
    counts = np.array(luma.histogram()) / (luma.width * luma.height)
    mean = float(counts @ _LEVELS)
    return mean, float(counts @ (_LEVELS - mean) ** 2)


def _sharpness(luma: npt.NDArray[np.uint8], variance: float) -> float:
    """How much of the contrast of ``(h, w)`` luma lies at the finest scale, squashed to 0..1: r / (r + a constant).

    r is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy")
    over that of the image, ``variance``, so that a dark or pale picture counts no less sharp. Every second row tells it as
    well as all of them.
    """
    if min(luma.shape) < 3 or variance < _BLANK:
        return 0.0
    levels = luma.astype(np.int16)
    rows = levels[1:-1:2]
    laplacian = 4 * rows[:, 1:-1]
    for neighbour in (levels[:-2:2, 1:-1], levels[2::2, 1:-1], rows[:, :-2], rows[:, 2:]):
        laplacian -= neighbour
    flat = laplacian.astype(np.float32).ravel()
    fine = max(float(flat @ flat) / flat.size - float(flat.mean()) ** 2 - _ROUNDING, 0.0)
    return fine / (fine + _HALF_SHARP * variance)


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
_IMAGE_SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*", b"BM", b"RIFF")
# The brand of an ISO base media file (bytes 8 to 12), which follows "ftyp".
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


def _what_it_is(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        if data[8:12] in _HEIC_BRANDS:
            return "it is a HEIC photo, which is not read. Convert it to JPEG."
        if data[8:12] in _AVIF_BRANDS:
            return "it is an AVIF image, which is not read. Convert it to JPEG or PNG."
        return "it is not an image: its first bytes look like a video. Export its frames as pictures."
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for sign, meaning in _SIGNS:
        if start.startswith(sign):
            return f"it is not an image: its first bytes look like {meaning}"
    if not any(data):
        return "it holds nothing but zeros, as a broken disk or download leaves it. Copy it again."
    if data.startswith(_IMAGE_SIGNS):
        return "its header is damaged or cut off. Copy it again from where it came."
    if _is_text(data[:256]):
        return "it is not an image: its first bytes look like plain text. Remove it or replace it."
    return "it is not an image that can be read (JPEG, PNG, WebP, GIF, BMP, TIFF). Convert it or remove it."


def _is_text(data: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\r" for byte in data):
        return False
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start > len(data) - 4  # cut in the middle of a character
    return True


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]
