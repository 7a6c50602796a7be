"""What a search says that can be looked up instead of compared: numbers, places and colours of objects, measures, colours.

Pure: which nouns are classes, ``Nouns`` tells. ``read`` never raises; what it does not understand stays words.

    [quantity] [size] [colour] noun [place | size | arrangement] …     “two red cars at the bottom right”
    [mostly] colour [image]                                            “mostly blue”
    a measure that is said of the image                                “dark”, “photos in portrait format”
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from datasets.colours import COLOUR_NAMES

# What the words stand for. The same table is in docs/words.md.
DARK, BRIGHT = "<0.25", ">0.75"  # mean luma
BLURRY, SHARP = "<0.2", ">0.5"  # see datasets.imaging._sharpness
LOW_CONTRAST, HIGH_CONTRAST = "<0.2", ">0.7"  # twice the standard deviation of the luma
SQUARE, PANORAMA = "0.95..1.05", ">2"  # width over height
LOW_RESOLUTION, HIGH_RESOLUTION = "<640", ">=1080"  # pixels of both sides
FAR, NEAR, FILLING = "<0.02", ">0.2", ">0.5"  # a box's share of the image
MOSTLY, COLOURED = ">0.5", ">0.3"  # a colour's share of the image
MOST_PARTS = 20
GREATEST_NUMBER = 100  # “2024 cars” and “route 666” are no numbers of objects


class Source(StrEnum):
    DETECTIONS = "detections"
    MEASURES = "measures"
    COLOUR = "colour"


@dataclass(frozen=True)
class Part:
    """A phrase of a search, and the condition that it stands for: keys of the filter with their values."""

    phrase: str
    source: Source
    filter: Mapping[str, Any]
    by: str = ""  # the model whose detections answer it


@dataclass(frozen=True)
class Reading:
    parts: tuple[Part, ...] = ()
    words: str = ""
    unknown: tuple[str, ...] = ()  # nouns that were to be counted or placed and are no class
    uncoloured: tuple[Class, ...] = ()  # classes that were asked for by a colour, which is not known of them


class Class(NamedTuple):
    name: str
    by: str  # the model that looks for it


class Nouns(Protocol):
    """Which nouns are classes that a detector looks for."""

    def named(self, words: Sequence[str]) -> tuple[Class, bool] | None:
        """The class of that name, in any number, and whether these words are its singular."""

    def meant(self, words: Sequence[str], *, surely: bool) -> Class | None:
        """The class that means the same. ``surely``: there is nothing else that says that objects are meant."""

    def is_singular(self, word: str) -> bool: ...

    def has_colours(self, what: Class) -> bool:
        """Whether the colours of its boxes are known."""


def read(text: str, nouns: Nouns) -> Reading:
    """Takes time in proportion to the text's length."""
    reader = _Reader(text, nouns)
    found = list(reader.parts())
    words = _rest(text, reader.tokens, found) if found else text.strip()
    return Reading(tuple(one.part for one in found), words, tuple(reader.unknown), tuple(reader.uncoloured))


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words ---------------------------------------------------------------------------------------------------------------

_NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20,
}  # fmt: skip
_IMAGES = words_of("image images photo photos photograph photographs picture pictures pic pics frame frames shot shots")
_FRAME = _IMAGES | {"scene", "view", "screen"}
_DETERMINERS = {"a", "an", "the", "any"}
# What joins parts, and what people say before they say what they look for. Dropped beside a part.
DROPPED = (
    _IMAGES
    | _DETERMINERS
    | words_of(
        "show me find search for give get all only please of with that which where there is are have has having"
        " containing contains contain showing shows in and but also plus"
    )
)
_JOINS = {"and", "but", "with", "also", "plus", "that", "which", "where", "are", "is", "in", "of"}
# A part beside one of these is half of something that conditions, which all hold, cannot say.
_SPOILS = {"or", "nor", "not", "neither", "either", "than", "except", '"', "“", "”", "„", "«", "»"}
_NO_NOUN = (
    DROPPED
    | _SPOILS
    | set(_NUMBERS)
    | words_of(
        "on at to from by into onto over under behind near beside between next without no as if then it its this these those"
        " who while during anywhere visible present alone together here far away left right more less fewer least most exactly"
        " be was were each other"
    )
)
_PLACES = {
    "left": "left",
    "right": "right",
    "top": "top",
    "upper": "top",
    "bottom": "bottom",
    "lower": "bottom",
    "center": "center",
    "centre": "center",
    "middle": "center",
    "central": "center",
}
_PARTICIPLE = ("ing", "ed")
_SHADES = {"dark", "light", "bright", "deep", "pale", "non"}
_COLOURS = {name: name for name in COLOUR_NAMES} | {"gray": "grey", "violet": "purple"}
_SIZES = {"small": FAR, "tiny": FAR, "large": NEAR, "big": NEAR, "huge": NEAR}


