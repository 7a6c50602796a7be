"""The demo: a dataset of photographs and one of short texts, made of what installed packages ship. Nothing is fetched.

The photographs are crops of pictures in the scikit-image wheel, those alone that its own documentation
(``skimage.data``) calls CC0, public domain, or without known copyright restrictions; the texts are definitions of
WordNet 3.0, which the timm wheel ships for ImageNet's classes. Mistakes are planted in both, to be found with the
tools of this app; what was planted where is written beside the files (``planted.csv``) and returned.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from PIL import Image, ImageDraw, ImageFilter

from .creation import create_dataset
from .errors import Refused
from .importing import IMAGE_FOLDER, start_path_import
from .models import Dataset, Job, Modality

PHOTOS_NAME = "Demo photographs"
TEXTS_NAME = "Demo definitions"
_DEMO_LOCK = 0x44454D4F

WRONG_LABEL, DUPLICATE, NEAR_DUPLICATE = "wrong label", "duplicate", "near duplicate"
BLURRED, DARK, DRAWING = "blurred", "dark", "drawing"


class DemoUnavailable(Refused):
    """A package that the demo is made of is not installed."""


@dataclass(frozen=True)
class DemoImage:
    """One file of the photographs, and the truth about it."""

    path: str  # relative to the folder, ``split/label/name.jpg``; no label folder: it has no label
    label: str
    shows: str
    planted: str = ""
    twin: str = ""  # path of the file that it repeats


@dataclass(frozen=True)
class DemoText:
    """One row of the texts, and the truth about it."""

    key: str
    text: str
    label: str
    split: str
    means: str
    planted: str = ""
    twin: str = ""  # key of the row that it repeats


def create_demo(by: Any) -> list[Job]:
    """Make both datasets for ``by`` and start their imports; ``[]`` when either was made before (or deleted since).

    Some three seconds of work the first time; needs no encoder. Raises ``DemoUnavailable``.
    """
    if _exists():
        return []
    folder = Path(settings.DATA_DIR) / "demo"
    _write_files(folder)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_DEMO_LOCK])
        if _exists():
            return []
        photos = create_dataset(name=PHOTOS_NAME, modality=Modality.IMAGE, by=by)
        texts = create_dataset(name=TEXTS_NAME, modality=Modality.TEXT, by=by)
        return [
            start_path_import(photos, folder / "photographs", by=by, format=IMAGE_FOLDER),
            start_path_import(texts, folder / "definitions.csv", by=by),
        ]


def _exists() -> bool:
    return Dataset.objects.filter(name__in=[PHOTOS_NAME, TEXTS_NAME]).exists()


def _write_files(folder: Path) -> None:
    """Whole or not at all: a start that was cut off must not leave half a demo."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="demo-", dir=folder.parent))
    try:
        images = make_demo_images(unfinished / "photographs")
        texts = make_demo_texts()
        _write_csv(
            unfinished / "definitions.csv",
            ("id", "text", "label", "split"),
            ((one.key, one.text, one.label, one.split) for one in texts),
        )
        _write_csv(
            unfinished / "planted.csv",
            ("key", "planted", "label", "truth", "twin"),
            [(one.path, one.planted, one.label, one.shows, one.twin) for one in images if one.planted]
            + [(one.key, one.planted, one.label, one.means, one.twin) for one in texts if one.planted],
        )
        (unfinished / "SOURCES.txt").write_text(sources(), encoding="utf-8")
        unfinished.chmod(0o755)
        if not folder.exists():  # another process may have been quicker
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def sources() -> str:
    """Where everything comes from and under which terms, for people to read."""
    pictures = "\n".join(f"- {scene.file} ({scene.label}): {scene.terms}" for scene in SCENES)
    return (
        "The photographs are crops of pictures that the Python package scikit-image ships. Its documentation\n"
        f"(skimage.data) says of them:\n{pictures}\n- {_SILHOUETTE}: CC0 by Andreas Preuss (marauder)\n"
        "The other drawings are made by a program.\n\n"
        "The texts are definitions of WordNet 3.0, Copyright 2006 by Princeton University, all rights reserved there;\n"
        "its licence permits to use, copy, modify and distribute them for any purpose and without fee\n"
        "(https://wordnet.princeton.edu/license-and-commercial-use). They lie in the Python package timm.\n\n"
        "planted.csv lists the mistakes that were put in on purpose.\n"
    )


# Photographs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """One picture to take crops from."""

    label: str
    file: str
    terms: str  # as ``skimage.data`` states them
    focus: tuple[float, float] | None  # what every crop must hold, in relative coordinates; None: any place will do
    reach: tuple[float, float]  # a crop's short side, as shares of the picture's


