"""What is still to be embedded: asked for, withdrawn, handed to a worker again when one has died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from celery import current_app
from django.db import OperationalError as DatabaseUnavailable
from django.db import connection, transaction
from django.db.models import Count, QuerySet
from kombu.exceptions import OperationalError
from psycopg.errors import LockNotAvailable

from datasets import jobs
from datasets.errors import Conflict
from datasets.models import Dataset, Job, RegionLayer

from . import attempts
from .models import EmbeddingAttempt, EmbeddingSpace, PendingEmbedding

log = structlog.get_logger(__name__)

_EMBED_LOCKS = 0x4B45
_SPACES_LOCKS = 0x4B53
_PATIENCE_S = 20
# In the place of an encoder: the file is only to be opened, for its thumbnail and measures.
OPEN_ONLY = ""
# Phases of jobs: items as a whole, and the regions in them.
WHOLE, REGIONS = "embed", "regions"


class Busy(Conflict):
    """Workers are at the dataset for longer than somebody can be kept waiting."""


def keep_spaces(dataset_id: int) -> None:
    """Until this transaction ends, no space of the dataset turns ready or is dropped. Shared: any number of workers and
    imports may hold it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", [_SPACES_LOCKS, dataset_id % 2**31])


@contextmanager
def alone(dataset_id: int, *, is_patient: bool = False) -> Iterator[None]:
    """Held around a transaction that makes spaces ready or drops them, while nobody holds ``keep_spaces``.

    What claims or asks for vectors before sees the spaces as they were, and is over; what comes after sees them as they
    are then. Waits for as long as one claim of a worker takes; raises ``Busy`` when that is too long, unless
    ``is_patient``.
    """
    numbers = [_SPACES_LOCKS, dataset_id % 2**31]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if not is_patient:
                cursor.execute(f"SET LOCAL lock_timeout = '{_PATIENCE_S}s'")
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", numbers)
    except DatabaseUnavailable as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise Busy("The workers are busy with this dataset at the moment. Try again in a minute.") from error
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", numbers)


_SPACES = """
WITH spaces AS (
    SELECT id, encoder FROM search_embeddingspace
     WHERE dataset_id = %(dataset)s AND state = 'ready' AND encoder NOT LIKE 'uploaded:%%' AND (%(encoder)s::text IS NULL OR encoder = %(encoder)s)
     UNION ALL
    SELECT 0, '' WHERE NOT EXISTS (
        SELECT FROM search_embeddingspace
         WHERE dataset_id = %(dataset)s AND state = 'ready' AND encoder NOT LIKE 'uploaded:%%')
)
"""
_ENQUEUE = f"""{_SPACES}
, wanted AS (
    INSERT INTO search_pendingembedding (dataset_id, item_id, encoder, job_id, tries, reason)
    SELECT DISTINCT %(dataset)s::bigint, item.id, space.encoder, %(job)s::bigint, 0, ''
      FROM datasets_item AS item
     CROSS JOIN spaces AS space
     WHERE item.dataset_id = %(dataset)s AND item.problem = ''
       AND (%(items)s::bigint[] IS NULL OR item.id = ANY(%(items)s))
       AND CASE WHEN space.encoder = '' THEN item.sha256 IS NULL AND item.text IS NULL
                ELSE NOT EXISTS (SELECT FROM search_embedding AS embedding
                                  WHERE embedding.space_id = space.id AND embedding.item_id = item.id) END
    ON CONFLICT (item_id, encoder, layer_id) DO NOTHING
    RETURNING item_id
)
SELECT count(*), count(DISTINCT item_id) FILTER (WHERE sha256 IS NULL) FROM wanted JOIN datasets_item ON id = item_id
"""


