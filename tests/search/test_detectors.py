"""Detectors find what is there, where it is; what cannot be one says so in a sentence."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import Refused
from search import detectors
from search.detectors import Detection, DetectorError, DetectorSpec, DetectorUnavailable, boxes, tiling, yolox
from search.detectors.starter import Starter
from tests.fixtures import EVAL
from tests.search import tiny_checkpoints

YOLOX_FILE = EVAL / "detector" / "yolox_nano_coco80.onnx"
COCO50 = EVAL / "coco50"


@pytest.fixture
def own(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``ENCODERS_DIR``, empty, and nothing loaded from another one."""
    folder = tmp_path / "encoders"
    folder.mkdir()
    settings.ENCODERS_DIR = folder
    monkeypatch.setattr(detectors, "_loaded", {})
    return folder


@pytest.fixture
def nano(own: Path) -> str:
    """The name of a YOLOX-nano with the classes of COCO."""
    if not YOLOX_FILE.exists():
        pytest.skip(f"{YOLOX_FILE} is missing")
    shutil.copy(YOLOX_FILE, own / "nano.onnx")
    return "yolox:nano.onnx"


@pytest.fixture(scope="module")
def photos() -> tuple[list[Image.Image], npt.NDArray[np.int64]]:
    """COCO photos and how many people are in each."""
    if not (COCO50 / "labels.csv").exists():
        pytest.skip(f"{COCO50} is missing")
    with (COCO50 / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [Image.open(COCO50 / "images" / row["filename"]).convert("RGB") for row in rows]
    return images, np.array([int(row["n_persons"]) for row in rows])


def people(found: list[list[Detection]], threshold: float) -> npt.NDArray[np.int64]:
    return np.array([sum(one.label == "person" and one.score >= threshold for one in image) for image in found])


def assert_well_formed(found: list[list[Detection]]) -> None:
    for image in found:
        assert len(image) <= detectors.MOST_PER_IMAGE
        assert [one.score for one in image] == sorted((one.score for one in image), reverse=True)
        for one in image:
            assert detectors.SCORE_FLOOR <= one.score <= 1
            assert one.x >= 0
            assert one.y >= 0
            assert one.width > 0
            assert one.height > 0
            assert one.x + one.width <= 1 + 1e-9
            assert one.y + one.height <= 1 + 1e-9


def corners(one: Detection) -> npt.NDArray[np.float64]:
    return np.array([one.x, one.y, one.x + one.width, one.y + one.height])


def noise(*sizes: tuple[int, int]) -> list[Image.Image]:
    random = np.random.default_rng(3)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


# Boxes and tiles -----------------------------------------------------------------------------------------------------

_side = st.floats(0, 1, width=32)
_box = st.tuples(_side, _side, _side, _side, st.floats(0, 1, width=32), st.integers(0, 2))


@given(st.lists(_box, max_size=30), st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_of_what_overlaps(rows: list[Any], overlap: float) -> None:
    found = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, *_ in rows]).reshape(-1, 4)
    scores, classes = np.array([row[4] for row in rows]), np.array([row[5] for row in rows])

    kept = boxes.suppress(found, scores, classes, overlap=overlap).tolist()

    def rivals(row: int, other: int) -> bool:
        return bool(classes[row] == classes[other] and boxes.overlaps(found[row], found[[other]])[0] > overlap)

    assert [scores[row] for row in kept] == sorted((scores[row] for row in kept), reverse=True)
    assert not any(rivals(row, other) for row in kept for other in kept if row != other)
    for dropped in set(range(len(rows))) - set(kept):
        assert any(scores[row] >= scores[dropped] and rivals(row, dropped) for row in kept)


def test_overlap_is_intersection_over_union() -> None:
    box = np.array([0.0, 0.0, 0.5, 0.5])
    others = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(boxes.overlaps(box, others), [1, 1 / 3, 0, 0])
    assert boxes.overlaps(np.zeros(4), np.zeros((1, 4))).tolist() == [0]