SCENES = (
    Scene("astronaut", "astronaut.png", "NASA; released into the public domain", (0.44, 0.22), (0.4, 0.95)),
    Scene("brick wall", "brick.png", "CC0 (CC0Textures)", None, (0.35, 0.8)),
    Scene("cat", "chelsea.png", "CC0 by Stefan van der Walt", (0.53, 0.5), (0.55, 1.0)),
    Scene("cell", "cell.png", "CC0 (Pau Gorostiza and others)", (0.78, 0.57), (0.35, 0.8)),
    Scene("coffee", "coffee.png", "CC0 by Rachel Michetti", (0.47, 0.42), (0.6, 1.0)),
    Scene("coins", "coins.png", "Brooklyn Museum; no known copyright restrictions", None, (0.4, 0.9)),
    Scene("galaxies", "hubble_deep_field.jpg", "NASA; public domain", None, (0.25, 0.6)),
    Scene("grass", "grass.png", "CC0 (Linolafett)", None, (0.35, 0.8)),
    Scene("gravel", "gravel.png", "CC0 (CC0Textures)", None, (0.35, 0.8)),
    Scene("photographer", "camera.png", "CC0 by Lav Varshney", (0.42, 0.24), (0.45, 0.95)),
    Scene("retina", "retina.jpg", "CC0 by Häggström, Mikael (2014)", (0.4, 0.5), (0.55, 1.0)),
    Scene("rocket", "rocket.jpg", "SpaceX; released in the public domain", (0.5, 0.55), (0.55, 1.0)),
)
_SILHOUETTE = "horse.png"
_CROPS_A_SCENE = 45
_PLANTED = {WRONG_LABEL: 18, BLURRED: 12, DARK: 12, DUPLICATE: 14, NEAR_DUPLICATE: 16}
_UNLABELED_SHARE = 0.15
_SPLITS = ("train",) * 14 + ("val",) * 3 + ("test",) * 3


def make_demo_images(folder: Path, seed: int = 0) -> list[DemoImage]:
    """Write some 600 JPEGs into ``folder`` as ``split/label/name.jpg`` and tell what each shows.

    The same files for the same seed and version of Pillow. Raises ``DemoUnavailable``.
    """
    dice = random.Random(seed)
    shipped = _package_folder("skimage", "scikit-image") / "data"
    shots: list[tuple[str, Image.Image, str]] = []  # what it shows, the picture, what is wrong with it
    for scene in SCENES:
        with Image.open(shipped / scene.file) as image:
            picture = image.convert("RGB")
        picture.thumbnail((900, 900))
        shots += [(scene.label, _crop(picture, scene, dice), "") for _ in range(_CROPS_A_SCENE)]
    dice.shuffle(shots)
    odd = iter(range(len(shots)))
    mislabeled = {next(odd) for _ in range(_PLANTED[WRONG_LABEL])}
    for planted, spoil in ((BLURRED, _blur), (DARK, _darken)):
        for _ in range(_PLANTED[planted]):
            index = next(odd)
            shots[index] = (shots[index][0], spoil(shots[index][1], dice), planted)
    originals = [next(odd) for _ in range(_PLANTED[DUPLICATE] + _PLANTED[NEAR_DUPLICATE])]

    files: list[tuple[DemoImage, bytes]] = []
    for index, (label, picture, planted) in enumerate(shots):
        one = DemoImage("", label, shows=label, planted=planted)
        if index in mislabeled:
            one = replace(one, label=dice.choice([s.label for s in SCENES if s.label != label]), planted=WRONG_LABEL)
        elif not planted and index not in originals and dice.random() < _UNLABELED_SHARE:
            one = replace(one, label="")
        files.append((_placed(one, len(files), dice), _jpeg(picture)))
    for number, index in enumerate(originals):
        is_exact = number < _PLANTED[DUPLICATE]
        original, content = files[index]
        one = replace(original, planted=DUPLICATE if is_exact else NEAR_DUPLICATE, twin=original.path)
        files.append(
            (_placed(one, len(files), dice), content if is_exact else _jpeg(_again(shots[index][1], dice), 70))
        )
    for label, drawing in _drawings(shipped, dice):
        one = DemoImage("", label, shows="drawing", planted=DRAWING)
        files.append((_placed(one, len(files), dice), _jpeg(drawing)))

    for one, content in files:
        path = folder / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [one for one, _ in files]


def _placed(image: DemoImage, number: int, dice: random.Random) -> DemoImage:
    """With a path: the name says nothing of what it shows, and what has no label is there to be labelled (train)."""
    split = dice.choice(_SPLITS) if image.label else "train"
    return replace(image, path=str(Path(split, image.label, f"photo-{number:04}.jpg")))


