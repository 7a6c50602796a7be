"""Filling the spaces: claim pending items, open each file once, encode, write, all in one transaction a batch.

A batch's claims are row locks (``FOR UPDATE SKIP LOCKED``): several workers share the work without overlap, and when a
worker is killed its transaction rolls back, so the items are pending again and nothing is half written.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
from celery import current_app
from django.db import connection, transaction
from django.db.models import Q
from kombu.exceptions import OperationalError

from datasets import creation, jobs, media
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Job, Modality, Source

from . import encoders, vectors
from .encoders.base import Array, Encoder, EncoderError
from .models import EmbeddingSpace, PendingEmbedding

log = structlog.get_logger(__name__)

_EMBED_LOCKS = 0x4B45
# A claim lives as long as its transaction: long enough to keep the encoder busy, short enough that progress moves and a
# kill costs little.
_SECONDS_PER_CLAIM = 2.0
_LEAST_CLAIM, _FIRST_CLAIM, _GREATEST_CLAIM = 16, 64, 512
_ENCODER_BATCH = 32

A = TypeVar("A")
B = TypeVar("B")


# Asking for vectors --------------------------------------------------------------------------------------------------

_ENQUEUE = """
WITH wanted AS (
    INSERT INTO search_pendingembedding (dataset_id, item_id, encoder, job_id, reason)
    SELECT %(dataset)s, item.id, encoder, %(job)s, ''
      FROM datasets_item AS item
     CROSS JOIN (SELECT DISTINCT encoder FROM search_embeddingspace WHERE dataset_id = %(dataset)s) AS encoders
     WHERE item.dataset_id = %(dataset)s AND item.problem = ''
       AND (%(items)s::bigint[] IS NULL OR item.id = ANY(%(items)s))
       AND NOT EXISTS (
            SELECT FROM search_embedding AS embedding JOIN search_embeddingspace AS space ON space.id = space_id
             WHERE embedding.item_id = item.id AND space.dataset_id = %(dataset)s AND space.encoder = encoders.encoder)
    ON CONFLICT (item_id, encoder) DO NOTHING
    RETURNING item_id
), items AS (
    SELECT DISTINCT item_id FROM wanted
)
SELECT count(*), count(*) FILTER (WHERE sha256 IS NULL) FROM items JOIN datasets_item ON datasets_item.id = item_id
"""


def enqueue(dataset: Dataset, *, job: Job | None, item_ids: list[int] | None = None) -> int:
    """Ask for the vectors that ``item_ids`` (or all items) of the dataset lack; how many items that are.

    The job's phases grow by as many, in the same transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ENQUEUE, {"dataset": dataset.pk, "job": job.pk if job else None, "items": item_ids})
        wanted, unopened = cursor.fetchone()
    if wanted:
        if job is not None:
            jobs.advance(job.pk, "embed", total=wanted)
            jobs.advance(job.pk, "thumbnails", total=unopened)
        transaction.on_commit(lambda: _send(dataset.pk))
    return wanted


