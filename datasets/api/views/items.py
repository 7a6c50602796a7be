"""Items: the list, all ids at once, one of them, its files and its history."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.utils.cache import patch_cache_control
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import filters, history, media, passing
from ...access import dataset_for, object_for, picture_for
from ...errors import Missing, Refused
from ...models import Item
from ..filtering import FILTER_PARAMETERS, raw_filter
from ..paging import PAGE_PARAMETERS, Pages
from ..rendering import item_detail_json, items_json
from ..serializers import HistoryEntrySerializer, ItemDetailSerializer, ItemSerializer, page_of

ORDERS = ("id", "-id", "key", "-key", "brightness", "-brightness", "sharpness", "-sharpness")
_MAX_IDS = 1000
_MOST_THUMBNAILS = 300  # some ten megabytes

_ORDER = OpenApiParameter("order", OpenApiTypes.STR, enum=ORDERS, description="id is the order of import.")
_IDS = OpenApiParameter("ids", OpenApiTypes.STR, description="Comma-separated: these items, in this order.")


_RUNS = OpenApiParameter(
    "runs", OpenApiTypes.BOOL, description="Runs of consecutive ids instead, where that is shorter."
)
_MAX_TEXT = OpenApiParameter(
    "max_text", OpenApiTypes.INT, description="Cut texts to so many characters: a text may have a million."
)


def max_text_of(request: Request) -> int | None:
    """Raises ``Refused``."""
    raw = request.query_params.get("max_text")
    if not raw:
        return None
    if not raw.isdecimal() or not 0 < len(raw) < 10:
        raise Refused(f"max_text is a number of characters, not “{raw[:80]}”.")
    return int(raw)


def order_of(request: Request) -> tuple[str, ...]:
    """The sort keys, made total by the id. Raises ``Refused``."""
    order = request.query_params.get("order") or "id"
    if order not in ORDERS:
        raise Refused(f"There is no order “{order}”. Use one of: {', '.join(ORDERS)}.")
    return (order,) if order.endswith("id") else (order, "id")


class ItemsView(APIView):
    """The items of a dataset under a filter."""

    @extend_schema(
        operation_id="items_list",
        parameters=[*FILTER_PARAMETERS, _ORDER, _IDS, _MAX_TEXT, *PAGE_PARAMETERS],
        responses=page_of(ItemSerializer),
    )
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        max_text = max_text_of(request)
        if "ids" in request.query_params:
            wanted = ids_of(request.query_params["ids"], "item")
            return Response({"results": items_json(wanted, dataset=dataset, max_text=max_text), "next": None})
        items = filters.parse(dataset, raw_filter(request)).apply(filters.items_of(dataset))
        pages = Pages()
        order = order_of(request)
        pages.ordering = order  # type: ignore[assignment]
        # The page's place is read off its rows; what they say is not needed yet.
        page = pages.paginate_queryset(items.only(*(key.removeprefix("-") for key in order)), request, self) or []
        return pages.get_paginated_response(items_json([item.pk for item in page], max_text=max_text))


class IdsView(APIView):
    """The ids of all items under a filter, in order, as one binary array: the grid jumps anywhere with it.

    Little-endian, of the type that ``X-Id-Type`` names; ``X-Count`` is their number, ``X-Version`` changes when they do.

    Whoever says that they take ``runs`` may get a thousandth of the bytes: then ``X-Runs`` says of how many runs of consecutive ids
    the answer tells the first id and the length, one after the other.
    """

    @extend_schema(
        parameters=[*FILTER_PARAMETERS, _ORDER, _RUNS],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        dataset = dataset_for(request.user, pk)
        filter, order = filters.parse(dataset, raw_filter(request, "runs")), order_of(request)
        if order[0].endswith("id"):
            ids = passing.ids(dataset, filter)[:: -1 if order[0] == "-id" else 1]
        else:
            ordered = filter.apply(filters.items_of(dataset)).order_by(*order)
            ids = np.fromiter(ordered.values_list("pk", flat=True).iterator(20_000), np.int64)
        runs = _runs(ids) if request.query_params.get("runs") == "true" else None
        body, id_type = ids_as_bytes(ids if runs is None else runs)
        # Of the answer itself: items leave the dataset and change places without leaving another trace.
        version = hashlib.blake2b(body, digest_size=16).hexdigest()
        if request.headers.get("If-None-Match") == f'"{version}"':
            return HttpResponse(status=304, headers={"ETag": f'"{version}"'})
        headers = {"X-Count": len(ids), "X-Id-Type": id_type, "X-Version": version, "ETag": f'"{version}"'}
        if runs is not None:
            headers["X-Runs"] = len(runs) // 2
        response = HttpResponse(body, "application/octet-stream", headers=headers)
        patch_cache_control(response, private=True, no_cache=True)
        return response


def _runs(ids: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """First id and length of each run of consecutive ids; ``None`` where that is no shorter."""
    firsts = np.flatnonzero(np.diff(ids, prepend=-1) != 1) if len(ids) else np.empty(0, np.int64)
    if 2 * len(firsts) >= len(ids):
        return None
    return np.column_stack([ids[firsts], np.diff(firsts, append=len(ids))]).ravel()


def ids_as_bytes(ids: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[bytes, str]:
    """Ids as what a browser's typed arrays read: four bytes each while they fit."""
    id_type = "uint32" if not len(ids) or ids.max() < 2**32 else "float64"
    return ids.astype("<u4" if id_type == "uint32" else "<f8").tobytes(), id_type


