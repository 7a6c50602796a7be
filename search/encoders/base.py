"""What an encoder is: frozen data that describes it, and the code that runs it once somebody needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.errors import Refused

Array = npt.NDArray[np.float32]
Accepts = Literal["image", "text"]
Report = Callable[[int, int], None]  # bytes that have come, of how many


class EncoderUnavailable(Refused):
    """The weights or a library of the encoder cannot be had here; the message says what to do."""


class UnknownEncoder(Refused):
    """No encoder has that name."""


class EncoderError(Exception):
    """The encoder could not make a vector of this input."""


class EncoderBroken(EncoderError):
    """The encoder itself is at fault, whatever the input."""


class EncoderFault(Exception):
    """An encoder, and no item, is at fault: it cannot be loaded, or gives nothing that could be stored."""

    def __init__(self, encoder: str, problem: str) -> None:
        super().__init__(problem)
        self.encoder = encoder


@dataclass(frozen=True)
class Output:
    """One kind of vector that an encoder makes; a dataset has one space for each."""

    name: str
    dimension: int
    accepts: frozenset[Accepts]  # both: images and texts share the space


class Encoder(Protocol):
    """The code of an encoder, loaded. Safe to call from several threads."""

    spec: EncoderSpec
    runtime: str  # what runs it, as a person reads it

    @property
    def batch_size(self) -> int:
        """Images that it encodes at once, in the pipeline."""

    def preprocess(self, image: Image.Image) -> Any:
        """An RGB image as the network's input, an array of fixed shape. Runs in the decoder threads."""

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        """``n`` inputs to ``(n, dimension)`` for every output that accepts images, L2-normalised.

        Raises ``EncoderError``.
        """

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        """``n`` texts to ``(n, dimension)`` for every output that accepts texts, L2-normalised.

        Raises ``EncoderError``.
        """


@dataclass(frozen=True)
class Facts:
    """What is known of weights that are not here yet."""

    dimension: int
    megabytes: int  # to be fetched
    cost: float  # of an image, where that of ViT-B/16 at 224 pixels is 1
    is_recommended: bool = False


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder as it can be listed before anything is loaded or downloaded."""

    name: str
    title: str
    description: str
    modalities: frozenset[str]  # what a dataset must hold to use it: image, text
    outputs: tuple[Output, ...]  # the first fills the default space
    license: str
    source: str
    load: Callable[[], Encoder]
    image_side: int = 0  # least side in pixels that ``preprocess`` wants; 0 for texts only
    requires: tuple[str, ...] = ()  # modules that must be importable
    # Fetches what is not here yet and finds out what the weights alone tell: ``outputs`` is empty until then. None for an
    # encoder that is here as soon as its packages are.
    prepare: Callable[[Report], EncoderSpec] | None = None
    is_here: Callable[[], bool] = lambda: True  # whether ``prepare`` has nothing to fetch. Asks no network
    facts: Facts | None = None


def unit(vectors: Any, *, who: str) -> Array:
    """``(n, d)`` scaled to length 1 each. Raises ``EncoderError`` for what has no direction."""
    array = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.all(np.isfinite(length)) or np.any(length < 1e-12):
        raise EncoderError(f"{who} gave a vector that is not a finite number or has no length.")
    return array / length


def last_line(error: BaseException) -> str:
    """Of what a library said: where it says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