def enqueue(dataset: Dataset, *, job: Job | None, item_ids: list[int] | None = None, encoder: str | None = None) -> int:
    """Ask for the vectors that ``item_ids`` (or all items) of the dataset lack, by ``encoder`` (or all of its spaces').

    How many vectors that are, an encoder's several outputs counted once. The job's phases grow by as many, in the same
    transaction.
    """
    with transaction.atomic():
        keep_spaces(dataset.pk)
        with connection.cursor() as cursor:
            cursor.execute(
                _ENQUEUE,
                {"dataset": dataset.pk, "job": job.pk if job else None, "items": item_ids, "encoder": encoder},
            )
            wanted, unopened = cursor.fetchone()
        if wanted:
            if job is not None:
                jobs.advance(job.pk, "embed", total=wanted)
                jobs.advance(job.pk, "thumbnails", total=unopened)
            transaction.on_commit(lambda: send(dataset.pk))
    return wanted


_RENEW = f"""{_SPACES}
INSERT INTO search_pendingembedding (dataset_id, item_id, encoder, layer_id, job_id, tries, reason)
SELECT DISTINCT item.dataset_id, item.id, wanted.encoder, wanted.layer_id, %(job)s::bigint, 0, ''
  FROM datasets_item AS item
 CROSS JOIN (
    SELECT encoder, NULL::bigint AS layer_id FROM spaces
     UNION ALL
    SELECT encoder, id FROM datasets_regionlayer WHERE dataset_id = %(dataset)s AND state IN ('preparing', 'ready')) AS wanted
 WHERE item.id = ANY(%(items)s) AND (wanted.encoder <> '' OR item.text IS NULL)
 ORDER BY item.id
    ON CONFLICT (item_id, encoder, layer_id) DO UPDATE SET tries = 0, reason = ''
RETURNING layer_id IS NOT NULL, job_id = %(job)s
"""


def renew(dataset: Dataset, item_ids: list[int], *, job: Job) -> None:
    """Ask, in ``job``, for everything about these items: their content is about to change in this transaction.

    Waits for the workers that are at any of them, and holds what there is to claim of them until the transaction ends:
    whoever comes after reads the new content. Their vectors and regions are for the caller to remove.
    """
    keep_spaces(dataset.pk)
    waiting = PendingEmbedding.objects.filter(item__in=item_ids)
    others = strike_off(waiting.order_by("id").select_for_update())
    with connection.cursor() as cursor:
        # Of rows that somebody else asks for at this very moment, the claim is waited for and the job is theirs.
        cursor.execute(_RENEW, {"dataset": dataset.pk, "items": item_ids, "job": job.pk, "encoder": None})
        mine = Counter(of_layer for of_layer, is_mine in cursor.fetchall() if is_mine)
    jobs.advance(job.pk, WHOLE, total=mine[False])
    jobs.advance(job.pk, "thumbnails", total=len(item_ids))
    if mine[True]:
        jobs.add_phase(job.pk, REGIONS)
        jobs.advance(job.pk, REGIONS, total=mine[True])

    def tell() -> None:
        send(dataset.pk)
        for job_id in others - {job.pk}:
            jobs.settle(job_id)

    transaction.on_commit(tell)


@transaction.atomic
def try_again(dataset: Dataset, encoder: str, *, job: Job) -> int:
    """Ask again, in ``job``, for what ``encoder`` could not embed. How many items that are."""
    failed = PendingEmbedding.objects.filter(dataset=dataset, encoder=encoder, layer=None).exclude(reason="")
    number = failed.update(reason="", tries=0, job=job)
    if number:
        jobs.advance(job.pk, "embed", total=number)
        transaction.on_commit(lambda: send(dataset.pk))
    return number


