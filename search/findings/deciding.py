"""What people say to a finding: it is so, it is not, and the label that sets it right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from datasets import labelling, selection
from datasets.errors import Conflict, Refused
from datasets.models import Annotation, Item, LabelClass, Operation

from ..models import Finding

State = Finding.State


class Decided(Conflict):
    """Somebody has decided on it meanwhile."""


class Changed(Conflict):
    """The item has other labels than those that the finding is about."""


@dataclass(frozen=True)
class Decision:
    finding: Finding
    operation: Operation | None  # that gave the label


@transaction.atomic
def decide(finding: Finding, state: str, *, label: LabelClass | None = None, by: Any) -> Decision:
    """Confirm ``finding``, giving its item ``label`` if there is one as an operation that can be undone; dismiss it; or open it
    again. Raises ``Decided``, ``Changed``, and ``Refused`` for a label with anything but confirmed."""
    if label is not None and state != State.CONFIRMED:
        raise Refused("A label goes with state confirmed only: what is dismissed stays as it is labelled.")
    # The item before the finding, as every act has it.
    Item.objects.select_for_update(no_key=True).get(pk=finding.item_id)
    finding = Finding.objects.select_for_update(of=("self",)).select_related("dataset", "decided_by").get(pk=finding.pk)
    if state == finding.state and label is None:
        return Decision(finding, None)
    if state != State.OPEN:
        _must_be_open(finding)
        if label is not None or finding.suggested_label_id is not None:
            _must_be_labelled_as_found(finding)
    operation = None
    if label is not None:
        one = selection.of_items(finding.dataset, [finding.item_id])
        operation = labelling.apply_label(one, label, by=by).operation
    finding.state = state
    finding.decided_by, finding.decided_at = (None, None) if state == State.OPEN else (by, timezone.now())
    finding.save(update_fields=["state", "decided_by", "decided_at"])
    return Decision(finding, operation)


def _must_be_open(finding: Finding) -> None:
    if finding.state != State.OPEN:
        who = finding.decided_by.username if finding.decided_by else "Somebody"
        raise Decided(f"{who} has {finding.state} this finding already. Open it again first (state open).")


def _must_be_labelled_as_found(finding: Finding) -> None:
    standing = Annotation.objects.standing().filter(item=finding.item_id, region=None)
    labels = sorted(standing.values_list("label_id", "label__name"))
    if [pk for pk, _ in labels] != sorted(finding.label_ids):
        now = " and ".join(f"“{name}”" for _, name in labels) or "no label"
        raise Changed(f"The item has {now} by now, which is not what was found. Look for problems again.")
