"""Which encoder suits this dataset? A sample of it is embedded with each, and measured side by side.

- *k-NN accuracy*: the share of labelled sample items whose label most of their five nearest neighbours among the others
  have (leave-one-out; Cover & Hart 1967).
- *Separation*: the mean silhouette of the labels in cosine distance (Rousseeuw 1987), from -1 to 1.
- *Overlap*: the mean share of an item's ten nearest neighbours that two encoders have in common, in the first output of
  each: that is what a default space would be. Where little is labelled, it tells whether the choice matters at all.

Each encoder is tried in a process of its own (``trials``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from django.db import transaction

from datasets import jobs
from datasets.errors import Refused
from datasets.models import Annotation, Dataset, Item, Job, JobError

from . import encoders, fetching, trials
from .encoders import EncoderUnavailable, UnknownEncoder
from .models import UPLOADED
from .neighbourhoods import Labels, Places, knn_accuracy, nearest, overlap, separation
from .trials import Trial

SAMPLE = 500
LEAST_SAMPLE, GREATEST_SAMPLE = 20, 5_000
MOST_ENCODERS = 8
NEIGHBOURS, OVERLAP_NEIGHBOURS = 5, 10
PHASE = "compare"
# With so many labelled items, accuracy is told to some three points; with fewer, the overlap says more.
_MANY_LABELED = 200
# A stored vector's row besides its values: the ids, the headers of row and value, its share of the index.
_BYTES_PER_ROW = 64


@dataclass(frozen=True)
class Measured:
    """One output of one encoder on the sample."""

    encoder: str
    title: str
    output: str
    dimension: int
    license: str
    runtime: str
    sampled: int  # items that have a vector
    failed: int
    knn_accuracy: float | None  # None without labels
    separation: float | None
    per_second: float  # items, their files opened and their vectors made
    hours: float  # for the whole dataset
    others_share: float  # of the processors' time, that other work took meanwhile
    memory_bytes: int  # what the process grew by, its greatest moment
    disk_bytes: int  # vectors of the whole dataset


@dataclass(frozen=True)
class Overlap:
    """Of the neighbourhoods of two encoders."""

    one: str
    other: str
    share: float


@dataclass(frozen=True)
class Problem:
    """Why an encoder could not be measured."""

    encoder: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    items: int  # of the dataset
    sampled: int
    labeled: int  # of the sample
    classes: int  # that these have
    measured: list[Measured] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    overlap: list[Overlap] = field(default_factory=list)

    @property
    def is_told_by_labels(self) -> bool:
        """Whether there are labels enough to choose by; else the overlap says more."""
        return self.classes > 1 and self.labeled >= min(_MANY_LABELED, self.sampled)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_told_by_labels": self.is_told_by_labels}


def check(dataset: Dataset, names: Sequence[str], sample: int) -> None:
    """Raises ``Refused`` for a comparison that cannot be made."""
    if not 1 <= len(set(names)) == len(names) <= MOST_ENCODERS:
        raise Refused(f"Name one to {MOST_ENCODERS} different encoders to compare.")
    if not LEAST_SAMPLE <= sample <= GREATEST_SAMPLE:
        raise Refused(f"A sample has {LEAST_SAMPLE} to {GREATEST_SAMPLE:,} items, not {sample:,}.")
    for name in names:
        if name.startswith(UPLOADED):
            raise Refused(
                f"The vectors of “{name.removeprefix(UPLOADED)}” were computed elsewhere, and no encoder makes them here. "
                "Leave them out."
            )
        try:
            spec = encoders.spec(name)
        except UnknownEncoder as error:
            raise Refused(str(error)) from error
        if dataset.modality not in spec.modalities:
            raise Refused(f"The encoder “{name}” cannot read {dataset.modality}s. Leave it out.")
    if not _candidates(dataset).exists():
        raise Refused(f"“{dataset.name}” holds no item that could be embedded yet. Import some first.")


def compare(
    dataset: Dataset,
    names: Sequence[str],
    *,
    sample: int = SAMPLE,
    fetch: Callable[[str], object] = encoders.prepare,
    report: Callable[[int], None] = lambda done: None,
    alive: Callable[[], None] = lambda: None,
) -> Comparison:
    """First ``fetch`` gets those whose weights are not here; then one after the other is tried.

    ``report`` is told how many encoders are done; ``alive`` is called all the time. Any of them may raise to stop it. An
    encoder that cannot be had, or gives nothing, is among the problems. Raises ``Refused``.
    """
    check(dataset, names, sample)
    problems = _fetch(names, fetch)
    ids, labels = _sample(dataset, sample)
    total = _candidates(dataset).count()
    measured: list[Measured] = []
    neighbours: dict[str, Places] = {}
    report(0)
    for number, name in enumerate(names, start=1):
        if name not in problems:
            try:
                trial = trials.run(name, ids, alive)
            except EncoderUnavailable as error:
                problems[name] = str(error)
            else:
                outputs = _measure(name, trial, labels, total)
                measured += outputs
                neighbours[name] = nearest(trial.vectors[outputs[0].output], trial.rows, len(ids), OVERLAP_NEIGHBOURS)
        report(number)
    known = labels[labels >= 0]
    return Comparison(
        items=total,
        sampled=len(ids),
        labeled=len(known),
        classes=len(np.unique(known)),
        measured=measured,
        problems=[Problem(name, problems[name]) for name in names if name in problems],
        overlap=[
            Overlap(one, other, share)
            for one, other in combinations(neighbours, 2)
            if (share := overlap(neighbours[one], neighbours[other])) is not None
        ],
    )


def _fetch(names: Sequence[str], fetch: Callable[[str], object]) -> dict[str, str]:
    """Which could not be had, and why."""
    problems = {}
    for name in names:
        try:
            if not encoders.spec(name).is_here():
                fetch(name)
        except (EncoderUnavailable, UnknownEncoder) as error:
            problems[name] = str(error)
    return problems


def _measure(name: str, trial: Trial, labels: Labels, total: int) -> list[Measured]:
    """Each of its outputs, for a dataset of ``total`` items."""
    per_second = len(labels) / trial.seconds
    return [
        Measured(
            encoder=name,
            title=trial.title,
            output=output,
            dimension=dimension,
            license=trial.license,
            runtime=trial.runtime,
            sampled=len(trial.rows),
            failed=len(labels) - len(trial.rows),
            knn_accuracy=knn_accuracy(trial.vectors[output], labels[trial.rows], NEIGHBOURS),
            separation=separation(trial.vectors[output], labels[trial.rows]),
            per_second=per_second,
            hours=total / per_second / 3600,
            others_share=trial.others_share,
            memory_bytes=trial.memory_bytes,
            disk_bytes=total * (2 * dimension + _BYTES_PER_ROW),
        )
        for output, dimension in trial.dimensions.items()
    ]


# The job -------------------------------------------------------------------------------------------------------------


@transaction.atomic
def start(dataset: Dataset, names: Sequence[str], *, sample: int = SAMPLE, by: Any) -> Job:
    """Compare them in the background; the job's result will be the ``Comparison`` as JSON. Raises ``Refused``."""
    check(dataset, names, sample)
    params = {"encoders": list(names), "sample": sample}
    job = jobs.create(dataset, Job.Kind.COMPARISON, by=by, phases=[fetching.PHASE, PHASE], params=params)
    jobs.advance(job.pk, PHASE, total=len(names))
    jobs.enqueue(job)
    return job


