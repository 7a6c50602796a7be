"""Region layers: what a dataset has, what another would cost, starting, changing and removing them; and the detectors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import Count, Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for, object_for
from datasets.api.paging import PAGE_PARAMETERS, Pages
from datasets.api.rendering import items_json
from datasets.api.serializers import JobStartedSerializer, page_of
from datasets.errors import Refused
from datasets.models import Dataset, RegionLayer, Role

from .. import cost, detectors, layers, offers
from ..detectors import DetectorFault, DetectorUnavailable, UnknownDetector
from ..models import PendingEmbedding
from .serializers import (
    CostSerializer,
    DetectorSerializer,
    FailureSerializer,
    LayerChangeSerializer,
    NewLayerSerializer,
    RegionLayerSerializer,
)


def _described(dataset: Dataset, request: Request) -> RegionLayer:
    body = NewLayerSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    said = dict(body.validated_data)
    return layers.describe(dataset, said.pop("kind"), said)


class RegionLayersView(APIView):
    """The layers of a dataset, and a new one. What is not said has its default; a job fills it."""

    @extend_schema(operation_id="region_layers_list", responses=page_of(RegionLayerSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response({"results": _layers_json(dataset), "next": None})

    @extend_schema(request=NewLayerSerializer, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        return Response({"job": layers.start(_described(dataset, request), by=request.user).pk}, status=202)


class RegionLayerCostView(APIView):
    """What a new layer would cost, from some of the dataset's items that are tried here and now. Nothing is kept."""

    @extend_schema(request=NewLayerSerializer, responses=CostSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        try:
            return Response(asdict(cost.estimate(_described(dataset, request))))
        except DetectorFault as error:
            raise Refused(str(error)) from error


class RegionLayerView(APIView):
    """Make a layer anew with other parameters, or, when nothing is said, try again what failed; remove it."""

    @extend_schema(request=LayerChangeSerializer, responses={202: JobStartedSerializer})
    def patch(self, request: Request, pk: int) -> Response:
        layer = object_for(request.user, RegionLayer.objects.all(), pk, Role.MANAGER)
        body = LayerChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response({"job": layers.change(layer, body.validated_data, by=request.user).pk}, status=202)

    @extend_schema(responses={202: JobStartedSerializer})
    def delete(self, request: Request, pk: int) -> Response:
        layer = object_for(request.user, RegionLayer.objects.all(), pk, Role.MANAGER)
        return Response({"job": layers.remove(layer, by=request.user).pk}, status=202)


class RegionLayerFailuresView(APIView):
    """The items that got no regions of a layer, and why."""

    @extend_schema(parameters=PAGE_PARAMETERS, responses=page_of(FailureSerializer))
    def get(self, request: Request, pk: int) -> Response:
        layer = object_for(request.user, RegionLayer.objects.all(), pk)
        failed = PendingEmbedding.objects.filter(layer=layer).exclude(reason="")
        pages = Pages()
        page = pages.paginate_queryset(failed, request, self) or []
        reasons = {row.item_id: row.reason for row in page}
        return pages.get_paginated_response(
            [{"item": item, "reason": reasons[item["id"]]} for item in items_json(list(reasons))]
        )


class DetectorsView(APIView):
    """The detectors whose boxes can become regions and predictions. With ``name`` that one alone, which need not be among
    those listed."""

    @extend_schema(
        operation_id="detectors_list",
        parameters=[OpenApiParameter("name", OpenApiTypes.STR)],
        responses=page_of(DetectorSerializer),
    )
    def get(self, request: Request) -> Response:
        name = request.query_params.get("name")
        specs = [detectors.spec(name)] if name else detectors.all_specs()
        return Response({"results": [_detector_json(spec) for spec in specs], "next": None})


def _layers_json(dataset: Dataset) -> list[dict[str, Any]]:
    """Two queries."""
    found = list(RegionLayer.objects.filter(dataset=dataset))
    waiting = PendingEmbedding.objects.filter(layer__in=found).order_by().values("layer")
    counts = {
        row["layer"]: row
        for row in waiting.annotate(pending=Count("pk", filter=Q(reason="")), failed=Count("pk", filter=~Q(reason="")))
    }
    nothing = {"pending": 0, "failed": 0}
    return [
        {
            "id": layer.pk,
            "kind": layer.kind,
            "detector": layer.detector,
            "title": _title(layer),
            "encoder": layer.encoder,
            "params": layer.params,
            "state": layer.state,
            "problem": layer.problem,
            "job": layer.job_id,
            "pending": counts.get(layer.pk, nothing)["pending"],
            "failed": counts.get(layer.pk, nothing)["failed"],
            "created_at": layer.created_at,
        }
        for layer in found
    ]


def _detector_json(spec: detectors.DetectorSpec) -> dict[str, Any]:
    offer = offers.of_detector(spec)
    return {
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "classes": list(spec.classes or ()),
        "takes_words": spec.classes is None,
        "license": spec.license,
        "source": spec.source,
        "is_default": spec.name == detectors.default(),
        "available": not offer.reason,
        "reason": offer.reason,
        "is_here": offer.is_here,
        "megabytes": offer.megabytes,
        "per_second": offer.per_second,
        "is_recommended": offer.is_recommended,
    }


def _title(layer: RegionLayer) -> str:
    if not layer.detector:
        return ""
    try:
        return detectors.spec(layer.detector).title
    except (DetectorUnavailable, UnknownDetector):
        return layer.detector  # its file or package is gone; what it has found is still here
