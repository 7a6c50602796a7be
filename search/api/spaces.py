"""The spaces of datasets, as they stand in the answers of `datasets`."""

from __future__ import annotations

from typing import Any

from django.db import connection

from ..models import EmbeddingSpace


def spaces_of(dataset_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Two queries: the spaces, and how many vectors each holds."""
    spaces = list(EmbeddingSpace.objects.filter(dataset__in=dataset_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT space_id, count(*) FROM search_embedding WHERE space_id = ANY(%s) GROUP BY space_id",
            [[space.pk for space in spaces]],
        )
        embedded = dict(cursor.fetchall())
    result: dict[int, list[dict[str, Any]]] = {}
    for space in spaces:
        result.setdefault(space.dataset_id, []).append(space_json(space, embedded.get(space.pk, 0)))
    return result


def space_json(space: EmbeddingSpace, embedded: int) -> dict[str, Any]:
    return {
        "id": space.pk,
        "encoder": space.encoder,
        "output": space.output,
        "dimension": space.dimension,
        "embedded": embedded,
        "accepts": space.accepts,
        "is_default": space.is_default,
    }
