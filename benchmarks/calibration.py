"""Is it told rightly whether a search finds anything, and is the suggested cut a good one?

    python benchmarks/calibration.py [--quick] [--eval FOLDER]

A Kindred of its own is started, and photos (``photos12``, ``coco50``) and questions of customers (``banking77``) are imported. It is
searched for what is there and for what is not: by examples whose class is there or is filtered out, by photos of something else,
by the names of classes, by captions, by words and sentences about other things. Of every group: how often something is said to stand
out; where it is known what should be found, the F1 of the suggested cut and the best F1 that any cut of that ranking has.

Beside the rule of ``search/calibration.py`` stand others on the same scores: a normal null fitted to the lower half of a query's
own scores (Efron 2004), at a false discovery rate of .2; Otsu's cut; the cut at the largest gap in the upper half.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.support.instance import Instance  # noqa: E402

EVAL = ROOT.parent / "shared" / "eval"
TEXTS = 5_000
NAMES = {"airplanes": "airplane", "Leopards": "leopard", "bonsai": "bonsai tree", "watch": "wrist watch"}


def _of(said: str) -> list[str]:
    return [one.strip() for line in said.split("\n") for one in line.split(" / ") if one.strip()]


# Things, scenes and questions that are in none of the datasets.
NOUNS = _of("""
submarine / violin / giraffe / tractor / lighthouse / pizza / kangaroo / penguin / hammer / shark / microscope
saxophone / waterfall / helicopter / volcano / zebra / toothbrush / drum / spider / canoe / skateboard / dolphin
fireworks / tombstone / cauldron
""")
SCENES = _of("""
a submarine dives under the ice / an astronaut repairs a satellite / penguins slide down a slope of snow
a surgeon operates on a heart / a whale jumps out of the sea / a monk copies an old manuscript
miners dig for coal with lamps / a kangaroo with its young in the pouch / a glassblower makes a green bottle
an oil platform burns at night / a judge with a wig reads a verdict / a beekeeper opens the hive
a dragon guards a golden treasure / northern lights above a lonely cabin / a saxophone player in a bar
sumo wrestlers bow to each other / a telescope points at the stars / a shark circles the diver's cage
an orchestra tunes its instruments / divers find a sunken ship
""")
QUESTIONS = _of("""
how do I bake bread / the weather in Paris tomorrow / football results / my dog is sick / recipe for lentil soup
install the printer driver / who painted the Mona Lisa / my landlord raised the rent / flight delayed by snow
learn to play the guitar / best hiking boots / symptoms of flu / plant tomatoes in spring
movie tickets tonight / how tall is Mount Everest / repair a bicycle tyre / schedule a haircut
my laptop does not start / giraffe / symphony / penguins / photosynthesis / the rules of chess
kittens for free
""")

Scores = npt.NDArray[np.float64]
Rule = Callable[[Scores], float | None]  # its cut, or None: nothing stands out


@dataclass(frozen=True)
class Asked:
    """One search, answered."""

    scores: Scores  # best first, without the example
    is_wanted: npt.NDArray[np.bool_] | None  # which of them should be found; None: nothing should
    stands_out: bool | None
    cut: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="fewer photos, texts and searches, no captions: under 45 s"
    )
    parser.add_argument("--eval", type=Path, default=EVAL, help="a folder with photos12/, coco50/ and banking77/")
    options = parser.parse_args()
    print(json.dumps(run(options.eval, quick=options.quick)))


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Every figure, after saying them in words."""
    if not (folder / "photos12" / "labels.csv").is_file():
        raise SystemExit(f"There are no photos in {folder / 'photos12'}. Name a folder with --eval.")
    groups: dict[str, list[Asked]] = {}
    with Instance() as instance:
        instance.set_up_django()
        for name, asked in [
            *of_photos(instance, folder / "photos12", 1 if quick else 10, 15 if quick else 50),
            *([] if quick else of_captions(instance, folder / "coco50")),
            *of_texts(instance, folder / "banking77", 12 if quick else 77, 600 if quick else TEXTS),
        ]:
            groups.setdefault(name, []).append(asked)
    figures = {name: figures_of(asked) for name, asked in groups.items()}
    print(f"{'':30}{'searches':>9}  said to stand out: ours {'  '.join(f'{name:>7}' for name in RULES)}")
    for name, found in figures.items():
        others = "  ".join(f"{share:7.2f}" for share in found["others_stand_out"].values())
        print(f"{name:30}{found['searches']:9}  {found['stand_out']:23.2f} {others}")
    print(f"{'F1 of the cut':30}{'best':>9}  {'ours':>23} {'  '.join(f'{name:>7}' for name in RULES)}")
    for name, found in figures.items():
        if found["f1_best"] is not None:
            others = "  ".join(f"{one:7.2f}" for one in found["others_f1"].values())
            print(f"{name:30}{found['f1_best']:9.2f}  {found['f1']:23.2f} {others}")
    there = [one for name, asked in groups.items() if name in JUDGED for one in asked if one.is_wanted is not None]
    absent = [one for name, asked in groups.items() if name in JUDGED for one in asked if one.is_wanted is None]
    return {
        "present_found": round(float(np.mean([one.stands_out is not False for one in there])), 3),
        "absent_told": round(float(np.mean([one.stands_out is False for one in absent])), 3),
        "f1_ratio": round(float(np.mean([f["f1"] / f["f1_best"] for f in figures.values() if f["f1_best"]])), 3),
        "groups": figures,
        "quick": quick,
    }


