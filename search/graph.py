"""The neighbour graph of a space: each item with its nearest others, built once and shared by all who ask what lies where.

Kept as one file a space under ``DATA_DIR/graphs``, which readers map into memory and a new one replaces at once. It notes of which
rows it was built (Postgres's own number of the transaction that wrote each vector), so that ``refreshed`` knows what came, went
or changed: a few are searched in and their neighbours' lists amended, many mean a new graph. Workers build, the web only reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from django.conf import settings
from django.db import connection

from . import vectors
from .models import EmbeddingSpace
from .vectors import Vectors

log = structlog.get_logger(__name__)

NEIGHBOURS = 24
# Up to here every pair is compared; above, only those in the nearest of the cells that k-means (FAISS's IVF) divides the space into.
_LEAST_ROWS_FOR_CELLS = 20_000
# How many cells are looked into: the first that finds so many of the true neighbours of a sample.
_PROBES, _ENOUGH, _SAMPLE = (4, 8, 16, 32, 64, 128), 0.95, 256
_TRAINED_PER_CELL, _ROUNDS = 64, 6
# Amended while this share has changed at most, and the comparisons with all others are so many at most; else built anew.
_MOST_CHANGED, _MOST_COMPARED = 0.2, 2_000_000_000
# A list that lost more of its entries than this is searched for again.
_MOST_LOST = NEIGHBOURS // 4
_ROWS_READ, _ROWS_SEARCHED = 16_384, 4_096
_HEADER_BYTES = 256
_FORMAT = 1

# Called with how many rows are done, of how many. It may raise, to stop the work.
Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Graph:
    """Rows are items in the order of their ids; a neighbour is the number of a row."""

    ids: npt.NDArray[np.int64]  # (n,), ascending
    stamps: npt.NDArray[np.int64]  # (n,), of the vectors
    neighbours: npt.NDArray[np.int32]  # (n, k), the nearest first; -1: there are no more
    scores: npt.NDArray[np.float32]  # (n, k), cosines; 0 where there is no neighbour

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def version(self) -> str:
        """The same for the same vectors."""
        return _version(self.ids, self.stamps)


@dataclass(frozen=True)
class Rows:
    """All vectors of a space, in the order of their items' ids."""

    ids: npt.NDArray[np.int64]
    stamps: npt.NDArray[np.int64]
    vectors: Vectors  # (n, dimension)


def refreshed(space: EmbeddingSpace, rows: Rows, progress: Progress = _silent) -> Graph:
    """The graph of ``rows``, just read from ``space``: that on disk, amended or built anew where they differ."""
    kept = stored(space)
    if kept is not None and kept.version == _version(rows.ids, rows.stamps):
        return kept
    graph = amend(kept, rows, progress) if kept is not None else build(rows, progress)
    _write(space, graph)
    return graph


def read_rows(space: EmbeddingSpace, progress: Progress = _silent) -> Rows:
    """Thousands with one statement: row by row takes seconds of a hundred thousand."""
    total = vectors.count(space)
    ids, stamps, parts = [], [], []
    after, done = 0, 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT string_agg(int8send(item_id), ''::bytea), string_agg(int8send(stamp), ''::bytea),"
                " array_agg(halfvec_send(vector)) FROM ("
                f"SELECT item_id, xmin::text::bigint AS stamp, vector FROM {vectors.partition_name(space)}"
                # With the space, which all of the partition have: it comes first in the primary key.
                " WHERE space_id = %s AND item_id > %s ORDER BY item_id LIMIT %s) AS row",
                [space.pk, after, _ROWS_READ],
            )
            sent_ids, sent_stamps, sent = cursor.fetchone()
            if sent_ids is None:
                break
            ids.append(np.frombuffer(sent_ids, ">i8").astype(np.int64))
            stamps.append(np.frombuffer(sent_stamps, ">i8").astype(np.int64))
            parts.append(vectors.unpacked(sent, space.dimension).astype(np.float32))
            after, done = int(ids[-1][-1]), done + len(sent)
            progress(done, max(total, done))
    if not ids:
        none = np.empty(0, dtype=np.int64)
        return Rows(none, none, np.empty((0, space.dimension), dtype=np.float32))
    return Rows(np.concatenate(ids), np.concatenate(stamps), np.concatenate(parts))


