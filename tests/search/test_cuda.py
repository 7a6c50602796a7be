"""On a CUDA device everything gives what it gives on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from PIL import Image

from search import detectors
from search.encoders import runtime
from search.encoders.minilm import MiniLM
from search.encoders.sentences import Sentences
from search.encoders.starter import Starter
from search.encoders.timm_images import TimmImages
from search.encoders.torch_network import TorchNetwork
from search.encoders.transformers_images import TransformersImages
from search.encoders.transformers_joint import Joint
from tests.search import tiny_checkpoints, tiny_encoders
from tests.search.tiny_encoders import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

TEXTS = ["a photo of a cat", "the red car", "where", "a dog sleeps . the cat sleeps . a red car"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An ``ENCODERS_DIR`` of its own."""
    assert django_settings.DATA_DIR
    with override_settings(ENCODERS_DIR=tmp_path):
        yield tmp_path


def photos() -> list[Image.Image]:
    """Blurs of several shapes."""
    randomness = np.random.default_rng(0)
    sizes = [(300, 240), (240, 300), (640, 480), (224, 224)]
    small = [Image.fromarray(randomness.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in sizes]
    return [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=True)]


def vectors(encoder: Any) -> dict[str, Any]:
    """Of what it accepts."""
    accepted = {kind for output in encoder.spec.outputs for kind in output.accepts}
    found: dict[str, Any] = {}
    if "image" in accepted:
        made = encoder.encode_batch([encoder.preprocess(photo) for photo in photos()])
        found |= {f"images, {name}": array for name, array in made.items()}
    if "text" in accepted:
        found |= {f"texts, {name}": array for name, array in encoder.encode_texts(TEXTS).items()}
    return found


def assert_alike(load: Callable[[str], Any]) -> None:
    ours, theirs = vectors(load("cuda")), vectors(load("torch"))
    assert ours
    for name, array in ours.items():
        assert (array * theirs[name]).sum(axis=1).min() >= 0.999, name


def test_the_starter_of_images() -> None:
    assert_alike(Starter)


def test_the_starter_of_texts() -> None:
    assert_alike(MiniLM)


@pytest.mark.parametrize("build", [tiny_encoders.clip, tiny_encoders.siglip])
def test_joint_encoders(folder: Path, build: Callable[[Path], None]) -> None:
    build(folder / "model")
    assert_alike(lambda runs_in: Joint("joint:model", runs_in))


@pytest.mark.parametrize(
    "build",
    [
        tiny_encoders.vit,
        tiny_encoders.dinov2,
        tiny_encoders.dinov3,
        tiny_encoders.resnet,
        tiny_encoders.efficientnet,
    ],
)
def test_encoders_of_images(folder: Path, build: Callable[[Path], None]) -> None:
    build(folder / "model")
    assert_alike(lambda runs_in: TransformersImages("images:model", runs_in))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_encoders_of_timm(folder: Path, name: str) -> None:
    tiny_encoders.of_timm(name, folder / "model")
    assert_alike(lambda runs_in: TimmImages("timm:model", runs_in))


@pytest.mark.parametrize("build", [tiny_encoders.bert, tiny_encoders.sentences])
def test_encoders_of_texts(folder: Path, build: Callable[[Path], None]) -> None:
    build(folder / "model")
    assert_alike(lambda runs_in: Sentences("sentences:model", runs_in))


def test_what_the_device_has_no_memory_for_is_halved() -> None:
    class Wide(torch.nn.Module):
        """Takes 256 MB a row."""

        def forward(self, x: Any) -> Any:
            return x.repeat(1, 1 << 26).view(len(x), -1, 1 << 10).amax(dim=1)[:, :3]

    rows = np.arange(16, dtype=np.float32)[:, None]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (3 << 28)) / total)
    try:
        (found,) = TorchNetwork(Wide(), device="cuda")(rows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_array_equal(found, np.repeat(rows, 3, axis=1))


@pytest.mark.parametrize("kind", [*tiny_checkpoints.BOXES, *tiny_checkpoints.WORDS])
def test_detectors(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best boxes; among the many that a random network half believes in, the order may change."""
    images = [
        photo.resize(size) for photo, size in zip(photos(), [(100, 60), (60, 120), (100, 60), (90, 54)], strict=True)
    ]
    words = ["a cat", "dogs"]
    (tiny_checkpoints.BOXES | tiny_checkpoints.WORDS)[kind](folder / kind)
    spec = detectors.spec(f"{'words' if kind in tiny_checkpoints.WORDS else 'transformers'}:{kind}")
    best = {}
    for runs_in in ("cuda", "torch"):
        monkeypatch.setattr(runtime, "preferred", lambda runs_in=runs_in: runs_in)
        detector: Any = spec.load()
        assert detector._loaded.device == ("cuda" if runs_in == "cuda" else "cpu")
        found = detector.detect_words(images, words) if spec.classes is None else detector.detect(images)
        best[runs_in] = [[one.score for one in image[:5]] for image in found]
    for ours, theirs in zip(best["cuda"], best["torch"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.01)
