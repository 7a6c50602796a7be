"""Vectors that were computed elsewhere, put into a space by a job.

Two passes: the first reads only what the rows are called and finds their items; the second writes vectors. Rows that
cannot be used are listed with their reasons, and the rest goes in. A job that runs again goes on after the last row
that was written, and rows that are in already are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction

from datasets import jobs, media
from datasets.models import Dataset, Item, Job, StagedFile

from . import pending, spaces, vectors
from .models import EmbeddingSpace
from .pending import OPEN_ONLY
from .spaces import SpaceNotReady
from .vector_files import Batch, By, Name, UnreadableVectors, VectorFile, open_file
from .vectors import Vectors

_CHECK, _WRITE = "check", "write"
_VECTORS, _IDS = "vectors", "ids"  # names of the staged files

# Beyond these the job counts what it refuses, and lists no more.
_MOST_LISTED = 10_000
# How far from 1 a length may be that was 1 before it was stored with half precision. Such a vector is written as it is, so
# that what was downloaded comes back bit for bit.
_HALF_PRECISION = 2.0**-11

_Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Upload:
    """A file as it was sent."""

    name: str
    stream: IO[bytes]


# Starting ------------------------------------------------------------------------------------------------------------


def start(
    dataset: Dataset,
    file: Upload,
    *,
    by: Any,
    into: EmbeddingSpace | str,
    ids: Upload | None = None,
    named_by: By | None = None,
) -> tuple[Job, EmbeddingSpace]:
    """Keep the file and write its vectors in the background, into a space of ``dataset`` or a new one called ``into``.

    Raises ``UnreadableVectors`` for a file that gives nothing, ``Refused`` for a bad name, ``SpaceNotReady``; then
    nothing is kept.
    """
    found = _open(file, ids, named_by)
    if isinstance(into, EmbeddingSpace):
        _check_fit(into, found, file.name)
    with transaction.atomic():
        space = into if isinstance(into, EmbeddingSpace) else spaces.create_uploaded(dataset, into, found.dimension)
        params = {"space": space.pk, "file": file.name, "ids_file": ids.name if ids else "", "by": found.by}
        job = jobs.create(dataset, Job.Kind.VECTORS, by=by, phases=[_CHECK, _WRITE], params=params)
        for name, upload in ((_VECTORS, file), (_IDS, ids)):
            if upload is not None:
                upload.stream.seek(0)
                kept = media.keep(upload.stream)
                StagedFile.objects.create(
                    job=job, name=name, file=kept.file, sha256=kept.sha256, size_bytes=kept.size_bytes
                )
        jobs.enqueue(job)
    return job, space


def _open(file: Upload, ids: Upload | None, by: By | None) -> VectorFile:
    if ids is None:
        return open_file(file.stream, file.name, by=by)
    return open_file(file.stream, file.name, ids=ids.stream, ids_name=ids.name, by=by)


def _check_fit(space: EmbeddingSpace, file: VectorFile, name: str) -> None:
    if space.state == EmbeddingSpace.State.PREPARING or not space.dimension:
        raise SpaceNotReady(f"The encoder of space {space.pk} is still being fetched. Try again when that is done.")
    if file.dimension != space.dimension:
        raise UnreadableVectors(
            f"The vectors of {name} have {file.dimension:,} values; space {space.pk} takes {space.dimension:,}. Give a "
            "name instead of a space, and they get one of their own."
        )


# Running -------------------------------------------------------------------------------------------------------------


@jobs.runner(Job.Kind.VECTORS)
def run(job: Job) -> None:
    job.result = {"rows": 0, "written": 0, "unchanged": 0, "unusable": 0} | job.result
    space = EmbeddingSpace.objects.filter(pk=job.params["space"], dataset=job.dataset).first()
    if space is None:
        raise SpaceNotReady(f"Space {job.params['space']} was deleted meanwhile.")
    staged = {one.name: one for one in job.staged_files.all()}
    with ExitStack() as stack:
        sent = {name: stack.enter_context(media.open_stored(one.file)) for name, one in staged.items()}
        file = _open(
            Upload(job.params["file"], sent[_VECTORS]),
            Upload(job.params["ids_file"], sent[_IDS]) if _IDS in sent else None,
            job.params["by"],
        )
        _check_fit(space, file, job.params["file"])
        item_ids = _find_items(job, file)
        job.phases.filter(name=_WRITE).update(total=file.rows)
        for batch in file.batches(job.result["rows"]):
            jobs.check_canceled(job)
            start = job.result["rows"]
            _write(job, space, batch, item_ids[start : start + len(batch.values)], file.by)
        if job.result["rows"] != file.rows:
            raise UnreadableVectors(f"{job.params['file']} ends after {job.result['rows']:,} of {file.rows:,} rows.")
    with transaction.atomic():
        job.staged_files.all().delete()
        jobs.hand_out(job)
    media.remove_unused(one.sha256 for one in staged.values())
    spaces.switch_defaults(job.dataset)


def _find_items(job: Job, file: VectorFile) -> _Ids:
    """``(file.rows,)``: the item of each row, 0 for a row that names none or one that an earlier row has named."""
    jobs.reset_phase(job, _CHECK)
    jobs.advance(job.pk, _CHECK, total=file.rows)
    item_ids = np.zeros(file.rows, dtype=np.int64)
    at = 0
    for names in file.names():
        jobs.check_canceled(job)
        known = _known(job.dataset, names, file.by)
        item_ids[at : at + len(names)] = [known.get(name, 0) for name in names]
        with transaction.atomic():
            foreign = ((at + i, name) for i, name in enumerate(names) if name not in known)
            _list(job, (_no_item(job.dataset, row, name, file.by) for row, name in foreign))
            jobs.advance(job.pk, _CHECK, done=len(names))
        at += len(names)
    if at != file.rows:
        raise UnreadableVectors(f"{job.params['file']} names {at:,} items in {file.rows:,} rows.")
    nameless = int((item_ids == 0).sum())
    again = _drop_repeated(job, item_ids, file.by)
    used = int((item_ids > 0).sum())
    job.result |= {
        "refused": nameless + again + job.result["unusable"],
        "missing": Item.objects.filter(dataset=job.dataset).count() - used,
    }
    job.save(update_fields=["result", "updated_at"])
    return item_ids


def _known(dataset: Dataset, names: Iterable[Name], by: By) -> dict[Name, int]:
    if by == "key":
        keys = [name for name in names if isinstance(name, str) and "\x00" not in name]
        return dict(Item.objects.filter(dataset=dataset, key__in=keys).values_list("key", "pk"))
    wanted = [name for name in names if isinstance(name, int) and 0 < name < 2**63]
    # Not by dataset too: without statistics, after a large import, the planner would then read the whole dataset.
    found = Item.objects.filter(pk__in=wanted).values_list("pk", "dataset")
    return {pk: pk for pk, dataset_id in found if dataset_id == dataset.pk}


def _no_item(dataset: Dataset, row: int, name: Name, by: By) -> tuple[str, str]:
    if name is None or name == "":
        return f"row {row + 1}", "it does not say which item it is of."
    return str(name).replace("\x00", ""), f"row {row + 1}: “{dataset.name}” has no item with this {by}."


def _drop_repeated(job: Job, item_ids: _Ids, by: By) -> int:
    """Set rows whose item an earlier row has named to 0, in place. How many those are."""
    order = np.argsort(item_ids, kind="stable")
    ordered = item_ids[order]
    repeats = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] > 0)) + 1
    firsts = order[np.searchsorted(ordered, ordered[repeats])]
    rows = order[repeats]
    names = _names_of(item_ids[rows[:_MOST_LISTED]].tolist(), by)
    _list(
        job,
        (
            (names[int(item_ids[row])], f"row {row + 1}: row {first + 1} names the same item, and that one counts.")
            for row, first in zip(rows[:_MOST_LISTED].tolist(), firsts[:_MOST_LISTED].tolist(), strict=True)
        ),
    )
    item_ids[rows] = 0
    return len(rows)


def _names_of(item_ids: list[int], by: By) -> dict[int, str]:
    """What the file calls these items."""
    if by == "id":
        return {pk: str(pk) for pk in item_ids}
    return dict(Item.objects.filter(pk__in=item_ids).values_list("pk", "key"))


def _list(job: Job, refusals: Iterable[tuple[str, str]]) -> None:
    found = list(refusals)
    if found and (room := _MOST_LISTED - job.errors.count()) > 0:
        jobs.refuse_all(job.pk, found[:room])


# Writing -------------------------------------------------------------------------------------------------------------


def _write(job: Job, space: EmbeddingSpace, batch: Batch, item_ids: _Ids, by: By) -> None:
    """One batch in one transaction: vectors, what need not be embedded any more, the counts."""
    units, problems = _unit(batch)
    is_meant = item_ids > 0
    problems = {row: reason for row, reason in problems.items() if is_meant[row]}
    is_meant[list(problems)] = False
    settled: set[int] = set()
    with transaction.atomic():
        pending.keep_spaces(job.dataset_id)
        if not EmbeddingSpace.objects.select_for_update(no_key=True).filter(pk=space.pk).exists():
            raise SpaceNotReady(f"Space {space.pk} was deleted meanwhile.")
        wanted = item_ids[is_meant].tolist()
        # In this order, which is the embedding workers' too: what waits for the encoder, items, vectors. A worker that is
        # at one of them ends first, so that what was sent replaces what it makes.
        _lock_pending(space, wanted)
        there = _lock_items(wanted)
        is_there = is_meant & np.isin(item_ids, there)
        problems |= dict.fromkeys(np.flatnonzero(is_meant & ~is_there).tolist(), "its item has been deleted.")
        written = vectors.write(space, item_ids[is_there].tolist(), units[is_there])
        if not space.is_uploaded:
            settled = _strike_off(space, item_ids[is_there].tolist())
        first = job.result["rows"] + 1
        names = _names_of(item_ids[list(problems)].tolist(), by)
        _list(
            job,
            (
                (names.get(int(item_ids[row]), f"row {first + row}"), f"row {first + row}: {reason}")
                for row, reason in sorted(problems.items())
            ),
        )
        job.result["rows"] += len(batch.values)
        job.result["written"] += written
        job.result["unchanged"] += int(is_there.sum()) - written
        job.result["unusable"] += len(problems)
        job.result["refused"] += len(problems)
        job.save(update_fields=["result", "updated_at"])
        jobs.advance(job.pk, _WRITE, done=len(batch.values))
    for job_id in settled:
        jobs.settle(job_id)


def _unit(batch: Batch) -> tuple[Vectors, dict[int, str]]:
    """``(n, dimension)`` of length 1, and which rows have no such thing, and why."""
    values = batch.values.astype(np.float64)
    problems = dict(batch.problems)
    is_finite = np.isfinite(values).all(axis=1)
    values[~is_finite] = 0
    # By the greatest value first: squares of very large and very small ones leave the range of numbers.
    greatest = np.abs(values).max(axis=1, keepdims=True)
    for row in np.flatnonzero(~is_finite):
        problems.setdefault(int(row), "its vector holds a value that is not a finite number.")
    for row in np.flatnonzero(greatest[:, 0] == 0):
        problems.setdefault(int(row), "its vector has no length, so it has no direction to compare.")
    scaled = values / np.where(greatest > 0, greatest, 1)
    length = np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1)
    is_unit = np.abs(length * greatest - 1) <= _HALF_PRECISION
    return np.where(is_unit, values, scaled / length).astype(np.float32), problems


def _lock_pending(space: EmbeddingSpace, item_ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM search_pendingembedding WHERE item_id = ANY(%s) AND encoder = %s AND layer_id IS NULL"
            " ORDER BY item_id FOR UPDATE",
            [item_ids, space.encoder],
        )


def _lock_items(item_ids: list[int]) -> list[int]:
    """Those that are still there; they stay until the vectors are in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM datasets_item WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [item_ids])
        return [pk for (pk,) in cursor.fetchall()]