# In the sum of all: what is left of banking77 without an intent is about nearly the same.
JUDGED = {
    *("photo, its class is there", "photo, its class is not", "photo of something else"),
    *("name of a class", "name, the class is not there", "a photo of a …", "noun of something else"),
    *("caption", "sentence of something else", "question, its intent is there", "name of an intent"),
    "question of something else",
}


def figures_of(asked: list[Asked]) -> dict[str, Any]:
    wanted = [one for one in asked if one.is_wanted is not None]

    def f1_of(cut: Callable[[Asked], float | None]) -> float | None:
        return round(float(np.mean([_f1(one, cut(one)) for one in wanted])), 3) if wanted else None

    return {
        "searches": len(asked),
        "stand_out": round(float(np.mean([one.stands_out is True for one in asked])), 3),
        "f1": f1_of(lambda one: one.cut),
        "f1_best": f1_of(_best_cut),
        "others_stand_out": {
            name: round(float(np.mean([rule(one.scores) is not None for one in asked])), 3)
            for name, rule in RULES.items()
        },
        "others_f1": {name: f1_of(_cut_by(rule)) for name, rule in RULES.items()},
    }


def _cut_by(rule: Rule) -> Callable[[Asked], float | None]:
    return lambda one: rule(one.scores)


# What is searched -----------------------------------------------------------------------------------------------------


def of_photos(instance: Instance, folder: Path, examples: int, of_each: int) -> Iterator[tuple[str, Asked]]:
    rows = _rows(folder / "labels.csv")
    by_class: dict[str, list[str]] = {}
    for row in rows:
        by_class.setdefault(row["label"], []).append(row["filename"])
    files = {
        f"{label}/{name}": (folder / "images" / name).read_bytes()
        for label, names in by_class.items()
        for name in names[:of_each]
    }
    dataset = _imported(instance, "photos", "image", _archive(files), "photos.zip")
    label_of = {key: key.split("/")[0] for key in files}
    ids = _ids(dataset)
    random = np.random.default_rng(0)
    for label in by_class:
        keys = [key for key in files if label_of[key] == label]
        for key in random.choice(keys, examples, replace=False):
            yield "photo, its class is there", _ask(dataset, {"like": [ids[key]]}, label_of, label)
            gone = {"like": [ids[key]], "filter": {"not_label": [label]}}
            yield "photo, its class is not", _ask(dataset, gone)
        name = NAMES.get(label, label.replace("_", " "))
        yield "name of a class", _ask(dataset, {"text": name, "literal": True}, label_of, label)
        yield "a photo of a …", _ask(dataset, {"text": f"a photo of a {name}", "literal": True}, label_of, label)
        without = {"text": name, "literal": True, "filter": {"not_label": [label]}}
        yield "name, the class is not there", _ask(dataset, without)
    for path in sorted((folder / "background").iterdir())[: 3 * examples]:
        yield "photo of something else", _ask_with_image(dataset, path)
    for words in NOUNS:
        yield "noun of something else", _ask(dataset, {"text": words, "literal": True})


def of_captions(instance: Instance, folder: Path) -> Iterator[tuple[str, Asked]]:
    rows = _rows(folder / "labels.csv")
    files = {row["filename"]: (folder / "images" / row["filename"]).read_bytes() for row in rows}
    dataset = _imported(instance, "scenes", "image", _archive(files), "scenes.zip")
    itself = {name: name for name in files}
    for row in rows:
        yield "caption", _ask(dataset, {"text": row["caption"], "literal": True}, itself, row["filename"])
    for words in SCENES:
        yield "sentence of something else", _ask(dataset, {"text": words, "literal": True})