def withdraw(job: Job) -> None:
    """Drop what ``job`` asked for and no worker has begun; shrink its phases to what was done."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_pendingembedding WHERE id IN ("
            "SELECT id FROM search_pendingembedding WHERE job_id = %s AND reason = '' ORDER BY id FOR UPDATE SKIP LOCKED)",
            [job.pk],
        )
        cursor.execute(
            "UPDATE datasets_jobphase SET total = done WHERE job_id = %s AND name IN ('thumbnails', 'embed', 'regions')",
            [job.pk],
        )


def send(dataset_id: int) -> None:
    """Tell a worker that the dataset has something pending."""
    try:
        current_app.send_task("search.tasks.embed_pending", [dataset_id], queue="embed")
    except OperationalError as error:
        # The rows are in the database; `recover` sends again as soon as the broker is back.
        log.warning("broker_unreachable", dataset=dataset_id, error=str(error))


def recover() -> int:
    """Wake a worker for every dataset with pending items that no worker is at. How many datasets that are."""
    waiting = PendingEmbedding.objects.filter(reason="", dataset__deleted_at=None)
    count = 0
    for dataset_id in waiting.order_by().values_list("dataset_id", flat=True).distinct():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_EMBED_LOCKS, dataset_id % 2**31])
            is_idle = cursor.fetchone()[0]
            if is_idle:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_EMBED_LOCKS, dataset_id % 2**31])
                send(dataset_id)
                count += 1
    return count


def set_aside(dataset: Dataset) -> None:
    """Put aside what has ended a worker too often (see ``attempts``), and tell its jobs."""
    if not EmbeddingAttempt.objects.filter(dataset_id=dataset.pk).exists():
        return
    with transaction.atomic():
        rows = attempts.settle(dataset.pk)
        for row in rows:
            if row.job_id:
                jobs.refuse(row.job_id, row.item.key, f"no vector from {row.encoder}: {row.reason}")
                jobs.advance(row.job_id, phase_of(row), done=1)
                if row.item.sha256 is None:
                    jobs.advance(row.job_id, "thumbnails", done=1)
    for job_id in {row.job_id for row in rows if row.job_id}:
        jobs.settle(job_id)


def phase_of(row: PendingEmbedding) -> str:
    return REGIONS if row.layer_id else WHOLE


# Their files are still to be opened, for thumbnails and measures, unless another encoder will.
_OPEN_ONLY = """
WITH changed AS (
UPDATE search_pendingembedding AS pending SET encoder = %s
  FROM datasets_item AS item
 WHERE pending.id IN (
        SELECT id FROM search_pendingembedding
         WHERE dataset_id = %s AND encoder = %s AND layer_id IS NULL AND reason = '' ORDER BY id FOR UPDATE SKIP LOCKED)
   AND item.id = pending.item_id AND item.dataset_id = %s AND item.sha256 IS NULL AND item.text IS NULL
   AND NOT EXISTS (
        SELECT FROM search_pendingembedding AS other
         WHERE other.item_id = pending.item_id AND (other.encoder = %s OR (other.encoder <> pending.encoder AND other.reason = '')))
RETURNING pending.job_id
)
SELECT job_id, count(*) FROM changed WHERE job_id IS NOT NULL GROUP BY job_id
"""


def give_up(dataset: Dataset, encoder: str, problem: str) -> None:
    """The encoder itself cannot be used: its spaces have failed with what was to fill them, and nothing of the dataset
    waits for it any more. Imports go on without it."""
    filling = embed_jobs(dataset, encoder)
    with transaction.atomic():
        EmbeddingSpace.objects.filter(dataset=dataset, encoder=encoder).update(
            state=EmbeddingSpace.State.FAILED, problem=problem[:500], becomes_default=False
        )
        opened_only = _only_open(dataset, encoder)
        layers = RegionLayer.objects.filter(dataset=dataset, encoder=encoder).exclude(state=RegionLayer.State.DROPPING)
        # Nothing of theirs is pending yet, so nothing else would end them.
        waiting_jobs = list(layers.filter(state=RegionLayer.State.FETCHING).values_list("job", flat=True))
        layers.update(state=RegionLayer.State.FAILED, problem=problem[:500])
        waiting = PendingEmbedding.objects.filter(dataset=dataset, encoder=encoder, reason="")
        dropped = strike_off(waiting.select_for_update(skip_locked=True))
        for job_id in (dropped | opened_only.keys()) - {job.pk for job in filling}:
            jobs.refuse(job_id, encoder, problem)
    for job_id in {job.pk for job in filling} | {job_id for job_id in waiting_jobs if job_id}:
        jobs.fail(job_id, problem)
    for job_id in dropped:
        jobs.settle(job_id)


_STRIKE_OFF = """
WITH struck AS (DELETE FROM search_pendingembedding WHERE id = ANY(%s) RETURNING job_id, layer_id, reason)
SELECT job_id, layer_id IS NOT NULL, count(*) FROM struck WHERE job_id IS NOT NULL AND reason = '' GROUP BY 1, 2
"""


def strike_off(rows: QuerySet[PendingEmbedding]) -> set[int]:
    """Nobody waits for these any more. The jobs that did, to be settled after this transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_STRIKE_OFF, [list(rows.order_by("id").values_list("pk", flat=True))])
        struck = cursor.fetchall()
    for job_id, is_of_layer, number in struck:
        jobs.advance(job_id, REGIONS if is_of_layer else WHOLE, done=number)
    return {job_id for job_id, _, _ in struck}