def withdraw(job: Job) -> None:
    """Drop what ``job`` asked for and no worker has begun; shrink its phases to what was done."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_pendingembedding WHERE id IN ("
            "SELECT id FROM search_pendingembedding WHERE job_id = %s AND reason = '' ORDER BY id FOR UPDATE SKIP LOCKED)",
            [job.pk],
        )
        cursor.execute(
            "UPDATE datasets_jobphase SET total = done WHERE job_id = %s AND name IN ('thumbnails', 'embed')", [job.pk]
        )


def _send(dataset_id: int) -> None:
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
                _send(dataset_id)
                count += 1
    return count


# Making them ---------------------------------------------------------------------------------------------------------


def embed_pending(dataset_id: int) -> int:
    """Work through the pending items of the dataset until none can be claimed; how many were done."""
    dataset = Dataset.objects.filter(pk=dataset_id, deleted_at=None).first()
    if dataset is None:
        return 0
    with connection.cursor() as cursor:
        # Shared: any number of workers may be at it. `recover` looks whether nobody is.
        cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", [_EMBED_LOCKS, dataset_id % 2**31])
    done = 0
    size = _FIRST_CLAIM
    try:
        with ThreadPoolExecutor(max_workers=_decoder_threads(), thread_name_prefix="decode") as decoders:
            while True:
                began = time.monotonic()
                claimed = _embed_claim(dataset, size, decoders)
                if not claimed:
                    return done
                done += claimed
                per_item = (time.monotonic() - began) / claimed
                size = max(_LEAST_CLAIM, min(_GREATEST_CLAIM, int(_SECONDS_PER_CLAIM / per_item)))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_shared(%s, %s)", [_EMBED_LOCKS, dataset_id % 2**31])


def _decoder_threads() -> int:
    return max(1, min(8, (os.cpu_count() or 2) // 2))


@dataclass
class _Claim:
    """What one transaction works on."""

    rows: list[PendingEmbedding]
    items: dict[int, Item]
    wanted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # encoder → item ids
    opened: dict[int, Opened] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)  # item id → why its content cannot be used
    failed: dict[tuple[int, str], str] = field(default_factory=dict)  # (item id, encoder) → why it gave no vector


@dataclass(frozen=True)
class Opened:
    """What is kept of an image file once it has been opened."""

    sha256: str
    size_bytes: int
    content_type: str
    width: int
    height: int
    brightness: float
    contrast: float
    sharpness: float
    colors: list[float]
    inputs: dict[str, Array]  # encoder → its input


def _embed_claim(dataset: Dataset, size: int, decoders: ThreadPoolExecutor) -> int:
    job_ids: set[int] = set()
    with transaction.atomic():
        claim = _claim(dataset, size)
        if not claim.rows:
            return 0
        unopened = {pk for pk, item in claim.items.items() if item.sha256 is None}
        spaces = _spaces(dataset)
        if dataset.modality == Modality.TEXT:
            _encode_texts(claim, spaces)
        else:
            _encode_images(claim, spaces, decoders)
            _store_opened(claim, unopened)
            _refuse(dataset, claim)
        _close_rows(claim)
        for job_id, item_ids in _by_job(claim.rows).items():
            job_ids.add(job_id)
            jobs.advance(job_id, "embed", done=len(item_ids))
            jobs.advance(job_id, "thumbnails", done=len(item_ids & unopened))
    for job_id in job_ids:
        jobs.settle(job_id)
    return len(claim.items)


def _claim(dataset: Dataset, size: int) -> _Claim:
    rows = list(
        PendingEmbedding.objects.select_for_update(skip_locked=True)
        .filter(dataset=dataset, reason="")
        .order_by("item_id", "id")[:size]
    )
    items = {item.pk: item for item in Item.objects.filter(pk__in={row.item_id for row in rows})}
    claim = _Claim(rows, items)
    for row in rows:
        claim.wanted[row.encoder].append(row.item_id)
    return claim


Spaces = dict[str, dict[str, EmbeddingSpace]]  # encoder → output → space


def _spaces(dataset: Dataset) -> Spaces:
    spaces: Spaces = defaultdict(dict)
    for space in EmbeddingSpace.objects.filter(dataset=dataset):
        spaces[space.encoder][space.output] = space
    return spaces


def _encode_texts(claim: _Claim, spaces: Spaces) -> None:
    for name, ids in claim.wanted.items():
        encoder = encoders.get(name)
        for batch in _chunks(ids, _ENCODER_BATCH):
            texts = [claim.items[pk].text or "" for pk in batch]
            _encode(claim, name, batch, texts, encoder.encode_texts, spaces[name])


def _encode_images(claim: _Claim, spaces: Spaces, decoders: ThreadPoolExecutor) -> None:
    """Decoder threads run ahead of the encoder by a bounded number of pictures."""
    loaded = {name: encoders.get(name) for name in claim.wanted}
    wanted_by: dict[int, list[str]] = defaultdict(list)
    for name, ids in claim.wanted.items():
        for pk in ids:
            wanted_by[pk].append(name)

    def open_item(pk: int) -> tuple[int, Opened | str]:
        try:
            return pk, _open(claim.items[pk], {name: loaded[name] for name in wanted_by[pk]})
        except (UnreadableImage, media.FileGone) as error:
            return pk, str(error)

    waiting: dict[str, list[int]] = defaultdict(list)

    def encode(name: str) -> None:
        batch, waiting[name] = waiting[name], []
        inputs = [claim.opened[pk].inputs.pop(name) for pk in batch]
        _encode(claim, name, batch, inputs, loaded[name].encode_batch, spaces[name])

    for pk, result in _ahead(decoders, open_item, list(claim.items)):
        if isinstance(result, str):
            claim.refused[pk] = result
            continue
        claim.opened[pk] = result
        for name in list(result.inputs):
            waiting[name].append(pk)
            if len(waiting[name]) == _ENCODER_BATCH:
                encode(name)
    for name in list(waiting):
        if waiting[name]:
            encode(name)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: list[A]) -> Iterator[B]:
    """``map`` with at most two encoder batches waiting, so that memory does not grow with the claim."""
    running: deque[Future[B]] = deque()
    for argument in arguments:
        running.append(pool.submit(function, argument))
        if len(running) >= 2 * _ENCODER_BATCH:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _open(item: Item, wanted: dict[str, Encoder]) -> Opened:
    """Open the file once: hash, measures, thumbnail (stored), and the input of every encoder that wants it."""
    with media.open_original(item) as stream:
        picture = read_image(stream, least_side=max(encoder.spec.image_side for encoder in wanted.values()))
    if item.sha256 is None:
        media.keep_thumbnail(picture.sha256, picture.thumbnail)
    return Opened(
        sha256=picture.sha256,
        size_bytes=picture.size_bytes,
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        brightness=picture.brightness,
        contrast=picture.contrast,
        sharpness=picture.sharpness,
        colors=[round(float(share), 4) for share in picture.colors],
        inputs={name: encoder.preprocess(picture.pixels) for name, encoder in wanted.items()},
    )


def _encode(
    claim: _Claim,
    name: str,
    ids: list[int],
    inputs: list[Any],
    encode: Callable[[list[Any]], dict[str, vectors.Vectors]],
    spaces: dict[str, EmbeddingSpace],
) -> None:
    """Encode and write one batch. When it fails as a whole, each item is tried alone and only the bad ones fail."""
    try:
        made = encode(inputs)
    except EncoderError as error:
        if len(ids) == 1:
            claim.failed[ids[0], name] = str(error)
            return
        for pk, one in zip(ids, inputs, strict=True):
            _encode(claim, name, [pk], [one], encode, spaces)
        return
    for output, space in spaces.items():
        vectors.write(space, ids, made[output])


_STORE_OPENED = """
UPDATE datasets_item AS item
   SET sha256 = opened.sha256, size_bytes = opened.size_bytes, content_type = opened.content_type,
       width = opened.width, height = opened.height, brightness = opened.brightness, contrast = opened.contrast,
       sharpness = opened.sharpness, colors = opened.colors::float8[]
  FROM unnest(%(id)s::bigint[], %(sha256)s::text[], %(size_bytes)s::bigint[], %(content_type)s::text[],
              %(width)s::int[], %(height)s::int[], %(brightness)s::float8[], %(contrast)s::float8[],
              %(sharpness)s::float8[], %(colors)s::text[])
    AS opened (id, sha256, size_bytes, content_type, width, height, brightness, contrast, sharpness, colors)
 WHERE item.id = opened.id
