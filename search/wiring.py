"""What `datasets` calls without knowing us: signals and the places where it asks for something. And what parts of ours
must hear of each other."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete
from django.dispatch import receiver

from datasets import creation, filters, selection, signals, totals
from datasets.api import extras
from datasets.models import Dataset, Item, Job, Operation, Region

from . import answers, comparison, graph, indexing, layers, matrix, pending, preparation, spaces, vector_upload  # noqa: F401  (they register jobs)
from .api.spaces import spaces_of
from .findings import deciding, filtering
from .findings import job as _job  # noqa: F401  (registers its jobs)
from .models import EmbeddingSpace, Finding


@receiver(signals.dataset_created)
def make_spaces(sender: Any, *, dataset: Dataset, **kwargs: Any) -> None:
    preparation.create_spaces(dataset)


@receiver(signals.items_added)
def ask_for_vectors(sender: Any, *, dataset: Dataset, job: Job, item_ids: list[int], **kwargs: Any) -> None:
    pending.enqueue(dataset, job=job, item_ids=item_ids)
    layers.enqueue(dataset, job=job, item_ids=item_ids)


@receiver(signals.content_changing)
def begin_anew(sender: Any, *, dataset: Dataset, job: Job, item_ids: list[int], **kwargs: Any) -> None:
    pending.renew(dataset, item_ids, job=job)
    spaces.forget_items(dataset, item_ids)
    layers.begin_anew(dataset, item_ids)


@receiver(signals.job_resumed)
def ask_for_missing_vectors(sender: Any, *, dataset: Dataset, job: Job, **kwargs: Any) -> None:
    pending.enqueue(dataset, job=job)
    # One that is still being prepared has a job of its own, which somebody may have canceled.
    layers.enqueue(dataset, job=job, states=[layers.State.READY])


@receiver(signals.job_canceled)
def withdraw_pending(sender: Any, *, job: Job, **kwargs: Any) -> None:
    pending.withdraw(job)


@receiver(signals.items_removed)
def forget_vectors(sender: Any, *, dataset: Dataset, item_ids: list[int], **kwargs: Any) -> None:
    spaces.forget_items(dataset, item_ids)
    layers.forget_items(dataset, item_ids)


@receiver(signals.region_changing)
def ask_for_drawn_region(sender: Any, *, item: Item, region: Region | None, **kwargs: Any) -> None:
    layers.redrawing(item, region)


@receiver(signals.operation_undone)
def open_findings_again(sender: Any, *, operation: Operation, undoing: Operation, **kwargs: Any) -> None:
    deciding.follow_undo(operation, undoing)


@receiver(signals.dataset_removed)
def drop_spaces(sender: Any, *, dataset: Dataset, **kwargs: Any) -> None:
    spaces.drop_spaces(dataset)


@receiver(post_delete, sender=EmbeddingSpace)
def fail_layers_without_space(sender: Any, *, instance: EmbeddingSpace, **kwargs: Any) -> None:
    layers.space_gone(instance)


@receiver(post_delete, sender=EmbeddingSpace)
def forget_files(sender: Any, *, instance: EmbeddingSpace, **kwargs: Any) -> None:
    graph.forget(instance.pk)
    matrix.forget(instance.pk)


creation.set_encoder_chooser(spaces.choose_encoder)
selection.set_query_resolver(answers.select, answers.select_regions)
filters.set_finding_reader(filtering.among)
totals.watch(Finding._meta.db_table)
extras.set_spaces_reader(spaces_of)