def test_detections_are_clipped_sorted_and_few() -> None:
    found = np.array([[-1, -1, 0.5, 0.5], [0.2, 0.2, 3, 3], [1.1, 0, 1.2, 1], [0, 0, 1, 1], [np.nan, 0, 1, 1]])
    scores = np.array([0.5, 0.9, 0.9, 0.01, 0.9])
    assert boxes.detections(found, scores, list("abcde")) == [
        Detection("b", 0.9, 0.2, 0.2, 0.8, 0.8),
        Detection("a", 0.5, 0.0, 0.0, 0.5, 0.5),
    ]
    many = boxes.detections(np.tile([0, 0, 1, 1], (1000, 1)), np.linspace(0.1, 0.9, 1000), ["a"] * 1000)
    assert len(many) == detectors.MOST_PER_IMAGE
    assert many[0].score == pytest.approx(0.9)
    assert boxes.detections(np.empty((0, 4)), np.empty(0), []) == []


def test_a_tile_counts_only_what_it_holds_whole() -> None:
    upper_left, *_, lower_right = tiling.quarters(0.6)
    touching = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.2, 0, 0.8, 1], [0.2, 0.2, 0.8, 0.8]])
    assert upper_left.holds_whole(touching).tolist() == [True, False, False, True]
    assert lower_right.holds_whole(touching).tolist() == [False, True, False, True]
    assert tiling.WHOLE.holds_whole(touching).all()
    np.testing.assert_allclose(lower_right.in_image(touching[1:2]), [[0.7, 0.7, 1, 1]])


# The starter ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tiled", [True, False])
def test_the_starter_finds_people(photos: Any, tiled: bool) -> None:
    images, actual = photos
    found = Starter(tiled=tiled).detect(images)
    assert_well_formed(found)
    assert {one.label for image in found for one in image} == {"person"}
    claimed = people(found, 0.4) > 0
    assert (actual[claimed] > 0).mean() >= 0.9  # precision
    assert claimed[actual > 0].mean() >= 0.75  # recall


def test_the_starter_counts_people_better_with_tiles(photos: Any) -> None:
    images, actual = photos
    whole, tiled = (people(Starter(tiled=tiled).detect(images), 0.25) > 2 for tiled in (False, True))
    assert tiled[actual > 2].mean() > whole[actual > 2].mean()
    assert (tiled == (actual > 2)).mean() >= 0.85


# YOLOX ---------------------------------------------------------------------------------------------------------------


def test_yolox_counts_people(nano: str, photos: Any) -> None:
    images, actual = photos
    detector = detectors.get(nano)
    found = detector.detect(images)
    assert_well_formed(found)
    assert detector.spec.classes is not None
    assert len(detector.spec.classes) == 80
    assert (actual[people(found, 0.4) > 0] > 0).mean() >= 0.9
    assert ((people(found, 0.25) > 2) == (actual > 2)).mean() >= 0.9