def drop(dataset: Dataset, encoder: str) -> list[tuple[int, str, int]]:
    """Forget what ``encoder`` was to embed and what it could not, as its spaces go. (Job, phase, how much of it) each."""
    _only_open(dataset, encoder)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH dropped AS ("
            "DELETE FROM search_pendingembedding WHERE dataset_id = %s AND encoder = %s RETURNING job_id, layer_id, reason"
            ") SELECT job_id, layer_id IS NOT NULL, count(*) FROM dropped"
            " WHERE job_id IS NOT NULL AND reason = '' GROUP BY 1, 2",
            [dataset.pk, encoder],
        )
        return [(job_id, REGIONS if of_layer else WHOLE, number) for job_id, of_layer, number in cursor.fetchall()]


def forget(item_ids: list[int], *, but: list[int]) -> None:
    """The items are about to go, and with them what else waits for them than the rows ``but``: no job waits for it."""
    others = PendingEmbedding.objects.filter(item__in=item_ids, reason="", job__isnull=False).exclude(pk__in=but)
    for phase, of_layer in ((WHOLE, False), (REGIONS, True)):
        waiting = others.filter(layer__isnull=not of_layer).order_by().values_list("job")
        for job_id, number in waiting.annotate(number=Count("pk")):
            jobs.advance(job_id, phase, total=-number)


def failures(space: EmbeddingSpace) -> QuerySet[PendingEmbedding]:
    """What the encoder of the space could make no vector of, and why."""
    failed = PendingEmbedding.objects.filter(dataset=space.dataset_id, encoder=space.encoder, layer=None)
    return failed.exclude(reason="")


def embed_jobs(dataset: Dataset, encoder: str) -> list[Job]:
    """The jobs that fill the spaces of ``encoder`` at the moment."""
    filling = Job.objects.filter(dataset=dataset, kind=Job.Kind.EMBED, params__encoder=encoder)
    return list(filling.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]))


def _only_open(dataset: Dataset, encoder: str) -> dict[int, int]:
    """Job → how many of its files are only to be opened now, as ``encoder`` does not do it."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_ONLY, [OPEN_ONLY, dataset.pk, encoder, dataset.pk, OPEN_ONLY])
        return dict(cursor.fetchall())


class AtIt:
    """Held while a worker is at a dataset. Shared: any number of workers may be. ``recover`` looks whether nobody is."""

    def __init__(self, dataset_id: int) -> None:
        self._key = dataset_id % 2**31

    def __enter__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", [_EMBED_LOCKS, self._key])

    def __exit__(self, *_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_shared(%s, %s)", [_EMBED_LOCKS, self._key])
