"""The approximate index of a space: HNSW (Malkov & Yashunin 2018, as pgvector builds it) over its partition.

Below some size none is needed: every vector is compared in a few milliseconds. Above, a job builds it beside the searches and
imports, Postgres keeps it current as vectors come, and the job builds it anew, again beside everything, once so many vectors
were replaced or deleted that it has grown bad. Whether there is one is read from Postgres's catalogue and kept nowhere else.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import structlog
from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from datasets import jobs
from datasets.errors import Conflict, Refused
from datasets.models import Job

from . import samples, vectors
from .models import EmbeddingSpace, PendingEmbedding
from .vectors import Vectors

log = structlog.get_logger(__name__)

LEAST_ROWS = 20_000
MOST_DIMENSIONS = 4_000  # that pgvector's index takes of a halfvec
M, EF_CONSTRUCTION = 16, 64
# The graph is bad when this share of its vectors was replaced or deleted.
_STALE_SHARE = 0.3
# A build that failed is not tried again by itself for so long.
_PAUSE = timedelta(hours=6)
_POLL_S = 0.5
# Vectors come in bulk while they grow by this share in so many seconds.
_BULK_SHARE, _CALM_S = 0.005, 5.0
# Of what the machine has free, a build may take this share.
_SHARE_OF_FREE = 0.6
# With room for less than this share of the graph the build would take hours.
_LEAST_SHARE_IN_MEMORY = 0.25
# Beside its vector, an element holds its neighbours (twice M in the lowest layer, 16 bytes each) and itself.
_ELEMENT_BYTES = 2 * M * 16 + 250
_LATELY_S = 5.0
PHASE, MEASURE_PHASE = "build", "measure"
# What is tried, from the fastest on; how many queries, for the best how many, and what is enough.
MOST_EF_SEARCH = 1_000  # that pgvector allows
EF_SEARCH = (100, 200, 400, 700, MOST_EF_SEARCH)
_QUERIES, _WANTED, _ENOUGH, _AS_GOOD = 40, 100, 0.992, 0.002
_WARMING = 300


class AtWork(Conflict):
    """A job is building the index."""


@dataclass(frozen=True)
class Standing:
    """A partition as Postgres knows it."""

    rows: int  # about
    replaced: int  # vectors updated or deleted since its statistics began
    has_index: bool
    leftovers: tuple[str, ...]  # of builds that did not end


def index_name(space: EmbeddingSpace) -> str:
    return f"search_embedding_{space.pk}_hnsw"


def standing(space: EmbeddingSpace) -> Standing:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_stat_get_live_tuples(found.oid), pg_stat_get_tuples_updated(found.oid) + pg_stat_get_tuples_deleted(found.oid),
                   coalesce(bool_or(made.relname = %(index)s AND indisvalid), false),
                   array_agg(made.relname) FILTER (WHERE NOT indisvalid)
              FROM to_regclass(%(table)s) AS found (oid)
              LEFT JOIN pg_index ON indrelid = found.oid
              LEFT JOIN pg_class AS made ON made.oid = indexrelid
             WHERE found.oid IS NOT NULL
             GROUP BY found.oid
            """,
            {"table": vectors.partition_name(space), "index": index_name(space)},
        )
        rows, replaced, has_index, leftovers = cursor.fetchone() or (0, 0, False, None)
    return Standing(rows, replaced, has_index, tuple(leftovers or ()))


def indexed(spaces: Sequence[EmbeddingSpace]) -> set[int]:
    """Those of ``spaces`` that have an index, by their ids. One query."""
    names = {index_name(space): space.pk for space in spaces}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE indisvalid AND relname = ANY(%s)",
            [list(names)],
        )
        return {names[name] for (name,) in cursor.fetchall()}


_lately: dict[int, tuple[float, Standing]] = {}


def standing_lately(space: EmbeddingSpace) -> Standing:
    """``standing``, some seconds old at most: for those who ask with every query."""
    at, found = _lately.get(space.pk, (-_LATELY_S, None))
    if found is None or time.monotonic() - at > _LATELY_S:
        found = standing(space)
        if found.has_index or found.rows >= LEAST_ROWS:
            _lately[space.pk] = (time.monotonic(), found)
    return found


# When ----------------------------------------------------------------------------------------------------------------


def maintain() -> None:
    """Start what is to be built: for large spaces that nothing is filling, without an index or with a bad one."""
    ready = EmbeddingSpace.objects.filter(state=EmbeddingSpace.State.READY, dataset__deleted_at=None)
    for space in ready.select_related("dataset"):
        found = standing(space)
        if can_have_index(space, found.rows) and (not found.has_index or _is_stale(space, found)) and _may_start(space):
            start(space)


def can_have_index(space: EmbeddingSpace, rows: int) -> bool:
    return rows >= LEAST_ROWS and space.dimension <= MOST_DIMENSIONS


def _is_stale(space: EmbeddingSpace, found: Standing) -> bool:
    # Statistics that were lost begin anew below where they were.
    before = space.index_replaced if space.index_replaced <= found.replaced else 0
    return found.replaced - before > _STALE_SHARE * found.rows


