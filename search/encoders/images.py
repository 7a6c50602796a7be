"""Images as networks want them: one resize straight to the crop, bytes; the network itself scales the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImageInput:
    """What a network takes, read from its config.

    ``resize`` is the length of the short side, or ``(height, width)`` to squash the image to; ``crop`` is the
    ``(height, width)`` that is cut from the middle. Values become (x / 255 - mean) / std.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def least_side(self) -> int:
        """Pixels that the short side of an image must have, so that resizing it does not enlarge."""
        return self.resize if isinstance(self.resize, int) else max(self.resize)

    def __call__(self, image: Image.Image) -> Pixels:
        """RGB image → ``(height, width, 3)``. Only the part that the crop keeps is resized.

        Sizes are cut and offsets rounded as torchvision, timm and transformers do it.
        """
        height, width = self.crop
        if isinstance(self.resize, int):
            scale = self.resize / min(image.size)
            new_width, new_height = (max(self.resize, int(side * scale + 1e-6)) for side in image.size)
        else:
            new_height, new_width = self.resize
        left, top = round((new_width - width) / 2), round((new_height - height) / 2)
        if left < 0 or top < 0:
            # A crop greater than the image: black around it.
            resized = image.resize((new_width, new_height), _FILTERS[self.interpolation])
            return np.asarray(resized.crop((left, top, left + width, top + height)))
        scale_x, scale_y = image.width / new_width, image.height / new_height
        box = (left * scale_x, top * scale_y, (left + width) * scale_x, (top + height) * scale_y)
        box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
        return np.asarray(image.resize((width, height), _FILTERS[self.interpolation], box=box))

    def rows(self, number: int) -> tuple[Pixels]:
        """``number`` images of noise, to try a network on."""
        shape = (number, *self.crop, 3)
        return (np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),)

    def example(self) -> tuple[torch.Tensor, ...]:
        import torch

        return (torch.from_numpy(self.rows(2)[0]),)

    def in_front_of(self, module: torch.nn.Module) -> torch.nn.Module:
        """``module``, which takes ``(n, 3, height, width)`` of scaled values, as one that takes ``(n, height, width,
        3)`` of bytes: a quarter of the memory on the way, and the scaling is done where it costs nothing."""
        import torch
        from torch import nn

        mean, std = torch.tensor(self.mean) * 255, torch.tensor(self.std) * 255

        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = module
                self.mean: torch.Tensor
                self.std: torch.Tensor
                self.register_buffer("mean", mean.view(1, 3, 1, 1))
                self.register_buffer("std", std.view(1, 3, 1, 1))

            def forward(self, images: torch.Tensor) -> Any:
                return self.module((images.permute(0, 3, 1, 2).float() - self.mean) / self.std)

        return Scaled()
