"""What becomes of an image file: every format and mode, and every way in which a file can be bad."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from datasets import imaging
from datasets.imaging import Picture, UnreadableImage, read_image

RED, GREEN, BLUE = (220, 20, 30), (20, 160, 40), (20, 60, 200)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def read(data: bytes, **options: Any) -> Picture:
    return read_image(io.BytesIO(data), **options)


def reason(data: bytes, **options: Any) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read(data, **options)
    return str(caught.value)


def half_and_half(width: int = 60, height: int = 40) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something with structure at every scale."""
    noise = np.random.default_rng(seed)
    sum_of_scales = np.zeros((height, width, 3))
    for side in (4, 16, 64):
        coarse = Image.fromarray(noise.integers(0, 255, (side, side, 3), dtype=np.uint8), "RGB")
        sum_of_scales += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / 3
    return Image.fromarray(sum_of_scales.astype(np.uint8), "RGB")


def colour_at(picture: Picture, x: float, y: float) -> tuple[int, ...]:
    pixels = picture.pixels
    return tuple(int(v) for v in np.asarray(pixels)[int(y * pixels.height), int(x * pixels.width)])


def close(one: tuple[int, ...], other: tuple[int, ...], tolerance: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= tolerance


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_every_format_is_read_and_named_by_its_content(format: str, content_type: str) -> None:
    data = encoded(half_and_half(), format)
    picture = read(data)
    assert picture.content_type == content_type
    assert (picture.width, picture.height) == (60, 40)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert picture.size_bytes == len(data)
    assert close(colour_at(picture, 0.2, 0.5), RED, 20)
    assert close(colour_at(picture, 0.8, 0.5), BLUE, 20)


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (30, 30), colour) for colour in (GREEN, RED, BLUE)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert close(colour_at(read(data), 0.5, 0.5), GREEN)


def test_grey_stays_grey() -> None:
    assert colour_at(read(encoded(Image.new("L", (20, 20), 90), "PNG")), 0.5, 0.5) == (90, 90, 90)


def test_a_bitmap_is_black_and_white() -> None:
    image = Image.new("1", (20, 20), 1)
    assert colour_at(read(encoded(image, "TIFF")), 0.5, 0.5) == (255, 255, 255)


def test_cmyk_is_turned_into_rgb() -> None:
    image = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    red, green, blue = colour_at(read(encoded(image, "JPEG", quality=95)), 0.5, 0.5)
    assert red > 200
    assert max(green, blue) < 60


def test_a_palette_gives_its_colours() -> None:
    image = half_and_half().quantize(4)
    assert close(colour_at(read(encoded(image, "PNG")), 0.2, 0.5), RED)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format: str) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(64, 0)
    picture = read(encoded(Image.fromarray(ramp), format))
    values = np.asarray(picture.pixels)[0, :, 0].astype(int)
    assert np.abs(values - np.arange(256)).max() <= 1


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    values = np.full((64, 64), 200, dtype=np.uint16)
    assert colour_at(read(encoded(Image.fromarray(values), "PNG")), 0.5, 0.5) == (1, 1, 1)


def test_sixteen_bit_rgb_is_read() -> None:
    # Pillow cannot write one: a PNG of two pixels by hand.
    raw = b"\x00" + struct.pack(">6H", 65535, 0, 32768, 0, 65535, 257)
    assert colour_at(read(png_of(2, 1, depth=16, colour_type=2, raw=raw)), 0, 0) == (255, 0, 128)


def test_floats_are_read_as_shares_or_stretched() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    assert colour_at(read(encoded(Image.fromarray(ramp), "TIFF")), 0.99, 0.5) == (255, 255, 255)
    heights = (ramp - 0.5) * 9000
    picture = read(encoded(Image.fromarray(heights), "TIFF"))
    assert [colour_at(picture, x, 0.5) for x in (0, 0.99)] == [(0, 0, 0), (255, 255, 255)]


def test_floats_that_are_no_numbers_do_no_harm() -> None:
    values = np.full((32, 32), np.nan, dtype=np.float32)
    values[:, :16] = np.inf
    assert read(encoded(Image.fromarray(values), "TIFF")).brightness == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    data = encoded(image.convert("P") if mode == "PA" else image.convert(mode), "PNG")
    picture = read(data)
    assert close(colour_at(picture, 0.1, 0.5), (0, 0, 0))
    assert close(colour_at(picture, 0.9, 0.5), (255, 255, 255))


def test_a_transparent_colour_lies_on_white() -> None:
    data = encoded(Image.new("RGB", (20, 20), GREEN), "PNG", transparency=GREEN)
    assert colour_at(read(data), 0.5, 0.5) == (255, 255, 255)


