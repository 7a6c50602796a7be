"""The detectors: one file a family, all listed here, and those of other packages (entry points ``kindred.detectors``).

An entry point names a ``DetectorSpec`` or a function that returns a list of them. Names with a prefix (``yolox:``,
``transformers:``, ``words:``) need not be listed: their family makes of them what it can.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from typing import cast

import structlog

from datasets.errors import Refused
from search.weights import Report, WeightsUnavailable

from . import catalogue, starter, transformers_boxes, transformers_words, yolox
from .base import (
    MOST_PER_IMAGE,
    SCORE_FLOOR,
    Detection,
    Detector,
    DetectorError,
    DetectorFault,
    DetectorSpec,
    DetectorUnavailable,
    UnknownDetector,
    WordDetector,
)

log = structlog.get_logger(__name__)

_OURS = (starter.SPEC,)
_DEFAULT = starter.SPEC.name
_FAMILIES: dict[str, Callable[[str], DetectorSpec]] = {
    yolox.PREFIX: yolox.spec,
    transformers_boxes.PREFIX: transformers_boxes.spec,
    transformers_words.PREFIX: transformers_words.spec,
}

_loading = threading.Lock()
_loaded: dict[str, Detector | WordDetector] = {}


def all_specs() -> list[DetectorSpec]:
    """Every detector that is known here, ours first. Looks through ``ENCODERS_DIR`` each time; loads nothing."""
    specs = _known()
    for one in yolox.found():
        specs.setdefault(one.name, one)
    return list(specs.values())


def spec(name: str) -> DetectorSpec:
    """Raises ``UnknownDetector``, and ``DetectorUnavailable`` for a name with a prefix that cannot be followed."""
    if found := _known().get(name):
        return found
    for prefix, family in _FAMILIES.items():
        if name.startswith(prefix):
            with _told():
                return family(name)
    known = ", ".join(one.name for one in all_specs())
    prefixes = ", ".join(f"{prefix}…" for prefix in _FAMILIES)
    raise UnknownDetector(f"There is no detector “{name}”. Use one of: {known}, or a name that begins {prefixes}.")


def default() -> str:
    return _DEFAULT


def why_unavailable(name: str) -> str:
    """A sentence on what is missing, or ``""`` when nothing is known to be. Loads nothing."""
    try:
        wanted = spec(name)
    except DetectorUnavailable as error:
        return str(error)
    for module in wanted.requires:
        if importlib.util.find_spec(module) is None:
            return f"The package {module} is not installed."
    return ""


def prepare(name: str, report: Report = lambda done, total: None) -> None:
    """Fetch the detector's weights unless they are here. ``report`` is told how many bytes have come, and may raise to
    stop it. Raises ``UnknownDetector``, ``DetectorUnavailable``.
    """
    if fetch := spec(name).fetch:
        with _told():
            fetch(report)


def get(name: str) -> Detector:
    """The loaded detector; the first call in a process loads it.

    Raises ``UnknownDetector``, ``DetectorUnavailable``, and ``Refused`` for one that needs words.
    """
    if spec(name).classes is None:
        raise Refused(f"The detector “{name}” needs words that say what to look for.")
    return cast(Detector, _get(name))


def get_for_words(name: str) -> WordDetector:
    """As ``get``, for detectors whose ``classes`` is None. Raises ``Refused`` for one that has classes of its own."""
    if spec(name).classes is not None:
        raise Refused(
            f"The detector “{name}” finds its own classes, not words. Use one that begins {transformers_words.PREFIX}…"
        )
    return cast(WordDetector, _get(name))


def is_loaded(name: str) -> bool:
    return name in _loaded


def _get(name: str) -> Detector | WordDetector:
    if name not in _loaded:
        with _loading:
            if name not in _loaded:
                if reason := why_unavailable(name):
                    raise DetectorUnavailable(f"The detector “{name}” cannot be used here. {reason}")
                with _told():
                    _loaded[name] = spec(name).load()
    return _loaded[name]


@contextmanager
def _told() -> Iterator[None]:
    """Weights that cannot be had, as a detector that cannot be had."""
    try:
        yield
    except WeightsUnavailable as error:
        raise DetectorUnavailable(str(error)) from error


def _known() -> dict[str, DetectorSpec]:
    """Those that need not lie in ``ENCODERS_DIR``; where a proposed one is, is looked up each time."""
    proposed = {one.name: one for one in catalogue.specs()}
    return {**_registry(), **proposed, **_registry()}


@cache
def _registry() -> dict[str, DetectorSpec]:
    specs = {one.name: one for one in _OURS}
    for one in _from_other_packages():
        specs.setdefault(one.name, one)
    return specs


def _from_other_packages() -> Iterator[DetectorSpec]:
    for entry_point in entry_points(group="kindred.detectors"):
        try:
            found = entry_point.load()
            specs = [found] if isinstance(found, DetectorSpec) else list(found())
        except Exception as error:
            # Somebody else's package must not keep the rest from working.
            log.error("detector_entry_point_failed", entry_point=entry_point.value, error=str(error))
            continue
        yield from specs


__all__ = [
    "MOST_PER_IMAGE",
    "SCORE_FLOOR",
    "Detection",
    "Detector",
    "DetectorError",
    "DetectorFault",
    "DetectorSpec",
    "DetectorUnavailable",
    "UnknownDetector",
    "WordDetector",
    "all_specs",
    "default",
    "get",
    "get_for_words",
    "is_loaded",
    "prepare",
    "spec",
    "why_unavailable",
]
