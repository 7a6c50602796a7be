"""The vectors of a large space as one file that is mapped into memory, to be compared without asking Postgres for each.

A filter that lets a tenth of a million pass means a hundred thousand vectors: fetching them row by row takes Postgres half a second,
reading them here some thirty milliseconds. All processes of a machine share the file's pages. It is never out of date: each
statement that writes vectors notes the blocks of items that it touched (triggers, migration 0008), and ``of`` reads those again
that changed since the file's snapshot, as ``datasets.columns`` does.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import structlog
from django.conf import settings
from django.db import DatabaseError, connection, connections

from datasets.columns.reading import BLOCK_BITS

from . import indexing, vectors
from .models import EmbeddingSpace
from .vectors import Vectors

log = structlog.get_logger(__name__)

Half = npt.NDArray[np.float16]
Ids = npt.NDArray[np.int64]

_HEADER_BYTES = 512
_FORMAT = 1
_ROWS_READ = 16_384
_ROWS_COMPARED = 512  # half a megabyte of 512 dimensions: it stays in the processor's cache
# A file whose pages would not stay in memory is slower than Postgres.
_MOST_OF_MEMORY = 0.3
# Beyond so many blocks that changed (4,096 ids each) the file is written anew.
_MOST_CHANGED = 16
_REST_S = 300.0  # between two files of a space, at least
_TOLD_S = 7 * 86_400  # what changed is told for so long
_TRUSTED_S = 6 * 86_400


@dataclass(frozen=True)
class Matrix:
    """The vectors of a space. A row is that of the file, or behind these one that was read again."""

    ids: Ids  # (n,), ascending, of the file
    vectors: Half  # (n, dimension), mapped
    snapshot: str
    file: tuple[int, int]  # which one it is
    is_standing: npt.NDArray[np.bool_]  # (n,): False where it was read again, or is gone
    new_ids: Ids  # (m,), ascending
    new_vectors: Half  # (m, dimension)

    def rows(self, items: Ids | None) -> tuple[Ids, Ids]:
        """``(k,)`` items, ascending, and their rows: those of ``items`` (ascending; all, when ``None``) that have a vector."""
        if items is None:
            old = np.flatnonzero(self.is_standing)
            ids, rows = self.ids[old], old
            new = np.arange(len(self.new_ids))
        else:
            at = np.minimum(np.searchsorted(self.ids, items), max(len(self.ids) - 1, 0))
            known = (self.ids[at] == items) & self.is_standing[at] if len(self.ids) else np.zeros(len(items), bool)
            ids, rows = items[known], at[known]
            new = np.flatnonzero(vectors.among(items, self.new_ids))
        if not len(new):
            return ids, rows
        ids, rows = np.concatenate([ids, self.new_ids[new]]), np.concatenate([rows, len(self.ids) + new])
        order = np.argsort(ids, kind="stable")
        return ids[order], rows[order]

    def scores(self, query: Vectors, rows: Ids) -> npt.NDArray[np.float32]:
        """Cosines of ``(dimension,)`` ``query``, in the precision that is stored, and the vectors of ``rows``."""
        query = query.astype(np.float16).astype(np.float32)
        scores = np.empty(len(rows), dtype=np.float32)
        new = rows >= len(self.ids)
        if new.any():
            scores[new] = self.new_vectors[rows[new] - len(self.ids)].astype(np.float32) @ query
            scores[~new] = _compared(self.vectors, rows[~new], query)
            return scores
        return _compared(self.vectors, rows, query)


def _compared(stored: Half, rows: Ids, query: Vectors) -> npt.NDArray[np.float32]:
    """As ``stored[rows].astype(float32) @ query``, four times as fast. The bits of a half-precision number, moved by 13 places, are
    those of a single-precision one that is 2**112 times smaller, so the query is made greater by as much."""
    scores = np.empty(len(rows), dtype=np.float32)
    greater = np.ldexp(query.astype(np.float32), 112)
    halves = np.empty((_ROWS_COMPARED, stored.shape[1]), dtype=np.float16)
    bits = np.empty((_ROWS_COMPARED, stored.shape[1]), dtype=np.int32)
    sign_and_value = np.int32(-0x70002000)  # 0x8FFFE000: what moved in from the sign goes
    for start in range(0, len(rows), _ROWS_COMPARED):
        some = rows[start : start + _ROWS_COMPARED]
        number = len(some)
        stored.take(some, axis=0, out=halves[:number], mode="clip")
        np.left_shift(halves[:number].view(np.int16), 13, out=bits[:number], dtype=np.int32, casting="unsafe")
        np.bitwise_and(bits[:number], sign_and_value, out=bits[:number])
        np.dot(bits[:number].view(np.float32), greater, out=scores[start : start + number])
    return scores


# One of each space in this process ------------------------------------------------------------------------------------

_held: dict[int, Matrix] = {}
_locks: dict[int, threading.Lock] = {}
_lock = threading.Lock()
_tried_at: dict[int, float] = {}


def of(space: EmbeddingSpace) -> Matrix | None:
    """That of ``space`` as this transaction sees it, or ``None``: the space is small, its file is still being written, or so much
    has changed that it must be. Then it is written in the background."""
    with _lock:
        lock = _locks.setdefault(space.pk, threading.Lock())
    with lock:
        held = _opened(space)
        if held is None:
            _write_later(space)
            return None
        snapshot, is_ours, is_ahead, blocks = _changes(space, held.snapshot)
        if is_ahead:
            # The database was put back to an earlier state: what it says of changes says nothing of this file.
            forget(space.pk)
            _write_later(space)
            return None
        # What our own transaction has written is nobody else's yet, and may never be.
        if is_ours:
            return None
        if blocks:
            changed = np.union1d(blocks, np.unique(held.new_ids >> BLOCK_BITS))
            if len(changed) > _MOST_CHANGED:
                _write_later(space)
                return None
            held = _amended(space, held, blocks, snapshot)
            _held[space.pk] = held
        return held


def is_held(space: EmbeddingSpace) -> bool:
    return space.pk in _held


def forget(space_id: int) -> None:
    with _lock:
        _held.pop(space_id, None)
    with suppress(FileNotFoundError):
        _path(space_id).unlink()


def _opened(space: EmbeddingSpace) -> Matrix | None:
    """That which is held, if it is still of the file."""
    path = _path(space.pk)
    held = _held.get(space.pk)
    try:
        status = path.stat()
        if held is not None and held.file == (status.st_ino, status.st_mtime_ns):
            return held
        if time.time() - status.st_mtime > _TRUSTED_S:
            return None
        with path.open("rb") as file:
            head = json.loads(file.read(_HEADER_BYTES))
            number, dimension = head["rows"], head["dimension"]
            status = os.fstat(file.fileno())
            is_whole = status.st_size == _HEADER_BYTES + number * (8 + 2 * dimension)
            # Another database may have a space of that number, too.
            is_of_it = head["made"] == space.created_at.isoformat() and dimension == space.dimension
            if head["format"] != _FORMAT or not is_of_it or not is_whole:
                raise ValueError("another format or space, or cut short")
            whole = np.memmap(file, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        _held.pop(space.pk, None)
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("matrix_unreadable", space=space.pk, error=str(error))
        return None
    middle = _HEADER_BYTES + 8 * number
    opened = Matrix(
        np.asarray(whole[_HEADER_BYTES:middle].view("<i8")),
        np.asarray(whole[middle:].view("<f2").reshape(number, dimension)),
        head["snapshot"],
        (status.st_ino, status.st_mtime_ns),
        np.ones(number, dtype=bool),
        np.empty(0, dtype=np.int64),
        np.empty((0, dimension), dtype=np.float16),
    )
    _held[space.pk] = opened
    return opened


_CHANGES = """
SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned() IS NOT NULL,
       pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax(%(snapshot)s::pg_snapshot),
       (SELECT coalesce(array_agg(DISTINCT block), '{}') FROM search_changedvectors
         WHERE space_id = %(space)s
           AND xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
           AND NOT pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot))
