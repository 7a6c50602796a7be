"""The vectors of a space: its partition, writing by COPY BINARY, and the exact scan.

Vectors are L2-normalised ``halfvec``; a score is the inner product, so the cosine, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from psycopg import sql

from datasets import packed
from datasets.models import Dataset, Item, Region

from .models import EmbeddingSpace
from .scores import BINS, Spread

Vectors = npt.NDArray[np.float32]
# Some items of a dataset: those of a query, or of these ids.
# A query of items, or their ids, ascending.
Chosen = QuerySet[Item] | npt.NDArray[np.int64]


class WrongVectors(ValueError):
    """Vectors that cannot belong to a space: a wrong dimension, a value that is no number, no length."""


# The partition -------------------------------------------------------------------------------------------------------


def partition_name(space: EmbeddingSpace) -> str:
    return f"search_embedding_{space.pk}"


def _partition(space: EmbeddingSpace) -> sql.Identifier:
    return sql.Identifier(partition_name(space))


def create_partition(space: EmbeddingSpace) -> None:
    """The table that holds the vectors of ``space``. To be called with the space's row just made."""
    with connection.cursor() as cursor:
        _create(cursor, "search_embedding", "space_id, item_id", space)


def _region_partition(space: EmbeddingSpace) -> sql.Identifier:
    return sql.Identifier(f"search_regionembedding_{space.pk}")


def create_region_partition(space: EmbeddingSpace) -> None:
    """The table that holds the vectors of regions in ``space``, unless it is there. In a transaction."""
    with connection.cursor() as cursor:
        # Two layers that are started at once both want it.
        cursor.execute("SELECT id FROM search_embeddingspace WHERE id = %s FOR NO KEY UPDATE", [space.pk])
        cursor.execute("SELECT to_regclass(%s)", [_region_partition(space).as_string(None)])
        if cursor.fetchone()[0] is None:
            _create(cursor, "search_regionembedding", "space_id, item_id, region_id", space)


def _create(cursor: Any, parent: str, key: str, space: EmbeddingSpace) -> None:
    name = f"{parent}_{space.pk}"
    parts = {
        "parent": sql.Identifier(parent),
        "name": sql.Identifier(name),
        "check_space": sql.Identifier(f"{name}_space"),
        "check_dimension": sql.Identifier(f"{name}_dimension"),
        "space": sql.Literal(space.pk),
        "dimension": sql.Literal(space.dimension),
        "key": sql.SQL(", ").join(sql.Identifier(column) for column in key.split(", ")),
    }
    # Made on its own and attached after, so that the parent is locked for a moment only.
    cursor.execute(
        _compose(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS,"
            " CONSTRAINT {check_space} CHECK (space_id = {space}),"
            " CONSTRAINT {check_dimension} CHECK (vector_dims(vector) = {dimension}),"
            " PRIMARY KEY ({key}))",
            **parts,
        )
    )
    # Two bytes a value, and PLAIN keeps it out of TOAST: an exact scan reads the table in one go.
    cursor.execute(_compose("ALTER TABLE {name} ALTER COLUMN vector SET STORAGE PLAIN", **parts))
    cursor.execute(_compose("ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({space})", **parts))


def drop_partition(space: EmbeddingSpace) -> None:
    """And that of its regions."""
    with connection.cursor() as cursor:
        cursor.execute(_compose("DROP TABLE IF EXISTS {name}", name=_partition(space)))
        cursor.execute(_compose("DROP TABLE IF EXISTS {name}", name=_region_partition(space)))


def _compose(statement: str, **parts: sql.Composable) -> str:
    return sql.SQL(statement).format(**parts).as_string(connection.connection)


# Writing -------------------------------------------------------------------------------------------------------------


def normalised(vectors: npt.ArrayLike) -> Vectors:
    """``(n, dimension)`` or ``(dimension,)`` as float32 with length 1 each. Raises ``WrongVectors``."""
    array = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.all(np.isfinite(length)):
        raise WrongVectors("A vector holds a value that is not a finite number.")
    if np.any(length < 1e-12):
        raise WrongVectors("A vector has no length, so it has no direction to compare.")
    return array / length