def test_yolox_gives_what_plain_numpy_gives(nano: str, photos: Any) -> None:
    """The decoding as the file's own documentation has it, cell by cell."""
    compiled = openvino.Core().compile_model(str(YOLOX_FILE), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in photos[0][:6]:
        ratio = 416 / max(image.size)
        width, height = int(image.width * ratio), int(image.height * ratio)
        canvas = Image.new("RGB", (416, 416), (114, 114, 114))
        canvas.paste(image.resize((width, height), Image.Resampling.BILINEAR))
        blob = np.asarray(canvas, dtype=np.float32)[:, :, ::-1].transpose(2, 0, 1)[None]
        output = compiled(blob)[0][0]
        expected, row = [], 0
        for stride in (8, 16, 32):
            for y in range(416 // stride):
                for x in range(416 // stride):
                    values = output[row]
                    row += 1
                    number = int(values[5:].argmax())
                    score = float(values[4] * values[5 + number])
                    if score >= 0.05:
                        centre_x, centre_y = (values[0] + x) * stride, (values[1] + y) * stride
                        half_w, half_h = np.exp(values[2]) * stride / 2, np.exp(values[3]) * stride / 2
                        box = [centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h]
                        expected.append((score, number, box))
        expected.sort(key=lambda one: -one[0])
        kept: list[Any] = []
        for one in expected:
            if not any(other[1] == one[1] and plain_overlap(other[2], one[2]) > 0.45 for other in kept):
                kept.append(one)
        [found] = detectors.get(nano).detect([image])
        assert [one.label for one in found] == [yolox.COCO[number] for _, number, _ in kept]
        np.testing.assert_allclose([one.score for one in found], [score for score, *_ in kept], atol=1e-4)
        theirs = np.clip(np.array([box for *_, box in kept]) / [width, height, width, height], 0, 1)
        np.testing.assert_allclose([corners(one) for one in found], theirs, atol=1e-4)


def plain_overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (both - shared)


@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (1, 2)], ids=["wide", "tall"])
def test_boxes_are_where_the_objects_are_in_wide_and_tall_images(
    nano: str, photos: Any, columns: int, rows: int
) -> None:
    """A photo in the last half of a grey panorama: what is found there is what is found in the photo."""
    detector = detectors.get(nano)
    overlaps, shifts = [], []
    for image in photos[0]:
        alone = [one for one in detector.detect([image])[0] if one.score >= 0.7 and one.width * one.height > 0.1]
        if len(alone) != 1:
            continue
        padded = Image.new("RGB", (image.width * columns, image.height * rows), (114, 114, 114))
        padded.paste(image, (image.width * (columns - 1), image.height * (rows - 1)))
        expected = (corners(alone[0]) + [columns - 1, rows - 1] * 2) / ([columns, rows] * 2)
        same_class = [one for one in detector.detect([padded])[0] if one.label == alone[0].label]
        found = np.array([corners(one) for one in same_class]).reshape(-1, 4)
        each = boxes.overlaps(expected, found)
        overlaps.append(each.max(initial=0))
        if len(each):
            shifts.append(found[each.argmax()] - expected)
    assert len(overlaps) >= 5
    assert np.median(overlaps) >= 0.8
    assert np.abs(np.median(shifts, axis=0)).max() <= 0.01


def test_yolox_takes_its_classes_from_the_file_beside_it(own: Path) -> None:
    tiny_checkpoints.onnx(own / "signs" / "a.onnx", (1, 3, 32, 64), (1, 8 * 4 + 4 * 2 + 2, 5 + 2))
    (own / "signs" / "a.yaml").write_text("classes: [stop, yield]\nlicense: MIT\ntitle: Signs\n")
    (own / "other.onnx").write_bytes(b"an encoder, for all we know")
    [listed] = [spec for spec in detectors.all_specs() if spec.name.startswith("yolox:")]
    assert (listed.name, listed.title, listed.license) == ("yolox:signs/a.onnx", "Signs", "MIT")
    assert listed.classes == ("stop", "yield")
    detector = detectors.get(listed.name)
    assert detector.spec.classes == ("stop", "yield")
    assert detector.spec.image_side == 32
    assert detector.detect([Image.new("RGB", (64, 32))]) == [[]]


def bad_yolox(own: Path, *, shape: tuple[int, ...] = (1, 3, 32, 32), output: tuple[int, ...], yaml: str = "") -> None:
    tiny_checkpoints.onnx(own / "a.onnx", shape, output)
    if yaml:
        (own / "a.yaml").write_text(yaml)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda own: None, r"a\.onnx does not exist. Put the ONNX file"),
        (lambda own: (own / "a.onnx").write_text("<html>"), r"a\.onnx cannot be read as ONNX \(.+\). Export"),
        (lambda own: (own / "a.onnx").mkdir(), r"a\.onnx does not exist"),
        (partial(bad_yolox, output=(1, 21, 5)), r"output is 1×21×5, not 1×21×\(5 \+ classes\)"),
        (partial(bad_yolox, output=(1, 20, 85)), r"output is 1×20×85, not 1×21×"),
        (partial(bad_yolox, output=(1, 85)), r"output is 1×85, not"),
        (partial(bad_yolox, output=(1, 21, 7)), r"has 2 classes and nothing says what they are. .* a\.yaml"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="classes: [a]"), r"has 2 classes, but .* names 1. Correct"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="classes: [a, a]"), r"says a name twice"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="classes: 2"), r"is not a list of names"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="side: 100"), r"not a multiple of 32"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="side: 64"), r"32×32, but the YAML file .* a side of 64. Correct"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="[]: ["), r"a\.yaml cannot be read as YAML \(.+\). Correct"),
        (partial(bad_yolox, output=(1, 21, 7), yaml="- a"), r"a\.yaml is no mapping. Write"),
        (partial(bad_yolox, shape=(1, 1, 32, 32), output=(1, 21, 7)), r"input is 1×1×32×32, not 1×3×height×width"),
        (partial(bad_yolox, shape=(1, 3, 32), output=(1, 21, 7)), r"input is 1×3×32, not"),
        (partial(bad_yolox, shape=(1, 3, 40, 40), output=(1, 21, 7)), r"input of 40×40 is not a multiple of 32"),
    ],
)
def test_a_wrong_yolox_file_says_what_is_wrong(own: Path, make: Callable[[Path], object], sentence: str) -> None:
    make(own)
    with pytest.raises(DetectorUnavailable, match=sentence):
        detectors.get("yolox:a.onnx")


