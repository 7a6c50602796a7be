"""Findings that look like the same mistake, to be decided on together."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from datasets.models import Dataset, Item, LabelClass

from ..models import Finding
from . import chosen

# Fewer are looked at one by one.
LEAST, MOST_SHOWN = 2, 30


@dataclass(frozen=True)
class Group:
    name: str  # as the findings have it
    title: str
    open: int


def of_kind(dataset: Dataset, kind: str) -> list[Group]:
    """Its groups with several open findings, the largest first. Raises ``UnknownKind``."""
    chosen([kind])
    sizes = (
        Finding.objects.filter(dataset=dataset, kind=kind, state=Finding.State.OPEN)
        .exclude(group="")
        .order_by()
        .values("group")
        .annotate(open=Count("pk"))
        .filter(open__gte=LEAST)
        .order_by("-open", "group")[:MOST_SHOWN]
    )
    found = [(row["group"], row["open"]) for row in sizes]
    titles = _titles(dataset, [name for name, _ in found])
    return [Group(name, titles.get(name, name), number) for name, number in found]


def _titles(dataset: Dataset, names: list[str]) -> dict[str, str]:
    """“watch given, cup meant”; “alike: cup.jpg”. What is neither is its own title."""
    pairs = {name: [int(pk) for pk in name.split(">")] for name in names if ">" in name}
    keepers = {name: int(name.removeprefix("keep ")) for name in names if name.startswith("keep ")}
    classes = dict(
        LabelClass.objects.filter(dataset=dataset, pk__in={pk for pair in pairs.values() for pk in pair}).values_list(
            "pk", "name"
        )
    )
    keys = dict(Item.objects.filter(dataset=dataset, pk__in=keepers.values()).values_list("pk", "key"))
    titles = {
        name: f"{classes.get(given, '?')} given, {classes.get(meant, '?')} meant"
        for name, (given, meant) in pairs.items()
    }
    return titles | {name: f"alike: {keys.get(pk, '?')}" for name, pk in keepers.items()}