def test_a_large_transparent_picture_has_no_dark_fringes() -> None:
    image = Image.new("RGBA", (1800, 1800), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 900, 1800))
    assert np.asarray(read(encoded(image, "PNG")).pixels).min() >= 254


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format: str, orientation: int) -> None:
    upright = Image.new("RGB", (64, 48), RED)
    upright.paste(GREEN, (0, 0, 32, 24))  # top left
    upright.paste(BLUE, (32, 24, 64, 48))  # bottom right
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(encoded(stored, format, exif=exif.tobytes(), **({} if format == "TIFF" else {"quality": 95})))
    assert (picture.width, picture.height) == (64, 48)
    assert picture.pixels.size == (64, 48)
    assert close(colour_at(picture, 0.1, 0.1), GREEN, 20)
    assert close(colour_at(picture, 0.9, 0.9), BLUE, 20)
    assert close(colour_at(picture, 0.9, 0.1), RED, 20)


def test_a_turned_photo_of_many_pixels_is_measured_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(encoded(photo(2400, 1600), "JPEG", exif=exif.tobytes()))
    assert (picture.width, picture.height) == (1600, 2400)
    assert picture.pixels.width < picture.pixels.height


def test_the_short_side_keeps_what_was_asked_for() -> None:
    data = encoded(photo(3000, 2000), "JPEG")
    assert 256 <= min(read(data, least_side=256).pixels.size) < 2000
    assert 1000 <= min(read(data, least_side=1000).pixels.size) <= 2000
    assert read(data, least_side=5000).pixels.size == (3000, 2000)


def test_the_reduced_photo_looks_like_the_photo() -> None:
    image = photo(2400, 1800)
    whole = image.resize((64, 48), Image.Resampling.BOX)
    reduced = read(encoded(image, "JPEG", quality=95)).pixels.resize((64, 48), Image.Resampling.BOX)
    assert np.abs(np.asarray(whole, dtype=float) - np.asarray(reduced, dtype=float)).mean() < 3


def test_the_thumbnail_is_a_small_jpeg_of_the_same_shape() -> None:
    with Image.open(io.BytesIO(read(encoded(photo(1500, 1000), "JPEG")).thumbnail)) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == (384, 256)


def test_a_small_picture_is_not_enlarged() -> None:
    with Image.open(io.BytesIO(read(encoded(half_and_half(), "PNG")).thumbnail)) as thumbnail:
        assert thumbnail.size == (60, 40)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5000), (5000, 2)])
def test_odd_shapes_are_read(size: tuple[int, int]) -> None:
    picture = read(encoded(Image.new("RGB", size, GREEN), "PNG"), least_side=256)
    assert (picture.width, picture.height) == size
    assert 0 <= picture.sharpness <= 1


def test_brightness_and_contrast_go_from_none_to_full() -> None:
    black, white = (read(encoded(Image.new("RGB", (50, 50), c), "PNG")) for c in ("black", "white"))
    assert (black.brightness, black.contrast, black.sharpness) == (0, 0, 0)
    assert (white.brightness, white.contrast, white.sharpness) == (1, 0, 0)
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (0, 0, 32, 64))
    assert read(encoded(half, "PNG")).contrast == pytest.approx(1, abs=0.02)


def test_a_blurred_photo_is_less_sharp() -> None:
    image = photo(600, 450)
    noise = np.random.default_rng(1).integers(-25, 25, (450, 600, 1))
    image = Image.fromarray((np.asarray(image).astype(int) + noise).clip(0, 255).astype(np.uint8), "RGB")
    measured = [
        read(encoded(image.filter(ImageFilter.GaussianBlur(radius)), "PNG")).sharpness for radius in (0, 2, 4, 8)
    ]
    assert measured == sorted(measured, reverse=True)
    assert measured[0] > 4 * measured[2]


def test_a_dark_photo_is_as_sharp_as_a_light_one() -> None:
    image = photo(600, 450)
    dark = image.point(lambda value: value * 0.3)
    assert read(encoded(dark, "PNG")).sharpness == pytest.approx(read(encoded(image, "PNG")).sharpness, abs=0.05)


def test_sharpness_does_not_depend_on_the_resolution() -> None:
    large = photo(2400, 1800)
    small = large.resize((800, 600), Image.Resampling.BOX)
    assert read(encoded(large, "PNG")).sharpness == pytest.approx(read(encoded(small, "PNG")).sharpness, abs=0.05)