@pytest.mark.parametrize("prefix", ["yolox:", "transformers:", "words:"])
@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "link/x", "", ".", "a\0b"])
def test_no_path_leaves_the_folder(own: Path, prefix: str, path: str) -> None:
    (own / "link").symlink_to("/etc")
    with pytest.raises(DetectorUnavailable, match=r"leads out of|no path"):
        detectors.get(prefix + path)
    assert detectors.why_unavailable(prefix + path)


# transformers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tiny_checkpoints.BOXES)
def test_a_folder_of_transformers_is_a_detector(own: Path, kind: str) -> None:
    tiny_checkpoints.BOXES[kind](own / "models" / kind)
    detector = detectors.get(f"transformers:models/{kind}")
    images = noise((100, 60), (60, 120), (100, 60), (90, 54))
    found = detector.detect(images)
    assert_well_formed(found)
    assert detector.spec.classes
    assert "N/A" not in detector.spec.classes
    assert {one.label for image in found for one in image} <= set(detector.spec.classes)
    assert all(found)
    assert detector.detect([]) == []
    for image, together in zip(images, found, strict=True):
        [alone] = detector.detect([image])
        assert len(alone) == len(together)
        np.testing.assert_allclose([one.score for one in alone], [one.score for one in together], atol=1e-4)