def _crop(picture: Image.Image, scene: Scene, dice: random.Random) -> Image.Image:
    """A crop of another scale, place, shape, light and perhaps mirrored."""
    short = min(picture.size) * dice.uniform(*scene.reach)
    stretch = dice.uniform(1.0, 1.4)
    width, height = (short * stretch, short) if dice.random() < 0.65 else (short, short * stretch)
    width, height = min(width, picture.width), min(height, picture.height)
    left, top = (
        _start(size, whole, focus, dice)
        for size, whole, focus in zip((width, height), picture.size, scene.focus or (None, None), strict=True)
    )
    side = dice.randint(260, 420)
    scale = side / max(width, height)
    crop = picture.resize(
        (round(width * scale), round(height * scale)),
        Image.Resampling.BICUBIC,
        box=(left, top, left + width, top + height),
    )
    if dice.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    warmth = dice.uniform(-0.06, 0.06)
    gamma, gain = dice.uniform(0.75, 1.3), dice.uniform(0.85, 1.1)
    return _lit(crop, gamma, (gain * (1 + warmth), gain, gain * (1 - warmth)))


def _start(size: float, whole: int, focus: float | None, dice: random.Random) -> float:
    """Where a crop of ``size`` begins, so that the focus lies in its middle 60 %."""
    least, greatest = 0.0, whole - size
    if focus is not None:
        least = min(max(least, focus * whole - 0.8 * size), greatest)
        greatest = max(min(greatest, focus * whole - 0.2 * size), least)
    return dice.uniform(least, greatest)


def _lit(image: Image.Image, gamma: float, gains: tuple[float, float, float]) -> Image.Image:
    return image.point([min(255, round(255 * gain * (value / 255) ** gamma)) for gain in gains for value in range(256)])


def _blur(image: Image.Image, dice: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(dice.uniform(4, 8)))


def _darken(image: Image.Image, dice: random.Random) -> Image.Image:
    gain = dice.uniform(0.1, 0.2)
    return _lit(image, 1.2, (gain, gain, gain))


def _again(image: Image.Image, dice: random.Random) -> Image.Image:
    """The same picture as somebody else would have saved it: a little cropped, smaller, lighter or darker."""
    margin = 0.03 * min(image.size)
    box = (dice.uniform(0, margin), dice.uniform(0, margin), image.width - margin, image.height - margin)
    scale = dice.uniform(0.7, 0.95)
    size = (round(image.width * scale), round(image.height * scale))
    gain = dice.uniform(0.9, 1.1)
    return _lit(image.resize(size, Image.Resampling.BICUBIC, box=box), 1.0, (gain, gain, gain))


