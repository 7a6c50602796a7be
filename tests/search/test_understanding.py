"""What the words of a search are understood as: phrase by phrase, and that nothing of any text is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import creation, predictions
from datasets.models import Dataset
from datasets.predictions import Predicted
from datasets.regions import Shape
from search import phrases, understanding
from search.detectors.yolox import COCO
from search.phrases import Class, Reading
from search.understanding import DetectedNouns
from tests.fixtures import add_items

CLASSES = (*COCO, "face")
NOTHING: list[dict[str, Any]] = []


def read(text: str, classes: tuple[str, ...] = CLASSES, *, has_colours: bool = True) -> Reading:
    return phrases.read(text, DetectedNouns({name: Class(name, "eyes") for name in classes}, lambda what: has_colours))


def objects(name: str, **details: Any) -> dict[str, Any]:
    return {"objects": {"class": name, **details}}


@pytest.mark.parametrize(
    ("text", "conditions", "words"),
    [
        # Numbers
        ("images with more than two people", [{"count.person": ">2"}], ""),
        ("at least 3 dogs", [{"count.dog": ">=3"}], ""),
        ("exactly one person", [{"count.person": "=1"}], ""),
        ("only one person", [{"count.person": "=1"}], ""),
        ("a single cat", [{"count.cat": "=1"}], ""),
        ("two or three cups", [{"count.cup": "2..3"}], ""),
        ("between 2 and 4 cups", [{"count.cup": "2..4"}], ""),
        ("2-4 cups", [{"count.cup": "2..4"}], ""),
        ("2 – 4 cups", [{"count.cup": "2..4"}], ""),
        ("2+ dogs", [{"count.dog": ">=2"}], ""),
        (">= 2 dogs", [{"count.dog": ">=2"}], ""),
        ("3 or more sheep", [{"count.sheep": ">=3"}], ""),
        ("3 or fewer knives", [{"count.knife": "<=3"}], ""),
        ("no more than two cats", [{"count.cat": "<=2"}], ""),
        ("not more than two cats", [{"count.cat": "<=2"}], ""),
        ("fewer than 5 children", [{"count.person": "<5"}], ""),
        ("a couple of mice", [{"count.mouse": "=2"}], ""),
        ("several buses", [{"count.bus": ">=3"}], ""),
        ("photos of twelve wine glasses", [{"count.wine glass": "=12"}], ""),
        ("two persons", [{"count.person": "=2"}], ""),
        ("one ski", [{"count.skis": "=1"}], ""),
        ("three", NOTHING, "three"),
        ("2024 cars", NOTHING, "2024 cars"),
        ("route 66", NOTHING, "route 66"),
        # None
        ("no car", [{"count.car": "=0"}], ""),
        ("NO   CARS", [{"count.car": "=0"}], ""),
        ("not a dog", [{"count.dog": "=0"}], ""),
        ("without any people", [{"count.person": "=0"}], ""),
        ("nobody", [{"count.person": "=0"}], ""),
        ("street without people", [{"count.person": "=0"}], "street"),
        ("no happy people", NOTHING, "no happy people"),
        ("no smoking sign", NOTHING, "no smoking sign"),
        ("no", NOTHING, "no"),
        # Synonyms
        ("3 automobiles", [{"count.car": "=3"}], ""),
        ("two puppies playing in the snow", [{"count.dog": "=2"}], "playing in the snow"),
        ("several folks", [{"count.person": ">=3"}], ""),
        ("two mobile phones", [{"count.cell phone": "=2"}], ""),
        ("more than two unicorns", NOTHING, "more than two unicorns"),
        ("unicorn on the left", NOTHING, "unicorn on the left"),
        # A bare noun is a matter of meaning.
        ("dog", NOTHING, "dog"),
        ("a dog", NOTHING, "a dog"),
        ("puppies", NOTHING, "puppies"),
        ("red sign", NOTHING, "red sign"),
        # Compounds
        ("two hot dogs", [{"count.hot dog": "=2"}], ""),
        ("two car doors", NOTHING, "two car doors"),
        ("three happy people", [{"count.person": "=3"}], "happy"),
        ("two police cars at night", [{"count.car": "=2"}], "police at night"),
        # Colours
        ("mostly red", [{"color.red": ">0.5"}], ""),
        ("red image", [{"color.red": ">0.3"}], ""),
        ("red images of cars", [{"color.red": ">0.3"}], "cars"),
        ("red car", [objects("car", color="red")], ""),
        ("mostly grey cats", [objects("cat", color={"grey": ">0.5"})], ""),
        ("gray cat", [objects("cat", color="grey")], ""),
        ("red stop sign", [objects("stop sign", color="red")], ""),
        ("no red car", [objects("car", count="=0", color="red")], ""),
        ("black and white photo", NOTHING, "black and white photo"),
        ("black and white cat", NOTHING, "black and white cat"),
        ("red or blue car", NOTHING, "red or blue car"),
        ("dark red car", NOTHING, "dark red car"),
        ("non-red car", NOTHING, "non-red car"),
        ("white house", NOTHING, "white house"),
        # A fruit and a colour
        ("orange", NOTHING, "orange"),
        ("two oranges", [{"count.orange": "=2"}], ""),
        ("no orange", [{"count.orange": "=0"}], ""),
        ("mostly orange", [{"color.orange": ">0.5"}], ""),
        ("orange car", [objects("car", color="orange")], ""),
        ("orange orange", [objects("orange", color="orange")], ""),
        # Places and sizes
        ("person on the left", [objects("person", position="left")], ""),
        ("dog at the bottom right", [objects("dog", position="bottom right")], ""),
        ("a dog in the lower-left corner of the image", [objects("dog", position="bottom left")], ""),
        ("cup in the centre", [objects("cup", position="center")], ""),
        ("cup in the middle of the table", NOTHING, "cup in the middle of the table"),
        ("person to the left of the dog", NOTHING, "person to the left of the dog"),
        ("left of the red car", NOTHING, "left of the red car"),
        ("dog on top of a car", NOTHING, "dog on top of a car"),
        ("car in the background", [objects("car", size="<0.02")], ""),
        ("face filling the frame", [objects("face", size=">0.5")], ""),
        ("two large dogs", [objects("dog", count="=2", size=">0.2")], ""),
        ("two people side by side", [objects("person", count="=2", arrangement="side by side")], ""),
        ("people next to each other", [objects("person", count=">=2", arrangement="side by side")], ""),
        ("person in the background on the left", [objects("person", size="<0.02", position="left")], ""),
        # Measures, and what only looks like one
        ("dark", [{"brightness": "<0.25"}], ""),
        ("dark photos of dogs", [{"brightness": "<0.25"}], "dogs"),
        ("dark street", NOTHING, "dark street"),
        ("dusk", NOTHING, "dusk"),
        ("blurry", [{"sharpness": "<0.2"}], ""),
        ("photos that are out of focus", [{"sharpness": "<0.2"}], ""),
        ("blurry background", NOTHING, "blurry background"),
        ("sharp knife", NOTHING, "sharp knife"),
        ("dark and blurry", [{"brightness": "<0.25"}, {"sharpness": "<0.2"}], ""),
        ("dark or blurry", NOTHING, "dark or blurry"),
        ("not dark", NOTHING, "not dark"),
        ("low contrast", [{"contrast": "<0.2"}], ""),
        ("portrait format", [{"aspect": "<1"}], ""),
        ("portrait of a woman", NOTHING, "portrait of a woman"),
        ("photos of dogs in landscape orientation", [{"aspect": ">1"}], "dogs"),
        ("square images", [{"aspect": "0.95..1.05"}], ""),
        ("town square", NOTHING, "town square"),
        ("low resolution", [{"width": "<640", "height": "<640"}], ""),
        # Several
        ("2 cars and no people", [{"count.car": "=2"}, {"count.person": "=0"}], ""),
        (
            "one person on the left and a dog on the right",
            [objects("person", count="=1", position="left"), objects("dog", position="right")],
            "",
        ),
        (
            "pictures where there are several people but no dogs at night",
            [{"count.person": ">=3"}, {"count.dog": "=0"}],
            "at night",
        ),
        ("blurry, with 2 dogs", [{"sharpness": "<0.2"}, {"count.dog": "=2"}], ""),
        # Left alone
        ('"red car"', NOTHING, '"red car"'),
        ("zwei hunde", NOTHING, "zwei hunde"),
        ("no hay coches", NOTHING, "no hay coches"),
        ("дві собаки", NOTHING, "дві собаки"),
        ("²² dogs", NOTHING, "²² dogs"),
        ("café with 2 chairs", [{"count.chair": "=2"}], "café"),
        ("", NOTHING, ""),
    ],
)
def test_a_phrase_means(text: str, conditions: list[dict[str, Any]], words: str) -> None:
    reading = read(text)
    assert [dict(part.filter) for part in reading.parts] == conditions
    assert reading.words == words


def test_a_part_says_what_it_was_and_who_answers_it() -> None:
    dogs, dark, red = read("2 Dogs, dark, mostly red").parts
    assert (dogs.phrase, dogs.source, dogs.by) == ("2 Dogs", "detections", "eyes")
    assert (dark.phrase, dark.source, dark.by) == ("dark", "measures", "")
    assert (red.phrase, red.source) == ("mostly red", "colour")


@pytest.mark.parametrize("classes", [(), ("person",)])
def test_what_nobody_looks_for_stays_words_and_is_told(classes: tuple[str, ...]) -> None:
    reading = read("more than two car doors, a house on the left, and dark", classes)
    assert [part.phrase for part in reading.parts] == ["dark"]
    assert reading.unknown == ("car doors", "house")
    assert reading.words == "more than two car doors, a house on the left"


def test_colours_that_are_not_known_are_not_asked_for() -> None:
    reading = read("a red car and 2 dogs", has_colours=False)
    assert [part.phrase for part in reading.parts] == ["2 dogs"]
    assert reading.uncoloured == (Class("car", "eyes"),)
    assert reading.words == "red car"


# Nouns by meaning: those that are found with the thresholds, of the 82 that were tried, and those that must not be. Of the
# latter “computer” is left out: it is taken for a laptop (docs/searching.md has all figures).
SYNONYMS = {
    "car": "automobile vehicle",
    "dog": "puppy doggy canine",
    "cat": "kitten kitty",
    "person": "human individual man woman child kid boy girl guy lady folk adult infant",
    "bicycle": "bike",
    "motorcycle": "motorbike",
    "airplane": "plane aeroplane aircraft",
    "boat": "canoe",
    "train": "locomotive",
    "couch": "sofa",
    "tv": "television",
    "cell phone": "phone smartphone cellphone",
    "cup": "mug",
    "laptop": "notebook",
    "refrigerator": "fridge",
    "cow": "cattle",
    "sheep": "lamb",
    "bird": "parrot pigeon",
    "suitcase": "luggage",
    "chair": "seat armchair",
    "sports ball": "ball",
    "donut": "doughnut",
    "tennis racket": "racket",
    "wine glass": "wineglass",
}
OTHERS = (
    "unicorn dragon house tree mountain cloud sky rocket window door road street building lamp moon sun tiger lion monkey"
    " rabbit fish shark dinosaur crab snake helmet hat shoe coat shirt camera guitar piano drum violin pencil flag bridge"
    " castle tower fountain statue candle mirror curtain pillow blanket bread cheese egg soup rice tomato potato grape"
    " strawberry coffee tea water beer flower rose leaf grass sand stone brick coin ring watch crown sword gun tank submarine"
    " helicopter balloon kangaroo penguin whale dolphin octopus turtle frog butterfly bee spider ghost angel robot alien logo"
    " sign light line word letter number color shadow reflection desktop printer screen wheel engine garden beach river lake"
    " island forest snow rain fire smoke hand eye nose hair smile party wedding concert war idea problem error page entry"
    " smoking parking way time day year thing side pig deer fox wolf goat squirrel"
)


def meant(noun: str) -> str | None:
    nouns = DetectedNouns({name: Class(name, "eyes") for name in COCO}, lambda what: True)
    found = nouns.meant([noun], surely=True)
    return found.name if found else None


@pytest.mark.parametrize(("name", "noun"), [(name, noun) for name, said in SYNONYMS.items() for noun in said.split()])
def test_a_synonym_is_found(name: str, noun: str) -> None:
    assert meant(noun) == name


def test_what_is_no_class_is_none() -> None:
    assert {noun: found for noun in OTHERS.split() if (found := meant(noun))} == {}


_SAID = sorted(
    phrases.words_of(
        "no not a two 2 or and red dark mostly at the left bottom right of image photos dogs person car unicorn side by in"
        ' background more than - , " “ blurry format portrait between 3+ 2-4 happy without'
    )
)


@given(st.one_of(st.text(max_size=300), st.lists(st.sampled_from(_SAID), max_size=25).map(" ".join)))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_and_nothing_of_it_is_lost(text: str) -> None:
    reading = read(text, ("person", "car", "dog"))
    said = " ".join([reading.words, *(part.phrase for part in reading.parts)]).casefold().split()
    kept = {word for token in said for word in phrases.words_in(token)}
    assert {word for word in phrases.words_in(text) if word not in phrases.DROPPED} <= kept
    assert reading.parts or reading.words == text.strip()


@pytest.mark.parametrize("text", ["no a ", "two red ", "dark and ", "- ", "two zorbs ", "9", "person on the left and "])
def test_a_long_text_compares_few_nouns(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(understanding, "_nearest", lambda noun, labels, surely: asked.append(noun))
    reading = read((text * 10_000)[:10_000], ("person", "car"))
    assert len(asked) <= 12
    assert len(reading.parts) <= phrases.MOST_PARTS


# With a dataset ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_classes_are_those_of_the_datasets_detectors(dataset: Dataset) -> None:
    assert understanding.understand(dataset, "2 dogs").notes == (
        "No detector has looked at “signs” yet, so nothing in it can be counted: “dogs” is searched as words. Start one"
        " under Regions.",
    )
    predictions.model_named(dataset, "old", ["Dog", "cat"])
    predictions.model_named(dataset, "new", ["dog"])
    understood = understanding.understand(dataset, "2 dogs, a cat on the left, 3 unicorns")
    assert understood.filter == {"count.dog": "=2", "objects": {"class": "cat", "position": "left"}}
    assert [part.by for part in understood.parts] == ["new", "old"]
    assert understood.notes == (
        "“unicorns” is none of the things that a detector here looks for, so this is searched as words.",
    )


@pytest.mark.django_db
def test_boxes_without_colours_are_told(dataset: Dataset) -> None:
    (item,) = add_items(dataset, 1)
    said = [Predicted(item.pk, "car", 0.9, Shape(0, 0, 1, 1))]
    predictions.replace(predictions.model_named(dataset, "eyes", ["car"]), [item.pk], said)
    understood = understanding.understand(dataset, "red car")
    assert (understood.parts, understood.words) == ((), "red car")
    assert understood.notes[0].startswith("The colours of what “eyes” has found are not known")


@pytest.mark.django_db
def test_the_same_key_twice_must_hold_twice(dataset: Dataset) -> None:
    predictions.model_named(dataset, "eyes", ["dog"])
    understood = understanding.understand(dataset, "more than 2 dogs and fewer than 5 dogs")
    assert understood.filter == {"count.dog": [">2", "<5"]}


@pytest.mark.django_db
def test_texts_have_nothing_but_words(alice: Any) -> None:
    texts = creation.create_dataset(name="texts", modality="text", by=alice)
    assert understanding.understand(texts, " dark, no car ").as_json() == {
        "parts": [],
        "words": "dark, no car",
        "notes": [],
    }
