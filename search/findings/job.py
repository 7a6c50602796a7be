"""The job that looks for findings: the vectors and their graph once, then one kind after another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from datasets import jobs
from datasets.errors import Conflict
from datasets.models import Dataset, Job

from . import KINDS, Material, NothingToFind, chosen, storing

GRAPH_PHASE, PHASE = "graph", "look"
_REPORT_S = 0.5


class AtWork(Conflict):
    """Another job is looking for findings in the dataset."""


def jobs_of(dataset: Dataset) -> Any:
    """Newest first."""
    return Job.objects.filter(dataset=dataset, kind=Job.Kind.FINDINGS).order_by("-pk")


@transaction.atomic
def start(dataset: Dataset, kinds: Sequence[str] = (), *, by: Any) -> Job:
    """Look for ``kinds`` (all when none are named) in the background. Raises ``UnknownKind``, ``AtWork``."""
    names = chosen(kinds)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    if running := jobs_of(dataset).filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).first():
        raise AtWork(f"Job {running.pk} is looking already. Wait until it is over, or cancel it.")
    job = jobs.create(dataset, Job.Kind.FINDINGS, by=by, phases=[GRAPH_PHASE, PHASE], params={"kinds": names})
    jobs.advance(job.pk, PHASE, total=len(names))
    jobs.enqueue(job)
    return job


# One at a time: each holds all vectors of a dataset in memory.
@jobs.runner(Job.Kind.FINDINGS, one_at_a_time=True)
def run(job: Job) -> None:
    """Called again after an interruption, it goes on with the kinds that are left."""
    names = [name for name in job.params["kinds"] if name in KINDS]
    said: dict[str, Any] = dict(job.result.get("kinds", {}))
    material = Material(job.dataset, _reporting(job))
    for at, name in enumerate(names):
        jobs.check_canceled(job)
        jobs.report(job.pk, PHASE, at, len(names))
        if name not in said:
            said[name] = _look(material, name)
            job.result = {"kinds": said}
            job.save(update_fields=["result", "updated_at"])
    with transaction.atomic():
        jobs.check_canceled(job)
        _complete(job)
        jobs.report(job.pk, PHASE, len(names), len(names))
        jobs.hand_out(job)


def _look(material: Material, name: str) -> dict[str, Any]:
    """How many are open now, and what keeps this kind from finding any."""
    try:
        found = KINDS[name].find(material)
    except NothingToFind as reason:
        return {"open": storing.store(material.dataset, name, []), "note": str(reason)}
    return {"open": storing.store(material.dataset, name, found), "note": ""}


def _reporting(job: Job) -> Any:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_S:
            last = time.monotonic()
            jobs.check_canceled(job)
            jobs.report(job.pk, GRAPH_PHASE, done, total)

    return report


def _complete(job: Job) -> None:
    """The graph is there, or was not wanted."""
    total = job.phases.get(name=GRAPH_PHASE).total
    jobs.report(job.pk, GRAPH_PHASE, total, total)
