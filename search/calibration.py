"""What a score is worth: whether the best of a search stands out from what is ordinary in the space, and where to cut.

One test, whatever the search and its size, against scores of the same space that are known to mean nothing, or to mean little (a
conformal test: Vovk et al. 2005). docs/searching.md has how often it is right, and what else was tried.

- By examples or a picture, the best stands out unless it is among the lowest 5 % of the scores that items of the space have
  with their own nearest neighbour. Of queries that are like the items, so many are turned away.
- By words, it stands out when it is among the highest 10 % of what words reach that nobody asked for. Of words that have
  nothing to do with the items, so many are let through. Where all sorts of things are shown, every word finds something: no
  more is asked than what the best 5 % of the items have with the word that fits them best.
- The cut is half way between the middle of all scores and the best one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .scores import Scores, Spread

TURNED_AWAY = 0.05
LET_THROUGH = 0.1


@dataclass(frozen=True)
class Ordinary:
    """What is ordinary in a space."""

    bar: float | None  # the score with which an item stands out; None: too little is known
    is_of_words: bool

    @classmethod
    def of_neighbours(cls, scores: Scores) -> Ordinary:
        """Of the scores that items have with their nearest neighbours."""
        lowest = math.floor(TURNED_AWAY * (len(scores) + 1))
        return cls(float(np.sort(scores)[lowest - 1]) if lowest else None, is_of_words=False)

    @classmethod
    def of_words(cls, scores: Scores) -> Ordinary:
        """Of what items score, ``(items, words)``, with words that nobody asked for."""
        if not scores.size:
            return cls(None, is_of_words=True)
        reached = np.quantile(scores.max(axis=0), 1 - LET_THROUGH)
        return cls(float(min(reached, np.quantile(scores.max(axis=1), 1 - TURNED_AWAY))), is_of_words=True)


@dataclass(frozen=True)
class Calibration:
    stands_out: bool | None = None  # None: nothing was compared, or too little is known
    suggested: float | None = None  # the cut; None unless something stands out
    best: float | None = None  # of what is no example itself
    bar: float | None = None
    verdict: str = ""  # a sentence when nothing stands out


UNKNOWN = Calibration()


def judge(spread: Spread, ordinary: Ordinary, *, best: float | None = None) -> Calibration:
    """``spread`` is of the scores without those of the examples. ``best``: the best of them, where it is a sample."""
    best = spread.best if best is None else best
    if best is None or ordinary.bar is None:
        return Calibration(best=best)
    if best >= ordinary.bar:
        return Calibration(True, _cut(spread, best), best, ordinary.bar)
    return Calibration(False, None, best, ordinary.bar, _verdict(best, ordinary))


def _cut(spread: Spread, best: float) -> float:
    middle = spread.middle if spread.counted_number else best
    # Downwards, so that with all alike none falls below it.
    return math.floor(500 * (middle + best)) / 1000


def _verdict(best: float, ordinary: Ordinary) -> str:
    said = f"Nothing here is like that: the best score is {best:.2f}."
    if ordinary.is_of_words:
        return f"{said} One in ten words that have nothing to do with these items reaches {ordinary.bar:.2f}."
    return f"{said} Of the items here, 19 in 20 have {ordinary.bar:.2f} or more with their nearest neighbour."
