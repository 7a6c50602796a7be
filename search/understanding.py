"""What a search in words asks of the numbers that are known: the classes of the dataset's detectors, its measures.

The reading itself is in ``phrases``; here it is told which nouns are classes. A noun that is none is compared with them by
the starter's text encoder, whatever encoder the dataset has: the thresholds are measured with it (docs/words.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import counting
from datasets.models import Dataset, Modality

from . import encoders, phrases
from .encoders.base import Array, unit
from .phrases import Class, Part, Reading, words_of

if TYPE_CHECKING:
    import inflect

ENCODER = "starter-text"
# Cosine of two nouns from which on they mean the same, and how much nearer the class must be than the next one. Of 82
# synonyms of COCO's classes these find 42, and none of another class; of 147 nouns that are none, one (docs/words.md).
SYNONYM, MARGIN = 0.7, 0.05
# A word of a class's name is always near it: a “sign” is not yet a “stop sign”, but a “phone” is a “cell phone”.
PART_OF_NAME = 0.75
_MOST_COMPARED = 12  # nouns of one text that are compared: each is a pass of the network
_MOST_NOTES = 5

# What vectors do not tell: “man” is as near to “person” (.41) as “shirt” is (.39).
_PEOPLE = words_of(
    "man men woman women boy boys girl girls child children kid kids baby babies toddler toddlers infant infants adult"
    " adults guy guys lady ladies gentleman gentlemen folk folks human humans teenager teenagers people persons"
)


@dataclass(frozen=True)
class Understood:
    """A search, read: conditions, the words that are left for the language space, and what could not be looked up."""

    words: str
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def filter(self) -> dict[str, Any]:
        """All parts as one filter; a key that several of them have takes a list, of which all must hold."""
        joined: dict[str, list[Any]] = {}
        for part in self.parts:
            for key, value in part.filter.items():
                joined.setdefault(key, []).append(value)
        return {key: values[0] if len(values) == 1 else values for key, values in joined.items()}

    def as_json(self) -> dict[str, Any]:
        parts = [
            {"phrase": one.phrase, "source": one.source, "filter": dict(one.filter), "by": one.by} for one in self.parts
        ]
        return {"parts": parts, "words": self.words, "notes": list(self.notes)}


def understand(dataset: Dataset, text: str) -> Understood:
    """Whatever ``text`` is, it has some meaning. A query for each detector of the dataset and one more; a pass of the text
    encoder for a noun that is no class. Raises ``EncoderUnavailable`` where that cannot be loaded."""
    if dataset.modality != Modality.IMAGE or not text.strip():
        return Understood(text.strip())
    known = counting.known(dataset)

    def has_colours(what: Class) -> bool:
        return counting.knows_colours(*known[what.name.lower()])

    nouns = DetectedNouns({label: Class(name, model.name) for label, (model, name) in known.items()}, has_colours)
    reading = phrases.read(text, nouns)
    return Understood(reading.words, reading.parts, tuple(_notes(dataset, bool(known), reading)))


def _notes(dataset: Dataset, has_detector: bool, reading: Reading) -> list[str]:
    unknown = [f"“{noun[:80]}”" for noun in dict.fromkeys(reading.unknown)][:_MOST_NOTES]
    if unknown and not has_detector:
        return [
            f"No detector has looked at “{dataset.name}” yet, so nothing in it can be counted: {', '.join(unknown)} is "
            "searched as words. Start one under Regions."
        ]
    notes = [
        f"{noun} is none of the things that a detector here looks for, so this is searched as words."
        for noun in unknown
    ]
    notes += [
        f"The colours of what “{what.by}” has found are not known, so the colour of “{what.name}” is searched as words. "
        "Remove its layer under Regions and add it again, then it looks anew."
        for what in dict.fromkeys(reading.uncoloured)
    ]
    return notes


class DetectedNouns:
    """``phrases.Nouns`` of the classes that detectors look for: by name, in singular and plural, and by meaning."""

    def __init__(self, known: Mapping[str, Class], has_colours: Callable[[Class], bool]) -> None:
        """``known`` has the lower-case names of the classes."""
        self._known = known
        self.has_colours = has_colours
        self._forms = _forms(tuple(known))
        self._left = _MOST_COMPARED

    def named(self, words: Sequence[str]) -> tuple[Class, bool] | None:
        found = self._forms.get(" ".join(words))
        return (self._known[found[0]], found[1]) if found else None

    def meant(self, words: Sequence[str], *, surely: bool) -> Class | None:
        noun = " ".join(words)
        if noun in _PEOPLE:
            return self._known.get("person")
        if not self._known or not self._left:
            return None
        self._left -= 1
        label = _nearest(_singular(noun), tuple(self._known), surely)
        return self._known[label] if label else None

    def is_singular(self, word: str) -> bool:
        return _singular(word) == word


@lru_cache(maxsize=64)
def _forms(labels: tuple[str, ...]) -> dict[str, tuple[str, bool]]:
    """Every way to say a class → the class, and whether that is its singular and not its plural too."""
    forms: dict[str, tuple[str, bool]] = {}
    for label in labels:
        plain = label.replace("_", " ").replace("-", " ")
        *before, last = plain.split() or [""]
        plurals = {f"{last}s", _plural(last)} if last.isalpha() else set()
        for plural in plurals:
            forms.setdefault(" ".join([*before, plural]), (label, False))
        if (singular := _singular(last)) != last and _plural(singular) == last:
            forms.setdefault(" ".join([*before, singular]), (label, True))
    # Names go before what is made of them: detectors of words may look for “glass” and for “glasses”.
    for label in labels:
        plain = label.replace("_", " ").replace("-", " ")
        forms[" ".join(plain.split())] = (
            label,
            _plural(plain.split()[-1]) != plain.split()[-1] if plain.split() else True,
        )
    return forms


@cache
def inflections() -> inflect.engine:
    """The first call takes seconds: the library checks its own types as it is imported."""
    import inflect

    return inflect.engine()


@lru_cache(maxsize=4096)
def _plural(word: str) -> str:
    return str(inflections().plural_noun(word)) if word.isalpha() else word


@lru_cache(maxsize=4096)
def _singular(noun: str) -> str:
    *before, last = noun.split()
    found = inflections().singular_noun(last) if last.isalpha() else False
    return " ".join([*before, str(found) if found else last])


@lru_cache(maxsize=4096)
def _nearest(noun: str, labels: tuple[str, ...], surely: bool) -> str | None:
    """The class that ``noun`` means, by the cosine of their vectors."""
    cosines = _vectors(labels) @ _vectors((noun,))[0]
    order = np.argsort(-cosines)
    label = labels[int(order[0])]
    least = PART_OF_NAME if noun in label.split() else SYNONYM
    if not surely and noun in label.split():
        return None
    if cosines[order[0]] < least or (len(labels) > 1 and cosines[order[0]] - cosines[order[1]] < MARGIN):
        return None
    return label


@lru_cache(maxsize=512)
def _vectors(texts: tuple[str, ...]) -> Array:
    """``(n, dimension)``, of unit length."""
    encoder = encoders.get(ENCODER)
    return unit(encoder.encode_texts(list(texts))["text"], who=encoder.spec.title)
