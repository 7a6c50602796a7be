"""How many items a query or a filter means, without listing them: a selection by it, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from datasets import filters, passing
from datasets.errors import Refused
from datasets.models import Dataset, Item

from . import answers, vectors
from . import query as queries
from .models import EmbeddingSpace

_ASKS = ("text", "like", "unlike", "image")


@dataclass(frozen=True)
class Counted:
    count: int  # what a bulk act on the same selection would meet
    total: int  # items that the filter lets pass, embedded or not
    embedded: int  # those of them that have a vector


@transaction.atomic
def count(dataset: Dataset, raw: Mapping[str, Any], *, min_score: float | None = None, unlabeled: bool) -> Counted:
    """Count the items of ``dataset`` that ``raw`` (a query, or a filter alone) means; with ``unlabeled`` those without a label.

    The exact statement of a selection by query and two plain counts. Raises what ``query.parse`` and ``answers.run`` raise.
    """
    query = queries.parse(dataset, raw) if any(raw.get(name) for name in _ASKS) else None
    filter = query.filter if query else filters.parse(dataset, raw.get("filter"))
    if unlabeled:
        filter = filters.Filter(filter.conditions + filters.parse(dataset, {"unlabeled": True}).conditions)
    items = filter.apply(filters.items_of(dataset))
    total = passing.count(dataset, filter)
    if query:
        query = replace(query, filter=filter)
        if query.is_filter_alone:
            return Counted(total, total, _embedded(dataset, items))
        space, _ = queries.parts_of(query)
        return Counted(answers.selected(query, min_score).count(), total, vectors.count(space, items))
    if min_score is not None:
        raise Refused("min_score needs scores: give text, like or image too.")
    return Counted(total, total, _embedded(dataset, items))


def _embedded(dataset: Dataset, items: QuerySet[Item]) -> int:
    default = EmbeddingSpace.objects.filter(dataset=dataset, is_default=True).first()
    return vectors.count(default, items) if default and not default.is_placeholder else 0