def _phrases(said: Mapping[str, str]) -> list[tuple[tuple[str, ...], str]]:
    """Phrases with their meaning, the longest first."""
    pairs = [(tuple(phrase.split()), value) for phrases, value in said.items() for phrase in phrases.split(", ")]
    return sorted(pairs, key=lambda pair: -len(pair[0]))


_SIZE_PHRASES = _phrases(
    {
        "in the background, in background, in the distance, far away": FAR,
        "in the foreground, in foreground, close up, up close": NEAR,
        **{
            f"{verb} the {frame}": FILLING
            for verb in ("filling", "fills", "fill")
            for frame in ("frame", "image", "picture", "photo", "whole image", "whole frame")
        },
    }
)
_ARRANGEMENTS = _phrases({"side by side, next to each other, beside each other": "side by side"})
_MEASURES: list[tuple[tuple[str, ...], Mapping[str, str]]] = sorted(
    (
        (tuple(phrase.split()), condition)
        for phrases, condition in (
            ("dark, very dark, too dark, underexposed", {"brightness": DARK}),
            ("bright, very bright, too bright, overexposed", {"brightness": BRIGHT}),
            ("blurry, blurred, very blurry, too blurry, unsharp, out of focus", {"sharpness": BLURRY}),
            ("sharp, very sharp, in focus", {"sharpness": SHARP}),
            ("low contrast, little contrast", {"contrast": LOW_CONTRAST}),
            ("high contrast, much contrast", {"contrast": HIGH_CONTRAST}),
            ("portrait format, portrait orientation, vertical format, vertical orientation", {"aspect": "<1"}),
            ("landscape format, landscape orientation, horizontal format, horizontal orientation", {"aspect": ">1"}),
            ("square format, square", {"aspect": SQUARE}),
            ("panorama, panoramas, panoramic, panorama format", {"aspect": PANORAMA}),
            ("low resolution, low res", {"width": LOW_RESOLUTION, "height": LOW_RESOLUTION}),
            ("high resolution, high res", {"width": HIGH_RESOLUTION, "height": HIGH_RESOLUTION}),
        )
        for phrase in phrases.split(", ")
    ),
    key=lambda pair: -len(pair[0]),
)
# Words that also have a meaning of their own: a measure only when they are said of an image.
_OF_AN_IMAGE = {("square",)}


# Reading -------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\d+\s*(?:-|–|\.\.)\s*\d+|\d+\+|[^\W_]+(?:['’][^\W_]+)*|[<>]=?|\S")
_RANGE = re.compile(r"(\d+)\D+(\d+)")


class _Token(NamedTuple):
    word: str
    start: int
    end: int


class _Found(NamedTuple):
    part: Part
    begin: int  # its tokens: from
    end: int  # to, exclusive
    kept: tuple[int, int] = (0, 0)  # tokens in it that stay words as well


class _Noun(NamedTuple):
    found: Class | None
    end: int
    kept: tuple[int, int] = (0, 0)


