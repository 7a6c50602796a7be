"""Are questions in words answered from what was detected and measured?

    python benchmarks/counting.py [--quick] [--eval FOLDER]

A Kindred of its own is started and asked through its API, in words. “More than two people” on the photos of ``coco50``
(``labels.csv`` with ``filename`` and ``n_persons``, and ``images/``), with the starter detector and with YOLOX-nano, of which
the one added last answers. Then ten questions about colours, places, sizes and arrangements on drawn pictures whose truth is
known: where things are is put in as a detector's predictions, their colours are measured from the pixels.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.support.instance import Instance  # noqa: E402

EVAL = ROOT.parent / "shared" / "eval"
QUESTION = "images with more than two people"
DETECTOR = "yolox_nano_coco80.onnx"
_SIDE = 240
_COLOURS = {"red": (200, 20, 40), "blue": (0, 90, 180), "yellow": (250, 210, 0), "green": (0, 150, 60)}
_GREY = (150, 150, 150)


@dataclass(frozen=True)
class Counted:
    """How well one detector answers the question."""

    detector: str
    precision: float | None  # None: nothing was found
    recall: float | None
    accuracy: float


@dataclass(frozen=True)
class Thing:
    label: str
    color: str
    x: float
    y: float
    side: float

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.side / 2, self.y + self.side / 2


@dataclass(frozen=True)
class Scene:
    ground: str  # a colour, or "grey"
    things: tuple[Thing, ...]

    def some(self, label: str, is_so: Callable[[Thing], bool] = lambda one: True) -> int:
        return sum(one.label == label and is_so(one) for one in self.things)


def _are_beside(scene: Scene) -> bool:
    cars = [one for one in scene.things if one.label == "car"]
    # Those of a row stand on one line of the grid: at the same height when they are equally large.
    return any(one is not other and (one.y, one.side) == (other.y, other.side) for one in cars for other in cars)


def _is_blue(scene: Scene) -> bool:
    """Its ground, or what fills the frame: an ellipse, so three quarters of its box."""
    return scene.ground == "blue" or any(one.color == "blue" and one.side > 0.8 for one in scene.things)


# A question, and its truth.
QUESTIONS: dict[str, Callable[[Scene], bool]] = {
    "a red car": lambda scene: scene.some("car", lambda one: one.color == "red") > 0,
    "no red car": lambda scene: scene.some("car", lambda one: one.color == "red") == 0,
    "at least two yellow cups": lambda scene: scene.some("cup", lambda one: one.color == "yellow") >= 2,
    "person on the left": lambda scene: scene.some("person", lambda one: one.middle[0] < 1 / 3) > 0,
    "cup at the bottom right": lambda scene: scene.some("cup", lambda one: min(one.middle) > 2 / 3) > 0,
    "blue car at the top of the image": lambda scene: (
        scene.some("car", lambda one: one.color == "blue" and one.middle[1] < 1 / 3) > 0
    ),
    "car in the background": lambda scene: scene.some("car", lambda one: one.side**2 < 0.02) > 0,
    "person filling the frame": lambda scene: scene.some("person", lambda one: one.side**2 > 0.5) > 0,
    "cars side by side": _are_beside,
    "mostly blue photos": _is_blue,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 drawn pictures instead of 400: under 45 s")
    parser.add_argument("--eval", type=Path, default=EVAL, help="a folder with coco50/ and detector/")
    options = parser.parse_args()
    print(json.dumps(run(options.eval, quick=options.quick)))


def run(eval_folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Every figure, after saying them in words. What is not in ``eval_folder`` is left out, and said."""
    photos = eval_folder / "coco50"
    number = 60 if quick else 400
    with Instance(ENCODERS_DIR=str(eval_folder / "detector")) as instance:
        instance.set_up_django()
        counted = _counted(instance, photos, _detectors(eval_folder)) if (photos / "labels.csv").exists() else []
        if not counted:
            print(f"There are no photos in {photos}: nothing is counted. Name a folder with --eval.")
        made = _made(instance, [_scene(random.Random(seed)) for seed in range(number)])
    for one in counted:
        print(
            f"{QUESTION!r}, {one.detector}: accuracy {one.accuracy:.2f}, precision {one.precision}, recall {one.recall}"
        )
    print(f"{number} drawn pictures:")
    for question, accuracy in made.items():
        print(f"  {question:36} accuracy {accuracy:.3f}")
    return {
        "count_accuracy": counted[-1].accuracy if counted else None,
        "counted": [asdict(one) for one in counted],
        "made_accuracy": round(sum(made.values()) / len(made), 4),
        "made": made,
        "made_pictures": number,
    }


def _detectors(eval_folder: Path) -> list[str]:
    if (eval_folder / "detector" / DETECTOR).is_file():
        return ["starter", f"yolox:{DETECTOR}"]
    print(f"There is no {DETECTOR} in {eval_folder / 'detector'}: only the starter detector is asked.")
    return ["starter"]


