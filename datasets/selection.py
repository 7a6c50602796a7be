"""The selection: which items a bulk act means, evaluated on the server, always exactly.

Five forms: ``{"ids": […]}``, ``{"filter": {…}}``, ``{"query": {…}, "min_score": x}``, ``{"saved": id}`` and ``{"all": true}``,
each with an optional ``"except": […]``. All become one queryset of items, so that preview and act use the same statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from . import filters
from .errors import Conflict, Refused
from .models import Annotation, Dataset, Item, SavedSearch, Source

# More than this in one request is a filter or a query that was spelled out.
MAX_IDS = 1_000_000


class InvalidSelection(Refused):
    """A selection that is none of the five forms, or that names what its dataset does not have."""


_FORMS = ("ids", "filter", "query", "saved", "all")

# Set by `search` when it is loaded: narrows items to those that a query scores at least min_score.
QueryResolver = Callable[[Dataset, Mapping[str, Any], float | None], QuerySet[Item]]
_resolvers: list[QueryResolver] = []


def set_query_resolver(resolver: QueryResolver) -> None:
    _resolvers[:] = [resolver]


@dataclass(frozen=True)
class Selection:
    """Items of one dataset, and the words in which they were asked for."""

    dataset: Dataset
    said: dict[str, Any]
    items: QuerySet[Item]


def parse(dataset: Dataset, raw: Any) -> Selection:
    """Read a selection. Raises ``InvalidSelection``, ``InvalidFilter``, and what a query raises.

    Ids of another dataset's items are refused, all of them named in one answer: a bulk act never silently acts on
    fewer items than were meant.
    """
    if not isinstance(raw, Mapping):
        raise InvalidSelection("A selection is an object: ids, filter, query with min_score, saved, or all.")
    forms = [form for form in _FORMS if raw.get(form) is not None]
    if len(forms) != 1:
        raise InvalidSelection("A selection has exactly one of: ids, filter, query, saved, all.")
    unknown = set(raw) - {*_FORMS, "min_score", "except"}
    if unknown:
        raise InvalidSelection(
            f"A selection has no “{min(unknown)}”. Use ids, filter, query, saved, all, min_score, except."
        )
    items = filters.items_of(dataset)
    said = dict(raw)
    form = forms[0]
    if form == "ids":
        ids = _ids(raw["ids"], "ids")
        _check_foreign(dataset, ids)
        items = items.filter(pk__in=ids)
    elif form == "filter":
        items = filters.parse(dataset, raw["filter"]).apply(items)
    elif form == "query":
        if not _resolvers:
            raise InvalidSelection("This installation has no search, so a selection cannot be a query.")
        min_score = raw.get("min_score")
        if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, int | float)):
            raise InvalidSelection(f"min_score is a number, not {min_score!r}.")
        items = _resolvers[0](dataset, raw["query"], min_score)
    elif form == "saved":
        meant = _saved(dataset, raw["saved"])
        # As it reads today: it may be changed later.
        items, said = meant.items, said | meant.said
    elif raw["all"] is not True:
        raise InvalidSelection('To mean every item, say {"all": true}.')
    if raw.get("except"):
        items = items.exclude(pk__in=_ids(raw["except"], "except"))
    return Selection(dataset, said, items)


def _saved(dataset: Dataset, pk: Any) -> Selection:
    is_id = isinstance(pk, int) and not isinstance(pk, bool) and 0 < pk < 2**63
    saved = SavedSearch.objects.filter(dataset=dataset, pk=pk).first() if is_id else None
    if saved is None:
        raise InvalidSelection(f"“{dataset.name}” has no saved search {str(pk)[:20]}. It may have been deleted.")
    try:
        return parse(dataset, saved.selection)
    except Conflict:
        raise
    except Refused as error:
        raise InvalidSelection(f"The saved search “{saved.name}” no longer works: {error}") from error


def of_items(dataset: Dataset, ids: list[int]) -> Selection:
    return parse(dataset, {"ids": ids})


@dataclass(frozen=True)
class Preview:
    count: int
    labeled: int
    labeled_by_people: int


def preview(selection: Selection) -> Preview:
    """What a bulk act on ``selection`` would meet. Three counts."""
    labels = Annotation.objects.standing().filter(region=None, item__in=selection.items.values("pk"))
    return Preview(
        count=selection.items.count(),
        labeled=labels.values("item").distinct().count(),
        labeled_by_people=labels.filter(source=Source.HUMAN).values("item").distinct().count(),
    )


def _ids(raw: Any, name: str) -> list[int]:
    if not isinstance(raw, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in raw):
        raise InvalidSelection(f"{name} is a list of item ids.")
    if len(raw) > MAX_IDS:
        raise InvalidSelection(f"{name} holds {len(raw):,} ids; above {MAX_IDS:,} use a filter, a query or all.")
    if any(not 0 < i < 2**63 for i in raw):
        raise InvalidSelection(f"{name} holds a number that is no item id.")
    return raw


def _check_foreign(dataset: Dataset, ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(given) FROM unnest(%s::bigint[]) AS given"
            " WHERE NOT EXISTS (SELECT FROM datasets_item WHERE id = given AND dataset_id = %s)",
            [ids, dataset.pk],
        )
        count, first = cursor.fetchone()
    if count:
        raise InvalidSelection(
            f"“{dataset.name}” has no item {first}"
            + (f" (nor {count - 1} others of those given)." if count > 1 else ".")
        )
