"""The filter as it stands in a query string."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from ..filters import FILTER_KEYS

# Parameters of the same addresses that are no filter.
_OTHER = {"limit", "cursor", "order", "ids", "max_text", "format", "include_excluded"}

_DESCRIPTIONS = {
    "label": "Class name or id; repeat it for any of several. `unlabeled` means items without a label.",
    "not_label": "Class name or id that the item must not have.",
    "unlabeled": "true: without any label; false: with one.",
    "status": "todo, done or excluded.",
    "duplicates": "any: content that occurs more than once in the dataset (texts by their normalised form, images by their "
    "file); extra: all of these but the first.",
    "aspect": "Width over height: >1 is landscape format.",
    "brightness": "0..1, as >0.3, <=0.5 or 0.2..0.6.",
    "sharpness": "0..1, as >0.3, <=0.5 or 0.2..0.6.",
    "contrast": "0..1, as >0.3, <=0.5 or 0.2..0.6.",
    "not_tag": "A tag that the item must not have.",
    "predicted": "A class that a model predicted for the item or for something in it, from a score of .25 on unless told.",
    "min_confidence": "With predicted: of the prediction; without: of the label.",
    "max_confidence": "With predicted: of the prediction; without: of the label.",
    "model": "With predicted or disagrees: the name of the model.",
    "disagrees": "true: the newest model thinks another class best than the item's label.",
    "finding": "A kind of finding, several with commas, or any: items with an open finding of it.",
    "finding_state": "open (unless told), confirmed, dismissed or any: of the findings meant.",
    "created_after": "ISO 8601 date or time.",
}

_MANY = {
    "label", "status", "split", "tag", "source", "annotator", "predicted", "not_label", "not_status", "not_split", "not_tag", "finding",
}  # fmt: skip

FILTER_PARAMETERS = [
    OpenApiParameter(
        key,
        OpenApiTypes.STR,
        description=_DESCRIPTIONS.get(key, ""),
        many=key in _MANY,
    )
    for key in FILTER_KEYS
    if key not in ("color", "count", "objects")
]


def raw_filter(request: Request, *others: str) -> dict[str, Any]:
    """What of the query string is a filter (``others`` are not), several values of one name as a list."""
    raw: dict[str, Any] = {}
    for key, values in request.query_params.lists():
        if key not in _OTHER and key not in others:
            raw[key] = values if len(values) > 1 else values[0]
    return raw
