"""What a detector is: frozen data that describes it, and the code that finds objects once somebody needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from datasets.errors import Refused
from search.encoders.base import Facts
from search.weights import Report

# What is below is hardly ever an object, and there are hundreds of them an image. People choose a higher threshold when
# they count; from here on they can.
SCORE_FLOOR = 0.05
MOST_PER_IMAGE = 300


class DetectorUnavailable(Refused):
    """The weights or a library of the detector cannot be had here; the message says what to do."""


class UnknownDetector(Refused):
    """No detector has that name."""


class DetectorError(Exception):
    """The detector could not look at these images."""


class DetectorFault(Exception):
    """A detector, and no image, is at fault: it cannot be loaded, or can look at nothing."""

    def __init__(self, detector: str, problem: str) -> None:
        super().__init__(problem)
        self.detector = detector


@dataclass(frozen=True)
class Detection:
    """One object in one image. The box is relative to the image's size and lies within it: 0..1."""

    label: str
    score: float
    x: float  # of the left edge
    y: float  # of the upper edge
    width: float  # > 0
    height: float  # > 0


class Detector(Protocol):
    """A detector of classes that it was trained on, loaded. Safe to call from several threads."""

    spec: DetectorSpec

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        """What is in each RGB image, best first: scores from ``SCORE_FLOOR`` up, at most ``MOST_PER_IMAGE``.

        Raises ``DetectorError``.
        """


class WordDetector(Protocol):
    """A detector that is told in words what to look for, loaded. Safe to call from several threads."""

    spec: DetectorSpec

    def detect_words(self, images: list[Image.Image], words: list[str]) -> list[list[Detection]]:
        """As ``Detector.detect``; every label is one of ``words`` as given. Raises ``DetectorError``."""


@dataclass(frozen=True)
class DetectorSpec:
    """A detector as it can be listed before anything is loaded or downloaded."""

    name: str
    title: str
    description: str
    classes: tuple[str, ...] | None  # None: any words. Empty: told by the weights, see the loaded detector's own spec
    license: str
    source: str
    load: Callable[[], Detector | WordDetector]
    image_side: int = 0  # least short side in pixels that it wants; more is scaled down
    requires: tuple[str, ...] = ()  # modules that must be importable
    fetch: Callable[[Report], object] | None = None  # what is not here yet; None for what is
    is_here: Callable[[], bool] = lambda: True  # whether ``fetch`` has nothing to fetch. Asks no network
    facts: Facts | None = None
