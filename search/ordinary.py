"""What is ordinary in a space: how near its items have their nearest neighbour, and how well words fit that nobody asked for.

Found out from a sample when a search first asks, and kept in this process for some minutes, or until the space has grown.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import encoders, indexing, samples, unrelated
from .calibration import Ordinary
from .models import EmbeddingSpace
from .vectors import Vectors

_KEPT_S = 300.0
_MOST_KEPT = 64
_GROWN = 0.05
# Items whose nearest neighbour is looked for, in all of the sample.
_ASKING = 256
# More words than that are compared with sentences: these score otherwise than single words do.
_MOST_WORDS = 5
_TEXTS = {"words": unrelated.WORDS, "scenes": unrelated.SCENES, "remarks": unrelated.REMARKS}


@dataclass(frozen=True)
class _Kept:
    ordinary: Ordinary
    rows: int
    made_at: float

    def holds(self, rows: int) -> bool:
        return time.monotonic() - self.made_at < _KEPT_S and abs(rows - self.rows) <= _GROWN * self.rows


_kept: dict[tuple[int, str], _Kept] = {}
_being_made: set[tuple[int, str]] = set()
_lock = threading.Lock()


def of(space: EmbeddingSpace, rows: int, words: str) -> Ordinary:
    """For a search of ``space``, of about so many ``rows``, by these ``words``; by examples when there are none."""
    key = (space.pk, _kind(space, words))
    found = _kept.get(key)
    # One makes it anew. Who has an old one need not wait for it.
    if found is not None and (found.holds(rows) or key in _being_made):
        return found.ordinary
    _being_made.add(key)
    try:
        sample = _sample(space, rows)
        ordinary = _by_neighbours(sample) if not words else Ordinary.of_words(sample @ _encoded(space, key[1]).T)
        with _lock:
            _kept.pop(key, None)
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[key] = _Kept(ordinary, rows, time.monotonic())
        return ordinary
    finally:
        _being_made.discard(key)


def _kind(space: EmbeddingSpace, words: str) -> str:
    if not words:
        return "neighbours"
    if len(words.split()) <= _MOST_WORDS:
        return "words"
    return "scenes" if "image" in space.accepts else "remarks"


def _sample(space: EmbeddingSpace, rows: int) -> Vectors:
    """``(n, dimension)``. That of a large space is kept anyway; a small one would fill memory for nothing."""
    if rows >= indexing.LEAST_ROWS:
        return samples.of(space, rows).vectors
    found = samples.draw(space, max(1, rows))
    # In the order of the ids: of a space that is drawn whole, every process says the same.
    return found.vectors[np.argsort(found.item_ids)]


def _by_neighbours(sample: Vectors) -> Ordinary:
    asking = np.unique(np.linspace(0, len(sample) - 1, min(len(sample), _ASKING)).astype(int))
    scores = sample[asking] @ sample.T
    scores[np.arange(len(asking)), asking] = -np.inf  # itself
    return Ordinary.of_neighbours(scores.max(axis=1) if len(sample) > 1 else scores[:0].ravel())


def _encoded(space: EmbeddingSpace, kind: str) -> Vectors:
    return _all_encoded(space.encoder, kind)[space.output]


@lru_cache(maxsize=16)
def _all_encoded(encoder: str, kind: str) -> dict[str, Vectors]:
    return encoders.get(encoder).encode_texts(_TEXTS[kind])
