"""The short texts that benchmarks run on: customer questions where they are, else sentences of twelve words."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

_QUESTIONS = Path(__file__).resolve().parents[3] / "shared" / "eval" / "banking77" / "texts.csv"
_WORDS = [
    "card",
    "money",
    "account",
    "where",
    "is",
    "my",
    "transfer",
    "late",
    "why",
    "how",
    "can",
    "change",
    "address",
    "fee",
    "phone",
    "lost",
    "top",
    "up",
]


def short_texts(number: int) -> list[str]:
    if _QUESTIONS.is_file():
        with _QUESTIONS.open(newline="") as lines:
            found = [row["text"] for row in csv.DictReader(lines)]
    else:
        randomness = np.random.default_rng(0)
        found = [" ".join(randomness.choice(_WORDS, 12)) + "?" for _ in range(number)]
    return [found[at % len(found)] for at in range(number)]