def _may_start(space: EmbeddingSpace) -> bool:
    """Not while it is being filled, is built already, or failed to be a moment ago."""
    waiting = PendingEmbedding.objects.filter(dataset=space.dataset_id, encoder=space.encoder, layer=None, reason="")
    if waiting.exists():
        return False
    last = jobs_of(space).first()
    return (
        last is None
        or (last.is_over and (last.finished_at or last.updated_at) < timezone.now() - _PAUSE)
        or (last.state == Job.State.SUCCEEDED)
    )


def jobs_of(space: EmbeddingSpace) -> Any:
    """Newest first."""
    return Job.objects.filter(dataset=space.dataset_id, kind=Job.Kind.INDEX, params__space=space.pk).order_by("-pk")


def cancel(space: EmbeddingSpace) -> None:
    """Its partition is about to go."""
    for job in jobs_of(space).filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]):
        with suppress(jobs.JobIsOver):  # it ended this moment
            jobs.cancel(job)


@transaction.atomic
def start_by_hand(space: EmbeddingSpace, *, by: Any) -> Job:
    """Build it now, or anew. Raises ``Refused`` for a space that needs none, ``AtWork`` while a job is at it."""
    rows = standing(space).rows
    if rows < LEAST_ROWS:
        raise Refused(
            f"This space holds about {rows:,} vectors. Up to {LEAST_ROWS:,} all of them are compared in a few milliseconds, and no "
            "index is needed."
        )
    if space.dimension > MOST_DIMENSIONS:
        raise Refused(
            f"Its vectors have {space.dimension:,} numbers; an index takes {MOST_DIMENSIONS:,}. Every vector is compared instead."
        )
    EmbeddingSpace.objects.select_for_update().get(pk=space.pk)
    if running := jobs_of(space).filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).first():
        raise AtWork(f"Job {running.pk} is building this index already. Wait until it is over, or cancel it.")
    return start(space, by=by)


@transaction.atomic
def start(space: EmbeddingSpace, *, by: Any = None) -> Job:
    job = jobs.create(space.dataset, Job.Kind.INDEX, by=by, phases=[PHASE, MEASURE_PHASE], params={"space": space.pk})
    jobs.enqueue(job)
    return job


# The job -------------------------------------------------------------------------------------------------------------


@jobs.runner(Job.Kind.INDEX, one_at_a_time=True)
def build(job: Job) -> None:
    """Searches, imports and workers go on meanwhile. May be interrupted and called again at any moment."""
    space = EmbeddingSpace.objects.filter(pk=job.params["space"]).first()
    if space is None:
        jobs.fail(job.pk, "The space was deleted.")
        return
    name = index_name(space)
    with _own_connection() as own:
        _wait_for_others(job, space)
        _wait_for_calm(job, space)
        for leftover in standing(space).leftovers:
            own.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(leftover)))
        own.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(vectors.partition_name(space))))
        found = standing(space)
        room = _room(own, found.rows, space.dimension)
        job.result = {"rows": found.rows, "needed_mb": room.needed >> 20, "given_mb": room.given >> 20}
        job.save(update_fields=["result", "updated_at"])
        if room.given < _LEAST_SHARE_IN_MEMORY * room.needed:
            jobs.fail(
                job.pk,
                f"An index over {found.rows:,} vectors wants {room.needed / 2**30:.1f} GB of memory while it is built, and "
                f"{room.given / 2**30:.1f} GB can be had. Searches compare every vector until then, which is exact and takes "
                "longer. Free memory (on another server: raise maintenance_work_mem), then build it from the Spaces panel.",
            )
            return
        own.execute(f"SET maintenance_work_mem = '{max(room.given >> 10, 65_536)}kB'")
        if room.is_private:
            own.execute("SET max_parallel_maintenance_workers = 0")
        statement = (
            sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(name))
            if found.has_index
            else sql.SQL(
                "CREATE INDEX CONCURRENTLY {} ON {} USING hnsw ((vector::halfvec({})) halfvec_ip_ops)"
                " WITH (m = {}, ef_construction = {})"
            ).format(
                sql.Identifier(name),
                sql.Identifier(vectors.partition_name(space)),
                *map(sql.Literal, (space.dimension, M, EF_CONSTRUCTION)),
            )
        )
        _run(job, own, statement, found.rows)
    EmbeddingSpace.objects.filter(pk=space.pk).update(index_replaced=standing(space).replaced)
    jobs.report(job.pk, PHASE, found.rows, found.rows)
    _measure(job, space)
    jobs.hand_out(job)


def _run(job: Job, own: psycopg.Connection[Any], statement: sql.Composed, rows: int) -> None:
    """Execute ``statement`` and report how far it is. Raises ``Canceled``, and what it raises."""
    problem: list[Exception] = []

    def execute() -> None:
        try:
            own.execute(statement)
        except Exception as error:
            problem.append(error)

    thread = threading.Thread(target=execute, name="index")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_S)
            jobs.report(job.pk, PHASE, min(_done(own.info.backend_pid), rows), rows)
            jobs.check_canceled(job)
    except BaseException:
        own.cancel_safe()
        raise
    finally:
        thread.join()
    if problem:
        raise problem[0]


