"""The photographs that benchmarks run on: real ones where they are, else drawn ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PHOTOS12 = Path(__file__).resolve().parents[2] / "shared" / "eval" / "photos12" / "images"
_CLASSES = 12


def labelled(number: int, folder: Path | None = None) -> list[tuple[str, str, bytes]]:
    """``number`` photographs as (class, file name, content), as many of each class. Of ``folder``, where the class is
    what stands before ``_image_`` in the file's name; else of `photos12`; else drawn."""
    folder = folder or PHOTOS12
    if not folder.is_dir():
        return [_drawn(number_ % _CLASSES, number_ // _CLASSES) for number_ in range(number)]
    by_class: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        by_class.setdefault(path.name.split("_image_")[0], []).append(path)
    of_each = -(-number // len(by_class))
    chosen = [path for paths in by_class.values() for path in paths[:of_each]]
    return [(path.name.split("_image_")[0], path.name, path.read_bytes()) for path in chosen[:number]]


def _drawn(kind: int, number: int) -> tuple[str, str, bytes]:
    randomness = np.random.default_rng(1000 * kind + number)
    image = Image.new("RGB", (300, 240), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    color = tuple(int(120 + 110 * np.cos(kind * 0.52 + phase)) for phase in (0, 2.1, 4.2))
    for _ in range(6 + kind):
        x, y, size = (int(value) for value in randomness.integers((0, 0, 20), (260, 200, 70)))
        (draw.rectangle, draw.ellipse)[kind % 2]((x, y, x + size, y + size * (1 + kind % 3) // 2), fill=color)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return f"kind{kind:02}", f"kind{kind:02}_image_{number:04}.jpg", buffer.getvalue()
