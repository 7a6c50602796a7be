"""Items as JSON. One function makes the ``item`` that stands in every answer, from two statements however many they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.db import connection
from rest_framework import renderers

from ..colours import COLOUR_NAMES
from ..models import Dataset, Item

# Pictures are cached for ever by their address, so the address changes with the content.
_THUMBNAIL = "/api/v1/items/%s/thumbnail/?v=%s"


class JSONRenderer(renderers.JSONRenderer):
    """DRF's, written by orjson: several times faster, and it takes what is JSON already as it is."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
        return orjson.dumps(data, default=self.encoder_class().default, option=options)


def items_json(
    ids: Sequence[int], *, dataset: Dataset | None = None, max_text: int | None = None
) -> list[dict[str, Any]]:
    """Those of ``ids`` that there are (in ``dataset``), in their order. ``max_text`` cuts their texts to so many characters."""
    with connection.cursor() as cursor:
        cursor.execute(_ITEMS, {"ids": list(ids), "dataset": dataset.pk if dataset else None, "max_text": max_text})
        items = {row[0]: row for row in cursor.fetchall()}
        cursor.execute(_LABELS, [list(items)])
        labels = {pk: orjson.Fragment(said) for pk, said in cursor.fetchall()}
    return [_item_json(items[pk], labels.get(pk, [])) for pk in ids if pk in items]


# One parameter, however many ids: as many would take longer to send than the rows to find.
_ITEMS = """
SELECT id, key, left(text, coalesce(%(max_text)s::int, 2147483647)), text IS NULL, sha256, width, height, status, split, tags,
       metadata::text, problem
  FROM datasets_item WHERE id = ANY(%(ids)s::bigint[]) AND (%(dataset)s::bigint IS NULL OR dataset_id = %(dataset)s)
"""

_LABEL = """
           'label', label.name, 'label_id', label_id, 'source', source, 'confidence', confidence, 'author', author.username,
           'created_at', to_char(annotation.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# Written as JSON by Postgres: nothing here looks into them.
_LABELS = f"""
SELECT annotation.item_id, json_agg(CASE WHEN region.id IS NULL THEN json_build_object({_LABEL}) ELSE json_build_object({_LABEL},
           'region', json_build_object('id', region.id, 'box', ARRAY[region.x, region.y, region.width, region.height]))
           END ORDER BY annotation.id)::text
  FROM datasets_annotation AS annotation
  JOIN datasets_labelclass AS label ON label.id = label_id
  LEFT JOIN auth_user AS author ON author.id = author_id
  LEFT JOIN datasets_region AS region ON region.id = region_id
 WHERE annotation.item_id = ANY(%s::bigint[]) AND retracted_by_id IS NULL
 GROUP BY annotation.item_id
"""


def _item_json(row: Sequence[Any], labels: Any) -> dict[str, Any]:
    pk, key, text, is_image, sha256, width, height, status, split, tags, metadata, problem = row
    return {
        "id": pk,
        "key": key,
        "text": text,
        "thumbnail_url": thumbnail_url(pk, sha256) if is_image else None,
        "width": width,
        "height": height,
        "labels": labels,
        "status": status,
        "split": split,
        "tags": tags,
        "metadata": orjson.Fragment(metadata),
        "state": Item.state_of(problem, sha256),
        "problem": problem,
    }


def item_detail_json(item: Item) -> dict[str, Any]:
    quality = None
    if item.brightness is not None:
        quality = {
            "brightness": item.brightness,
            "contrast": item.contrast,
            "sharpness": item.sharpness,
            "colors": dict(zip(COLOUR_NAMES, item.colors or [], strict=False)),
        }
    return items_json([item.pk])[0] | {
        "dataset": item.dataset_id,
        "sha256": item.sha256,
        "size_bytes": item.size_bytes,
        "content_type": item.content_type,
        "quality": quality,
        "created_at": item.created_at,
    }


def thumbnail_url(pk: int, sha256: str | None) -> str | None:
    return _THUMBNAIL % (pk, sha256[:12]) if sha256 else None