"""


def _changes(space: EmbeddingSpace, snapshot: str) -> tuple[str, bool, bool, list[int]]:
    """The snapshot of now, whether this transaction has written, whether ``snapshot`` is of a future, and what changed since."""
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"space": space.pk, "snapshot": snapshot})
        now, is_ours, is_ahead, blocks = cursor.fetchone()
        return now, is_ours, is_ahead, sorted(blocks)


def _amended(space: EmbeddingSpace, old: Matrix, blocks: list[int], snapshot: str) -> Matrix:
    """``old`` with ``blocks`` of ids read again."""
    parts = [_read(space, block << BLOCK_BITS, 1 << BLOCK_BITS, (block + 1) << BLOCK_BITS) for block in blocks]
    others = ~np.isin(old.new_ids >> BLOCK_BITS, blocks)
    ids = np.concatenate([old.new_ids[others], *(ids for ids, _ in parts)])
    rows = np.concatenate([old.new_vectors[others], *(rows for _, rows in parts)])
    order = np.argsort(ids)
    return replace(
        old,
        snapshot=snapshot,
        is_standing=old.is_standing & ~np.isin(old.ids >> BLOCK_BITS, blocks),
        new_ids=ids[order],
        new_vectors=rows[order],
    )


def _read(space: EmbeddingSpace, first: int, number: int, end: int = 2**63 - 1) -> tuple[Ids, Half]:
    """``number`` vectors of items from ``first`` on, before ``end``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(int8send(item_id), ''::bytea), array_agg(halfvec_send(vector)) FROM ("
            f"SELECT item_id, vector FROM {vectors.partition_name(space)}"
            # With the space, which all of the partition have: it comes first in the primary key.
            " WHERE space_id = %s AND item_id >= %s AND item_id < %s ORDER BY item_id LIMIT %s) AS row",
            [space.pk, first, end, number],
        )
        ids, rows = cursor.fetchone()
    if ids is None:
        return np.empty(0, dtype=np.int64), np.empty((0, space.dimension), dtype=np.float16)
    return np.frombuffer(ids, ">i8").astype(np.int64), vectors.unpacked(rows, space.dimension)


