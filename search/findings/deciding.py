"""What people say to findings: it is so, it is not, and what sets it right. Every decision is an operation, which can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from datasets import labelling, marking, operations, selection
from datasets.errors import Conflict, Refused
from datasets.models import Annotation, Dataset, Item, LabelClass, Operation, Status

from ..models import Finding

State = Finding.State

# The tag of what was excluded for being one.
DUPLICATE = "duplicate"


class Decided(Conflict):
    """Somebody has decided on it meanwhile."""


class Changed(Conflict):
    """The item has other labels than those that the finding is about."""


@dataclass(frozen=True)
class Verdict:
    """What is said to a finding. What sets its item right, a class to give or its exclusion, goes with confirmed only."""

    state: str
    label: LabelClass | None = None
    excludes: bool = False
    is_duplicate: bool = False  # excluded, and tagged so

    def __post_init__(self) -> None:
        """Raises ``Refused``."""
        acts = sum((self.label is not None, self.excludes, self.is_duplicate))
        if acts > 1:
            raise Refused("Say one of label, exclude and duplicate.")
        if acts and self.state != State.CONFIRMED:
            raise Refused(
                "label, exclude and duplicate go with state confirmed only: what is dismissed stays as it is."
            )


@dataclass(frozen=True)
class Decision:
    finding: Finding
    operation: Operation | None  # None where nothing had to be decided any more


@dataclass(frozen=True)
class Decisions:
    operation: Operation | None
    decided: int
    left: int  # that somebody has decided on meanwhile, or whose items have other labels by now


@transaction.atomic
def decide(finding: Finding, verdict: Verdict, *, by: Any) -> Decision:
    """Raises ``Decided``, ``Changed``."""
    # The item before the finding, as every act has it.
    Item.objects.select_for_update(no_key=True).get(pk=finding.item_id)
    finding = Finding.objects.select_for_update(of=("self",)).select_related("dataset", "decided_by").get(pk=finding.pk)
    if verdict == Verdict(finding.state):
        return Decision(finding, None)
    if verdict.state == State.OPEN:
        _reopen(finding)
        return Decision(finding, None)
    _must_be_open(finding)
    if verdict.label is not None or finding.suggested_label_id is not None:
        _must_be_labelled_as_found(finding)
    operation = _carry_out(finding.dataset, [finding], verdict, by=by)
    return Decision(Finding.objects.select_related("suggested_label", "decided_by").get(pk=finding.pk), operation)


@transaction.atomic
def decide_all(dataset: Dataset, ids: Sequence[int], verdict: Verdict, *, by: Any) -> Decisions:
    """The same verdict on many, as one operation. Those that ``decide`` would refuse are left as they are, and counted. Raises
    ``Refused`` for ``open``."""
    if verdict.state == State.OPEN:
        raise Refused("Many findings are confirmed or dismissed together; to open them again, undo that operation.")
    asked = Finding.objects.filter(dataset=dataset, pk__in=ids)
    items = Item.objects.filter(pk__in=asked.values("item"))
    list(items.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    found = list(asked.filter(state=State.OPEN).order_by("pk").select_for_update(of=("self",)))
    labels = _labels_of([one.item_id for one in found])
    meant = [
        one
        for one in found
        if (verdict.label is None and one.suggested_label_id is None)
        or labels.get(one.item_id, []) == sorted(one.label_ids)
    ]
    operation = _carry_out(dataset, meant, verdict, by=by) if meant else None
    return Decisions(operation, len(meant), len(set(ids)) - len(meant))


def _carry_out(dataset: Dataset, found: Sequence[Finding], verdict: Verdict, *, by: Any) -> Operation:
    items = selection.of_items(dataset, sorted({one.item_id for one in found}))
    items = replace(items, said={"findings": sorted(one.pk for one in found)})
    if verdict.label is not None:
        operation = labelling.apply_label(items, verdict.label, by=by).operation
    elif verdict.excludes or verdict.is_duplicate:
        tags = [DUPLICATE] if verdict.is_duplicate else []
        operation = marking.set_status(items, Status.EXCLUDED, tags=tags, by=by).operation
    else:
        operation = operations.begin(
            dataset,
            items.items,
            kind=Operation.Kind.REVIEW,
            by=by,
            said=items.said,
            detail={"state": verdict.state, "findings": len(found)},
        )
        operations.close(operation)
    Finding.objects.filter(pk__in=[one.pk for one in found]).update(
        state=verdict.state,
        decided_state=verdict.state,
        decided_by=by,
        decided_at=timezone.now(),
        operation=operation,
        held_by=None,
        held_until=None,
    )
    return operation


def _reopen(finding: Finding) -> None:
    finding.state, finding.decided_by, finding.decided_at, finding.operation = State.OPEN, None, None, None
    finding.decided_state = ""
    finding.save(update_fields=["state", "decided_state", "decided_by", "decided_at", "operation"])


def follow_undo(operation: Operation, undoing: Operation) -> None:
    """``operation`` has been undone by ``undoing``, in this transaction: what was decided by it is open again where the items are
    as they were. Where it was such an undo itself, what it had opened is decided again."""
    with connection.cursor() as cursor:
        if operation.kind == Operation.Kind.UNDO:
            cursor.execute(_DECIDE_AGAIN, {"undo": operation.pk, "undoing": undoing.pk})
        else:
            cursor.execute(_OPEN_AGAIN, {"operation": operation.pk, "undoing": undoing.pk})


# What was decided stays with the finding, so that undoing the undo brings it back.
_OPEN_AGAIN = """
UPDATE search_finding AS finding SET state = 'open', operation_id = %(undoing)s
 WHERE operation_id = %(operation)s
   AND label_ids = ARRAY(SELECT label_id FROM datasets_annotation AS standing
                          WHERE standing.item_id = finding.item_id AND region_id IS NULL AND retracted_by_id IS NULL
                          ORDER BY label_id)
"""

_DECIDE_AGAIN = """
UPDATE search_finding SET state = decided_state, operation_id = %(undoing)s
 WHERE operation_id = %(undo)s AND state = 'open'
"""


def _must_be_open(finding: Finding) -> None:
    if finding.state != State.OPEN:
        who = finding.decided_by.username if finding.decided_by else "Somebody"
        raise Decided(f"{who} has {finding.state} this finding already. Open it again first (state open).")


def _must_be_labelled_as_found(finding: Finding) -> None:
    if _labels_of([finding.item_id]).get(finding.item_id, []) != sorted(finding.label_ids):
        standing = Annotation.objects.standing().filter(item=finding.item_id, region=None)
        names = standing.order_by("label__name").values_list("label__name", flat=True)
        now = " and ".join(f"“{name}”" for name in names) or "no label"
        raise Changed(f"The item has {now} by now, which is not what was found. Look for problems again.")


def _labels_of(item_ids: Sequence[int]) -> dict[int, list[int]]:
    standing = Annotation.objects.standing().filter(item__in=item_ids, region=None).order_by("label_id")
    found: dict[int, list[int]] = {}
    for item, label in standing.values_list("item_id", "label_id"):
        found.setdefault(item, []).append(label)
    return found