def write(space: EmbeddingSpace, item_ids: Sequence[int], vectors: Vectors) -> int:
    """Insert or replace the vectors of ``item_ids``; how many rows are different now.

    ``vectors`` is ``(len(item_ids), space.dimension)`` and L2-normalised. COPY BINARY into a temporary table, then one
    upsert that leaves equal rows alone. Raises ``WrongVectors``.
    """
    _check(space, len(item_ids), vectors)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS incoming_vector (item_id bigint NOT NULL, vector halfvec NOT NULL)"
            " ON COMMIT DELETE ROWS"
        )
        cursor.execute("DELETE FROM incoming_vector")
        with cursor.copy("COPY incoming_vector FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.write(_copy_binary([item_ids], vectors))
        cursor.execute(
            """
            INSERT INTO search_embedding AS stored (space_id, item_id, vector)
            SELECT %s, item_id, vector FROM incoming_vector ORDER BY item_id
            ON CONFLICT (space_id, item_id) DO UPDATE SET vector = EXCLUDED.vector
            WHERE stored.vector IS DISTINCT FROM EXCLUDED.vector
            """,
            [space.pk],
        )
        return cursor.rowcount


def write_regions(space: EmbeddingSpace, region_ids: Sequence[int], item_ids: Sequence[int], vectors: Vectors) -> int:
    """As ``write``, for regions: the n-th lies in the n-th of ``item_ids``."""
    _check(space, len(region_ids), vectors)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS incoming_region_vector"
            " (item_id bigint NOT NULL, region_id bigint NOT NULL, vector halfvec NOT NULL) ON COMMIT DELETE ROWS"
        )
        cursor.execute("DELETE FROM incoming_region_vector")
        with cursor.copy("COPY incoming_region_vector FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.write(_copy_binary([item_ids, region_ids], vectors))
        cursor.execute(
            """
            INSERT INTO search_regionembedding AS stored (space_id, item_id, region_id, vector)
            SELECT %s, item_id, region_id, vector FROM incoming_region_vector ORDER BY item_id, region_id
            ON CONFLICT (space_id, item_id, region_id) DO UPDATE SET vector = EXCLUDED.vector
            WHERE stored.vector IS DISTINCT FROM EXCLUDED.vector
            """,
            [space.pk],
        )
        return cursor.rowcount


def _check(space: EmbeddingSpace, number: int, vectors: Vectors) -> None:
    if vectors.shape != (number, space.dimension):
        raise WrongVectors(
            f"Space {space.pk} takes vectors of shape ({number}, {space.dimension}), not {vectors.shape}."
        )
    if not np.all(np.isfinite(vectors)):
        raise WrongVectors("A vector holds a value that is not a finite number.")


def _copy_binary(ids: Sequence[Sequence[int]], vectors: Vectors) -> bytes:
    """The whole COPY stream, columns of ids and one of vectors, as one numpy structured array: no Python work a row.

    A row is: number of fields, then each field's length and bytes, all big-endian. A halfvec is sent as its dimension,
    two unused bytes, and its values.
    """
    dimension = vectors.shape[1]
    id_fields = [(f"{part}_{at}", kind) for at in range(len(ids)) for part, kind in (("length", ">i4"), ("id", ">i8"))]
    rows = np.empty(
        len(vectors),
        dtype=[
            ("fields", ">i2"),
            *id_fields,
            ("vector_length", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("values", ">f2", (dimension,)),
        ],
    )
    rows["fields"] = len(ids) + 1
    for at, column in enumerate(ids):
        rows[f"length_{at}"] = 8
        rows[f"id_{at}"] = column
    rows["vector_length"] = 4 + 2 * dimension
    rows["dimension"] = dimension
    rows["unused"] = 0
    rows["values"] = vectors
    header = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    return header + rows.tobytes() + b"\xff\xff"


def forget_regions(
    dataset: Dataset, item_ids: Sequence[int], *, layer_id: int | None = None, kind: str | None = None
) -> None:
    """Delete the vectors of the regions in these items: all, or those of one layer, or of one kind."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM search_regionembedding AS stored
             WHERE space_id = ANY(%(spaces)s)
               AND item_id = ANY(%(items)s)
               AND ((%(layer)s::bigint IS NULL AND %(kind)s::text IS NULL) OR region_id IN (
                    SELECT id FROM datasets_region
                     WHERE item_id = ANY(%(items)s) AND (layer_id = %(layer)s OR kind = %(kind)s)))
            """,
            {"spaces": _spaces(dataset.pk), "items": list(item_ids), "layer": layer_id, "kind": kind},
        )


def forget_region(region: Region) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_regionembedding WHERE space_id = ANY(%s) AND item_id = %s AND region_id = %s",
            [_spaces(region.item.dataset_id), region.item_id, region.pk],
        )