def of_texts(instance: Instance, folder: Path, intents: int, number: int) -> Iterator[tuple[str, Asked]]:
    random = np.random.default_rng(1)
    rows = _rows(folder / "texts.csv")
    rows = [rows[at] for at in np.sort(random.choice(len(rows), min(number, len(rows)), replace=False))]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["key", "text", "label"])
    writer.writerows([f"{at:05}", row["text"], row["label"]] for at, row in enumerate(rows))
    dataset = _imported(instance, "questions", "text", table.getvalue().encode(), "questions.csv")
    ids = _ids(dataset)
    label_of = {f"{at:05}": row["label"] for at, row in enumerate(rows) if f"{at:05}" in ids}
    for label in sorted(set(label_of.values()))[:intents]:
        example = ids[str(random.choice([key for key in label_of if label_of[key] == label]))]
        name = label.replace("_", " ")
        without = {"filter": {"not_label": [label]}}
        yield "question, its intent is there", _ask(dataset, {"like": [example]}, label_of, label)
        yield "question, its intent is not", _ask(dataset, {"like": [example], **without})
        for mode in ("meaning", "hybrid"):
            group = "name of an intent" + (", hybrid" if mode == "hybrid" else "")
            yield group, _ask(dataset, {"text": name, "mode": mode}, label_of, label)
        yield "name, the intent is not there", _ask(dataset, {"text": name, "mode": "meaning", **without})
    for words in QUESTIONS:
        yield "question of something else", _ask(dataset, {"text": words, "mode": "meaning"})


def _ask(dataset: Any, raw: dict[str, Any], label_of: dict[str, str] | None = None, label: str = "") -> Asked:
    from search import answers, query

    answer = answers.rank_all(query.parse(dataset, raw))
    others = ~np.isin(answer.best.item_ids, raw.get("like", []))
    item_ids, scores = answer.best.item_ids[others], answer.best.scores[others]
    order = np.argsort(-scores, kind="stable")
    is_wanted = None
    if label_of is not None:
        keys = {pk: key for key, pk in _ids(dataset).items()}
        is_wanted = np.array([label_of.get(keys[pk]) == label for pk in item_ids[order].tolist()], dtype=bool)
    return Asked(scores[order], is_wanted, answer.calibration.stands_out, answer.calibration.suggested)


def _ask_with_image(dataset: Any, path: Path) -> Asked:
    from search import query

    with path.open("rb") as file:
        kept = query.keep_image(dataset, file)
    return _ask(dataset, {"image": kept.sha256})


# How it is judged -----------------------------------------------------------------------------------------------------


def _f1(asked: Asked, cut: float | None) -> float:
    assert asked.is_wanted is not None
    found = asked.scores >= cut if cut is not None else np.zeros(len(asked.scores), dtype=bool)
    right = (found & asked.is_wanted).sum()
    return float(2 * right / max(1, found.sum() + asked.is_wanted.sum()))


def _best_cut(asked: Asked) -> float:
    assert asked.is_wanted is not None
    right, number = np.cumsum(asked.is_wanted), np.arange(1, len(asked.scores) + 1)
    return float(asked.scores[np.argmax(2 * right / (number + asked.is_wanted.sum()))])


def _normal_null(scores: Scores) -> float | None:
    middle = float(np.median(scores))
    spread = max(middle - float(np.quantile(scores, 0.1587)), 1e-9)
    tail = np.array([1 - NormalDist(middle, spread).cdf(score) for score in scores])
    is_enough = (len(scores) * tail <= 0.2 * np.arange(1, len(scores) + 1)) & (scores > middle)
    return float(scores[np.flatnonzero(is_enough)[-1]]) if is_enough.any() else None


def _otsu(scores: Scores) -> float:
    number, total = np.arange(1, len(scores)), np.cumsum(scores)
    means = total[:-1] / number, (total[-1] - total[:-1]) / (len(scores) - number)
    return float(scores[np.argmax(number * (len(scores) - number) * (means[0] - means[1]) ** 2)])


def _largest_gap(scores: Scores) -> float:
    upper = scores[: max(2, len(scores) // 2)]
    return float(upper[np.argmax(upper[:-1] - upper[1:])])


RULES: dict[str, Rule] = {"normal": _normal_null, "Otsu": _otsu, "gap": _largest_gap}


# Files ----------------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _archive(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for key, content in files.items():
            file.writestr(key, content)
    return archive.getvalue()


def _imported(instance: Instance, name: str, modality: str, content: bytes, filename: str) -> Any:
    from datasets.models import Dataset

    dataset = instance.post("/api/v1/datasets/", {"name": name, "modality": modality})["id"]
    job = instance.upload(f"/api/v1/datasets/{dataset}/imports/", quote(filename), content)["job"]

    def is_over() -> bool:
        state = instance.json(f"/api/v1/jobs/{job}/")
        if state["state"] in ("failed", "canceled"):
            raise RuntimeError(f"The import of {name} has {state['state']}: {state}")
        return bool(state["state"] == "succeeded")

    instance.wait(is_over, f"done with the import of {name}")
    return Dataset.objects.get(pk=dataset)


def _ids(dataset: Any) -> dict[str, int]:
    return dict(dataset.items.values_list("key", "pk"))


if __name__ == "__main__":
    main()
