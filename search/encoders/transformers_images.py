"""Image-only encoders through transformers: ViT (Dosovitskiy et al. 2021), DINOv2 and v3 (Oquab et al. 2023, Siméoni et
al. 2025), ResNet, EfficientNet, ConvNeXt, Swin, and whatever else ``AutoModel`` makes of pixels.

Named ``images:<hub id, or folder under ENCODERS_DIR>``. An image's vector is that of the class token, where the network
has one; else what it pools itself; else the mean over the image. A head for classification is left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import weights

from . import checkpoints
from .base import EncoderSpec, EncoderUnavailable, Output
from .checkpoints import Described
from .images import Input

if TYPE_CHECKING:
    import torch

PREFIX = "images:"
# A layer that classification checkpoints do not have: without its weights it gives noise, so it is not used.
_POOLER = "pooler."


class TransformersImages(checkpoints.ImageOnly):
    def __init__(self, name: str, runs_in: str | None = None) -> None:
        described = _described(name)
        super().__init__(described, _completed(name, described), _network, runs_in)


def _network(files: Path, rows: Input) -> torch.nn.Module:
    from torch import nn

    model, missing = checkpoints.model(files, may_lack=_POOLER)

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model: Any = model
            self.has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found = self.model(pixel_values=pixels)
            hidden: torch.Tensor = found.last_hidden_state
            if self.has_class_token:
                return hidden[:, 0]
            if not missing and getattr(found, "pooler_output", None) is not None:
                pooled: torch.Tensor = found.pooler_output.flatten(1)
                return pooled
            return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden.mean(dim=1)

    return rows.in_front_of(Pooled())


def _describe(files: Path, folder: Path) -> dict[str, Any]:
    import torch

    image = checkpoints.image_card(files)
    rows = checkpoints.input_of(image, files)
    network: Any = _network(files, rows)
    try:
        with torch.inference_mode():
            found = network(*rows.example())
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise EncoderUnavailable(
            f"{files} is a {checkpoints.config(files).model_type}, which makes no vectors of images alone "
            f"({error}). A CLIP or SigLIP is named “joint:…”."
        ) from error
    return {
        "dimension": checkpoints.vectors_in(found, named=str(files)),
        "image": image,
        "license": checkpoints.license_of(files),
    }


def _described(name: str) -> Described:
    return Described(weights.find(name.removeprefix(PREFIX)), "images", _describe, libraries=("transformers",))


def _completed(name: str, described: Described) -> EncoderSpec:
    return described.completed(spec(name), Output("visual", described.dimension, frozenset({"image"})))


def spec(name: str) -> EncoderSpec:
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return EncoderSpec(
        name=name,
        title=checkpoint.said,
        description="Finds pictures that look alike; understands no words.",
        modalities=frozenset({"image"}),
        outputs=(),
        license="",
        source=str(checkpoint),
        load=partial(TransformersImages, name),
        prepare=partial(checkpoints.prepare, checkpoint, lambda: _completed(name, _described(name))),
        is_here=lambda: weights.local(checkpoint) is not None,
        requires=("torch", "transformers"),
    )
