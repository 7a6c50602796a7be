"""Pictures that are dark, bright, flat, blurred, tiny or oddly shaped, and texts that hold next to nothing: from what was measured
when the file was opened.

A bound is one that would be wrong in any dataset, or, where datasets differ (sharpness, shape), 3.5 robust standard deviations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasets.models import Modality

from .base import Array, Found, Kind, Material, NothingToFind, as_score, unusual

# Of the mean luma and of twice its standard deviation, 0..1.
_DARK, _BRIGHT, _FLAT = 0.1, 0.93, 0.08
# Shorter than this in pixels, nothing much can be seen.
_TINY = 48
_LEAST_ASPECT_SPREAD = 0.15  # of the logarithm: where all have one shape, a slightly other one is not odd
_LEAST_SHARPNESS_SPREAD = 0.03
_SHORT = 3  # characters


def find(material: Material) -> list[Found]:
    if not len(material.ids):
        raise NothingToFind("The dataset has no items to look at.")
    is_text = material.dataset.modality == Modality.TEXT
    found = []
    for subject, scores, words in _of_texts(material) if is_text else _of_images(material):
        for at in np.flatnonzero(scores > 0.5).tolist():
            found.append(
                Found(
                    int(material.ids[at]),
                    float(min(scores[at], 1.0)),
                    words[at],
                    because=(subject, int(material.content[at])),
                    subject=subject,
                )
            )
    return found


def _of_images(material: Material) -> Iterator[tuple[str, Array, _Words]]:
    brightness, contrast = material.measured("brightness"), material.measured("contrast")
    sharpness = material.measured("sharpness")
    if not np.isfinite(brightness).any():
        raise NothingToFind("No picture has been opened yet, so that nothing is measured.")
    width, height = material.measured("width").astype(float), material.measured("height").astype(float)
    yield "dark", _below(brightness, _DARK), _Words("Very dark: its mean brightness is {:.2f} of 1.", brightness)
    yield (
        "bright",
        _below(1 - brightness, 1 - _BRIGHT),
        _Words("Nearly white: its mean brightness is {:.2f} of 1.", brightness),
    )
    yield "flat", _below(contrast, _FLAT), _Words("Hardly any contrast: {:.2f} of 1. It may be blank.", contrast)
    blurred = as_score(unusual(-sharpness, least_spread=_LEAST_SHARPNESS_SPREAD))
    usual = float(np.nanmedian(sharpness))
    yield "blurry", blurred, _Words(f"Blurred: its sharpness is {{:.2f}}, of most it is {usual:.2f}.", sharpness)
    side = np.where(width > 0, np.minimum(width, height), np.nan)
    yield "tiny", _below(side, _TINY), _Words("Tiny: its shorter side has {:.0f} pixels.", side)
    with np.errstate(divide="ignore", invalid="ignore"):
        aspect = np.where(height > 0, width / height, np.nan)
        shape = np.abs(np.log(aspect) - np.nanmedian(np.log(aspect)))
    odd = as_score(np.nan_to_num(shape, nan=0.0) / max(1.4826 * float(np.nanmedian(shape)), _LEAST_ASPECT_SPREAD))
    yield "aspect", odd, _Words("Oddly shaped: {:.2f} times as wide as high.", aspect)


def _of_texts(material: Material) -> Iterator[tuple[str, Array, _Words]]:
    length = material.measured("length").astype(float)
    yield "short", _below(length, _SHORT), _Words("Holds next to nothing: {:.0f} characters.", length)
    with np.errstate(divide="ignore"):
        size = np.log(np.maximum(length, 1))
    usual = float(np.median(length))
    long = as_score(unusual(size, least_spread=0.3))
    yield "long", long, _Words(f"Very long: {{:,.0f}} characters, of most it is {usual:,.0f}.", length)


class _Words:
    """A sentence for each item, made when it is asked for."""

    def __init__(self, sentence: str, values: Array) -> None:
        self._sentence, self._values = sentence, values

    def __getitem__(self, at: int) -> str:
        return self._sentence.format(float(self._values[at]))


def _below(values: Array, bound: float) -> Array:
    """0..1, a half at ``bound``, and more below."""
    return np.nan_to_num(1 - values / (2 * bound), nan=0.0)


KIND = Kind(
    "quality", "Quality", "Dark, bright, flat, blurred, tiny or oddly shaped pictures; texts that say nothing.", find
)
