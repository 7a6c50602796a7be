"""The filter: which items are meant by what is known of them.

One object everywhere: query string of the grid, body of a search, a selection, an export. ``parse`` turns what
came over the wire into conditions and refuses what it does not know; ``Filter.apply`` narrows a queryset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet
from django.db.models.functions import Cast
from django.utils.dateparse import parse_date, parse_datetime

from . import counting, duplicates, predicted
from .colours import COLOUR_NAMES
from .counting import Bounds, Objects
from .duplicates import Which
from .errors import Refused
from .models import Annotation, Dataset, Item, LabelClass, Source, Status


class InvalidFilter(Refused):
    """A filter key that does not exist, or a value that its key does not take."""


@dataclass(frozen=True)
class Condition:
    key: str
    q: Q
    value: Any = None  # as it was said


@dataclass(frozen=True)
class Filter:
    """Conditions that all hold. Keyed, so that a facet can leave its own out (``without``)."""

    conditions: tuple[Condition, ...] = ()

    def apply(self, items: QuerySet[Item]) -> QuerySet[Item]:
        for condition in self.conditions:
            items = items.filter(condition.q)
        return items

    def without(self, *keys: str) -> Filter:
        return Filter(tuple(c for c in self.conditions if c.key not in keys))

    def __bool__(self) -> bool:
        return bool(self.conditions)


def parse(dataset: Dataset, raw: Mapping[str, Any] | None) -> Filter:
    """Read ``raw`` (names of DESIGN §6 to values) for ``dataset``. Raises ``InvalidFilter`` naming key and value."""
    if raw is None:
        return Filter()
    if not isinstance(raw, Mapping):
        raise InvalidFilter('A filter is an object, for example {"split": "train"}.')
    conditions = []
    for key, value in raw.items():
        if not _is_given(raw, key):
            continue
        if key in _BOUND_BY and any(_is_given(raw, other) for other in _BOUND_BY[key]):
            continue
        if key in _JOINED:
            conditions.append(Condition(key, _JOINED[key](dataset, key, raw)))
        elif isinstance(key, str) and key.startswith("metadata.") and len(key) > len("metadata."):
            conditions.append(Condition(key, _metadata(key.removeprefix("metadata."), value), value))
        elif isinstance(key, str) and key.startswith("count.") and len(key) > len("count."):
            conditions.append(Condition(key, _count(dataset, "count", {key.removeprefix("count."): value})))
        elif key in _CONDITIONS:
            conditions.append(Condition(key, _CONDITIONS[key](dataset, key, value), value))
        else:
            known = ", ".join(sorted(FILTER_KEYS))
            raise InvalidFilter(f"There is no filter “{key}”. Use one of: {known}, metadata.<key> or count.<class>.")
    return Filter(tuple(conditions))


def _is_given(raw: Mapping[str, Any], key: str) -> bool:
    value = raw.get(key)
    return value is not None and value != "" and value != []


def items_of(dataset: Dataset) -> QuerySet[Item]:
    return Item.objects.filter(dataset=dataset)


def standing_annotations() -> QuerySet[Annotation]:
    """The labels that the outer item has now (not those of its regions)."""
    return Annotation.objects.standing().filter(item=OuterRef("pk"), region=None)


def find_class(dataset: Dataset, name_or_id: Any) -> LabelClass:
    """The class called ``name_or_id``, or with that id. A name goes first. Raises ``Refused``."""
    if isinstance(name_or_id, bool) or not isinstance(name_or_id, str | int):
        raise Refused(f"A label is given by its name or id, not as {name_or_id!r}.")
    classes = LabelClass.objects.filter(dataset=dataset)
    found = classes.filter(name=name_or_id).first() if isinstance(name_or_id, str) else None
    if found is None and re.fullmatch(r"\d{1,18}", str(name_or_id)):
        found = classes.filter(pk=int(name_or_id)).first()
    if found is None:
        raise Refused(f"“{dataset.name}” has no class “{str(name_or_id)[:80]}”. Add it to the dataset's classes first.")
    return found


# One function a kind of condition, each (dataset, key, value) → Q ---------------------------------------------------


def _label(dataset: Dataset, key: str, value: Any) -> Q:
    names = listed(value)
    classes = [find_class(dataset, name).pk for name in names if name != "unlabeled"]
    q = Q(Exists(standing_annotations().filter(label__in=classes))) if classes else Q(pk__in=[])
    if "unlabeled" in names:
        q |= ~Q(Exists(standing_annotations()))
    return q


def _not_label(dataset: Dataset, key: str, value: Any) -> Q:
    return ~_label(dataset, key, value)


def _unlabeled(dataset: Dataset, key: str, value: Any) -> Q:
    has_label = Q(Exists(standing_annotations()))
    return ~has_label if truth(key, value) else has_label


def _status(dataset: Dataset, key: str, value: Any) -> Q:
    values = listed(value)
    for one in values:
        if one not in Status.values:
            raise InvalidFilter(f"status is one of {', '.join(Status.values)}, not “{one}”.")
    return Q(status__in=values)


def _split(dataset: Dataset, key: str, value: Any) -> Q:
    return Q(split__in=["" if v == "none" else str(v) for v in listed(value)])


def _not(dataset: Dataset, key: str, value: Any) -> Q:
    """``not_split`` and the like: none of these."""
    key = key.removeprefix("not_")
    return ~_CONDITIONS[key](dataset, key, value)


def _duplicates(dataset: Dataset, key: str, value: Any) -> Q:
    if value not in list(Which):
        raise InvalidFilter(f"duplicates is one of {', '.join(Which)}, not “{value}”.")
    return duplicates.among(dataset, Which(value))


def _tag(dataset: Dataset, key: str, value: Any) -> Q:
    return Q(tags__overlap=[str(v) for v in listed(value)])


def _source(dataset: Dataset, key: str, value: Any) -> Q:
    values = listed(value)
    for one in values:
        if one not in Source.values:
            raise InvalidFilter(f"source is one of {', '.join(Source.values)}, not “{one}”.")
    return Q(Exists(standing_annotations().filter(source__in=values)))


def _annotator(dataset: Dataset, key: str, value: Any) -> Q:
    return Q(Exists(standing_annotations().filter(author__username__in=[str(v) for v in listed(value)])))


def _confidence(dataset: Dataset, key: str, value: Any) -> Q:
    lookup = "confidence__gte" if key == "min_confidence" else "confidence__lte"
    return Q(Exists(standing_annotations().filter(**{lookup: _number(key, value)})))


def _predicted(dataset: Dataset, key: str, raw: Mapping[str, Any]) -> Q:
    return predicted.saying(
        dataset,
        [_plain(key, one) for one in listed(raw[key])],
        model=_model(raw),
        least=_number("min_confidence", raw["min_confidence"]) if _is_given(raw, "min_confidence") else None,
        greatest=_number("max_confidence", raw["max_confidence"]) if _is_given(raw, "max_confidence") else None,
    )


def _disagrees(dataset: Dataset, key: str, raw: Mapping[str, Any]) -> Q:
    return predicted.disagreeing(dataset, model=_model(raw), agree=not truth(key, raw[key]))


def _finding(dataset: Dataset, key: str, raw: Mapping[str, Any]) -> Q:
    """Kinds in a list, or with commas between them."""
    kinds = [one.strip() for value in listed(raw[key]) for one in _plain(key, value).split(",") if one.strip()]
    return _with_findings(dataset, kinds, _plain("finding_state", raw.get("finding_state") or ""))


def _finding_state(dataset: Dataset, key: str, value: Any) -> Q:
    return _with_findings(dataset, [], _plain(key, value))


def _with_findings(dataset: Dataset, kinds: list[str], state: str) -> Q:
    if not _finding_readers:
        raise InvalidFilter("This installation looks for no findings, so that none can be filtered by.")
    return _finding_readers[0](dataset, kinds, state)


def _model(raw: Mapping[str, Any]) -> str:
    return _plain("model", raw["model"]) if _is_given(raw, "model") else ""


def _model_alone(dataset: Dataset, key: str, value: Any) -> Q:
    raise InvalidFilter("model says whose predictions are meant: give predicted or disagrees too.")


def _measure(dataset: Dataset, key: str, value: Any) -> Q:
    return _range(key, value, key)


def _aspect(dataset: Dataset, key: str, value: Any) -> Q:
    """Width over height: ``>1`` is landscape format, ``<1`` is portrait format."""
    ratio = Cast(F("width"), FloatField()) / F("height")
    matching = Item.objects.annotate(ratio=ratio).filter(_range(key, value, "ratio"), height__gt=0)
    return Q(pk__in=matching.filter(dataset=dataset).values("pk"))


def _color(dataset: Dataset, key: str, value: Any) -> Q:
    if not isinstance(value, Mapping):
        raise InvalidFilter('color takes an object of shares, for example {"red": ">0.3"}.')
    q = Q()
    for name, share in value.items():
        q &= _range(f"color.{name}", share, f"colors__{COLOUR_NAMES.index(_colour(name))}")
    return q


def _one_color(dataset: Dataset, key: str, value: Any) -> Q:
    return _color(dataset, "color", {key.removeprefix("color."): value})


def _count(dataset: Dataset, key: str, value: Any) -> Q:
    if not isinstance(value, Mapping):
        raise InvalidFilter('count takes an object of numbers, for example {"person": ">2"}.')
    _must_be_few(key, value)
    q = Q()
    for label, number in value.items():
        q &= counting.having(dataset, Objects(_plain(key, label), bounds(f"count.{label}", number)))
    return q


def _must_be_few(key: str, wanted: Collection[Any]) -> None:
    if len(wanted) > _MOST_COUNTED:
        raise InvalidFilter(f"{key} takes {_MOST_COUNTED} kinds of objects at most, not {len(wanted):,}.")


_OBJECT_KEYS = {"class", "count", "position", "size", "color", "arrangement", "score"}
_MOST_COUNTED = 20  # kinds of objects in one condition: each is a query of its own


def _objects(dataset: Dataset, key: str, value: Any) -> Q:
    wanted = value if isinstance(value, list) else [value]
    _must_be_few(key, wanted)
    q = Q()
    for one in map(_from_address, wanted):
        if not isinstance(one, Mapping) or not isinstance(one.get("class"), str):
            raise InvalidFilter('objects takes a list like [{"class": "person", "count": ">=1", "position": "left"}].')
        if unknown := set(one) - _OBJECT_KEYS:
            raise InvalidFilter(f"objects has no “{min(unknown)}”. Use {', '.join(sorted(_OBJECT_KEYS))}.")
        for name, example in (("position", "bottom right"), ("arrangement", counting.SIDE_BY_SIDE)):
            if not isinstance(one.get(name, ""), str):
                raise InvalidFilter(f"objects.{name} is a string, for example “{example}”.")
        score = _number("objects.score", one.get("score", counting.THRESHOLD))
        if not 0 <= score <= 1:
            raise InvalidFilter(f"objects.score is a number from 0 to 1, not {score:g}.")
        objects = Objects(
            _plain("objects.class", one["class"]),
            bounds("objects.count", one.get("count", ">=1")),
            one.get("position", ""),
            bounds("objects.size", one["size"]) if "size" in one else None,
            score,
            _box_colors(one["color"]) if "color" in one else None,
            one.get("arrangement", ""),
        )
        try:
            q &= counting.having(dataset, objects)
        except ValueError as error:
            raise InvalidFilter(f"objects: {error}") from None
    return q


def _from_address(one: Any) -> Any:
    """In a query string an object is JSON."""
    if not isinstance(one, str):
        return one
    try:
        return json.loads(one)
    except (ValueError, RecursionError):
        return one


def _box_colors(value: Any) -> dict[str, Bounds]:
    """``"red"``, or shares as ``color`` takes them."""
    shares = {value: f">={counting.COLOUR_SHARE}"} if isinstance(value, str) else value
    if not isinstance(shares, Mapping):
        raise InvalidFilter('objects.color is a colour or an object of shares, for example "red" or {"red": ">0.3"}.')
    return {_colour(name): bounds(f"objects.color.{name}", share) for name, share in shares.items()}


def _colour(name: Any) -> str:
    if name not in COLOUR_NAMES:
        raise InvalidFilter(f"“{str(name)[:80]}” is none of the eleven basic colours: {', '.join(COLOUR_NAMES)}.")
    return str(name)


def _created_after(dataset: Dataset, key: str, value: Any) -> Q:
    try:
        moment = parse_datetime(str(value)) or parse_date(str(value))
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidFilter(f"created_after takes a date or time like 2026-05-14T18:22:00Z, not “{value}”.")
    return Q(created_at__gte=moment)


def _contains(dataset: Dataset, key: str, value: Any) -> Q:
    field = key.removesuffix("_contains")
    return Q(**{f"{field}__icontains": _plain(key, value)})


def _metadata(key: str, value: Any) -> Q:
    """Equality by containment, which the GIN index answers; ``>3`` and the like compare as numbers."""
    values = value if isinstance(value, list) else [value]
    q = Q()
    for one in values:
        q |= Q(metadata__contains={key: one})
        if isinstance(one, str):
            # A query string knows strings only: "3" means the number 3 too.
            if re.fullmatch(_NUMBER, one):
                q |= Q(metadata__contains={key: float(one) if "." in one or "e" in one.lower() else int(one)})
            if one in ("true", "false"):
                q |= Q(metadata__contains={key: one == "true"})
    return q


_CONDITIONS: dict[str, Callable[[Dataset, str, Any], Q]] = {
    "label": _label,
    "not_label": _not_label,
    "unlabeled": _unlabeled,
    "status": _status,
    "split": _split,
    "tag": _tag,
    "not_status": _not,
    "not_split": _not,
    "not_tag": _not,
    "duplicates": _duplicates,
    "source": _source,
    "annotator": _annotator,
    "min_confidence": _confidence,
    "max_confidence": _confidence,
    "model": _model_alone,
    "brightness": _measure,
    "sharpness": _measure,
    "contrast": _measure,
    "width": _measure,
    "height": _measure,
    "aspect": _aspect,
    "color": _color,
    **{f"color.{name}": _one_color for name in COLOUR_NAMES},
    "count": _count,
    "objects": _objects,
    "finding_state": _finding_state,
    "created_after": _created_after,
    "text_contains": _contains,
    "key_contains": _contains,
}

# Set by `search` when it is loaded: the items with a finding of one of these kinds, in a state ("": open).
FindingReader = Callable[[Dataset, list[str], str], Q]
_finding_readers: list[FindingReader] = []


def set_finding_reader(reader: FindingReader) -> None:
    _finding_readers[:] = [reader]


# Conditions that other keys of the filter have a part in: (dataset, key, the whole filter) → Q.
_JOINED: dict[str, Callable[[Dataset, str, Mapping[str, Any]], Q]] = {
    "predicted": _predicted,
    "disagrees": _disagrees,
    "finding": _finding,
}

# These are part of another condition where it stands: they bound a prediction's score then, not a label's.
_BOUND_BY = {
    "min_confidence": ("predicted",),
    "max_confidence": ("predicted",),
    "model": ("predicted", "disagrees"),
    "finding_state": ("finding",),
}

FILTER_KEYS = (*_CONDITIONS, *_JOINED)


# Reading values ------------------------------------------------------------------------------------------------------

_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_COMPARISON = re.compile(rf"\s*(>=|<=|>|<|=)?\s*({_NUMBER})\s*")
_INTERVAL = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*")
_LOOKUPS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt", "=": "exact"}


def _range(key: str, value: Any, field: str) -> Q:
    q = Q()
    for sign, number in bounds(key, value):
        q &= Q(**{f"{field}__{_LOOKUPS[sign]}": number})
    return q


def bounds(key: str, value: Any) -> Bounds:
    found: Bounds = []
    for one in listed(value) or [""]:
        text = str(one)
        if interval := _INTERVAL.fullmatch(text):
            found += [(">=", float(interval[1])), ("<=", float(interval[4]))]
        elif comparison := _COMPARISON.fullmatch(text):
            found.append((comparison[1] or "=", float(comparison[2])))
        else:
            raise InvalidFilter(f"{key} takes a number or range like >0.3, <=200 or 0.2..0.6, not “{text[:80]}”.")
    return found


def listed(value: Any) -> list[Any]:
    values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    values = list(values)
    for one in values:
        if isinstance(one, dict | list | bool):
            raise InvalidFilter(f"“{one}” is not a value that a filter can take here.")
        if isinstance(one, str) and "\x00" in one:
            raise InvalidFilter("A filter value holds a NUL character. Remove it.")
    return values


def _plain(key: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or "\x00" in str(value):
        raise InvalidFilter(f"{key} takes plain text.")
    return str(value)


def truth(key: str, value: Any) -> bool:
    if value in (True, "true", "True", "1", 1):
        return True
    if value in (False, "false", "False", "0", 0):
        return False
    raise InvalidFilter(f"{key} is true or false, not “{value}”.")


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidFilter(f"{key} takes a number, not “{value}”.") from None
