"""Items as JSON. One function makes the ``item`` that stands in every answer, from a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ..colours import COLOUR_NAMES
from ..models import Annotation, Item

# Pictures are cached for ever by their address, so the address changes with the content.
_THUMBNAIL = "/api/v1/items/{pk}/thumbnail/?v={version}"


# What ``items_json`` reads of an item, for those who fetch no more.
ITEM_FIELDS = (
    "id", "key", "text", "sha256", "width", "height", "status", "split", "tags", "metadata", "problem",
)  # fmt: skip


def items_json(items: Iterable[Item], *, max_text: int | None = None) -> list[dict[str, Any]]:
    """One query for the labels of all of them. ``max_text`` cuts their texts to so many characters."""
    items = list(items)
    labels: dict[int, list[dict[str, Any]]] = defaultdict(list)
    standing = (
        Annotation.objects.standing()
        .filter(item__in=[item.pk for item in items])
        .order_by("id")
        .values_list(
            "item_id", "label__name", "label_id", "source", "confidence", "author__username", "created_at",
            "region_id", "region__x", "region__y", "region__width", "region__height",
        )
    )  # fmt: skip
    for item_id, name, label_id, source, confidence, author, created_at, region, *box in standing:
        label = {
            "label": name,
            "label_id": label_id,
            "source": source,
            "confidence": confidence,
            "author": author,
            "created_at": created_at,
        }
        if region is not None:
            label["region"] = {"id": region, "box": box}
        labels[item_id].append(label)
    return [_item_json(item, labels[item.pk], max_text) for item in items]


def item_detail_json(item: Item) -> dict[str, Any]:
    quality = None
    if item.brightness is not None:
        quality = {
            "brightness": item.brightness,
            "contrast": item.contrast,
            "sharpness": item.sharpness,
            "colors": dict(zip(COLOUR_NAMES, item.colors or [], strict=False)),
        }
    return items_json([item])[0] | {
        "dataset": item.dataset_id,
        "sha256": item.sha256,
        "size_bytes": item.size_bytes,
        "content_type": item.content_type,
        "quality": quality,
        "created_at": item.created_at,
    }


def thumbnail_url(pk: int, sha256: str | None) -> str | None:
    return _THUMBNAIL.format(pk=pk, version=sha256[:12]) if sha256 else None


def _item_json(item: Item, labels: list[dict[str, Any]], max_text: int | None) -> dict[str, Any]:
    is_image = item.text is None
    return {
        "id": item.pk,
        "key": item.key,
        "text": item.text[:max_text] if item.text is not None else None,
        "thumbnail_url": thumbnail_url(item.pk, item.sha256) if is_image else None,
        "width": item.width,
        "height": item.height,
        "labels": labels,
        "status": item.status,
        "split": item.split,
        "tags": item.tags,
        "metadata": item.metadata,
        "state": item.state,
        "problem": item.problem,
    }
