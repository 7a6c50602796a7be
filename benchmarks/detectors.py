"""Do detectors find people, and how many, and how long does it take?

    python benchmarks/detectors.py [--quick] [--photos FOLDER] [--yolox FILE] [--detector NAME …]

Every photo of the folder (a ``labels.csv`` with ``filename`` and ``n_persons``, and ``images/``) is looked at. Told are
precision, recall and accuracy of "anyone there" and "more than two people" at two thresholds, and the milliseconds an
image takes, beside those of the bare network on an input that is ready: the rest is scaling, decoding and suppression.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
EVAL = ROOT.parent / "shared" / "eval"

if TYPE_CHECKING:
    from search.detectors import Detection

THRESHOLDS = (0.25, 0.4)
QUESTIONS = {"anyone there": 0, "more than two people": 2}

Detect = Callable[[list[Image.Image]], list[list["Detection"]]]


@dataclass(frozen=True)
class Answers:
    """How well one question is answered at one threshold."""

    question: str
    threshold: float
    precision: float | None  # None: never claimed
    recall: float | None
    accuracy: float


@dataclass(frozen=True)
class Measured:
    detector: str
    looks_at: str  # whole, tiles
    ms: float
    network_ms: float | None
    answers: list[Answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round instead of five: under 45 s")
    parser.add_argument("--photos", type=Path, default=EVAL / "coco50", help="a folder with labels.csv and images/")
    parser.add_argument("--yolox", type=Path, default=EVAL / "detector" / "yolox_nano_coco80.onnx")
    parser.add_argument("--detector", action="append", default=[], help="another one, by its name; may be repeated")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    if not (options.photos / "labels.csv").exists():
        print(f"There are no photos in {options.photos}: nothing is measured. Name a folder with --photos.")
        print(json.dumps({"photos": 0, "detectors": []}))
        return
    images, people = labelled(options.photos)
    print(f"{len(images)} photos ({options.photos.name}), {rounds} round(s), {os.cpu_count()} cores", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        set_up_django(Path(folder), options.yolox)
        measured = [measure(images, people, rounds, *one) for one in candidates(options.yolox, options.detector)]

    print(f"{'detector':34} {'looks at':8} {'ms':>6} {'bare':>6}  {'question':20} {'at':>4}  precision recall accuracy")
    for one in measured:
        bare = "" if one.network_ms is None else f"{one.network_ms:.1f}"
        for row, answers in enumerate(one.answers):
            begins = f"{one.detector:34} {one.looks_at:8} {one.ms:6.1f} {bare:>6}" if row == 0 else " " * 57
            print(
                f"{begins}  {answers.question:20} {answers.threshold:>4.2f}  {said(answers.precision):>9} "
                f"{said(answers.recall):>6} {said(answers.accuracy):>8}"
            )
    figures = {
        "photos": len(images),
        "rounds": rounds,
        "cores": os.cpu_count(),
        "detectors": [asdict(one) for one in measured],
    }
    print(json.dumps(figures))


def candidates(yolox: Path, others: list[str]) -> list[tuple[str, str, Detect, Callable[[], object] | None]]:
    """Name, what it looks at, the detector, and its bare network on an input that is ready."""
    from search import detectors, weights
    from search.detectors import starter
    from search.detectors.network import NetworkFile

    def bare(path: Path, batch: npt.NDArray[np.generic]) -> Callable[[], object]:
        file = NetworkFile(path)
        file.set_input_shape(batch.shape)
        network = file.compiled()
        return lambda: network(batch)

    found: list[tuple[str, str, Detect, Callable[[], object] | None]] = []
    for looks_at, tiles in (("whole", 1), ("tiles", 5)):
        network = bare(starter.graph(), np.zeros((tiles, 300, 300, 3), np.uint8))
        found.append(("starter", looks_at, starter.Starter(tiled=tiles > 1).detect, network))
    if (weights.folder() / yolox.name).is_file():
        name = f"yolox:{yolox.name}"
        side = detectors.get(name).spec.image_side
        network = bare(yolox, np.full((1, 3, side, side), 114, np.float32))
        found.append((name, "whole", detectors.get(name).detect, network))
    else:
        print(f"There is no {yolox.name} in {weights.folder()}: no YOLOX is measured.")
    return found + [(name, "whole", detectors.get(name).detect, None) for name in others]


def measure(
    images: list[Image.Image],
    people: npt.NDArray[np.int64],
    rounds: int,
    name: str,
    looks_at: str,
    detect: Detect,
    network: Callable[[], object] | None,
) -> Measured:
    detect(images[:2])  # warm
    took, bare = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        found = detect(images)
        took.append(time.perf_counter() - began)
        if network:
            began = time.perf_counter()
            for _ in images:
                network()
            bare.append(time.perf_counter() - began)
    answers = [
        answered(question, threshold, counted(found, threshold) > more_than, people > more_than)
        for question, more_than in QUESTIONS.items()
        for threshold in THRESHOLDS
    ]
    return Measured(
        detector=name,
        looks_at=looks_at,
        ms=round(1000 * statistics.median(took) / len(images), 2),
        network_ms=round(1000 * statistics.median(bare) / len(images), 2) if bare else None,
        answers=answers,
    )


def counted(found: list[list[Detection]], threshold: float) -> npt.NDArray[np.int64]:
    return np.array([sum(one.label == "person" and one.score >= threshold for one in image) for image in found])


def answered(question: str, threshold: float, claimed: npt.NDArray[np.bool_], is_so: npt.NDArray[np.bool_]) -> Answers:
    both = int((claimed & is_so).sum())
    return Answers(
        question=question,
        threshold=threshold,
        precision=round(both / int(claimed.sum()), 3) if claimed.any() else None,
        recall=round(both / int(is_so.sum()), 3) if is_so.any() else None,
        accuracy=round(float((claimed == is_so).mean()), 3),
    )


def said(share: float | None) -> str:
    return "–" if share is None else f"{share:.2f}"


def labelled(folder: Path) -> tuple[list[Image.Image], npt.NDArray[np.int64]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = [Image.open(folder / "images" / row["filename"]).convert("RGB") for row in rows]
    return images, np.array([int(row["n_persons"]) for row in rows])


def set_up_django(folder: Path, yolox: Path) -> None:
    """The product's settings with a data directory of its own; the YOLOX is found where it lies."""
    os.environ["DATA_DIR"] = str(folder)
    os.environ["ENCODERS_DIR"] = os.environ.get("ENCODERS_DIR") or str(yolox.parent)
    os.environ["DJANGO_SETTINGS_MODULE"] = "curation.settings"
    import django

    django.setup()


if __name__ == "__main__":
    main()