def test_boxes_are_those_that_transformers_gives(own: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    tiny_checkpoints.rt_detr(own / "tiny")
    [image] = noise((120, 40))
    model = AutoModelForObjectDetection.from_pretrained(own / "tiny").eval()
    processor = AutoImageProcessor.from_pretrained(own / "tiny")
    with torch.inference_mode():
        outputs = model(**processor(images=[image], return_tensors="pt"))
    [theirs] = processor.post_process_object_detection(outputs, threshold=0.05, target_sizes=[(40, 120)])
    [ours] = detectors.get("transformers:tiny").detect([image])
    expected = np.clip(theirs["boxes"].numpy() / [120, 40, 120, 40], 0, 1)
    np.testing.assert_allclose([one.score for one in ours], theirs["scores"].numpy(), atol=1e-5)
    np.testing.assert_allclose([corners(one) for one in ours], expected, atol=1e-5)
    assert [one.label for one in ours] == [model.config.id2label[i] for i in theirs["labels"].tolist()]


@pytest.mark.parametrize("kind", tiny_checkpoints.WORDS)
def test_words_are_looked_for(own: Path, kind: str) -> None:
    tiny_checkpoints.WORDS[kind](own / kind)
    detector = detectors.get_for_words(f"words:{kind}")
    images = noise((100, 60), (60, 120), (100, 60))
    words = ["A cat", "dogs", "a red fire engine"]
    found = detector.detect_words(images, words)
    assert_well_formed(found)
    assert {one.label for image in found for one in image} <= set(words)
    assert all(found)
    for image, together in zip(images, found, strict=True):
        [alone] = detector.detect_words([image], words)
        np.testing.assert_allclose([one.score for one in alone], [one.score for one in together], atol=1e-3)
    assert {one.label for one in detector.detect_words(images[:1], ["Dr. Cat"])[0]} <= {"Dr. Cat"}
    assert detector.detect_words([], words) == []
    for nothing in ([], [""], ["a", " "]):
        with pytest.raises(DetectorError, match="No words"):
            detector.detect_words(images, nothing)


def test_a_word_has_the_score_of_its_likeliest_token(own: Path) -> None:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    tiny_checkpoints.grounding_dino(own / "tiny")
    [image] = noise((100, 60))
    model = AutoModelForZeroShotObjectDetection.from_pretrained(own / "tiny").eval()
    processor = AutoProcessor.from_pretrained(own / "tiny")
    inputs = processor(images=image, text="dogs. a cat.", return_tensors="pt")
    assert inputs["input_ids"].tolist() == [[2, 9, 10, 5, 7, 8, 5, 3]]  # [CLS] dog ##s . a cat . [SEP]
    with torch.inference_mode():
        tokens = model(**inputs).logits[0].sigmoid()
    of_words = torch.stack([tokens[:, 1:3].amax(dim=1), tokens[:, 4:6].amax(dim=1)], dim=1)
    [found] = detectors.get_for_words("words:tiny").detect_words([image], ["Dogs", "a cat"])
    best = of_words.max()
    assert found[0].score == pytest.approx(float(best), abs=1e-5)
    assert found[0].label == ["Dogs", "a cat"][int(of_words.argmax()) % 2]


def test_too_many_words_are_refused(own: Path) -> None:
    tiny_checkpoints.grounding_dino(own / "tiny")
    with pytest.raises(DetectorError, match="Give fewer"):
        detectors.get_for_words("words:tiny").detect_words(noise((50, 50)), ["a cat"] * 20)


def mixed(own: Path) -> None:
    """The description of a detector, the weights of an encoder."""
    tiny_checkpoints.vit(own / "a")
    weights = (own / "a" / "model.safetensors").read_bytes()
    tiny_checkpoints.yolos(own / "a")
    (own / "a" / "model.safetensors").write_bytes(weights)


def broken(own: Path) -> None:
    tiny_checkpoints.yolos(own / "a")
    (own / "a" / "model.safetensors").write_bytes(b"<html>")


def without(file: str) -> Callable[[Path], None]:
    def make(own: Path) -> None:
        tiny_checkpoints.yolos(own / "a")
        (own / "a" / file).unlink()

    return make


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda own: (own / "a").mkdir(), r"configuration of .*/a cannot be had \(.+\). Copy all files"),
        (without("config.json"), r"configuration of .*/a cannot be had \(.+\). Copy all files"),
        (without("model.safetensors"), r"weights of .*/a cannot be had \(.+\). Copy all files"),
        (without("preprocessor_config.json"), r"preprocessing of .*/a cannot be had \(.+\). Copy all files"),
        (broken, r"weights of .*/a cannot be had \(.+\). Copy all files"),
        (lambda own: tiny_checkpoints.vit(own / "a"), r"/a is a vit, which transformers has no object detection for"),
        (lambda own: tiny_checkpoints.owlv2(own / "a"), r"/a is a owlv2, which transformers has no object detection"),
        (mixed, r"weights of .*/a are not those of a yolos for object detection: .+ others are missing"),
    ],
)
def test_a_wrong_folder_says_what_is_wrong(own: Path, make: Callable[[Path], object], sentence: str) -> None:
    make(own)
    with pytest.raises(DetectorUnavailable, match=sentence):
        detectors.get("transformers:a")


