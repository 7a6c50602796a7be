"""The regions of an item, one region, and what models said about an item."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import regions
from ...access import dataset_for, object_for, region_for
from ...errors import Refused
from ...models import Item, Prediction, Region, Role
from ...regions import Shape
from ..paging import PAGE_PARAMETERS, Pages
from ..serializers import PredictionSerializer, RegionSerializer, ShapeSerializer, page_of
from .items import ids_of

_SIDES = ("x", "y", "width", "height")
_KIND = OpenApiParameter("kind", OpenApiTypes.STR, enum=Region.Kind.values, description="Only these.")
_MODEL = OpenApiParameter("model", OpenApiTypes.STR, description="Only what this model said.")


def _shape(request: Request, before: Region | None = None) -> Shape:
    """The shape of a body; sides that it leaves out are those of ``before``."""
    body = ShapeSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    said: dict[str, Any] = dict(body.validated_data)
    if before is not None:
        if not said:
            raise Refused("Name what changes: x, y, width, height, or a polygon.")
        # A box that is moved is a box from then on; what is sent of a polygon is all of it.
        said = {side: getattr(before, side) for side in _SIDES} | said
    box = [said[side] for side in _SIDES if side in said]
    return regions.shape(box if len(box) == len(_SIDES) else None, said.get("polygon"))


class ItemRegionsView(APIView):
    """The regions of an image, in the order of their making; and a new one, drawn by a person."""

    @extend_schema(
        operation_id="regions_list", parameters=[_KIND, *PAGE_PARAMETERS], responses=page_of(RegionSerializer)
    )
    def get(self, request: Request, pk: int) -> Response:
        item = object_for(request.user, Item.objects.all(), pk)
        found = Region.objects.standing().filter(item=item)
        if kind := request.query_params.get("kind"):
            if kind not in Region.Kind.values:
                raise Refused(f"kind is one of {', '.join(Region.Kind.values)}, not “{kind}”.")
            found = found.filter(kind=kind)
        pages = Pages()
        page = pages.paginate_queryset(found, request, self)
        return pages.get_paginated_response(RegionSerializer(page, many=True).data)

    @extend_schema(request=ShapeSerializer, responses={201: RegionSerializer})
    def post(self, request: Request, pk: int) -> Response:
        item = object_for(request.user, Item.objects.all(), pk, Role.ANNOTATOR)
        return Response(RegionSerializer(regions.draw(item, _shape(request))).data, status=201)


class RegionsView(APIView):
    """Regions of a dataset's images by their ids: those that a search has named."""

    @extend_schema(
        operation_id="regions_by_id",
        parameters=[OpenApiParameter("ids", OpenApiTypes.STR, required=True, description="Up to 1,000, with commas.")],
        responses=page_of(RegionSerializer),
    )
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        wanted = ids_of(request.query_params.get("ids", ""), "region")
        found = Region.objects.standing().filter(item__dataset=dataset, pk__in=wanted)
        return Response({"results": RegionSerializer(found, many=True).data, "next": None})


class RegionView(APIView):
    """One region: redraw it, remove it."""

    @extend_schema(operation_id="regions_retrieve", responses=RegionSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(RegionSerializer(region_for(request.user, pk)).data)

    @extend_schema(request=ShapeSerializer, responses=RegionSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        region = region_for(request.user, pk, Role.ANNOTATOR)
        return Response(RegionSerializer(regions.redraw(region, _shape(request, before=region))).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        regions.remove(region_for(request.user, pk, Role.ANNOTATOR))
        return Response(status=204)


class ItemPredictionsView(APIView):
    """What models said about an item: classes, scores, boxes. Never counted as labels."""

    @extend_schema(
        operation_id="predictions_list", parameters=[_MODEL, *PAGE_PARAMETERS], responses=page_of(PredictionSerializer)
    )
    def get(self, request: Request, pk: int) -> Response:
        item = object_for(request.user, Item.objects.all(), pk)
        found = Prediction.objects.filter(item=item).select_related("model")
        if model := request.query_params.get("model"):
            found = found.filter(model__name=model)
        pages = Pages()
        page = pages.paginate_queryset(found, request, self)
        return pages.get_paginated_response(PredictionSerializer(page, many=True).data)
