"""Background work: progress, cancel, resume, recovery.

A job is run under a Postgres advisory lock on its id, so two workers never run the same one, and a lock that nobody
holds under a running job tells at once that its worker has died: ``recover`` then hands it out again. (Session locks:
a pooler in front of Postgres must pool sessions, not transactions.)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from celery import current_app
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from . import signals
from .errors import Conflict, Refused
from .models import Dataset, Job, JobError, JobPhase

log = structlog.get_logger(__name__)

# Advisory locks share one number space in a database; the first of the two numbers says what the second counts.
_JOB_LOCKS = 0x4B4A
_KIND_LOCKS = 0x4B4B

# A queued job is handed out again after this long, in case the broker lost it.
_QUEUED_FOR_TOO_LONG = timedelta(seconds=60)
_RUNNING_WITHOUT_WORKER = timedelta(seconds=5)

Runner = Callable[[Job], None]
_RUNNERS: dict[str, Runner] = {}
_ONE_AT_A_TIME: set[str] = set()


class JobIsOver(Conflict):
    """The job has ended, or has not: it cannot be canceled, resumed or added to now."""


class Canceled(Exception):
    """Raised inside a running job when somebody has canceled it."""


def runner(kind: str, *, one_at_a_time: bool = False) -> Callable[[Runner], Runner]:
    """Register the function that does jobs of ``kind``. It may be called again for the same job at any time.

    Of jobs ``one_at_a_time`` the others wait in the queue, whatever their dataset, and keep no worker from its work.
    """

    def register(function: Runner) -> Runner:
        _RUNNERS[kind] = function
        if one_at_a_time:
            _ONE_AT_A_TIME.add(kind)
        return function

    return register


def create(dataset: Dataset, kind: Job.Kind, *, by: Any, phases: list[str], params: dict[str, Any]) -> Job:
    job = Job.objects.create(dataset=dataset, kind=kind, created_by=by, params=params)
    JobPhase.objects.bulk_create(JobPhase(job=job, name=name, position=i) for i, name in enumerate(phases))
    return job


def enqueue(job: Job) -> None:
    """Hand the job to a worker when the transaction commits."""
    transaction.on_commit(lambda: _send(job.pk))


def _send(job_id: int) -> None:
    try:
        current_app.send_task("datasets.tasks.run_job", [job_id], queue="default")
    except OperationalError as error:
        # The job is in the database, and `recover` hands it out as soon as the broker is back.
        log.warning("broker_unreachable", job=job_id, error=str(error))


def run(job_id: int) -> None:
    """Do the job, unless it is over or another worker is at it."""
    with _lock(_JOB_LOCKS, job_id) as is_mine:
        if not is_mine:
            return
        job = Job.objects.select_related("dataset").filter(pk=job_id).first()
        if job is None or job.is_over or job.handed_out or job.dataset.deleted_at is not None:
            return
        if job.kind in _ONE_AT_A_TIME:
            with _lock(_KIND_LOCKS, _number_of(job.kind)) as is_its_turn:
                if not is_its_turn:
                    return  # the one that is at work hands it out
                _do(job)
            _send_next(job.kind)
        else:
            _do(job)
    settle(job_id)


def _do(job: Job) -> None:
    now = timezone.now()
    job.state = Job.State.RUNNING
    job.started_at = job.started_at or now
    still_open = Job.objects.filter(pk=job.pk, state__in=[Job.State.QUEUED, Job.State.RUNNING])
    if not still_open.update(state=job.state, started_at=job.started_at, updated_at=now):
        return  # canceled this very moment
    structlog.contextvars.bind_contextvars(job=job.pk)
    try:
        _RUNNERS[job.kind](job)
    except Canceled:
        log.info("job_canceled")
    except Exception as error:
        log.exception("job_failed")
        said = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        fail(job.pk, f"{said.rstrip('.')}. What is in stays in; resume the job to try again.")
    finally:
        structlog.contextvars.unbind_contextvars("job")


def _send_next(kind: str) -> None:
    """The oldest job of ``kind`` that waited for its turn. Its own message may have come too early."""
    waiting = Job.objects.filter(kind=kind, state=Job.State.QUEUED, dataset__deleted_at=None).order_by("pk")
    if (following := waiting.values_list("pk", flat=True).first()) is not None:
        _send(following)


def _number_of(kind: str) -> int:
    return zlib.crc32(kind.encode()) % 2**31


@contextmanager
def _lock(what: int, number: int) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [what, number % 2**31])
        is_mine = cursor.fetchone()[0]
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [what, number % 2**31])


def recover() -> int:
    """Hand out again what a dead worker or a lost message left undone. How many jobs that were."""
    now = timezone.now()
    stalled = Job.objects.filter(
        Q(state=Job.State.RUNNING, updated_at__lt=now - _RUNNING_WITHOUT_WORKER)
        | Q(state=Job.State.QUEUED, updated_at__lt=now - _QUEUED_FOR_TOO_LONG),
        handed_out=False,
        dataset__deleted_at=None,
    )
    count = 0
    for job in stalled:
        with _lock(_JOB_LOCKS, job.pk) as is_idle:
            pass
        if is_idle:
            Job.objects.filter(pk=job.pk).update(updated_at=now)
            _send(job.pk)
            count += 1
    for job in Job.objects.filter(state=Job.State.RUNNING, handed_out=True):
        settle(job.pk)
    return count


# Progress ------------------------------------------------------------------------------------------------------------


def reset_phase(job: Job, name: str) -> None:
    JobPhase.objects.filter(job=job, name=name).update(done=0, total=0, started_at=None)


def add_phase(job_id: int, name: str) -> None:
    """Let the job have a phase ``name``, as its last, unless it has."""
    position = JobPhase.objects.filter(job_id=job_id).count()
    JobPhase.objects.get_or_create(job_id=job_id, name=name, defaults={"position": position})


def advance(job_id: int, name: str, done: int = 0, total: int = 0) -> None:
    """Add to a phase's counts. In the transaction of the counted work, so that both hold or neither."""
    now = timezone.now()
    phase = JobPhase.objects.filter(job_id=job_id, name=name)
    if done:
        phase.filter(started_at=None).update(started_at=now)
    phase.update(done=F("done") + done, total=F("total") + total, updated_at=now)


