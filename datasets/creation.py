"""Making and deleting datasets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from . import media, predictions, regions, signals
from .errors import Refused
from .models import Dataset, Item, Membership, Modality, QueryImage, Role

# A manager can bring a deleted dataset back for this long.
GRACE = timedelta(hours=1)
_PURGE_BATCH = 2_000

# Set by `search`: names the encoder to use for (modality, what was asked for), or raises Refused with the reason.
EncoderChooser = Callable[[str, str | None], str]
_choosers: list[EncoderChooser] = []


def set_encoder_chooser(chooser: EncoderChooser) -> None:
    _choosers[:] = [chooser]


@transaction.atomic
def create_dataset(
    *, name: str, modality: str, by: Any, encoder: str | None = None, multi_label: bool = False
) -> Dataset:
    """A new, empty dataset with ``by`` as its manager. Raises ``Refused`` for an encoder that cannot serve it."""
    name = name.strip()
    if not name:
        raise Refused("A dataset needs a name.")
    if modality not in Modality.values:
        raise Refused(f"modality is one of {', '.join(Modality.values)}, not “{modality}”.")
    chosen = _choosers[0](modality, encoder) if _choosers else (encoder or "")
    dataset = Dataset.objects.create(
        name=name, modality=modality, encoder=chosen, multi_label=multi_label, created_by=by
    )
    Membership.objects.create(dataset=dataset, user=by, role=Role.MANAGER)
    signals.dataset_created.send(Dataset, dataset=dataset)
    return dataset


def rename_dataset(dataset: Dataset, *, name: str) -> None:
    dataset.name = name.strip()
    if not dataset.name:
        raise Refused("A dataset needs a name.")
    dataset.save(update_fields=["name"])


def delete_dataset(dataset: Dataset) -> None:
    """Hide the dataset at once; ``purge_deleted`` frees it when the grace period is over."""
    Dataset.objects.filter(pk=dataset.pk, deleted_at=None).update(deleted_at=timezone.now())


def restore_dataset(dataset: Dataset) -> None:
    """Bring a deleted dataset back, as long as it has not been purged."""
    Dataset.objects.filter(pk=dataset.pk).update(deleted_at=None)


def purge_deleted(now: Any = None) -> int:
    """Free the datasets whose grace period is over: rows, vectors, and files that nothing else uses. How many."""
    expired = Dataset.objects.filter(deleted_at__lt=(now or timezone.now()) - GRACE)
    count = 0
    for dataset in expired:
        _purge(dataset)
        count += 1
    return count


def _purge(dataset: Dataset) -> None:
    """In batches, so that no lock is held for long; a purge that is killed goes on at the next call."""
    hashes = set(QueryImage.objects.filter(dataset=dataset).values_list("sha256", flat=True))
    signals.dataset_removed.send(Dataset, dataset=dataset)
    while True:
        batch = list(Item.objects.filter(dataset=dataset).values_list("pk", "sha256", "file")[:_PURGE_BATCH])
        if not batch:
            break
        ids = [pk for pk, _, _ in batch]
        with transaction.atomic():
            remove_items(dataset, ids)
        media.remove_unused(sha256 for _, sha256, file in batch if sha256 and file)
    with transaction.atomic():
        dataset.operations.all().delete()
        dataset.classes.all().delete()
        dataset.delete()
    media.remove_unused(hashes)


@transaction.atomic
def remove_items(dataset: Dataset, item_ids: list[int]) -> None:
    """Delete item rows with all that hangs on them. Not undoable: for what never was readable, and for purges."""
    signals.items_removed.send(Dataset, dataset=dataset, item_ids=item_ids)
    predictions.forget_items(item_ids)
    regions.forget_items(item_ids)
    Item.objects.filter(dataset=dataset, pk__in=item_ids).delete()