def test_the_shares_of_colours_add_up() -> None:
    colors = read(encoded(half_and_half(), "PNG")).colors
    assert colors.shape == (11,)
    assert colors.sum() == pytest.approx(1, abs=1e-5)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404", "HTML"),
        (b"\xef\xbb\xbf  <html lang=en>", "HTML"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\x00\x00\x00", "zip"),
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "AVIF"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", "video"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"hello, this is a note about photos", "plain text"),
        ("ein Gruß über Äpfel".encode(), "plain text"),
        (b'{"images": []}', "JSON"),
        (bytes(range(256)), "not an image"),
        (b"\x00" * 500, "zeros"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "cut off"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "cut off"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence_that_says_what_it_is(data: bytes, says: str) -> None:
    sentence = reason(data)
    assert says in sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_file_that_was_cut_off_is_refused(format: str) -> None:
    data = encoded(photo(300, 200), format)
    assert "cut off" in reason(data[: len(data) // 2])


def test_the_pixel_limit_is_checked_before_anything_is_decoded() -> None:
    bomb = png_of(60_000, 60_000, depth=8, colour_type=0, raw=b"\x00")
    assert "60,000 × 60,000" in reason(bomb)
    assert "the limit is 100" in reason(encoded(Image.new("L", (11, 10)), "PNG"), max_pixels=100)
    assert read(encoded(Image.new("L", (10, 10)), "PNG"), max_pixels=100).width == 10


def test_a_file_over_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "MAX_BYTES", 1000)
    assert "1,000 bytes" in reason(b"\xff" * 1001)


def test_a_compressed_text_bomb_in_a_png_does_not_fill_the_memory() -> None:
    text = b"zTXt" + b"k\x00\x00" + zlib.compress(b"a" * 200_000_000, 9)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    data = png_of(4, 4, depth=8, colour_type=0, raw=b"\x00\x01\x02\x03\x04" * 4)
    bomb = data[:33] + chunk + data[33:]
    assert "damaged" in reason(bomb)


_BROKEN_EXIF = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02\x01\x12\x00\x03\x00\x00\x00\x01\x00"


def test_a_broken_exif_block_does_not_keep_a_photo_from_being_read() -> None:
    assert read(encoded(half_and_half(), "JPEG", exif=_BROKEN_EXIF)).width == 60


def test_strange_files_raise_no_warnings() -> None:
    """In a process of its own, since pytest has filters of its own, and with every warning an error."""
    program = "import sys; from datasets.imaging import read_image; print(read_image(sys.stdin.buffer).width)"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        input=encoded(half_and_half(), "JPEG", exif=_BROKEN_EXIF),
        cwd=Path(__file__).parents[2],
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"60\n", b"")


_SEEDS = {
    "JPEG": encoded(photo(160, 120), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"),
    "PNG": encoded(photo(48, 36), "PNG"),
    "palette PNG": encoded(photo(48, 36).quantize(16), "PNG", transparency=3),
    "GIF": encoded(photo(48, 36).quantize(16), "GIF"),
    "WEBP": encoded(photo(96, 80), "WEBP"),
    "TIFF": encoded(photo(32, 24), "TIFF", compression="tiff_lzw"),
    "BMP": encoded(photo(32, 24), "BMP"),
}


@pytest.mark.parametrize("seed", sorted(_SEEDS))
@settings(max_examples=120, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    keep=st.floats(0, 1),
    is_cut=st.booleans(),
)
def test_hostile_bytes_give_a_picture_or_one_sentence(
    seed: str, edits: list[tuple[float, bytes]], keep: float, is_cut: bool
) -> None:
    data = bytearray(_SEEDS[seed])
    for place, replacement in edits:
        start = int(place * len(data))
        data[start : start + len(replacement)] = replacement
    if is_cut:
        del data[int(keep * len(data)) :]
    sentence = ""
    try:
        picture = read(bytes(data), least_side=32, max_pixels=1_000_000)
    except UnreadableImage as refusal:
        sentence = str(refusal) or "\n"
    else:
        assert picture.width * picture.height <= 1_000_000
        assert np.isfinite([picture.brightness, picture.contrast, picture.sharpness]).all()
    assert "\n" not in sentence


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_give_one_sentence(data: bytes) -> None:
    assert "\n" not in reason(data)


def test_many_threads_read_the_same() -> None:
    data = [encoded(photo(500, 400, seed), "JPEG") for seed in range(6)]
    alone = [read(one) for one in data]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, data * 8))
    for index, picture in enumerate(together):
        expected = alone[index % len(data)]
        assert picture.thumbnail == expected.thumbnail
        assert picture.sharpness == expected.sharpness
        assert (picture.colors == expected.colors).all()


def png_of(width: int, height: int, *, depth: int, colour_type: int, raw: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
