"""A name without a prefix: a hub id, or a folder under ``ENCODERS_DIR``. Its files tell which family reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from search import weights

from . import checkpoints, sentences, timm_images, torchvision_operators, transformers_images, transformers_joint
from .base import Encoder, EncoderSpec, EncoderUnavailable, Report


def spec(name: str) -> EncoderSpec:
    """Raises ``WeightsUnavailable`` for what is neither."""
    checkpoint = weights.find(name)
    return EncoderSpec(
        name=name,
        title=checkpoint.said,
        description="Its files tell what it reads.",
        modalities=frozenset({"image", "text"}),
        outputs=(),
        license="",
        source=str(checkpoint),
        load=partial(_load, name),
        prepare=partial(_prepare, name),
        requires=("torch", "transformers"),
    )


def _load(name: str) -> Encoder:
    return _of_family(name).load()


def _prepare(name: str, report: Report) -> EncoderSpec:
    found = _of_family(name, report)
    assert found.prepare
    return replace(found.prepare(report), name=name)


def _of_family(name: str, report: Report = lambda done, total: None) -> EncoderSpec:
    """Raises ``EncoderUnavailable``."""
    files = weights.fetch(weights.find(name), report)
    if (files / "modules.json").is_file() or (files / "config_sentence_transformers.json").is_file():
        return sentences.spec(sentences.PREFIX + name)
    if "architecture" in _config(files):
        return timm_images.spec(timm_images.PREFIX + name)
    torchvision_operators.make_importable()
    model = checkpoints.model_class(files)
    if checkpoints.is_joint(model):
        return transformers_joint.spec(transformers_joint.PREFIX + name)
    if model.main_input_name == "pixel_values":
        return transformers_images.spec(transformers_images.PREFIX + name)
    return sentences.spec(sentences.PREFIX + name)


def _config(files: Path) -> dict[str, Any]:
    try:
        said = json.loads((files / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(
            f"{files} holds no config.json that can be read ({error}). Copy all files of the model there."
        ) from error
    return said if isinstance(said, dict) else {}