class _Reader:
    """Every method takes the position of a token and gives what stands there, with the position after it, or None."""

    def __init__(self, text: str, nouns: Nouns) -> None:
        self.text, self.nouns = text, nouns
        self.tokens = _tokens(text)
        self.unknown: list[str] = []
        self.uncoloured: list[Class] = []

    def parts(self) -> Iterator[_Found]:
        at, number = 0, 0
        while at < len(self.tokens) and number < MOST_PARTS:
            found = self._measure(at) or self._image_colour(at) or self._objects(at)
            if isinstance(found, _Found) and self._stands_alone(found):
                yield found
                number += 1
            # What was not understood as a whole is not understood in part: “two unicorns” of “more than two unicorns”.
            at = found.end if isinstance(found, _Found) else found or at + 1

    def word(self, at: int) -> str:
        return self.tokens[at].word if 0 <= at < len(self.tokens) else ""

    def _says(self, at: int, words: Sequence[str]) -> bool:
        return all(self.word(at + offset) == word for offset, word in enumerate(words))

    def _phrase(self, begin: int, end: int) -> str:
        return self.text[self.tokens[begin].start : self.tokens[end - 1].end]

    def _stands_alone(self, found: _Found) -> bool:
        """Nothing beside it makes it the half of something else: “or”, “not”, quotation marks, a hyphen, “left of the …”."""
        start, end = self.tokens[found.begin].start, self.tokens[found.end - 1].end
        if "-" in (self.text[start - 1 : start], self.text[end : end + 1]):
            return False
        if self.word(found.begin - 1) in _SPOILS or self.word(found.end) in _SPOILS:
            return False
        before = found.begin - 1
        while self.word(before) in _DETERMINERS:
            before -= 1
        is_of = self.word(before) == "of"
        return not (is_of and self.word(before - 1) in {*_PLACES, "front", "back", "side", "inside", "outside"})

    # Measures and colours of the image

    def _measure(self, at: int) -> _Found | None:
        for words, condition in _MEASURES:
            if not self._says(at, words):
                continue
            end = at + len(words)
            of_image = self.word(end) in _IMAGES
            if of_image or (words not in _OF_AN_IMAGE and self._begins_here(at) and self._ends_here(end)):
                return _Found(Part(self._phrase(at, end), Source.MEASURES, condition), at, end)
        return None

    def _begins_here(self, at: int) -> bool:
        before = self.word(at - 1)
        return not before or before in _JOINS | _IMAGES or not before[0].isalnum() or self._is_measure_before(at)

    def _is_measure_before(self, at: int) -> bool:
        return any(self._says(at - len(words), words) for words, _ in _MEASURES if len(words) <= at)

    def _ends_here(self, at: int) -> bool:
        after = self.word(at)
        return (
            not after
            or not after[0].isalnum()
            or after in {"and", "but", "with", "without", "also"}
            or self._quantity(at) is not None
            or any(self._says(at, words) for words, _ in _MEASURES)
        )

    def _image_colour(self, at: int) -> _Found | None:
        is_mostly = self.word(at) in {"mostly", "mainly", "predominantly"}
        at_colour = at + is_mostly
        colour = self._colour(at_colour)
        if colour is None:
            return None
        end = at_colour + 1
        if self.word(end) in _IMAGES or (is_mostly and self._ends_here(end)):
            condition = {f"color.{colour}": MOSTLY if is_mostly else COLOURED}
            return _Found(Part(self._phrase(at, end), Source.COLOUR, condition), at, end)
        return None

    def _colour(self, at: int) -> str | None:
        """One alone: “black and white” and “dark red” are something else."""
        if self.word(at - 1) in _SHADES or (self.word(at - 1) in {"and", ","} and self.word(at - 2) in _COLOURS):
            return None
        if self.word(at + 1) in {"and", "or"} and self.word(at + 2) in _COLOURS:
            return None
        return _COLOURS.get(self.word(at))

    # Objects

    def _objects(self, at: int) -> _Found | int | None:
        """A part, or the end of what asks for objects that nobody looks for."""
        if nobody := self._nobody(at):
            return nobody
        begin = at
        quantity, at = self._quantity(at) or ("", at)
        if self.word(at) in _DETERMINERS:
            at += 1
        size = _SIZES.get(self.word(at), "")
        at += bool(size)
        is_mostly = self.word(at) == "mostly"
        colour = self._colour(at + is_mostly)
        noun = self._noun(at + is_mostly + 1, quantity, is_bare=not (quantity or size)) if colour else None
        if noun is None or noun.found is None:
            colour = None
            noun = self._noun(at, quantity, is_bare=not (quantity or size)) or noun
        if noun is None:
            return None
        details, end = self._details(noun.end)
        if size:
            details.setdefault("size", size)
        if noun.found is None and not (quantity or size):
            # Only a place says that objects are meant; what may be understood by it then is what it says.
            noun = self._noun(at, ">=1") if details else None
            if noun is None:
                return None
        if noun.found is None:
            if (quantity or details) and self.word(begin - 1) not in _SPOILS:
                self.unknown.append(self._phrase(at, noun.end))
                return end
            return None
        if not (quantity or details or colour):
            return None
        if colour and not self.nouns.has_colours(noun.found):
            self.uncoloured.append(noun.found)
            return end
        if colour:
            details["color"] = {colour: MOSTLY} if is_mostly else colour
        part = Part(
            self._phrase(begin, end), Source.DETECTIONS, _condition(noun.found, quantity, details), noun.found.by
        )
        return _Found(part, begin, end, noun.kept)

    def _nobody(self, at: int) -> _Found | None:
        end = at + 1 if self.word(at) == "nobody" else at + 2 if self._says(at, ("no", "one")) else 0
        person = self.nouns.named(["person"]) if end else None
        if person is None:
            return None
        details, end = self._details(end)
        part = Part(self._phrase(at, end), Source.DETECTIONS, _condition(person[0], "=0", details), person[0].by)
        return _Found(part, at, end)

    def _number(self, at: int) -> int | None:
        word = self.word(at)
        if word in _NUMBERS:
            return _NUMBERS[word]
        # Other scripts have digits too, which `int` reads; what looks like one and is none, such as “²”, it does not.
        return int(word) if word.isdecimal() and len(word) <= 3 and int(word) <= GREATEST_NUMBER else None

    def _quantity(self, at: int) -> tuple[str, int] | None:
        """As the filter writes it."""
        for words, sign in _COMPARISONS:
            if self._says(at, words) and (number := self._number(at + len(words))) is not None:
                return f"{sign}{number}", at + len(words) + 1
        for words, value in _AMOUNTS:
            if self._says(at, words):
                return value, at + len(words)
        for first, join in (("between", "and"), ("from", "to")):
            if self.word(at) == first and self.word(at + 2) == join:
                return self._interval(at + 1, at + 3)
        if (number := self._number(at)) is None:
            return self._written_interval(at)
        if self.word(at + 1) == "or" and self.word(at + 2) in {"more", "fewer", "less"}:
            return f"{'>=' if self.word(at + 2) == 'more' else '<='}{number}", at + 3
        if self.word(at + 1) in {"or", "to"} and (interval := self._interval(at, at + 2)):
            return interval
        return f"={number}", at + 1

    def _interval(self, at: int, to: int) -> tuple[str, int] | None:
        least, greatest = self._number(at), self._number(to)
        if least is None or greatest is None or least > greatest:
            return None
        return f"{least}..{greatest}", to + 1

    def _written_interval(self, at: int) -> tuple[str, int] | None:
        """“2-4” and “2+”."""
        word = self.word(at)
        if word[:-1].isdecimal() and word.endswith("+") and int(word[:-1][:4]) <= GREATEST_NUMBER:
            return f">={int(word[:-1])}", at + 1
        both = _RANGE.fullmatch(word)
        if both and len(word) < 12 and int(both[1]) <= int(both[2]) <= GREATEST_NUMBER:
            return f"{int(both[1])}..{int(both[2])}", at + 1
        return None

    def _noun(self, at: int, quantity: str, *, is_bare: bool = False) -> _Noun | None:
        """None when there is none at all. ``is_bare``: only a colour, or nothing, says that objects are meant."""
        words: list[str] = []
        while len(words) < 3 and self._can_be_noun(at + len(words)):
            words.append(self.word(at + len(words)))
        if not words:
            return None
        for number in range(len(words), 0, -1):
            named = self.nouns.named(words[:number])
            if named and not (named[1] and self._goes_on(at + number)):
                return _Noun(named[0], at + number)
        # “three happy people”: three people, and the rest is a matter of meaning. Not so for “no happy people”.
        for begin in range(1, len(words)):
            for end in range(len(words), begin, -1):
                named = self.nouns.named(words[begin:end]) if _is_asking(quantity) else None
                if named and not (named[1] and self._goes_on(at + end)):
                    return _Noun(named[0], at + end, (at, at + begin))
        if not self.nouns.named(words[:1]):
            for number in range(min(2, len(words)), 0, -1):
                if self.nouns.is_singular(words[number - 1]) and self._goes_on(at + number):
                    continue
                if meant := self.nouns.meant(words[:number], surely=not is_bare):
                    return _Noun(meant, at + number)
        # What a person will be told is no class: “car doors”, and “unicorns” of “unicorns playing”.
        length = next((n for n, word in enumerate(words) if n and word.endswith(_PARTICIPLE)), len(words))
        return _Noun(None, at + length)

    def _can_be_noun(self, at: int) -> bool:
        word = self.word(at)
        return word.replace("'", "").replace("’", "").isalpha() and word not in _NO_NOUN

    def _goes_on(self, at: int) -> bool:
        """Another noun follows: a “car door” is no car."""
        return self._can_be_noun(at) and not self.word(at).endswith(_PARTICIPLE) and self._arrangement(at) is None

    def _arrangement(self, at: int) -> tuple[str, int] | None:
        phrases = (*_ARRANGEMENTS, *_SIZE_PHRASES)
        return next(((value, at + len(words)) for words, value in phrases if self._says(at, words)), None)

    def _details(self, at: int) -> tuple[dict[str, Any], int]:
        """Where, how large and how arranged: each once, in any order."""
        details: dict[str, Any] = {}
        while True:
            after_verb = at + (self.word(at) in {"is", "are"})
            if "position" not in details and (position := self._position(after_verb)):
                details["position"], at = position
            elif found := self._arrangement(after_verb):
                key = "arrangement" if found[0] == "side by side" else "size"
                if key in details:
                    return details, at
                details[key], at = found
            else:
                return details, at

    def _position(self, at: int) -> tuple[str, int] | None:
        preposition = self.word(at) if self.word(at) in {"on", "in", "at", "to", "towards"} else ""
        at += bool(preposition)
        has_article = self.word(at) == "the"
        at += has_article
        places: list[str] = []
        while len(places) < 2 and (place := _PLACES.get(self.word(at))):
            places.append(place)
            at += 1
        if not places or (len(places) == 1 and not preposition) or (preposition == "on" and not has_article):
            return None
        if self.word(at) == "half":
            return None
        if self.word(at) == "hand":
            at += 1
        if self.word(at) in {"side", "corner", "part", "edge", "third"}:
            at += 1
        if self.word(at) == "of":
            at += 2 if self.word(at + 1) in {"the", "an", "a", "each"} else 1
            if self.word(at) not in _FRAME:
                return None  # of something else, which is not known
            at += 1
        return " ".join(sorted(dict.fromkeys(places), key=["top", "bottom", "left", "right", "center"].index)), at


