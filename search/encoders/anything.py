"""A name without a prefix: a hub id, or a folder under ``ENCODERS_DIR``. Its files tell which family reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from search import weights

from . import checkpoints, sentences, timm_images, torchvision_operators, transformers_images, transformers_joint
from .base import Encoder, EncoderSpec, EncoderUnavailable, Report

log = structlog.get_logger(__name__)


def found() -> Iterator[EncoderSpec]:
    """The folders of models that somebody has put into ``ENCODERS_DIR``, as ``name`` or ``owner/name``."""
    root = weights.folder()
    for config in sorted((*root.glob("*/config*.json"), *root.glob("*/*/config*.json"))):
        files = config.parent
        if config.name != "config.json" and (files / "config.json").is_file():
            continue
        # Parts of a model of sentence-transformers have configurations of their own.
        if (files.parent / "modules.json").is_file() or not _has_weights(files):
            continue
        try:
            yield spec(str(files.relative_to(root)))
        except EncoderUnavailable as error:
            # Whoever names it is told; it must not keep the rest from being listed.
            log.warning("encoder_folder_not_listed", path=str(files), reason=str(error))


def _has_weights(files: Path) -> bool:
    return any(weights.is_weights(str(one.relative_to(files))) for one in files.rglob("*"))


def spec(name: str) -> EncoderSpec:
    """Raises ``WeightsUnavailable`` for what is neither."""
    checkpoint = weights.find(name)
    return EncoderSpec(
        name=name,
        title=checkpoint.said,
        description="Its files tell what it reads.",
        modalities=_modalities(weights.local(checkpoint)),
        outputs=(),
        license="",
        source=str(checkpoint),
        load=partial(_load, name),
        prepare=partial(_prepare, name),
        is_here=lambda: weights.local(checkpoint) is not None,
        requires=("torch", "transformers"),
    )


def _modalities(files: Path | None) -> frozenset[str]:
    """What it seems to read, by the names of its files; both while they are not here."""
    if files is None:
        return frozenset({"image", "text"})
    reads_images = (files / "preprocessor_config.json").is_file() or "architecture" in _config(files)
    reads_texts = any((files / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"))
    return frozenset(
        one for one, reads in (("image", reads_images), ("text", reads_texts or not reads_images)) if reads
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