def embedded_regions(spaces: Sequence[EmbeddingSpace], item_ids: Sequence[int]) -> set[int]:
    """The regions in these items that have a vector in every one of ``spaces``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT region_id FROM search_regionembedding WHERE space_id = ANY(%s) AND item_id = ANY(%s)"
            " GROUP BY region_id HAVING count(*) = %s",
            [[space.pk for space in spaces], list(item_ids), len(spaces)],
        )
        return {region_id for (region_id,) in cursor.fetchall()}


def _spaces(dataset_id: int) -> list[int]:
    """Named one by one, so that no other dataset's partition is looked into."""
    return list(EmbeddingSpace.objects.filter(dataset=dataset_id).values_list("pk", flat=True))


# On disk -------------------------------------------------------------------------------------------------------------

_PAGE, _PAGE_HEADER, _LINE_POINTER, _ROW_HEADER = 8192, 24, 4, 24
_REGION_IDS = 3 * 8
_VARIABLE_HEADER, _HALFVEC_HEADER = 4, 4
# An entry of the primary key (three numbers, its header, a pointer), in pages that are nine tenths full.
_INDEX_ENTRY = 40


def region_row_bytes(dimension: int) -> int:
    """What one region's vector takes on disk, its entry in the primary key included."""
    row = _ROW_HEADER + _REGION_IDS + _VARIABLE_HEADER + _HALFVEC_HEADER + 2 * dimension
    row = -(-row // 8) * 8 + _LINE_POINTER
    # A row never spans pages: what is left of one stays empty.
    return _PAGE // ((_PAGE - _PAGE_HEADER) // row) + _INDEX_ENTRY


# Reading -------------------------------------------------------------------------------------------------------------


def of_items(space: EmbeddingSpace, item_ids: Sequence[int]) -> dict[int, Vectors]:
    """The vectors of those of ``item_ids`` that have one in ``space``, each ``(dimension,)`` float32."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_id, vector::real[] FROM search_embedding WHERE space_id = %s AND item_id = ANY(%s)",
            [space.pk, list(item_ids)],
        )
        return {item_id: np.asarray(values, dtype=np.float32) for item_id, values in cursor.fetchall()}


def unpacked(sent: Sequence[bytes], dimension: int) -> npt.NDArray[np.float16]:
    """``(len(sent), dimension)`` from what ``halfvec_send`` gives: dimension, two unused bytes, values, all big-endian."""
    rows = np.frombuffer(
        b"".join(sent), dtype=[("dimension", ">i2"), ("unused", ">i2"), ("values", ">f2", (dimension,))]
    )
    return rows["values"].astype(np.float16)


def of_regions(space: EmbeddingSpace, regions: Sequence[tuple[int, int]]) -> dict[int, Vectors]:
    """Region → its vector, ``(dimension,)`` float32, of those of ``regions`` (item and region) that have one in ``space``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT region_id, vector::real[] FROM search_regionembedding"
            " WHERE space_id = %s AND item_id = ANY(%s) AND region_id = ANY(%s)",
            [space.pk, [item for item, _ in regions], [region for _, region in regions]],
        )
        return {region_id: np.asarray(values, dtype=np.float32) for region_id, values in cursor.fetchall()}


def count(space: EmbeddingSpace, items: QuerySet[Item] | None = None) -> int:
    """How many of ``items`` (of all) have a vector in ``space``."""
    where, params = _ids(items) if items is not None else ("", ())
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {partition_name(space)}" + (f" WHERE item_id IN ({where})" if where else ""), params
        )
        return cursor.fetchone()[0]


@dataclass(frozen=True)
class Ranked:
    """Items best first; ties go by id."""

    item_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """The best, with what every item under the filter tells."""

    best: Ranked
    total: int  # items under the filter; without one, those with a vector
    embedded: int  # of them with a vector
    spread: Spread  # of their scores
    own: npt.NDArray[np.float64]  # scores of the items that are examples themselves, which say nothing


Place = tuple[float, int]  # of an item in a ranking: its score and id


