"""What is counted again and again of a dataset's items, as columns in this process's memory.

A million items are counted by class, status, split and more in some milliseconds, where SQL, which reads rows, takes seconds;
and every annotator's page asks after every act. What is kept here is never out of date: each statement that writes items or labels
notes the blocks of ids that it touched (triggers, migration 0015), and ``of`` reads those again that changed since the snapshot
of the last time. A snapshot and no number, for what is written later may be seen earlier.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from django.db import connection

from ..models import Dataset
from . import reading
from .reading import BLOCK_BITS, SOURCES, STATUSES
from .values import Array, Columns, Labels, Mask, Values

__all__ = [
    "SOURCES",
    "STATUSES",
    "Array",
    "Columns",
    "Labels",
    "Mask",
    "Values",
    "are_kept",
    "forget_old_changes",
    "of",
    "warm",
]

_MOST_ROWS = 4_000_000  # kept in one process, at some 70 bytes each
_KEPT_S = 3_600.0  # without being looked at. What changed is told for longer than that
_TOLD_S = 6 * 3_600
_KEYS_KEPT_S = 60.0  # while items change
# With more of the blocks changed than this share, and this number, all are read.
_MANY, _FEW = 0.25, 4


@dataclass(frozen=True)
class _Kept:
    columns: Columns
    snapshot: str
    looked_at: float
    keys_at: float  # when it was found out which metadata keys have few values


_kept: OrderedDict[int, _Kept] = OrderedDict()
_locks: dict[int, threading.Lock] = {}
_lock = threading.Lock()


def of(dataset: Dataset) -> Columns:
    """Those of ``dataset`` as it is now. One statement when nothing has changed; a million items are first read in seconds."""
    with _lock:
        lock = _locks.setdefault(dataset.pk, threading.Lock())
    with lock:
        kept, now = _kept.get(dataset.pk), time.monotonic()
        if kept is not None and now - kept.looked_at > _KEPT_S:
            kept = None
        changes = _changes(dataset, kept)
        if kept is None:
            columns, keys_at = reading.read(dataset, reading.metadata_keys(dataset)), now
        elif changes.items and now - kept.keys_at > _KEYS_KEPT_S:
            keys, keys_at = reading.metadata_keys(dataset), now
            is_same = set(keys) == set(kept.columns.metadata)
            columns = _updated(dataset, kept.columns, changes) if is_same else reading.read(dataset, keys)
        else:
            columns, keys_at = _updated(dataset, kept.columns, changes), kept.keys_at
        # What our own transaction has written is nobody else's yet, and may never be.
        if not changes.are_ours:
            _keep(dataset, _Kept(columns, changes.snapshot, now, keys_at))
        return columns


def _keep(dataset: Dataset, one: _Kept) -> None:
    with _lock:
        _kept[dataset.pk] = one
        _kept.move_to_end(dataset.pk)
        while len(_kept) > 1 and sum(len(one.columns) for one in _kept.values()) > _MOST_ROWS:
            _kept.popitem(last=False)


def are_kept(dataset: Dataset) -> bool:
    return dataset.pk in _kept


def warm() -> None:
    """Read those of the newest datasets, before anybody waits for them."""
    for dataset in Dataset.objects.filter(deleted_at=None).order_by("-pk"):
        if sum(len(one.columns) for one in _kept.values()) < _MOST_ROWS / 2:
            of(dataset)


def _updated(dataset: Dataset, old: Columns, changes: _Changes) -> Columns:
    blocks = sorted({*changes.items, *changes.labels})
    if not blocks:
        return old
    keys = list(old.metadata)
    if len(blocks) > max(_FEW, _MANY * len(np.unique(old.ids >> BLOCK_BITS))):
        if changes.items:
            return reading.read(dataset, keys)
        return replace(old, labels=reading.labels(dataset, old.ids))
    is_other = ~np.isin(old.ids >> BLOCK_BITS, blocks)
    if not changes.items:
        others = old.labels.where(is_other[old.labels.row])
        return replace(old, labels=others.joined(reading.labels(dataset, old.ids, blocks)))
    return old.where(is_other).merged(reading.read(dataset, keys, blocks))


# What changed ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Changes:
    snapshot: str
    are_ours: bool  # this transaction has written something
    items: list[int]  # blocks
    labels: list[int]


_CHANGES = """
WITH changed AS (
    SELECT is_of_labels, block FROM datasets_changedblock
     WHERE dataset_id = %(dataset)s
       AND xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
       AND NOT pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot))
SELECT pg_current_snapshot()::text,
       pg_current_xact_id_if_assigned() IS NOT NULL,
       (SELECT coalesce(array_agg(DISTINCT block), '{}') FROM changed WHERE NOT is_of_labels),
       (SELECT coalesce(array_agg(DISTINCT block), '{}') FROM changed WHERE is_of_labels)
"""


def _changes(dataset: Dataset, since: _Kept | None) -> _Changes:
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"dataset": dataset.pk, "snapshot": since.snapshot if since else None})
        return _Changes(*cursor.fetchone())


def forget_old_changes() -> None:
    """Those that no kept columns can have missed."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM datasets_changedblock WHERE at < now() - make_interval(secs => %s)", [_TOLD_S])
