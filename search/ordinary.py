"""What is ordinary in a space: how near its items have their nearest neighbour, and how well words fit that nobody asked for.

Found out from a sample when a search first asks, and kept in this process for some minutes, or until the space has grown.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from . import encoders, indexing, samples, unrelated
from .calibration import Chance, Neighbours, Ordinary
from .models import EmbeddingSpace
from .vectors import Vectors

_KEPT_S = 300.0
_MOST_KEPT = 64
_GROWN = 0.05
# Of a sample: items whose nearest neighbour is looked for in all of it, and items that words are compared with.
_NEIGHBOURS_OF, _ITEMS = 256, 2_048
# More words than that are compared with sentences: these score otherwise than single words do.
_MOST_WORDS = 5
_TEXTS = {"words": unrelated.WORDS, "scenes": unrelated.SCENES, "remarks": unrelated.REMARKS}


@dataclass(frozen=True)
class _Kept:
    ordinary: Ordinary | None
    rows: int
    made_at: float

    def holds(self, rows: int) -> bool:
        return time.monotonic() - self.made_at < _KEPT_S and abs(rows - self.rows) <= _GROWN * self.rows


_kept: dict[tuple[int, str], _Kept] = {}
_lock = threading.Lock()


def of(space: EmbeddingSpace, rows: int, words: str) -> Ordinary | None:
    """For a search of ``space``, of about so many ``rows``, by these ``words``; by examples when there are none. ``None`` where
    there is nothing to look at."""
    kind = _kind(space, words)
    found = _kept.get((space.pk, kind))
    if found is not None and found.holds(rows):
        return found.ordinary
    ordinary = _neighbours(_sample(space, rows, samples.SIZE)) if not words else _chance(space, rows, kind)
    with _lock:
        _kept.pop((space.pk, kind), None)
        while len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[space.pk, kind] = _Kept(ordinary, rows, time.monotonic())
    return ordinary


def _kind(space: EmbeddingSpace, words: str) -> str:
    if not words:
        return "neighbours"
    if len(words.split()) <= _MOST_WORDS:
        return "words"
    return "scenes" if "image" in space.accepts else "remarks"


def _sample(space: EmbeddingSpace, rows: int, size: int) -> Vectors:
    """``(n, dimension)``. That of a large space is kept anyway; a small one would fill memory for nothing."""
    if rows >= indexing.LEAST_ROWS:
        return samples.of(space, rows).vectors[:size]
    found = samples.draw(space, max(1, rows), size=size)
    # In the order of the ids: of a space that is drawn whole, every process says the same.
    return found.vectors[np.argsort(found.item_ids)]


def _neighbours(sample: Vectors) -> Neighbours | None:
    if len(sample) < 2:
        return None
    asking = np.unique(np.linspace(0, len(sample) - 1, _NEIGHBOURS_OF).astype(int))
    scores = sample[asking] @ sample.T
    scores[np.arange(len(asking)), asking] = -np.inf  # itself
    return Neighbours(np.sort(scores.max(axis=1)))


def _chance(space: EmbeddingSpace, rows: int, kind: str) -> Chance | None:
    texts = _encoded(space.encoder, space.output, kind)
    return Chance.of(_sample(space, rows, _ITEMS) @ texts.T)


@lru_cache(maxsize=16)
def _encoded(encoder: str, output: str, kind: str) -> npt.NDArray[np.float32]:
    return encoders.get(encoder).encode_texts(_TEXTS[kind])[output]