_COMPARISONS: list[tuple[tuple[str, ...], str]] = _phrases(
    {
        "more than, greater than, >": ">",
        "fewer than, less than, <": "<",
        "at least, no fewer than, no less than, not fewer than, not less than, a minimum of, ≥, >=": ">=",
        "at most, up to, no more than, not more than, a maximum of, ≤, <=": "<=",
        "exactly, precisely, only, just, =": "=",
    }
)
_AMOUNTS = _phrases(
    {
        "no, without, without any, without a, without an, not a, not an, not any, zero": "=0",
        "a single, only a single, just a single, single": "=1",
        "a couple of, couple of, a pair of, pair of, a couple": "=2",
        "several, a few, at least a few": ">=3",
    }
)


def _is_asking(quantity: str) -> bool:
    """For objects, and not for none or few of them."""
    return bool(quantity) and quantity != "=0" and not quantity.startswith("<")


def _condition(what: Class, quantity: str, details: Mapping[str, Any]) -> dict[str, Any]:
    if not details:
        return {f"count.{what.name}": quantity}
    if "arrangement" in details and quantity in ("", ">=1"):
        quantity = ">=2"
    return {"objects": {"class": what.name, **({"count": quantity} if quantity else {}), **details}}


def words_in(text: str) -> list[str]:
    """Its words as they are read: in lower case, without what stands between them."""
    return [one.word for one in _tokens(text) if any(character.isalnum() for character in one.word)]


def _tokens(text: str) -> list[_Token]:
    """Words in lower case; the hyphens inside of them are none, so that “bottom-right” reads as “bottom right”."""
    found = [_Token(match[0].casefold(), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    return [
        one
        for at, one in enumerate(found)
        if one.word not in ("-", "–") or at in (0, len(found) - 1) or found[at - 1].end != one.start
    ]


def _rest(text: str, tokens: list[_Token], found: list[_Found]) -> str:
    """What the parts leave over, without what only joins it to them."""
    kept = [(one.kept[0], one.kept[1]) for one in found if one.kept[1]]
    edges = [0, *(edge for one in found for edge in (one.begin, one.end)), len(tokens)]
    segments = [*zip(edges[::2], edges[1::2], strict=True), *kept]
    rest = []
    for begin, end in sorted(segments):
        while begin < end and _is_dropped(tokens[begin].word):
            begin += 1
        while end > begin and _is_dropped(tokens[end - 1].word):
            end -= 1
        if begin < end:
            rest.append(text[tokens[begin].start : tokens[end - 1].end])
    return " ".join(rest)


def _is_dropped(word: str) -> bool:
    return word in DROPPED or not any(character.isalnum() for character in word)
