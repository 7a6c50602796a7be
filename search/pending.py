"""What is still to be embedded: asked for, withdrawn, handed to a worker again when one has died."""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import connection, transaction
from django.db.models import QuerySet
from kombu.exceptions import OperationalError

from datasets import jobs
from datasets.models import Dataset, Job, RegionLayer

from . import attempts
from .models import EmbeddingAttempt, EmbeddingSpace, PendingEmbedding

log = structlog.get_logger(__name__)

_EMBED_LOCKS = 0x4B45
# In the place of an encoder: the file is only to be opened, for its thumbnail and measures.
OPEN_ONLY = ""
# Phases of jobs: items as a whole, and the regions in them.
WHOLE, REGIONS = "embed", "regions"

_ENQUEUE = """
WITH spaces AS (
    SELECT id, encoder FROM search_embeddingspace
     WHERE dataset_id = %(dataset)s AND state = 'ready' AND (%(encoder)s::text IS NULL OR encoder = %(encoder)s)
     UNION ALL
    SELECT 0, '' WHERE NOT EXISTS (SELECT FROM search_embeddingspace WHERE dataset_id = %(dataset)s AND state = 'ready')
), wanted AS (
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


def try_again(dataset: Dataset, encoder: str) -> int:
    """Ask again for what ``encoder`` could not embed. How many items that are."""
    failed = PendingEmbedding.objects.filter(dataset=dataset, encoder=encoder, layer=None).exclude(reason="")
    number = failed.update(reason="", tries=0, job=None)
    if number:
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
    """The encoder itself cannot be used: its spaces have failed, and nothing of the dataset waits for it any more."""
    with transaction.atomic():
        EmbeddingSpace.objects.filter(dataset=dataset, encoder=encoder).update(
            state=EmbeddingSpace.State.FAILED, problem=problem[:500], becomes_default=False
        )
        with connection.cursor() as cursor:
            cursor.execute(_OPEN_ONLY, [OPEN_ONLY, dataset.pk, encoder, dataset.pk, OPEN_ONLY])
            opened_only = dict(cursor.fetchall())
        RegionLayer.objects.filter(dataset=dataset, encoder=encoder).exclude(state=RegionLayer.State.DROPPING).update(
            state=RegionLayer.State.FAILED, problem=problem[:500]
        )
        waiting = PendingEmbedding.objects.filter(dataset=dataset, encoder=encoder, reason="")
        dropped = strike_off(waiting.select_for_update(skip_locked=True))
        for job_id in dropped | opened_only.keys():
            jobs.refuse(job_id, encoder, problem)
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