# Building ------------------------------------------------------------------------------------------------------------


def build(rows: Rows, progress: Progress = _silent) -> Graph:
    number = len(rows.ids)
    neighbours, scores = _search(_index(rows.vectors), rows.vectors, np.arange(number), progress)
    return Graph(rows.ids, rows.stamps, neighbours, scores)


def _index(stored: Vectors) -> Any:
    """Of inner products. Without training it compares with all."""
    import faiss

    number, dimension = stored.shape
    flat = faiss.IndexFlatIP(dimension)
    if number < _LEAST_ROWS_FOR_CELLS:
        flat.add(stored)
        return flat
    cells = int(3 * np.sqrt(number))
    index = faiss.IndexIVFFlat(flat, dimension, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_PER_CELL
    index.train(stored)
    index.add(stored)
    index.nprobe = _probes(index, stored)
    return index


def _probes(index: Any, stored: Vectors) -> int:
    """How many cells to look into depends on how the vectors lie, so it is measured."""
    import faiss

    asked = stored[np.random.default_rng(0).choice(len(stored), _SAMPLE, replace=False)]
    _, truth = faiss.knn(asked, stored, NEIGHBOURS, metric=faiss.METRIC_INNER_PRODUCT)
    for probes in _PROBES:
        index.nprobe = probes
        _, found = index.search(asked, NEIGHBOURS)
        recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)]) / NEIGHBOURS
        if recall >= _ENOUGH:
            break
    log.info("graph_cells", cells=index.nlist, probes=probes, recall=round(float(recall), 4))
    return probes