def rank(
    space: EmbeddingSpace,
    query: Vectors,
    items: Chosen | None,
    *,
    limit: int,
    min_score: float | None = None,
    after: Place | None = None,
    without: Sequence[int] = (),
    examples: Sequence[int] = (),
) -> Scored:
    """Score every one of ``items`` (of the space, when ``None``) that has a vector, exactly; the best ``limit`` of them that come ``after`` that place and
    are not among ``without``.

    ``query`` is ``(space.dimension,)``, L2-normalised. Everything but ``best`` is of all ``items``. One statement. ``examples``
    are the items that ``query`` was made of.
    """
    scored, params = _scored(space, query, items)
    after_score, after_id = after or (None, None)
    named = {
        **params,
        "limit": limit,
        "min_score": min_score,
        "after_score": after_score,
        "after_id": after_id,
        "without": list(without),
        "examples": list(examples),
        "bins": BINS,
    }
    with connection.cursor() as cursor:
        cursor.execute(scored + _RANK, named)
        total, embedded, least, greatest, own, bins, item_ids, scores = cursor.fetchone()
    return Scored(
        Ranked(np.array(item_ids or [], dtype=np.int64), np.array(scores or [], dtype=np.float64)),
        total=total,
        embedded=embedded,
        spread=Spread.counted(least, greatest, bins),
        own=np.array(own or [], dtype=np.float64),
    )


def rank_all(space: EmbeddingSpace, query: Vectors, items: Chosen | None) -> Ranked:
    """Every one of ``items`` (of the space, when ``None``) that has a vector, exactly scored, best first.

    They are sorted here: of a million, that is several times faster than an ordered array.
    """
    if items is None:
        statement = "SELECT item_id, -(vector <#> {query}::halfvec) FROM {partition}"
        where: tuple[Any, ...] = ()
    else:
        ids, where = _ids(items)
        statement = (
            "SELECT item_id, -(vector <#> {query}::halfvec) FROM {partition}"
            f" WHERE space_id = {space.pk} AND item_id IN ({ids})"
        )
    connection.ensure_connection()
    select = _compose(statement, query=sql.Literal(to_literal(query)), partition=_partition(space))
    rows = packed.fetch(select, where, {"id": "i8", "score": "f8"})
    order = np.lexsort((rows["id"], -rows["score"]))
    return Ranked(rows["id"][order], rows["score"][order])