def _counted(instance: Instance, photos: Path, detectors: list[str]) -> list[Counted]:
    with (photos / "labels.csv").open(newline="", encoding="utf-8") as file:
        people = {row["filename"]: int(row["n_persons"]) for row in csv.DictReader(file)}
    dataset = _imported(instance, "photos", {name: (photos / "images" / name).read_bytes() for name in people})
    truth = {name for name, number in people.items() if number > 2}
    counted = []
    for detector in detectors:
        layer = {"kind": "detected", "detector": detector, "most_regions": 0}
        _wait_for(instance, instance.post(f"/api/v1/datasets/{dataset}/region-layers/", layer)["job"])
        found = _asked(instance, dataset, QUESTION)
        right = len(found & truth)
        counted.append(
            Counted(
                detector=detector,
                precision=round(right / len(found), 3) if found else None,
                recall=round(right / len(truth), 3) if truth else None,
                accuracy=round(1 - len(found ^ truth) / len(people), 3),
            )
        )
    return counted


def _made(instance: Instance, scenes: list[Scene]) -> dict[str, float]:
    """How many of the scenes each question tells rightly from the others, as a share."""
    from datasets import predictions
    from datasets.models import Dataset, Item
    from datasets.predictions import Predicted
    from datasets.regions import Shape
    from search import regions
    from search.detectors import Detection

    pictures = {f"{at:03}.png": _drawn(scene, random.Random(at)) for at, scene in enumerate(scenes)}
    contents = {name: _png(picture) for name, picture in pictures.items()}
    dataset = Dataset.objects.get(pk=_imported(instance, "drawn", contents))
    ids = dict(Item.objects.filter(dataset=dataset).values_list("key", "pk"))
    said = []
    for (name, picture), scene in zip(pictures.items(), scenes, strict=True):
        found = [Detection(one.label, 0.9, one.x, one.y, one.side, one.side) for one in scene.things]
        for one, colors in zip(found, regions.colors_of(picture, found), strict=True):
            shape = Shape(one.x, one.y, one.width, one.height)
            said.append(Predicted(ids[name], one.label, one.score, shape, colors=colors))
    predictions.replace(predictions.model_named(dataset, "drawn", ["car", "cup", "person"]), list(ids.values()), said)
    return {
        question: round(
            sum(
                (name in found) == is_so(scene)
                for found in [_asked(instance, dataset.pk, question)]
                for name, scene in zip(pictures, scenes, strict=True)
            )
            / len(scenes),
            4,
        )
        for question, is_so in QUESTIONS.items()
    }


def _asked(instance: Instance, dataset: int, words: str) -> set[str]:
    """The names of what is found. Raises where something is left of the words: then it was no question of numbers."""
    answer = instance.post(f"/api/v1/datasets/{dataset}/search/", {"text": words, "limit": 1000})
    if answer["understood"]["words"] or not answer["understood"]["parts"]:
        raise RuntimeError(f"“{words}” was not understood: {answer['understood']}")
    return {one["item"]["key"] for one in answer["results"]}


def _imported(instance: Instance, name: str, files: dict[str, bytes]) -> int:
    dataset: int = instance.post("/api/v1/datasets/", {"name": name, "modality": "image"})["id"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for key, content in files.items():
            file.writestr(key, content)
    path = f"/api/v1/datasets/{dataset}/imports/"
    _wait_for(instance, instance.upload(path, quote(f"{name}.zip"), archive.getvalue())["job"])
    return dataset


def _wait_for(instance: Instance, job: int) -> None:
    def is_over() -> bool:
        state = instance.json(f"/api/v1/jobs/{job}/")
        if state["state"] in ("failed", "canceled"):
            raise RuntimeError(f"Job {job} has {state['state']}: {state}")
        return bool(state["state"] == "succeeded")

    instance.wait(is_over, f"done with job {job}")


# Drawing -------------------------------------------------------------------------------------------------------------


def _scene(dice: random.Random) -> Scene:
    """Some things in the cells of a 3 × 3 grid; one in six is a single thing that fills the frame."""
    ground = dice.choice(["grey", "grey", *_COLOURS])
    colours = [name for name in _COLOURS if name != ground]

    def thing(x: float, y: float, side: float) -> Thing:
        return Thing(dice.choice(["car", "cup", "person"]), dice.choice(colours), x, y, side)

    if dice.random() < 1 / 6:
        return Scene("grey", (thing(0.05, 0.05, 0.9),))
    cells = dice.sample([(column, row) for column in range(3) for row in range(3)], dice.randint(0, 4))
    sides = [dice.choice([0.1, 0.25]) for _ in cells]
    return Scene(
        ground,
        tuple(thing(column / 3 + 0.02, row / 3 + 0.02, side) for (column, row), side in zip(cells, sides, strict=True)),
    )


def _drawn(scene: Scene, dice: random.Random) -> Image.Image:
    """Ellipses on a plain ground, no two of quite the same colour."""

    def shade(name: str) -> tuple[int, ...]:
        return tuple(max(0, min(255, level + dice.randint(-12, 12))) for level in _COLOURS.get(name, _GREY))

    picture = Image.new("RGB", (_SIDE, _SIDE), shade(scene.ground))
    draw = ImageDraw.Draw(picture)
    for one in scene.things:
        box = [round(edge * _SIDE) for edge in (one.x, one.y, one.x + one.side, one.y + one.side)]
        draw.ellipse(box, fill=shade(one.color))
    return picture


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