# An encoder's outputs are made together, so an item is done when it has a vector in every space of the encoder.
_COMPLETE = """
SELECT pending.id FROM search_pendingembedding AS pending
 WHERE pending.item_id = ANY(%(items)s) AND pending.encoder = %(encoder)s AND pending.layer_id IS NULL
   AND NOT EXISTS (
       SELECT FROM search_embeddingspace AS space
        WHERE space.dataset_id = pending.dataset_id AND space.encoder = pending.encoder
          AND NOT EXISTS (SELECT FROM search_embedding AS embedding
                           WHERE embedding.space_id = space.id AND embedding.item_id = pending.item_id))
"""

# Files that nobody has opened are still to be, for their thumbnails, unless another encoder will.
_OPEN_ONLY = f"""
UPDATE search_pendingembedding AS pending SET encoder = %(open_only)s
  FROM datasets_item AS item
 WHERE pending.id IN ({_COMPLETE}) AND pending.reason = ''
   AND item.id = pending.item_id AND item.sha256 IS NULL AND item.text IS NULL
   AND NOT EXISTS (
       SELECT FROM search_pendingembedding AS other
        WHERE other.item_id = pending.item_id AND other.id <> pending.id
          AND (other.encoder = %(open_only)s OR (other.encoder <> pending.encoder AND other.reason = '')))
"""

_DELETE = f"""
WITH struck AS (DELETE FROM search_pendingembedding WHERE id IN ({_COMPLETE}) RETURNING job_id, reason)
SELECT job_id, count(*) FROM struck WHERE job_id IS NOT NULL AND reason = '' GROUP BY job_id
"""


def _strike_off(space: EmbeddingSpace, item_ids: list[int]) -> set[int]:
    """Ask the encoder no more for what it need not make. The jobs that had asked for it."""
    given: dict[str, Any] = {"items": item_ids, "encoder": space.encoder, "open_only": OPEN_ONLY}
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_ONLY, given)
        cursor.execute(_DELETE, given)
        struck = dict(cursor.fetchall())
    for job_id, number in struck.items():
        jobs.advance(job_id, "embed", done=number)
    return set(struck)
