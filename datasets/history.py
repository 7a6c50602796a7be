"""Who did what to one item, latest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from . import operations
from .models import Annotation, Item, ItemChange, Operation


@dataclass(frozen=True)
class Entry:
    operation: int | None
    kind: str
    summary: str
    author: str | None
    created_at: datetime
    source: str | None = None
    confidence: float | None = None


def of_item(item: Item) -> list[Entry]:
    """Every operation that touched ``item``, and its import. Four queries."""
    annotations = list(Annotation.objects.filter(item=item).select_related("label"))
    changes = list(ItemChange.objects.filter(item=item))
    touched = (
        {a.operation_id for a in annotations}
        | {a.retracted_by_id for a in annotations if a.retracted_by_id}
        | {c.operation_id for c in changes}
    )
    entries = [
        _entry(operation, annotations, changes)
        for operation in Operation.objects.filter(Q(pk__in=touched)).select_related("author").order_by("-pk")
    ]
    entries.append(Entry(None, "import", "imported", None, item.created_at))
    return entries


def _entry(operation: Operation, annotations: list[Annotation], changes: list[ItemChange]) -> Entry:
    given = [a for a in annotations if a.operation_id == operation.pk]
    taken = [a for a in annotations if a.retracted_by_id == operation.pk]
    said = [f"labelled {a.label.name}" for a in given]
    replaced = {a.label_id for a in given}
    said += [f"removed {a.label.name}" for a in taken if a.label_id not in replaced]
    for change in changes:
        if change.operation_id == operation.pk:
            said += [f"status {change.status_after}"] if change.status_after else []
            said += [f"tagged {tag}" for tag in change.tags_added] + [f"untagged {tag}" for tag in change.tags_removed]
    summary = ", ".join(said) or operations.describe(operation)
    if operation.kind == Operation.Kind.UNDO:
        summary = f"undo: {summary}"
    first: Any = given[0] if given else None
    return Entry(
        operation=operation.pk,
        kind=operation.kind,
        summary=summary,
        author=operation.author.username if operation.author else None,
        created_at=operation.created_at,
        source=first.source if first else None,
        confidence=first.confidence if first else None,
    )