# Writing --------------------------------------------------------------------------------------------------------------


def _write_later(space: EmbeddingSpace) -> None:
    """In a thread of this process."""
    now = time.monotonic()
    if now - _tried_at.get(space.pk, -_REST_S) < _REST_S or indexing.standing_lately(space).rows < indexing.LEAST_ROWS:
        return
    _tried_at[space.pk] = now
    threading.Thread(target=_write_in_thread, args=[space, time.time()], name="matrix", daemon=True).start()


def _write_in_thread(space: EmbeddingSpace, asked_at: float) -> None:
    path = _path(space.pk)
    try:
        with _alone():
            # Another process may have done it while we waited.
            if not path.exists() or path.stat().st_mtime < asked_at:
                write(space)
    except (DatabaseError, OSError) as error:
        # Searches go on asking Postgres.
        log.warning("matrix_not_written", space=space.pk, error=str(error))
    finally:
        connections.close_all()


@contextmanager
def _alone() -> Iterator[None]:
    """One file is written at a time on this machine. Parts that a killed process has left go."""
    folder = _path(0).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
        yield


def write(space: EmbeddingSpace) -> bool:
    """The file of ``space`` anew, whole or not at all; False where memory would not hold it. Some ten seconds for a million."""
    rows = vectors.count(space)
    if rows * 2 * space.dimension > _MOST_OF_MEMORY * psutil.virtual_memory().total:
        log.info("matrix_too_large", space=space.pk, rows=rows)
        return False
    began = time.monotonic()
    path = _path(space.pk)
    path.parent.mkdir(parents=True, exist_ok=True)
    with connection.cursor() as cursor:
        # What is committed later is noted as changed.
        cursor.execute("SELECT pg_current_snapshot()::text")
        (snapshot,) = cursor.fetchone()
    descriptor, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        ids: list[Ids] = []
        # The ids stand before the vectors, and how many there are is known when all have been read.
        with os.fdopen(descriptor, "wb") as file, tempfile.TemporaryFile(dir=path.parent) as body:
            after = -1
            while True:
                some, halves = _read(space, after + 1, _ROWS_READ)
                if not len(some):
                    break
                ids.append(some)
                body.write(np.ascontiguousarray(halves, dtype="<f2").data)
                after = int(some[-1])
            number = sum(map(len, ids))
            head = {
                "format": _FORMAT,
                "rows": number,
                "dimension": space.dimension,
                "snapshot": snapshot,
                "made": space.created_at.isoformat(),
            }
            file.write(json.dumps(head).encode().ljust(_HEADER_BYTES))
            for some in ids:
                file.write(np.ascontiguousarray(some, dtype="<i8").data)
            body.seek(0)
            while block := body.read(1 << 24):
                file.write(block)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    log.info("matrix_written", space=space.pk, rows=number, seconds=round(time.monotonic() - began, 1))
    return True


def forget_old_changes() -> None:
    """Those that no file can have missed."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM search_changedvectors WHERE at < now() - make_interval(secs => %s)", [_TOLD_S])


def warm() -> None:
    """Open what is there, and write what is missing, before anybody waits for it."""
    for space in EmbeddingSpace.objects.filter(state=EmbeddingSpace.State.READY).exclude(output="").order_by("-pk"):
        of(space)


def _path(space_id: int) -> Path:
    return Path(settings.DATA_DIR) / "matrices" / f"{space_id}.f16"
