"""How many there are, counted again only when something was written since.

Counting half a million rows takes longer than answering a query over them, and the same count is wanted with every query. A
count that took long is kept in this process for as long as Postgres's own statistics show no write to the tables that it was
made from. These statistics lag some seconds behind: a kept count may be so much out of date, and one of few rows never is.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from .models import Item

_LONG_S = 0.02
_MOST_KEPT = 1_000
_LOOK_AGAIN_S = 1.0  # writes are told no sooner
# What filters read.
TABLES = ["datasets_item", "datasets_annotation", "datasets_prediction", "datasets_predicteditem"]


def watch(table: str) -> None:
    """A filter of another app reads ``table`` too."""
    if table not in TABLES:
        TABLES.append(table)


@dataclass
class _Kept:
    number: int
    writes: int  # that had been when it was counted
    looked_at: float


_kept: OrderedDict[Any, _Kept] = OrderedDict()
_lock = threading.Lock()


def of_items(items: QuerySet[Item]) -> int:
    """``items.count()``."""
    sql, params = items.order_by().values("pk").query.sql_with_params()
    return kept((sql, repr(params)), TABLES, items.count)


def kept(what: Any, tables: Sequence[str], count: Callable[[], int]) -> int:
    """``count()``, which counts ``what`` (anything hashable) in ``tables``."""
    found = _kept.get(what)
    if found is not None and time.monotonic() - found.looked_at < _LOOK_AGAIN_S:
        return found.number
    writes = _writes(tables)
    if found is not None and found.writes == writes:
        found.looked_at = time.monotonic()
        return found.number
    began = time.monotonic()
    number = count()
    with _lock:
        _kept.pop(what, None)
        if time.monotonic() - began >= _LONG_S:
            _kept[what] = _Kept(number, writes, time.monotonic())
            while len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
    return number


def _writes(tables: Sequence[str]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))"
            " FROM unnest(%s::regclass[]) AS watched (oid)",
            [list(tables)],
        )
        return int(cursor.fetchone()[0] or 0)
