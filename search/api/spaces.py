"""The spaces of datasets as JSON: in short, as they stand in the answers of `datasets`, and in full."""

from __future__ import annotations

from typing import Any

from datasets.models import Job

from .. import coverage, encoders, indexing
from ..models import UPLOADED, EmbeddingSpace


def spaces_of(dataset_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Three queries: the spaces, and how many vectors each holds."""
    spaces = list(EmbeddingSpace.objects.filter(dataset__in=dataset_ids))
    embedded = coverage.embedded_in(spaces)
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
        "state": space.state,
        "problem": space.problem,
    }


def details_json(spaces: list[EmbeddingSpace]) -> list[dict[str, Any]]:
    """Five queries, whatever the number of spaces."""
    covered = coverage.of_spaces(spaces)
    indexed = indexing.indexed(spaces)
    jobs = _open_jobs({space.dataset_id for space in spaces})
    return [
        space_json(space, covered[space.pk].embedded)
        | {
            "title": _title(space),
            "becomes_default": space.becomes_default,
            "total": covered[space.pk].total,
            "pending": covered[space.pk].pending,
            "failed": covered[space.pk].failed,
            "size_bytes": covered[space.pk].size_bytes,
            "job": jobs.get((space.dataset_id, space.encoder)),
            "is_indexed": space.pk in indexed,
            "index_recall": space.index_recall if space.pk in indexed else None,
            "wants_index": space.pk not in indexed and indexing.can_have_index(space, covered[space.pk].embedded),
        }
        for space in spaces
    ]


def _open_jobs(dataset_ids: set[int]) -> dict[tuple[int, str], int]:
    """(dataset, encoder) → the job that fills its spaces."""
    filling = Job.objects.filter(dataset__in=dataset_ids, kind=Job.Kind.EMBED)
    found = filling.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).order_by("pk")
    return {
        (dataset_id, encoder): pk
        for pk, dataset_id, encoder in found.values_list("pk", "dataset_id", "params__encoder")
    }


def _title(space: EmbeddingSpace) -> str:
    if space.is_uploaded:
        return space.encoder.removeprefix(UPLOADED)
    try:
        return encoders.spec(space.encoder).title
    except encoders.UnknownEncoder:
        return space.encoder  # its package is gone; what it has embedded is still here