def _done(pid: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = %s", [pid])
        return (cursor.fetchone() or (0,))[0]


def _wait_for_others(job: Job, space: EmbeddingSpace) -> None:
    """A build whose worker was killed goes on in Postgres until it notices."""
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE relid = to_regclass(%s)",
                [vectors.partition_name(space)],
            )
            if not cursor.fetchall():
                return
        jobs.check_canceled(job)
        time.sleep(_POLL_S)


def _wait_for_calm(job: Job, space: EmbeddingSpace) -> None:
    """Built after a bulk load is several times faster than grown by it."""
    before, rows = 0, standing(space).rows
    while rows - before > _BULK_SHARE * rows:
        time.sleep(_CALM_S)
        jobs.check_canceled(job)
        before, rows = rows, standing(space).rows


@contextmanager
def _own_connection() -> Iterator[psycopg.Connection[Any]]:
    """Outside of any transaction, and cancelled from another thread."""
    with psycopg.connect(**connection.get_connection_params() | {"autocommit": True}) as own:
        yield own


# How hard to look ----------------------------------------------------------------------------------------------------


def _measure(job: Job, space: EmbeddingSpace) -> None:
    """Find the least ``ef_search`` with which the index finds nearly all of the best: it depends on how the vectors lie. This
    also brings the index into memory, before anybody waits for it."""
    queries = _queries(samples.draw(space, standing(space).rows).vectors)
    truths = []
    for at, query in enumerate(queries):
        jobs.check_canceled(job)
        truths.append(set(vectors.best_of_all(space, query, _WANTED).tolist()))
        jobs.report(job.pk, MEASURE_PHASE, at + 1, len(queries))
    recalls: list[float] = []
    for ef_search in EF_SEARCH:
        with transaction.atomic():
            found = [vectors.nearest(space, query, number=_WANTED, ef_search=ef_search).item_ids for query in queries]
        hits = sum(len(truth.intersection(one.tolist())) for truth, one in zip(truths, found, strict=True))
        recalls.append(hits / max(1, sum(map(len, truths))))
        if recalls[-1] >= _ENOUGH:
            break
    # Where looking harder does not help, the least of what is as good.
    wanted = _ENOUGH if max(recalls) >= _ENOUGH else max(recalls) - _AS_GOOD
    at = next(at for at, one in enumerate(recalls) if one >= wanted)
    ef_search, recall = EF_SEARCH[at], recalls[at]
    EmbeddingSpace.objects.filter(pk=space.pk).update(ef_search=ef_search, index_recall=recall)
    job.result |= {"ef_search": ef_search, "recall": round(recall, 4)}
    job.save(update_fields=["result", "updated_at"])


def _queries(sample: Vectors) -> Vectors:
    """Near vectors of the space, and none of them, which the index finds more surely: each as far away as its nearest neighbour."""
    own = np.arange(min(_QUERIES, len(sample)))
    likeness = sample[own] @ sample.T
    likeness[own, own] = -1.0
    distance = np.sqrt(np.maximum(0.0, 2 - 2 * likeness.max(axis=1, keepdims=True)))
    aside = vectors.normalised(np.random.default_rng(0).standard_normal(sample[own].shape))
    return vectors.normalised(sample[own] + distance * aside)


def warm() -> None:
    """Bring the indexes into memory: with as many searches as touch most of them. To be called where nobody waits."""
    ready = EmbeddingSpace.objects.filter(state=EmbeddingSpace.State.READY, dataset__deleted_at=None)
    for space in ready.order_by("-is_default", "-pk"):
        found = standing(space)
        if found.has_index:
            for query in samples.of(space, found.rows).vectors[:_WARMING]:
                with transaction.atomic():
                    vectors.nearest(space, query, number=_WANTED, ef_search=MOST_EF_SEARCH)


# Memory --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    needed: int  # bytes for the whole graph
    given: int  # bytes that the build may take
    is_private: bool  # one process builds: others would share memory that there is not


def graph_bytes(rows: int, dimension: int) -> int:
    return rows * (2 * dimension + _ELEMENT_BYTES)


def _room(own: psycopg.Connection[Any], rows: int, dimension: int) -> Room:
    """On another machine we know nothing but the server's own setting, which its owner chose."""
    needed = int(graph_bytes(rows, dimension) * 1.05)
    row = own.execute(
        "SELECT inet_server_addr() IS NULL, pg_size_bytes(current_setting('maintenance_work_mem')),"
        " current_setting('dynamic_shared_memory_type')"
    ).fetchone()
    assert row is not None
    is_here, setting, shared_by = row
    if not is_here:
        return Room(needed, min(needed, setting), is_private=False)
    given = min(needed, int(_SHARE_OF_FREE * psutil.virtual_memory().available))
    shared = Path("/dev/shm")  # noqa: S108  (looked at, not written to)
    is_private = shared_by == "posix" and shared.is_dir() and shutil.disk_usage(shared).free < given
    return Room(needed, given, is_private)