"""


def _store_opened(claim: _Claim, unopened: set[int]) -> None:
    new = {pk: opened for pk, opened in claim.opened.items() if pk in unopened}
    if not new:
        return
    fields = ("sha256", "size_bytes", "content_type", "width", "height", "brightness", "contrast", "sharpness")
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in new.values()] for name in fields}
    # Postgres arrays of arrays are matrices, which unnest flattens: each row's shares travel as one array literal.
    columns["colors"] = ["{" + ",".join(map(str, one.colors)) + "}" for one in new.values()]
    with connection.cursor() as cursor:
        cursor.execute(_STORE_OPENED, {"id": list(new), **columns})


def _refuse(dataset: Dataset, claim: _Claim) -> None:
    """List what could not be opened in its job. Its row goes, unless somebody has already worked on it: then it stays
    and says what is wrong."""
    if not claim.refused:
        return
    by_item = {row.item_id: row.job_id for row in claim.rows}
    worked_on = set(
        Item.objects.filter(pk__in=claim.refused)
        .filter(Q(annotations__source=Source.HUMAN) | Q(changes__isnull=False) | Q(sha256__isnull=False))
        .values_list("pk", flat=True)
    )
    for pk, reason in claim.refused.items():
        if job_id := by_item.get(pk):
            jobs.refuse(job_id, claim.items[pk].key, reason)
        if pk in worked_on:
            Item.objects.filter(pk=pk).update(problem=reason[:500])
    gone = [pk for pk in claim.refused if pk not in worked_on]
    hashes = [Path(claim.items[pk].file).name for pk in gone if claim.items[pk].file]
    creation.remove_items(dataset, gone)
    transaction.on_commit(lambda: media.remove_unused(hashes))


def _close_rows(claim: _Claim) -> None:
    """Done with: deleted. Without a vector: kept with the reason, and listed in the job."""
    done = []
    for row in claim.rows:
        reason = claim.failed.get((row.item_id, row.encoder))
        if reason is None:
            done.append(row.pk)
        else:
            PendingEmbedding.objects.filter(pk=row.pk).update(reason=reason[:500])
            if row.job_id:
                jobs.refuse(row.job_id, claim.items[row.item_id].key, f"no vector from {row.encoder}: {reason}")
    PendingEmbedding.objects.filter(pk__in=done).delete()


def _by_job(rows: list[PendingEmbedding]) -> dict[int, set[int]]:
    by_job: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if row.job_id:
            by_job[row.job_id].add(row.item_id)
    return by_job


def _chunks(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