def test_a_detector_of_classes_takes_no_words(own: Path) -> None:
    tiny_checkpoints.yolos(own / "a")
    with pytest.raises(DetectorUnavailable, match="is a yolos, which transformers has no detection by words for"):
        detectors.get_for_words("words:a")
    with pytest.raises(Refused, match="finds its own classes"):
        detectors.get_for_words("transformers:a")
    with pytest.raises(Refused, match="needs words"):
        detectors.get("words:a")


@pytest.mark.parametrize("get", [partial(detectors.get), partial(detectors.get_for_words)], ids=["boxes", "words"])
def test_an_id_of_the_hub_without_a_network(own: Path, monkeypatch: pytest.MonkeyPatch, get: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    prefix = "transformers:" if get.func is detectors.get else "words:"
    with pytest.raises(
        DetectorUnavailable, match=r"no-one/none-such on the .* HF_HUB_OFFLINE is set.* copy its folder"
    ):
        get(f"{prefix}no-one/none-such")


@pytest.mark.parametrize("name", ["not an id", "a/b/c", "a..b", "-a"])
def test_what_is_no_id_of_the_hub_is_not_asked_for(own: Path, name: str) -> None:
    with pytest.raises(DetectorUnavailable, match=r"neither a folder under .* nor an id of the Hugging Face hub"):
        detectors.get(f"transformers:{name}")


# All of them ---------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(detectors.UnknownDetector, match=r"no detector “nope”\. Use one of: starter"):
        detectors.get("nope")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> detectors.Detector:
        raise AssertionError("nothing is loaded")

    spec = DetectorSpec("mine", "Mine", "", ("a",), "MIT", "here", load, requires=("no_such_module",))
    monkeypatch.setattr(detectors, "_registry", lambda: {"mine": spec})
    with pytest.raises(DetectorUnavailable, match=r"“mine” cannot be used here\. The package no_such_module"):
        detectors.get("mine")


def test_a_detector_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Mine:
        spec: DetectorSpec

        def __init__(self) -> None:
            self.spec = detectors.spec("mine")
            loaded.append(self)

        def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
            return [[] for _ in images]

    spec = DetectorSpec("mine", "Mine", "", ("a",), "MIT", "here", Mine)
    monkeypatch.setattr(detectors, "_registry", lambda: {"mine": spec})
    monkeypatch.setattr(detectors, "_loaded", {})
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(detectors.get, ["mine"] * 32))
    assert given == loaded * 32


def test_other_packages_add_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, found: Any) -> None:
            self.value, self._found = "theirs", found

        def load(self) -> Any:
            return self._found

    def fails() -> Any:
        raise RuntimeError("broken")

    theirs = DetectorSpec("theirs", "Theirs", "", ("a",), "MIT", "there", Starter)
    entries = [Entry(fails), Entry(theirs), Entry(lambda: [theirs])]
    monkeypatch.setattr(detectors, "entry_points", lambda group: entries if group == "kindred.detectors" else [])
    detectors._registry.cache_clear()
    try:
        assert detectors.spec("theirs") is theirs
        assert detectors.spec(detectors.default()).classes == ("person",)
    finally:
        detectors._registry.cache_clear()


def test_listing_loads_no_heavy_library() -> None:
    program = (
        "import django, sys; django.setup(); from search import detectors; detectors.all_specs(); "
        "detectors.spec('transformers:a/b'); detectors.why_unavailable('starter'); "
        "print(sorted({'torch', 'transformers', 'openvino', 'tensorflow', 'faiss', 'scipy', 'inflect'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_several_threads_get_what_one_gets(photos: Any) -> None:
    images = photos[0][:8]
    detector = Starter()
    one_by_one = [detector.detect([image])[0] for image in images]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda image: detector.detect([image])[0], images)) == one_by_one
