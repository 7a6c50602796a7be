"""The encoders: one file a family, all listed here, and those of other packages (entry points ``kindred.encoders``).

An entry point names an ``EncoderSpec`` or a function that returns a list of them.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points

import structlog

from search import weights
from search.weights import WeightsUnavailable

from . import (
    anything,
    catalogue,
    efficientnet_lite,
    minilm,
    own,
    sentences,
    starter,
    timm_images,
    transformers_images,
    transformers_joint,
)
from .base import Encoder, EncoderError, EncoderSpec, EncoderUnavailable, Output, Report, UnknownEncoder

log = structlog.get_logger(__name__)

# Read by OpenMP when torch is loaded. Its threads wait for each other by spinning, without end as it comes: as soon as
# another process wants the cores too, texts are embedded at 17 a second instead of 220. Alone, this costs nothing.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Prefix of a name → its family. Such names need not be listed: their family makes of them what it can.
_FAMILIES: dict[str, Callable[[str], EncoderSpec]] = {
    transformers_joint.PREFIX: transformers_joint.spec,
    transformers_images.PREFIX: transformers_images.spec,
    timm_images.PREFIX: timm_images.spec,
    sentences.PREFIX: sentences.spec,
    own.PREFIX: own.spec,
    own.PYTHON_PREFIX: own.python_spec,
}
_OURS = (starter.SPEC, efficientnet_lite.SPEC, minilm.SPEC)
_DEFAULTS = {"image": starter.SPEC.name, "text": minilm.SPEC.name}

_loading = threading.Lock()
_loaded: dict[str, Encoder] = {}


def all_specs() -> list[EncoderSpec]:
    """Every encoder that is known here, ours first. Looks through ``ENCODERS_DIR`` each time; loads nothing."""
    specs = _known()
    for one in (*own.found(), *anything.found()):
        specs.setdefault(one.name, one)
    return list(specs.values())


def spec(name: str) -> EncoderSpec:
    """What can be said of the encoder without its weights. Raises ``UnknownEncoder``.

    Its ``outputs`` are empty when only the weights tell them: see ``prepare``.
    """
    if found := _known().get(name):
        return found
    try:
        for prefix, family in _FAMILIES.items():
            if name.startswith(prefix):
                return family(name)
        if "/" in name or weights.inside(name).is_dir():
            return anything.spec(name)
    except (WeightsUnavailable, EncoderUnavailable) as error:
        raise UnknownEncoder(str(error)) from error
    raise UnknownEncoder(
        f"There is no encoder “{name}”. Use one of: {', '.join(one.name for one in all_specs())}; or a name that begins "
        f"{', '.join(_FAMILIES)}; or an id of the Hugging Face hub, as owner/name."
    )


def prepare(name: str, report: Report = lambda done, total: None) -> EncoderSpec:
    """Fetch the encoder's weights unless they are here, and check them; its spec, outputs included.

    ``report`` is told how many bytes have come, and may raise to stop it. Takes as long as the network does.
    Raises ``UnknownEncoder``, ``EncoderUnavailable``.
    """
    found = spec(name)
    if reason := why_unavailable(name):
        raise EncoderUnavailable(f"The encoder “{name}” cannot be used here. {reason}")
    if found.prepare is None:
        return found
    try:
        return found.prepare(report)
    except WeightsUnavailable as error:
        raise EncoderUnavailable(str(error)) from error


def default_for(modality: str) -> str:
    return _DEFAULTS[modality]


def why_unavailable(name: str) -> str:
    """A sentence on what is missing, or ``""`` when the encoder can be used. Loads nothing."""
    for module in spec(name).requires:
        if importlib.util.find_spec(module) is None:
            return f"The package {module} is not installed."
    return ""


def get(name: str) -> Encoder:
    """The loaded encoder; the first call in a process loads it. Raises ``UnknownEncoder``, ``EncoderUnavailable``."""
    if name not in _loaded:
        with _loading:
            if name not in _loaded:
                if reason := why_unavailable(name):
                    raise EncoderUnavailable(f"The encoder “{name}” cannot be used here. {reason}")
                try:
                    _loaded[name] = spec(name).load()
                except WeightsUnavailable as error:
                    raise EncoderUnavailable(str(error)) from error
    return _loaded[name]


def is_loaded(name: str) -> bool:
    return name in _loaded


def _known() -> dict[str, EncoderSpec]:
    """Those that need not lie in ``ENCODERS_DIR``; where a proposed one is, is looked up each time."""
    proposed = {one.name: one for one in catalogue.specs()}
    return {**_registry(), **proposed, **_registry()}


@cache
def _registry() -> dict[str, EncoderSpec]:
    specs = {one.name: one for one in _OURS}
    for one in _from_other_packages():
        specs.setdefault(one.name, one)
    return specs


def _from_other_packages() -> Iterator[EncoderSpec]:
    for entry_point in entry_points(group="kindred.encoders"):
        try:
            found = entry_point.load()
        except Exception as error:
            # Somebody else's package must not keep the rest from working.
            log.error("encoder_entry_point_failed", entry_point=entry_point.value, error=str(error))
            continue
        yield from [found] if isinstance(found, EncoderSpec) else found()


__all__ = [
    "Encoder",
    "EncoderError",
    "EncoderSpec",
    "EncoderUnavailable",
    "Output",
    "UnknownEncoder",
    "all_specs",
    "default_for",
    "get",
    "is_loaded",
    "prepare",
    "spec",
    "why_unavailable",
]
