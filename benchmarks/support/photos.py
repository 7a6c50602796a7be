"""The photographs that benchmarks run on: real ones where they are, else drawn ones."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PHOTOS12 = Path(__file__).resolve().parents[3] / "shared" / "eval" / "photos12"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_DRAWN_CLASSES = 12
_MEGAPIXEL = 1_000_000


@dataclass(frozen=True)
class Photo:
    label: str
    name: str
    content: bytes


def labelled(number: int, folder: Path | None = None) -> tuple[list[Photo], str]:
    """At most ``number`` photographs, as many of each class, and a word on where they come from.

    ``folder`` (else `photos12`) has a ``labels.csv`` in it or beside it, with the columns ``filename`` and ``label``, or
    one folder a class. Without a folder they are drawn.
    """
    chosen = folder or PHOTOS12
    if folder is None and not PHOTOS12.is_dir():
        return [
            _drawn(i % _DRAWN_CLASSES, i // _DRAWN_CLASSES) for i in range(number)
        ], "drawn: there are no photographs"
    by_label: dict[str, list[Path]] = defaultdict(list)
    for path, label in _labels(chosen):
        by_label[label].append(path)
    if not by_label:
        raise SystemExit(f"{chosen} holds no labelled photographs: neither a labels.csv nor one folder a class.")
    of_each = -(-number // len(by_label))
    paths = [(path, label) for label, paths in sorted(by_label.items()) for path in paths[:of_each]]
    return [Photo(label, path.name, path.read_bytes()) for path, label in paths[:number]], chosen.name


def megapixels(number: int) -> tuple[list[bytes], str]:
    """At most ``number`` photographs as JPEGs of a megapixel each, and where they come from."""
    found, source = labelled(number)
    made = []
    for photo in found:
        image = Image.open(io.BytesIO(photo.content)).convert("RGB")
        scale = (_MEGAPIXEL / (image.width * image.height)) ** 0.5
        size = (round(image.width * scale), round(image.height * scale))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made, source


def _labels(folder: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    for table in (folder / "labels.csv", folder.parent / "labels.csv"):
        if table.is_file():
            with table.open(newline="") as lines:
                labels = {row["filename"]: row["label"] for row in csv.DictReader(lines)}
            return [(path, labels[path.name]) for path in paths if path.name in labels]
    return [(path, path.parent.name) for path in paths if path.parent != folder]


def _drawn(kind: int, number: int) -> Photo:
    randomness = np.random.default_rng(1000 * kind + number)
    image = Image.new("RGB", (300, 240), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    color = tuple(int(120 + 110 * np.cos(kind * 0.52 + phase)) for phase in (0, 2.1, 4.2))
    for _ in range(6 + kind):
        x, y, size = (int(value) for value in randomness.integers((0, 0, 20), (260, 200, 70)))
        (draw.rectangle, draw.ellipse)[kind % 2]((x, y, x + size, y + size * (1 + kind % 3) // 2), fill=color)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return Photo(f"kind{kind:02}", f"{number:04}.jpg", buffer.getvalue())
