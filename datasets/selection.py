"""The selection: which items a bulk act means, evaluated on the server, always exactly.

Five forms: ``{"ids": […]}``, ``{"filter": {…}}``, ``{"query": {…}, "min_score": x}``, ``{"saved": id}`` and ``{"all": true}``,
each with an optional ``"except": […]`` (items). All become one queryset of items, so that preview and act use the same
statement.

Two more mean regions: ``{"region_ids": […]}``, and a query with ``"regions": true``, which means the regions that it found.
A label is given to these; any other act is for the items that they lie in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from . import filters
from .errors import Conflict, Refused
from .models import Annotation, Dataset, Item, Region, SavedSearch, Source

# More than this in one request is a filter or a query that was spelled out.
MAX_IDS = 1_000_000


class InvalidSelection(Refused):
    """A selection that is none of the five forms, or that names what its dataset does not have."""


_FORMS = ("ids", "region_ids", "filter", "query", "saved", "all")

# Set by `search` when it is loaded: narrows items to those that a query scores at least min_score.
QueryResolver = Callable[[Dataset, Mapping[str, Any], float | None], QuerySet[Item]]
_resolvers: list[QueryResolver] = []
# And this one finds the regions that were best in them.
RegionResolver = Callable[[Dataset, Mapping[str, Any], float | None], QuerySet[Region]]
_region_resolvers: list[RegionResolver] = []


def set_query_resolver(resolver: QueryResolver, region_resolver: RegionResolver) -> None:
    _resolvers[:], _region_resolvers[:] = [resolver], [region_resolver]


@dataclass(frozen=True)
class Selection:
    """Items of one dataset, and the words in which they were asked for."""

    dataset: Dataset
    said: dict[str, Any]
    items: QuerySet[Item]
    regions: QuerySet[Region] | None = None  # what is meant in them, when it is not they themselves


def parse(dataset: Dataset, raw: Any) -> Selection:
    """Read a selection. Raises ``InvalidSelection``, ``InvalidFilter``, and what a query raises.

    Ids of another dataset's items are refused, all of them named in one answer: a bulk act never silently acts on
    fewer items than were meant.
    """
    if not isinstance(raw, Mapping):
        raise InvalidSelection("A selection is an object: ids, filter, query with min_score, saved, or all.")
    forms = [form for form in _FORMS if raw.get(form) is not None]
    if len(forms) != 1:
        raise InvalidSelection(f"A selection has exactly one of: {', '.join(_FORMS)}.")
    unknown = set(raw) - {*_FORMS, "min_score", "regions", "except"}
    if unknown:
        raise InvalidSelection(
            f"A selection has no “{min(unknown)}”. Use {', '.join(_FORMS)}, min_score, regions, except."
        )
    items = filters.items_of(dataset)
    regions: QuerySet[Region] | None = None
    said = dict(raw)
    form = forms[0]
    if raw.get("regions") not in (None, False) and (raw["regions"] is not True or form != "query"):
        raise InvalidSelection("regions is true beside a query, for the regions that it found; else use region_ids.")
    if form == "ids":
        ids = _ids(raw["ids"], "ids")
        _check_foreign(dataset, ids)
        items = items.filter(pk__in=ids)
    elif form == "region_ids":
        ids = _ids(raw["region_ids"], "region_ids", "region")
        _check_foreign_regions(dataset, ids)
        regions = Region.objects.standing().filter(pk__in=ids)
    elif form == "filter":
        items = filters.parse(dataset, raw["filter"]).apply(items)
    elif form == "query":
        if not _resolvers:
            raise InvalidSelection("This installation has no search, so a selection cannot be a query.")
        min_score = raw.get("min_score")
        if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, int | float)):
            raise InvalidSelection(f"min_score is a number, not {min_score!r}.")
        if raw.get("regions"):
            regions = _region_resolvers[0](dataset, raw["query"], min_score)
        else:
            items = _resolvers[0](dataset, raw["query"], min_score)
    elif form == "saved":
        meant = _saved(dataset, raw["saved"])
        # As it reads today: it may be changed later.
        items, said = meant.items, said | meant.said
    elif raw["all"] is not True:
        raise InvalidSelection('To mean every item, say {"all": true}.')
    if raw.get("except"):
        but = _ids(raw["except"], "except")
        items = items.exclude(pk__in=but)
        regions = regions.exclude(item__in=but) if regions is not None else None
    if regions is not None:
        items = items.filter(pk__in=regions.order_by().values("item"))
    return Selection(dataset, said, items, regions)


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
    if selection.regions is not None:
        labels = Annotation.objects.standing().filter(region__in=selection.regions.order_by().values("pk"))
    return Preview(
        count=selection.items.count(),
        labeled=labels.values("item").distinct().count(),
        labeled_by_people=labels.filter(source=Source.HUMAN).values("item").distinct().count(),
    )


def _ids(raw: Any, name: str, of: str = "item") -> list[int]:
    if not isinstance(raw, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in raw):
        raise InvalidSelection(f"{name} is a list of {of} ids.")
    if len(raw) > MAX_IDS:
        raise InvalidSelection(f"{name} holds {len(raw):,} ids; above {MAX_IDS:,} use a filter, a query or all.")
    if any(not 0 < i < 2**63 for i in raw):
        raise InvalidSelection(f"{name} holds a number that is no {of} id.")
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


def _check_foreign_regions(dataset: Dataset, ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(given) FROM unnest(%s::bigint[]) AS given WHERE NOT EXISTS ("
            " SELECT FROM datasets_region AS region JOIN datasets_item AS item ON item.id = item_id"
            "  WHERE region.id = given AND removed_at IS NULL AND dataset_id = %s)",
            [ids, dataset.pk],
        )
        count, first = cursor.fetchone()
    if count:
        raise InvalidSelection(
            f"“{dataset.name}” has no region {first}"
            + (f" (nor {count - 1} others of those given)." if count > 1 else ".")
            + " Regions that are made anew get new ids: search again."
        )
