"""Image-only encoders through timm (Wightman 2019): VGG-16, ResNet-50, Inception-v3, EfficientNet, ViT and every other
backbone.

Named ``timm:<a name of timm's, hub id, or folder under ENCODERS_DIR>``: ``timm:vgg16``,
``timm:efficientnet_b0.ra_in1k``, ``timm:timm/resnet50.a1_in1k``. An image's vector is what the network's classifier
would read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from search import weights
from search.weights import Checkpoint

from . import checkpoints, torchvision_operators
from .base import EncoderSpec, EncoderUnavailable, Output, Report
from .checkpoints import Described
from .images import ImageInput, Input, Interpolation

if TYPE_CHECKING:
    import torch

PREFIX = "timm:"


class TimmImages(checkpoints.ImageOnly):
    def __init__(self, name: str, runs_in: str | None = None) -> None:
        described = _described(name)
        super().__init__(described, _completed(name, described), _network, runs_in)


def _network(files: Path, rows: Input) -> torch.nn.Module:
    return rows.in_front_of(_model(files))


def _model(files: Path) -> torch.nn.Module:
    torchvision_operators.make_importable()
    import timm

    try:
        # Without classes, the classifier is left out and what it would read comes out.
        found: torch.nn.Module = timm.create_model(f"local-dir:{files}", pretrained=True, num_classes=0).eval()
    except Exception as error:
        # timm tells of a missing file, a broken one, an unknown architecture and weights of another one by exceptions of
        # many kinds.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderUnavailable(
            f"timm cannot read {files} ({reason}). A folder of timm's holds a config.json with an “architecture” and its "
            "model.safetensors: copy both there again."
        ) from error
    return found


def input_of(config: Mapping[str, Any]) -> ImageInput:
    """The preprocessing of timm's data config, as its evaluation transform does it.

    Raises ``EncoderUnavailable`` for a crop mode that keeps the whole image in a border.
    """
    _, height, width = config["input_size"]
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    mode = config.get("crop_mode") or "center"
    if mode == "squash":
        resize: int | tuple[int, int] = scaled
    elif mode == "center" and height == width:
        resize = scaled[0]
    else:
        raise EncoderUnavailable(f"Its crop mode “{mode}” at {height} × {width} is not known here. Name another model.")
    return ImageInput(
        resize=resize,
        crop=(height, width),
        interpolation=cast(Interpolation, config["interpolation"]),
        mean=config["mean"],
        std=config["std"],
    )


def _describe(files: Path, folder: Path) -> dict[str, Any]:
    import torch
    from timm.data import resolve_model_data_config

    model: Any = _model(files)
    rows = input_of(resolve_model_data_config(model))
    with torch.inference_mode():
        found: Any = rows.in_front_of(model)(*rows.example())
    return {
        "dimension": checkpoints.vectors_in(found, named=str(files)),
        "image": asdict(rows),
        "license": checkpoints.license_of(files),
    }


# What timm says of those in the catalogue. To ask it means to import it: seconds, for whoever opens the list of encoders first.
OFFERED = {
    "vgg16": "timm/vgg16.tv_in1k",
    "resnet50": "timm/resnet50.a1_in1k",
    "inception_v3": "timm/inception_v3.tv_in1k",
    "efficientnet_b0": "timm/efficientnet_b0.ra_in1k",
    "vit_base_patch16_224": "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
}


def _checkpoint(said: str) -> Checkpoint:
    """A name of timm's stands for the repository that timm itself would take. Raises ``WeightsUnavailable``."""
    found = weights.find(said)
    if found.path or "/" in said:
        return found
    if said in OFFERED:
        return Checkpoint(OFFERED[said], None)
    torchvision_operators.make_importable()
    from timm.models import get_pretrained_cfg, is_model

    config = get_pretrained_cfg(said) if is_model(said.partition(".")[0]) else None
    if config is None or not config.hf_hub_id:
        raise weights.WeightsUnavailable(
            f"timm has no model with weights “{said}”, and there is no folder {weights.folder() / said}. "
            "timm.list_pretrained() lists the names it knows."
        )
    return Checkpoint(config.hf_hub_id, None)


def _described(name: str) -> Described:
    return Described(_checkpoint(name.removeprefix(PREFIX)), "timm", _describe, libraries=("timm",))


def _completed(name: str, described: Described) -> EncoderSpec:
    return described.completed(spec(name), Output("visual", described.dimension, frozenset({"image"})))


def _prepare(name: str, report: Report) -> EncoderSpec:
    return checkpoints.prepare(
        _checkpoint(name.removeprefix(PREFIX)), lambda: _completed(name, _described(name)), report
    )


def spec(name: str) -> EncoderSpec:
    said = weights.find(name.removeprefix(PREFIX)).said
    return EncoderSpec(
        name=name,
        title=said,
        description="Finds pictures that look alike; understands no words.",
        modalities=frozenset({"image"}),
        outputs=(),
        license="",
        source=f"timm: {said}",
        load=partial(TimmImages, name),
        prepare=partial(_prepare, name),
        is_here=lambda: weights.local(_checkpoint(said)) is not None,
        requires=("torch", "timm"),
    )
