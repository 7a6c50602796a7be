"""What a score is worth: whether the best of a search stand out from what is ordinary in the space, and where to cut.

The rule, the same for every search and every size (docs/searching.md has what it was measured on, and what else was tried):

- By examples or a picture, something stands out when its score is not among the lowest 5 % of those that items of the space
  have with their own nearest neighbour: a conformal test at that level (Vovk et al. 2005).
- By words, when there is a score at or above which at most one item in five would be by chance, as told by words that nobody
  asked for: an empirical null (Efron 2004) and its false discovery rate. Or when the best fits better than 95 % of the items
  fit the best of those words: where all sorts of things are shown, every word finds something, and chance tells nothing.
- The cut is half way between the middle of all scores and the best one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .scores import Scores, Spread

LEVEL = 0.05
FALSE_DISCOVERIES = 0.2
_CHANCE_BINS = 4_000


@dataclass(frozen=True)
class Evidence:
    """The scores of a search, without those of its examples."""

    spread: Spread
    compared: int  # vectors, so with regions more than items
    top: Scores  # the best, exactly, where ``spread`` is a sample that may lack them; best first

    @property
    def best(self) -> float | None:
        known = [self.spread.best, float(self.top[0]) if len(self.top) else None]
        return max((one for one in known if one is not None), default=None)


class Ordinary(Protocol):
    """What scores are worth nothing in a space."""

    def bar(self, compared: int) -> float | None:
        """The score with which a single item stands out; ``None`` where too little is known."""

    def is_surpassed(self, evidence: Evidence) -> bool | None:
        """``None`` where too little is known."""


@dataclass(frozen=True)
class Neighbours:
    """Scores of items with their nearest neighbour, the lowest first."""

    scores: Scores

    def bar(self, compared: int) -> float | None:
        lowest = math.floor(LEVEL * (len(self.scores) + 1))
        return float(self.scores[lowest - 1]) if lowest else None

    def is_surpassed(self, evidence: Evidence) -> bool | None:
        bar, best = self.bar(evidence.compared), evidence.best
        return None if bar is None or best is None else best >= bar


@dataclass(frozen=True)
class Chance:
    """Scores of items with words that nobody asked for."""

    above: npt.NDArray[np.float64]  # share of all pairs in each of the bins of [-1, 1] and in those above it
    fitting: float  # what 19 in 20 items do not reach with the word that fits them best

    @classmethod
    def of(cls, scores: Scores) -> Chance | None:
        """``scores`` is ``(items, words)``."""
        if not scores.size:
            return None
        counts = np.bincount(_chance_bins(scores.ravel()), minlength=_CHANCE_BINS)
        return cls(np.cumsum(counts[::-1])[::-1] / scores.size, float(np.quantile(scores.max(axis=1), 1 - LEVEL)))

    def share(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Of pairs that score as much as each of ``scores`` or more."""
        return self.above[_chance_bins(scores)]

    def bar(self, compared: int) -> float | None:
        enough = np.flatnonzero(self.above * compared <= FALSE_DISCOVERIES)
        lowest = -1 + 2 * enough[0] / _CHANCE_BINS if len(enough) else 1.0
        return float(min(lowest, self.fitting))

    def is_surpassed(self, evidence: Evidence) -> bool | None:
        best = evidence.best
        if best is None:
            return None
        if best >= self.fitting:
            return True
        scores = np.concatenate([evidence.spread.edges()[:-1][evidence.spread.counts > 0], evidence.top])
        top = np.sort(evidence.top)
        found = np.maximum(evidence.spread.at_least(scores), len(top) - np.searchsorted(top, scores))
        by_chance = evidence.compared * self.share(scores)
        return bool((by_chance <= FALSE_DISCOVERIES * found)[found > 0].any())


def _chance_bins(scores: Scores) -> npt.NDArray[np.int64]:
    return np.clip((np.asarray(scores, np.float64) + 1) * (_CHANCE_BINS / 2), 0, _CHANCE_BINS - 1).astype(np.int64)


@dataclass(frozen=True)
class Calibration:
    stands_out: bool | None = None  # None: nothing was compared, or too little to tell
    suggested: float | None = None  # the cut; None unless something stands out
    best: float | None = None  # of what is no example itself
    bar: float | None = None  # the score with which a single item stands out
    verdict: str = ""  # a sentence when nothing stands out


UNKNOWN = Calibration()


def judge(evidence: Evidence, ordinary: Ordinary | None) -> Calibration:
    best = evidence.best
    if best is None or ordinary is None:
        return Calibration(best=best)
    bar, stands_out = ordinary.bar(evidence.compared), ordinary.is_surpassed(evidence)
    if stands_out:
        return Calibration(True, cut(evidence), best, bar)
    return Calibration(stands_out, None, best, bar, "" if stands_out is None else _verdict(best, bar, ordinary))


def cut(evidence: Evidence) -> float | None:
    """Half way from the middle of all to the best."""
    if evidence.best is None:
        return None
    # Downwards, so that with all alike none falls below it.
    return math.floor(500 * (evidence.spread.middle + evidence.best)) / 1000 if evidence.spread.counted_number else None


def _verdict(best: float, bar: float | None, ordinary: Ordinary) -> str:
    reached = f"Nothing here is like that: the best score is {best:.2f}."
    if isinstance(ordinary, Neighbours):
        return f"{reached} Of the items here, 19 in 20 have {bar:.2f} or more with their nearest neighbour."
    return f"{reached} It takes {bar:.2f} to stand out from what words score that have nothing to do with these items."
