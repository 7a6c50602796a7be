"""Giving and taking labels, on any selection, as one operation that can be undone."""

from __future__ import annotations

import enum
from typing import Any

from django.db import connection, transaction

from . import operations
from .errors import Refused
from .models import LabelClass, Operation, Source
from .operations import Applied
from .selection import Selection


class ForeignLabel(Refused):
    """The class belongs to another dataset."""


class Mode(enum.StrEnum):
    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"


@transaction.atomic
def apply_label(
    selection: Selection,
    label: LabelClass,
    *,
    by: Any,
    mode: Mode = Mode.REPLACE,
    source: Source = Source.HUMAN,
    confidence: float | None = None,
    keep_human: bool = False,
) -> Applied:
    """Give ``label`` to every item of ``selection``, or to its regions, as one operation that can be undone.

    ``REPLACE`` retracts the items' other labels; in a single-label dataset ``ADD`` does so too, since there a new
    label replaces. A person who gives the label that a machine has given confirms it: the annotation becomes theirs.
    With ``keep_human`` items that a person has labelled are left as they are.

    Three set-based statements, whatever the number of items. Raises ``ForeignLabel``.
    """
    if label.dataset_id != selection.dataset.pk:
        raise ForeignLabel(f"The class “{label.name}” belongs to another dataset, not to “{selection.dataset.name}”.")
    if mode is Mode.REMOVE:
        return remove_labels(selection, label, by=by)
    operation = operations.begin(
        selection.dataset,
        selection.items,
        regions=selection.regions,
        kind=Operation.Kind.LABEL,
        by=by,
        said=selection.said,
        detail={"label": label.name, "label_id": label.pk, "mode": mode, "source": source} | _of_regions(selection),
    )
    params = {
        "operation": operation.pk,
        "label": label.pk,
        "source": source,
        "author": by.pk if by is not None else None,
        "confidence": confidence,
        "replaces": mode is Mode.REPLACE or not selection.dataset.multi_label,
        "by_person": source == Source.HUMAN,
    }
    skipped = 0
    with connection.cursor() as cursor:
        if keep_human:
            cursor.execute(_LEAVE_OUT_WHAT_PEOPLE_LABELLED)
            skipped = cursor.rowcount
        cursor.execute(_RETRACT_OTHERS, params)
        cursor.execute(_GIVE, params)
    return Applied(operation, changed=operations.close(operation), skipped=skipped)


@transaction.atomic
def remove_labels(selection: Selection, label: LabelClass | None, *, by: Any) -> Applied:
    """Retract ``label``, or every label when it is ``None``, from the items of ``selection``, or from its regions."""
    operation = operations.begin(
        selection.dataset,
        selection.items,
        regions=selection.regions,
        kind=Operation.Kind.UNLABEL,
        by=by,
        said=selection.said,
        detail=({"label": label.name, "label_id": label.pk} if label else {}) | _of_regions(selection),
    )
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"operation": operation.pk, "label": label.pk if label else None})
    return Applied(operation, changed=operations.close(operation))


def _of_regions(selection: Selection) -> dict[str, bool]:
    return {"regions": True} if selection.regions is not None else {}


# A region's labels are its own, and none of its item's: a place is an item with a region, or without one.
_SAME_PLACE = (
    "annotation.item_id = selected_item.id AND annotation.region_id IS NOT DISTINCT FROM selected_item.region_id"
)

_LEAVE_OUT_WHAT_PEOPLE_LABELLED = f"""
DELETE FROM selected_item WHERE EXISTS (
    SELECT FROM datasets_annotation AS annotation
     WHERE {_SAME_PLACE} AND retracted_by_id IS NULL AND source = 'human'
)
"""

# The same label stays as it is, unless a person confirms what a machine or an import said.
_RETRACT_OTHERS = f"""
UPDATE datasets_annotation AS annotation SET retracted_by_id = %(operation)s
  FROM selected_item
 WHERE {_SAME_PLACE} AND retracted_by_id IS NULL
   AND (%(replaces)s OR label_id = %(label)s)
   AND NOT (label_id = %(label)s AND (source = 'human' OR NOT %(by_person)s))
"""

_GIVE = f"""
INSERT INTO datasets_annotation (item_id, region_id, label_id, source, author_id, confidence, operation_id, created_at)
SELECT selected_item.id, selected_item.region_id, %(label)s, %(source)s, %(author)s, %(confidence)s, %(operation)s, now()
  FROM selected_item
 WHERE NOT EXISTS (
    SELECT FROM datasets_annotation AS annotation
     WHERE {_SAME_PLACE} AND label_id = %(label)s AND retracted_by_id IS NULL
)
"""

_TAKE = f"""
UPDATE datasets_annotation AS annotation SET retracted_by_id = %(operation)s
  FROM selected_item
 WHERE {_SAME_PLACE} AND retracted_by_id IS NULL
   AND (%(label)s::bigint IS NULL OR label_id = %(label)s)
"""
