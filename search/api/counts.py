"""The number of items that a query or a filter means."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for
from datasets.api.filtering import FILTER_PARAMETERS, raw_filter

from .. import counts
from .serializers import QuerySerializer
from .views import elapsed_ms

_OWN = ("text", "like", "unlike", "image", "min_score", "labelled")
_QUERY_PARAMETERS = [
    OpenApiParameter("text", OpenApiTypes.STR),
    OpenApiParameter("like", OpenApiTypes.STR, description="Item ids with commas between them."),
    OpenApiParameter("unlike", OpenApiTypes.STR, description="Item ids with commas between them."),
    OpenApiParameter("image", OpenApiTypes.STR, description="The reference that an earlier answer gave."),
    OpenApiParameter("min_score", OpenApiTypes.FLOAT),
    OpenApiParameter(
        "labelled", OpenApiTypes.STR, enum=["no", "any"], default="no", description="any: items with a label count too."
    ),
]


class CountQuerySerializer(QuerySerializer):
    min_score = serializers.FloatField(required=False, allow_null=True)
    labelled = serializers.ChoiceField(
        choices=["no", "any"], default="no", help_text="no: items without a label; any: all of them."
    )


class CountSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="What a selection by the same query would hold.")
    total = serializers.IntegerField(help_text="Items under the filter.")
    embedded = serializers.IntegerField(help_text="Items under the filter that have a vector.")
    exact = serializers.BooleanField(help_text="Always true: counted as a bulk act selects.")
    labelled = serializers.ChoiceField(choices=["no", "any"])
    took_ms = serializers.FloatField()


class CountView(APIView):
    """How many items a query or a filter means, exactly, without listing them: those without a label unless told."""

    @extend_schema(parameters=[*_QUERY_PARAMETERS, *FILTER_PARAMETERS], responses=CountSerializer)
    def get(self, request: Request, pk: int) -> Response:
        asked: dict[str, Any] = {name: value for name in _OWN if (value := request.query_params.get(name))}
        for name in ("like", "unlike"):
            if name in asked:
                asked[name] = ",".join(request.query_params.getlist(name)).split(",")
        return self._count(request, pk, asked | {"filter": raw_filter(request, *_OWN)})

    @extend_schema(request=CountQuerySerializer, responses=CountSerializer)
    def post(self, request: Request, pk: int) -> Response:
        return self._count(request, pk, request.data)

    def _count(self, request: Request, pk: int, raw: Any) -> Response:
        began = time.perf_counter()
        dataset = dataset_for(request.user, pk)
        body = CountQuerySerializer(data=raw)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        min_score, labelled = asked.pop("min_score", None), asked.pop("labelled")
        counted = counts.count(dataset, asked, min_score=min_score, unlabeled=labelled == "no")
        return Response({**asdict(counted), "exact": True, "labelled": labelled, "took_ms": elapsed_ms(began)})