def best_of_all(space: EmbeddingSpace, query: Vectors, number: int) -> npt.NDArray[np.int64]:
    """The best ``number`` of the space, exactly: without the cast that would let the index answer."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT item_id FROM {partition_name(space)} ORDER BY vector <#> %s::halfvec, item_id LIMIT %s",
            [to_literal(query), number],
        )
        return np.array([item_id for (item_id,) in cursor.fetchall()], dtype=np.int64)


def nearest(space: EmbeddingSpace, query: Vectors, *, number: int, ef_search: int) -> Ranked:
    """The best ``number`` of the space as far as its index finds them (``ef_search``: how hard it looks, 1 to 1,000). In a
    transaction.

    The order of the index scan is nearly that of the scores. ``+ 0`` makes Postgres sort what it believes to be sorted.
    """
    with connection.cursor() as cursor:
        # One message to the server, with as many answers as statements.
        cursor.execute(
            _compose(
                "SET LOCAL hnsw.ef_search = {ef_search}; SET LOCAL hnsw.iterative_scan = 'relaxed_order';"
                "SET LOCAL hnsw.max_scan_tuples = 2147483647; SET LOCAL hnsw.scan_mem_multiplier = 50;"
                "SET LOCAL enable_seqscan = off;"
                "WITH near AS MATERIALIZED ("
                " SELECT item_id, vector::halfvec({dimension}) <#> {query}::halfvec({dimension}) AS distance FROM {partition}"
                " ORDER BY distance LIMIT {number}"
                ") SELECT array_agg(item_id ORDER BY distance + 0, item_id), array_agg(-distance ORDER BY distance + 0, item_id)"
                " FROM near;"
                "SET LOCAL enable_seqscan = on",
                ef_search=sql.Literal(ef_search),
                dimension=sql.Literal(space.dimension),
                query=sql.Literal(to_literal(query)),
                partition=_partition(space),
                number=sql.Literal(number),
            )
        )
        while cursor.description is None:
            cursor.nextset()
        item_ids, scores = cursor.fetchone()
    return Ranked(np.array(item_ids or [], dtype=np.int64), np.array(scores or [], dtype=np.float64))


def scored(space: EmbeddingSpace, query: Vectors, ids: npt.NDArray[np.int64]) -> Ranked:
    """Those of ``ids`` that have a vector, best first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH scored AS MATERIALIZED (SELECT item_id, -(vector <#> %s::halfvec) AS score FROM {partition_name(space)}"
            f" WHERE space_id = {space.pk} AND item_id = ANY(%s))"
            " SELECT array_agg(item_id ORDER BY score DESC, item_id), array_agg(score ORDER BY score DESC, item_id) FROM scored",
            [to_literal(query), ids.tolist()],
        )
        item_ids, scores = cursor.fetchone()
    return Ranked(np.array(item_ids or [], dtype=np.int64), np.array(scores or [], dtype=np.float64))


def scoring_at_least(
    space: EmbeddingSpace, query: Vectors, items: QuerySet[Item], min_score: float | None
) -> QuerySet[Item]:
    """Those of ``items`` that ``rank`` scores at least ``min_score`` (all that it scores, when ``None``): a condition, which
    leaves the scores, and the ids of a million items, in the database."""
    sql = f"SELECT item_id FROM {partition_name(space)}"
    params: list[Any] = []
    if min_score is not None:
        sql += " WHERE -(vector <#> %s::halfvec) >= %s"
        params = [to_literal(query), min_score]
    return items.filter(pk__in=RawSQL(sql, params))  # noqa: S611 - the name is ours, what people say are parameters


def _scored(space: EmbeddingSpace, query: Vectors, items: Chosen | None) -> tuple[str, dict[str, Any]]:
    """The exact scan, as a common table expression: every one of ``items``, its score null where it has no vector.

    No cast of the column to ``halfvec(n)`` and no ORDER BY in here: with them the planner may take an approximate
    index and lose rows under a filter without a word. MATERIALIZED keeps what follows from reaching in.
    """
    score = "-(stored.vector <#> %(query)s::halfvec) AS score"
    stored = f"{partition_name(space)} AS stored"
    named: dict[str, Any] = {}
    if items is None:
        select = f"SELECT item_id, {score} FROM {stored}"
    else:
        ids, id_params = _ids(items)
        named = {f"filter_{i}": value for i, value in enumerate(id_params)}
        ids %= tuple(f"%({name})s" for name in named)
        # With the space, which all of the partition have: it comes first in the primary key.
        select = (
            f"SELECT item.id AS item_id, {score} FROM ({ids}) AS item (id)"
            f" LEFT JOIN {stored} ON stored.space_id = {space.pk} AND stored.item_id = item.id"
        )
    return f"WITH scored AS MATERIALIZED ({select})", {"query": to_literal(query), **named}


_RANK = """
, bounds AS (
    SELECT count(*) AS total, count(score) AS embedded, min(score) AS least, max(score) AS greatest,
           array_agg(score) FILTER (WHERE item_id = ANY(%(examples)s::bigint[]) AND score IS NOT NULL) AS own
      FROM scored
), bins AS (
    SELECT CASE WHEN greatest > least THEN least(width_bucket(score, least, greatest, %(bins)s), %(bins)s) ELSE 1 END AS bin,
           count(*) AS number
      FROM scored, bounds WHERE score IS NOT NULL GROUP BY 1
), best AS (
    SELECT item_id, score FROM scored
     WHERE score IS NOT NULL
       AND (%(min_score)s::float8 IS NULL OR score >= %(min_score)s)
       AND (%(after_score)s::float8 IS NULL OR score < %(after_score)s OR (score = %(after_score)s AND item_id > %(after_id)s))
       AND item_id <> ALL(%(without)s::bigint[])
     ORDER BY score DESC, item_id LIMIT %(limit)s
)
SELECT total, embedded, least, greatest, own,
       (SELECT json_agg(json_build_array(bin, number)) FROM bins),
       (SELECT array_agg(item_id ORDER BY score DESC, item_id) FROM best),
       (SELECT array_agg(score ORDER BY score DESC, item_id) FROM best)
  FROM bounds
"""


def among(items: Chosen, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of ``ids`` are of ``items``. One parameter, however many: as many take longer to send than to look up."""
    if isinstance(items, np.ndarray):
        if not len(items):
            return np.zeros(len(ids), dtype=bool)
        return items[np.minimum(np.searchsorted(items, ids), len(items) - 1)] == ids
    where, params = _ids(items)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT array_agg(id) FROM ({where}) AS item (id) WHERE id = ANY(%s)", [*params, ids.tolist()])
        return np.isin(ids, np.array(cursor.fetchone()[0] or [], dtype=np.int64))


def to_literal(vector: Vectors) -> str:
    """``vector`` as Postgres reads it, in the precision that is stored."""
    return "[" + ",".join(map(str, vector.astype(np.float16).astype(np.float32).tolist())) + "]"


def _ids(items: Chosen) -> tuple[str, tuple[Any, ...]]:
    if isinstance(items, np.ndarray):
        return "SELECT unnest(%s::bigint[])", (items.tolist(),)
    return items.order_by().values("pk").query.sql_with_params()