def _jpeg(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


# Shapes on a field of 100 × 100: what to draw, where, in which colour.
_SKETCHES: dict[str, tuple[tuple[str, tuple[float, ...], str], ...]] = {
    "cat": (
        ("polygon", (22, 45, 26, 10, 48, 30), "#e0a860"), ("polygon", (78, 45, 74, 10, 52, 30), "#e0a860"),
        ("ellipse", (18, 25, 82, 88), "#e0a860"), ("ellipse", (34, 45, 44, 58), "#305030"),
        ("ellipse", (56, 45, 66, 58), "#305030"), ("polygon", (45, 66, 55, 66, 50, 72), "#b04050"),
    ),
    "coffee": (
        ("ellipse", (66, 42, 92, 70), "#7a3b1d"), ("ellipse", (72, 48, 86, 64), "#ffffff"),
        ("rectangle", (22, 36, 76, 80), "#7a3b1d"), ("ellipse", (22, 28, 76, 44), "#3b2010"),
        ("rectangle", (12, 84, 88, 88), "#555555"),
    ),
    "rocket": (
        ("polygon", (50, 6, 64, 34, 36, 34), "#d03030"), ("rectangle", (36, 34, 64, 76), "#d8d8e0"),
        ("polygon", (36, 60, 20, 84, 36, 76), "#d03030"), ("polygon", (64, 60, 80, 84, 64, 76), "#d03030"),
        ("polygon", (42, 76, 58, 76, 50, 96), "#f0a020"), ("ellipse", (43, 42, 57, 56), "#3060b0"),
    ),
    "galaxies": (
        ("ellipse", (30, 30, 70, 70), "#f0c020"), ("line", (50, 6, 50, 24), "#f0c020"),
        ("line", (50, 76, 50, 94), "#f0c020"), ("line", (6, 50, 24, 50), "#f0c020"), ("line", (76, 50, 94, 50), "#f0c020"),
    ),
}  # fmt: skip


def _drawings(shipped: Path, dice: random.Random) -> list[tuple[str, Image.Image]]:
    """Outliers: two of each sketch under its own label, and a silhouette among the cats."""
    drawn = []
    for label, shapes in _SKETCHES.items():
        for _ in range(2):
            side, shift = dice.randint(560, 760), dice.uniform(-5, 5)
            sheet = Image.new("RGB", (side, side), dice.choice(("#ffffff", "#fbf7ee", "#eef4fb")))
            pen = ImageDraw.Draw(sheet)
            for shape, points, colour in shapes:
                at = [(point + shift) * side / 100 for point in points]
                width = {"width": side // 40} if shape == "line" else {}
                getattr(pen, shape)(at, fill=colour, **width)
            drawn.append((label, sheet.resize((side // 2, side // 2), Image.Resampling.BOX)))
    with Image.open(shipped / _SILHOUETTE) as image:
        white = Image.new("RGBA", image.size, "white")
        drawn.append(("cat", Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")))
    return drawn


# Texts ---------------------------------------------------------------------------------------------------------------

# WordNet numbers its nouns by subject: first and last synset of each. The ranges begin and end inside a subject.
_SUBJECTS = {
    "bird": ("n01503061", "n01624999"),
    "insect": ("n02165456", "n02299999"),
    "mammal": ("n02323449", "n02459999"),
    "fish": ("n02512053", "n02659999"),
    "food": ("n07566340", "n07880999"),
    "drink": ("n07881800", "n07935999"),
    "landscape": ("n09191635", "n09476999"),
    "plant": ("n11608250", "n12959999"),
    "thing": ("n02667093", "n04619999"),
}
_TEXTS_A_SUBJECT = 65
_SHORTEST_DEFINITION = 25  # characters: "a bar of sand" says too little
_WRONG_TEXTS, _TWICE, _NEARLY_TWICE = 20, 10, 12


def make_demo_texts(seed: int = 0) -> list[DemoText]:
    """Some 600 dictionary entries ("barred owl: large owl of eastern North America…"), labelled by subject.

    Raises ``DemoUnavailable``.
    """
    dice = random.Random(seed)
    shipped = _package_folder("timm", "timm") / "data" / "_info"
    definitions = _pairs(shipped / "imagenet_synset_to_definition.txt")
    names = _pairs(shipped / "imagenet_synset_to_lemma.txt")
    # Of the many things, the thousand everyday ones that ImageNet's best known list holds.
    everyday = set((shipped / "imagenet_synsets.txt").read_text(encoding="utf-8").split())
    rows: list[DemoText] = []
    for subject, (first, last) in _SUBJECTS.items():
        candidates = [
            synset
            for synset in sorted(definitions)
            if first <= synset <= last
            and len(definitions[synset]) >= _SHORTEST_DEFINITION
            and (subject != "thing" or synset in everyday)
        ]
        for synset in dice.sample(candidates, _TEXTS_A_SUBJECT):
            text = f"{names[synset].split(',')[0]}: {definitions[synset]}"
            rows.append(DemoText(synset, text, subject, dice.choice(_SPLITS), means=subject))
    dice.shuffle(rows)
    for index in range(_WRONG_TEXTS):
        wrong = dice.choice([subject for subject in _SUBJECTS if subject != rows[index].means])
        rows[index] = replace(rows[index], label=wrong, planted=WRONG_LABEL)
    twins = []
    for number, original in enumerate(rows[_WRONG_TEXTS : _WRONG_TEXTS + _TWICE + _NEARLY_TWICE]):
        is_exact = number < _TWICE
        twin = replace(original, key=f"{original.key}-2", split=dice.choice(_SPLITS), twin=original.key)
        text = original.text if is_exact else _reworded(original.text)
        twins.append(replace(twin, text=text, planted=DUPLICATE if is_exact else NEAR_DUPLICATE))
    rest = _WRONG_TEXTS + _TWICE + _NEARLY_TWICE
    for index in range(rest, len(rows)):
        if dice.random() < _UNLABELED_SHARE:
            rows[index] = replace(rows[index], label="", split="train")
    rows += twins
    dice.shuffle(rows)
    return rows


def _reworded(text: str) -> str:
    """As somebody else would have copied it out."""
    name, definition = text.split(": ", 1)
    definition = re.sub(r"^(a|an|any|the|of) ", "", definition).replace(" having ", " with ").replace("; ", ", ")
    return f"{name.capitalize()} - {definition}."


def _pairs(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def _package_folder(module: str, package: str) -> Path:
    """Where an installed package lies, without importing it (timm would bring all of torch)."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise DemoUnavailable(f"The demo is made from the package {package}, which is not installed. Run make install.")
    return Path(os.fspath(found.submodule_search_locations[0]))