def _search(
    index: Any, asked: Vectors, own: npt.NDArray[np.int64], progress: Progress
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The neighbours of ``asked``, whose own rows are ``own`` and no neighbours of themselves."""
    number = len(asked)
    k = max(0, min(NEIGHBOURS, index.ntotal - 1))
    neighbours = np.full((number, k), -1, dtype=np.int32)
    scores = np.zeros((number, k), dtype=np.float32)
    for start in range(0, number if k else 0, _ROWS_SEARCHED):
        block = slice(start, min(start + _ROWS_SEARCHED, number))
        score, row = index.search(asked[block], k + 1)
        is_own = row == own[block, None]
        # One with more than k others that are the same need not be among the best of itself.
        is_own[~is_own.any(axis=1), -1] = True
        row, score = row[~is_own].reshape(-1, k), score[~is_own].reshape(-1, k)
        neighbours[block], scores[block] = row, np.where(row < 0, 0.0, np.clip(score, -1.0, 1.0))
        progress(block.stop, number)
    return neighbours, scores


# Amending ------------------------------------------------------------------------------------------------------------


def amend(old: Graph, rows: Rows, progress: Progress = _silent) -> Graph:
    """``old`` made that of ``rows``. What is new is compared with everything; of the others only lists that it enters, or that
    lost much, change."""
    number, k = len(rows.ids), min(NEIGHBOURS, len(rows.ids) - 1)
    before = _rows_of(old, rows)
    is_new = before < 0
    # Where each former row is now.
    now = np.full(len(old) + 1, -1, dtype=np.int32)
    now[before[~is_new]] = np.flatnonzero(~is_new)
    if k < NEIGHBOURS or old.neighbours.shape[1] != k:
        return build(rows, progress)
    neighbours = np.full((number, k), -1, dtype=np.int32)
    scores = np.zeros((number, k), dtype=np.float32)
    neighbours[~is_new] = now[old.neighbours[before[~is_new]]]
    scores[~is_new] = old.scores[before[~is_new]]
    wanted = np.flatnonzero(is_new | ((neighbours < 0).sum(axis=1) > _MOST_LOST))
    if len(wanted) > _MOST_CHANGED * number or len(wanted) * number > _MOST_COMPARED:
        return build(rows, progress)
    import faiss

    flat = faiss.IndexFlatIP(rows.vectors.shape[1])
    flat.add(rows.vectors)
    neighbours[wanted], scores[wanted] = _search(flat, rows.vectors[wanted], wanted, progress)
    _enter(neighbours, scores, np.flatnonzero(is_new))
    return Graph(rows.ids, rows.stamps, neighbours, scores)


def _rows_of(old: Graph, rows: Rows) -> npt.NDArray[np.int64]:
    """Where each of ``rows`` was in ``old``, unchanged; -1 where it was not."""
    if not len(old):
        return np.full(len(rows.ids), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(old.ids, rows.ids), len(old) - 1)
    return np.where((old.ids[at] == rows.ids) & (old.stamps[at] == rows.stamps), at, -1)


def _enter(neighbours: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], new: npt.NDArray[np.int64]) -> None:
    """Put ``new`` rows into the lists of those that they have for neighbours, where they are nearer than what stands there; close
    the gaps that were left."""
    k = neighbours.shape[1]
    found = neighbours[new]
    host, guest = found.ravel(), np.repeat(new, k)
    score = scores[new].ravel()
    is_new = np.zeros(len(neighbours), dtype=bool)
    is_new[new] = True
    worst = np.where(neighbours[:, -1] < 0, -2.0, scores[:, -1])
    enters = (host >= 0) & ~is_new[host] & (score > worst[host])
    host, guest, score = host[enters], guest[enters], score[enters]
    touched = np.unique(np.concatenate([host, np.flatnonzero((neighbours < 0).any(axis=1))]))
    stands = neighbours[touched] >= 0
    row = np.concatenate([np.broadcast_to(touched[:, None], stands.shape)[stands], host])
    other = np.concatenate([neighbours[touched][stands], guest])
    likeness = np.concatenate([scores[touched][stands], score])
    # One that was searched for again, and found it itself, has it already.
    _, first = np.unique(row * np.int64(len(neighbours)) + other, return_index=True)
    row, other, likeness = row[first], other[first], likeness[first]
    order = np.lexsort((other, -likeness, row))
    row, other, likeness = row[order], other[order], likeness[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    neighbours[touched], scores[touched] = -1, 0.0
    neighbours[row[kept], place[kept]], scores[row[kept], place[kept]] = other[kept], likeness[kept]


# On disk -------------------------------------------------------------------------------------------------------------


def stored(space: EmbeddingSpace) -> Graph | None:
    """The graph as it was last built, mapped into memory. It may lag behind the space."""
    path = _path(space.pk)
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(_HEADER_BYTES))
            number, k = head["rows"], head["neighbours"]
            size = _HEADER_BYTES + number * (16 + 8 * k)
            if head["format"] != _FORMAT or os.fstat(file.fileno()).st_size != size:
                raise ValueError("another format, or cut short")
            whole = np.memmap(file, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("graph_unreadable", space=space.pk, error=str(error))
        return None
    columns, at = [], _HEADER_BYTES
    for kind, shape in (("<i8", (number,)), ("<i8", (number,)), ("<i4", (number, k)), ("<f4", (number, k))):
        length = int(np.prod(shape)) * int(kind[2])
        columns.append(whole[at : at + length].view(kind).reshape(shape))
        at += length
    return Graph(*columns)


def forget(space_id: int) -> None:
    with suppress(FileNotFoundError):
        _path(space_id).unlink()


def _path(space_id: int) -> Path:
    return Path(settings.DATA_DIR) / "graphs" / f"{space_id}.graph"


def _write(space: EmbeddingSpace, graph: Graph) -> None:
    """Whole, or not at all: who reads the former goes on reading it."""
    path = _path(space.pk)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"format": _FORMAT, "rows": len(graph), "neighbours": graph.neighbours.shape[1], "version": graph.version}
    descriptor, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(head).encode().ljust(_HEADER_BYTES))
            for column, kind in zip(
                (graph.ids, graph.stamps, graph.neighbours, graph.scores), ("<i8", "<i8", "<i4", "<f4"), strict=True
            ):
                file.write(np.ascontiguousarray(column, dtype=kind).data)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _version(ids: npt.NDArray[np.int64], stamps: npt.NDArray[np.int64]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for column in (ids, stamps):
        digest.update(np.ascontiguousarray(column, dtype="<i8").data)
    return digest.hexdigest()
