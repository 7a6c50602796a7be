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
        """RGB image → ``(height, width, 3)``. Only the part that the crop keeps is resized."""
        height, width = self.crop
        if isinstance(self.resize, int):
            scale_x = scale_y = self.resize / min(image.size)
        else:
            scale_y, scale_x = self.resize[0] / image.height, self.resize[1] / image.width
        cut_x, cut_y = width / scale_x, height / scale_y
        left, top = (image.width - cut_x) / 2, (image.height - cut_y) / 2
        if left < -1e-6 or top < -1e-6:
            return self._padded(image, scale_x, scale_y)
        left, top = max(left, 0.0), max(top, 0.0)
        box = (left, top, min(left + cut_x, image.width), min(top + cut_y, image.height))
        return np.asarray(image.resize((width, height), _FILTERS[self.interpolation], box=box))

    def _padded(self, image: Image.Image, scale_x: float, scale_y: float) -> Pixels:
        """A crop greater than the resized image: black around it, as the reference libraries have it."""
        size = (round(image.width * scale_x), round(image.height * scale_y))
        resized = image.resize(size, _FILTERS[self.interpolation])
        height, width = self.crop
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return np.asarray(resized.crop((left, top, left + width, top + height)))

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