class ItemView(APIView):
    """One item with all that is known of it."""

    @extend_schema(operation_id="items_retrieve", responses=ItemDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(item_detail_json(object_for(request.user, Item.objects.all(), pk)))


class ImageView(APIView):
    """The file of an image item, as it was imported."""

    @extend_schema(responses={(200, "image/*"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        item = object_for(request.user, Item.objects.all(), pk)
        if item.sha256 is None or not item.content_type:
            raise Missing(f"{item.key}: " + (item.problem or "its file has not been opened yet. Wait a moment."))
        if (not_modified := _not_modified(request, item.sha256)) is not None:
            return not_modified
        return picture(media.open_original(item), item.content_type, item.sha256)


class ThumbnailView(APIView):
    """A small JPEG of an image item, its longer side 384 pixels."""

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        item = picture_for(request.user, pk)
        if item.sha256 is None:
            raise Missing(f"{item.key}: " + (item.problem or "its thumbnail is not made yet. Wait a moment."))
        if (not_modified := _not_modified(request, item.sha256)) is not None:
            return not_modified
        try:
            stream, content_type = media.open_thumbnail(item.sha256)
        except OSError as error:
            raise Missing(f"{item.key}: it has no thumbnail.") from error
        return picture(stream, content_type, item.sha256)


class ThumbnailsView(APIView):
    """Thumbnails of up to 300 items in one answer: a screen of the grid is there at once, and not after a hundred requests.

    First a little-endian uint32 for each of ``ids``: how many bytes its picture takes, 0 where there is none. Then the pictures,
    one after the other.
    """

    @extend_schema(
        parameters=[OpenApiParameter("ids", OpenApiTypes.STR, required=True, description="Comma-separated.")],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        dataset = dataset_for(request.user, pk)
        wanted = ids_of(request.query_params.get("ids", ""), "item", most=_MOST_THUMBNAILS)
        of_item = dict(Item.objects.filter(dataset=dataset, pk__in=wanted).values_list("pk", "sha256"))
        hashes = [of_item.get(item) for item in wanted]
        version = hashlib.blake2b(repr(hashes).encode(), digest_size=16).hexdigest()
        headers = {"ETag": f'"{version}"', "Cache-Control": "private, no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return HttpResponse(status=304, headers=headers)
        pictures = [_thumbnail(sha256) for sha256 in hashes]
        lengths = np.array([len(one) for one in pictures], dtype="<u4").tobytes()
        return HttpResponse(lengths + b"".join(pictures), "application/octet-stream", headers=headers)


def _thumbnail(sha256: str | None) -> bytes:
    """Empty when there is none: each item has an address of its own, which tells why."""
    if sha256 is None:
        return b""
    try:
        with media.open_thumbnail(sha256)[0] as file:
            return file.read()
    except OSError:
        return b""


def _not_modified(request: Request, sha256: str) -> HttpResponse | None:
    if request.headers.get("If-None-Match") != f'"{sha256}"':
        return None
    return HttpResponse(status=304, headers={"ETag": f'"{sha256}"', "Cache-Control": _KEEP})


# A picture never changes under its address (which names its content), and is for its members only.
_KEEP = "private, max-age=31536000, immutable"


def picture(stream: Any, content_type: str, sha256: str) -> FileResponse:
    response = FileResponse(stream, content_type=content_type)
    response["ETag"] = f'"{sha256}"'
    response["Cache-Control"] = _KEEP
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox"
    return response


class HistoryView(APIView):
    """Who did what to the item, latest first."""

    @extend_schema(operation_id="items_history", parameters=PAGE_PARAMETERS, responses=page_of(HistoryEntrySerializer))
    def get(self, request: Request, pk: int) -> Response:
        item = object_for(request.user, Item.objects.all(), pk)
        return Response({"results": HistoryEntrySerializer(history.of_item(item), many=True).data, "next": None})


def ids_of(raw: str, of: str, *, most: int = _MAX_IDS) -> list[int]:
    """Raises ``Refused``."""
    parts = [part for part in raw.split(",") if part]
    if len(parts) > most or not all(part.isdecimal() and len(part) < 19 for part in parts):
        raise Refused(f"ids are up to {most} {of} ids with commas between them.")
    return [int(part) for part in parts]