def report(job_id: int, name: str, done: int, total: int) -> None:
    """Set a phase's counts, for a phase that knows where it stands."""
    now = timezone.now()
    phase = JobPhase.objects.filter(job_id=job_id, name=name)
    if done:
        phase.filter(started_at=None).update(started_at=now)
    phase.update(done=done, total=total, updated_at=now)


def refuse(job_id: int, key: str, reason: str) -> None:
    """Note that ``key`` could not be taken in, and why."""
    JobError.objects.update_or_create(job_id=job_id, key=key[:1024], defaults={"reason": reason[:500]})


def refuse_all(job_id: int, refusals: list[tuple[str, str]]) -> None:
    """``refuse`` for many, (key, reason) each: one statement. Of several reasons for one key the last stays."""
    rows = {key[:1024]: reason[:500] for key, reason in refusals}
    JobError.objects.bulk_create(
        (JobError(job_id=job_id, key=key, reason=reason) for key, reason in rows.items()),
        update_conflicts=True,
        unique_fields=["job", "key"],
        update_fields=["reason"],
    )


def check_canceled(job: Job) -> None:
    """Raise ``Canceled`` when somebody has canceled the job meanwhile; note that it is alive."""
    now = timezone.now()
    alive = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, dataset__deleted_at=None).update(updated_at=now)
    if not alive:
        raise Canceled


def hand_out(job: Job) -> None:
    """All the work of the job is with the workers: it is over when every phase is complete."""
    Job.objects.filter(pk=job.pk).update(handed_out=True, updated_at=timezone.now())


def settle(job_id: int) -> None:
    """End the job if nothing of it is left to do."""
    # A file is opened for what is to be embedded, so where all of that is done, all thumbnails are made: some of them by
    # another job that was at the same item, and counted there.
    thumbnails = JobPhase.objects.filter(job_id=job_id, name="thumbnails")
    unfinished = JobPhase.objects.filter(job_id=job_id, done__lt=F("total")).exclude(pk__in=thumbnails)
    if not unfinished.exists():
        now = timezone.now()
        is_over = Job.objects.filter(pk=job_id, state=Job.State.RUNNING, handed_out=True).update(
            state=Job.State.SUCCEEDED, finished_at=now, updated_at=now
        )
        if is_over:
            thumbnails.update(done=F("total"))


def fail(job_id: int, message: str) -> None:
    now = timezone.now()
    Job.objects.filter(pk=job_id, state__in=[Job.State.QUEUED, Job.State.RUNNING]).update(
        state=Job.State.FAILED, message=message[:1000], finished_at=now, updated_at=now
    )


@transaction.atomic
def cancel(job: Job) -> None:
    """Stop the job. What is in stays in. Raises ``JobIsOver``."""
    job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if job.is_over:
        raise JobIsOver(f"Job {job.pk} is over ({job.state}); there is nothing to cancel.")
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(state=Job.State.CANCELED, finished_at=now, updated_at=now)
    signals.job_canceled.send(Job, job=job)


@transaction.atomic
def resume(job: Job) -> None:
    """Go on with a job that was canceled or has failed. Raises ``JobIsOver`` when there is nothing to go on with."""
    job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if job.state not in (Job.State.CANCELED, Job.State.FAILED):
        raise JobIsOver(f"Job {job.pk} is {job.state}; only a canceled or failed job can be resumed.")
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.QUEUED, handed_out=False, finished_at=None, message="", updated_at=timezone.now()
    )
    enqueue(job)


@dataclass(frozen=True)
class Progress:
    """Where a job stands: the counts of the phase that is furthest behind, and how fast that one goes."""

    phase: str
    done: int
    total: int
    rate: float | None  # per second
    eta_s: float | None


def progress(job: Job) -> Progress:
    """Reads ``job.phases`` (prefetch it for lists)."""
    phases = list(job.phases.all())
    if not phases:
        return Progress("", 0, 0, None, None)
    current = next((p for p in phases if p.done < p.total), phases[-1])
    if current.done == 0 and not job.is_over:
        # Nothing counted there yet: the phase before it says more.
        started = [p for p in phases if p.done]
        current = started[-1] if started and started[-1].done < started[-1].total else current
    rate = eta_s = None
    if current.started_at and current.updated_at and not job.is_over:
        seconds = (timezone.now() - current.started_at).total_seconds()
        if seconds > 0.5 and current.done:
            rate = current.done / seconds
            eta_s = (current.total - current.done) / rate
    return Progress(current.name, current.done, current.total, rate, eta_s)