# One at a time: trials side by side would measure each other, and however many are asked for, they keep one process of the
# queue busy, so that imports find another.
@jobs.runner(Job.Kind.COMPARISON, one_at_a_time=True)
def run(job: Job) -> None:
    """Called again after an interruption, it begins anew; what was fetched and converted is there by then."""
    names = [str(name) for name in job.params["encoders"]]
    JobError.objects.filter(job=job).delete()
    weights = fetching.Fetching(job)

    def fetch(name: str) -> None:
        jobs.check_canceled(job)
        weights.fetch(name, encoders.prepare, unavailable=EncoderUnavailable)

    def report(done: int) -> None:
        weights.complete()
        jobs.check_canceled(job)
        jobs.report(job.pk, PHASE, done, len(names))

    found = compare(
        job.dataset,
        names,
        sample=int(job.params["sample"]),
        fetch=fetch,
        report=report,
        alive=lambda: jobs.check_canceled(job),
    )
    with transaction.atomic():
        jobs.check_canceled(job)
        Job.objects.filter(pk=job.pk).update(result=found.as_json())
        jobs.refuse_all(job.pk, [(problem.encoder, problem.reason) for problem in found.problems])
        jobs.hand_out(job)


# The sample ----------------------------------------------------------------------------------------------------------


def _candidates(dataset: Dataset) -> Any:
    return Item.objects.filter(dataset=dataset, problem="")


def _sample(dataset: Dataset, number: int) -> tuple[list[int], Labels]:
    """Ids, labelled ones first wanted, and the number of each one's label; -1 without one. The same ones every time."""
    labels: dict[int, int] = {}
    standing = Annotation.objects.standing().filter(item__dataset=dataset, item__problem="", region=None)
    for item, label in standing.order_by("-id").values_list("item_id", "label_id"):
        labels[item] = label
    generator = np.random.default_rng(0)
    labeled = np.array(sorted(labels), dtype=np.int64)
    chosen = generator.permutation(labeled)[:number].tolist()
    if len(chosen) < number:
        others = np.array(
            list(_candidates(dataset).order_by("id").values_list("pk", flat=True).iterator()), dtype=np.int64
        )
        others = np.setdiff1d(others, labeled, assume_unique=True)
        chosen += generator.permutation(others)[: number - len(chosen)].tolist()
    return chosen, np.array([labels.get(pk, -1) for pk in chosen], dtype=np.int64)
