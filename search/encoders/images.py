"""Images as networks want them: one resize straight to the crop, bytes; the network itself scales the values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import runtime
from .base import Array, EncoderUnavailable, unit

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


class Input(Protocol):
    """How an image becomes a row of a network's input."""

    @property
    def least_side(self) -> int:
        """Pixels that the short side of an image must have, so that resizing it does not enlarge."""

    def __call__(self, image: Image.Image) -> npt.NDArray[Any]:
        """An RGB image as one row."""

    def rows(self, number: int) -> tuple[npt.NDArray[Any]]:
        """``number`` rows of noise, to try a network on."""

    def example(self) -> tuple[torch.Tensor, ...]:
        """Two rows, for torch."""

    def in_front_of(self, module: torch.nn.Module) -> torch.nn.Module:
        """``module``, which takes ``(n, 3, height, width)`` of scaled values, as one that takes these rows."""


class ImageNetwork:
    """A network of images with its input. Safe to call from several threads."""

    def __init__(self, network: runtime.Network, rows: Input, *, dimension: int, who: str) -> None:
        self.runtime = network.runtime
        self.dimension = dimension
        self.preprocess = rows
        self._network = network
        self._who = who

    @cached_property
    def batch_size(self) -> int:
        return runtime.best_batch(self._network, self.preprocess.rows)

    def encode(self, inputs: list[Any]) -> Array:
        """``n`` rows to ``(n, dimension)``, L2-normalised. Raises ``EncoderError``."""
        return unit(self._network(inputs)[0], who=self._who)


@dataclass(frozen=True)
class ImageInput:
    """What a network takes, read from its config.

    ``resize`` is the length of the short side, or ``(height, width)`` to squash the image to; ``crop`` is the
    ``(height, width)`` that is cut from the middle. Values become (x / 255 - mean) / std.

    Sizes are cut to whole pixels; where the middle lies between two, torchvision (and so timm) rounds it, transformers
    takes the one before (``floors``).
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    floors: bool = False

    @property
    def least_side(self) -> int:
        """Pixels that the short side of an image must have, so that resizing it does not enlarge."""
        return self.resize if isinstance(self.resize, int) else max(self.resize)

    def __call__(self, image: Image.Image) -> Pixels:
        """RGB image → ``(height, width, 3)``. Only the part that the crop keeps is resized."""
        height, width = self.crop
        if isinstance(self.resize, int):
            scale = self.resize / min(image.size)
            new_width, new_height = (max(self.resize, int(side * scale + 1e-6)) for side in image.size)
        else:
            new_height, new_width = self.resize
        middle = math.floor if self.floors else round
        left, top = middle((new_width - width) / 2), middle((new_height - height) / 2)
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


# Through the model's own processor -----------------------------------------------------------------------------------

# Differences of a value, in standard deviations: the same resize, rounded to bytes before or after it.
_SAME = 0.02
_PROBES = ((320, 240), (211, 333), (64, 64))


class ProcessorInput:
    """A processor of transformers, for preprocessing that ``ImageInput`` cannot say. Slower."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._shape = _run(processor, _photo((320, 240))).shape

    @property
    def least_side(self) -> int:
        return max(self._shape[1:])

    def __call__(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """RGB image → ``(3, height, width)`` of scaled values."""
        return _run(self._processor, image)

    def rows(self, number: int) -> tuple[npt.NDArray[np.float32]]:
        return (np.random.default_rng(0).standard_normal((number, *self._shape), dtype=np.float32),)

    def example(self) -> tuple[torch.Tensor, ...]:
        import torch

        return (torch.from_numpy(self.rows(2)[0]),)

    def in_front_of(self, module: torch.nn.Module) -> torch.nn.Module:
        return module


def as_image_input(processor: Any) -> ImageInput | None:
    """``processor`` said as an ``ImageInput`` that does the same; None where there is none.

    Its scaling is measured on a black and a white image, its resize and crop are read from its attributes, and both are
    compared with what it does to three images. Raises ``EncoderUnavailable`` for one that makes no images of one size.
    """
    theirs = [_run(processor, _photo(size)) for size in _PROBES]
    if len({one.shape for one in theirs}) > 1 or theirs[0].ndim != 3:
        raise EncoderUnavailable(
            f"Its {type(processor).__name__} makes images of several sizes, which cannot be encoded in one batch. "
            "Choose a variant of the model with one fixed size."
        )
    _, height, width = theirs[0].shape
    black, white = (
        _run(processor, Image.new("RGB", (64, 64), color)).mean(axis=(1, 2)) for color in ("black", "white")
    )
    span = np.maximum(white - black, 1e-6)
    names = {filter.value: name for name, filter in _FILTERS.items()}
    for resize in _resizes(processor, height, width):
        found = ImageInput(
            resize=resize,
            crop=(height, width),
            interpolation=cast(Interpolation, names.get(int(getattr(processor, "resample", 2)), "bilinear")),
            mean=_three(-black / span),
            std=_three(1 / span),
            floors=True,
        )
        if all(_is_same(found, size, one) for size, one in zip(_PROBES, theirs, strict=True)):
            return found
    return None


def _resizes(processor: Any, height: int, width: int) -> Iterator[int | tuple[int, int]]:
    size = dict(getattr(processor, "size", None) or {})
    if short := size.get("shortest_edge"):
        yield int(short)
        if part := getattr(processor, "crop_pct", None):
            yield int(short / part)
    if size.get("height") and size.get("width"):
        yield (int(size["height"]), int(size["width"]))
    yield (height, width)


def _is_same(ours: ImageInput, size: tuple[int, int], theirs: npt.NDArray[np.float32]) -> bool:
    pixels = ours(_photo(size)).astype(np.float32) / 255
    scaled = ((pixels - ours.mean) / ours.std).transpose(2, 0, 1)
    return scaled.shape == theirs.shape and float(np.abs(scaled - theirs).mean()) < _SAME


def _run(processor: Any, image: Image.Image) -> npt.NDArray[np.float32]:
    found = processor(images=image, return_tensors="np")["pixel_values"][0]
    return np.ascontiguousarray(found, dtype=np.float32)


def _photo(size: tuple[int, int]) -> Image.Image:
    """Waves in three colours: smooth as photographs are, different everywhere."""
    x, y = np.meshgrid(np.linspace(0, 9, size[0]), np.linspace(0, 7, size[1]))
    waves = np.stack([np.sin(x) * np.cos(y), np.sin(x + y), np.cos(x * 0.7 - y)], axis=-1)
    return Image.fromarray(np.uint8((waves + 1) * 127))


def _three(values: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    red, green, blue = (round(float(one), 6) for one in values)
    return red, green, blue
