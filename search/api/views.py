"""Search and ranking, and the list of encoders."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from django.http import HttpResponse, QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for
from datasets.api.rendering import items_json
from datasets.api.serializers import page_of
from datasets.api.views.items import ids_as_bytes
from datasets.models import Dataset, Item

from .. import encoders, fulltext, offers
from .. import query as queries
from ..query import Answer, InvalidQuery, Query
from .serializers import AnswerSerializer, EncoderSerializer, QuerySerializer, SearchSerializer, SearchUploadSerializer
from .spaces import space_json


def _query(dataset: Dataset, request: Request, serializer: type[QuerySerializer]) -> tuple[Query, dict[str, Any]]:
    """The query of a JSON or multipart body; an uploaded image is kept and stands in it by its reference."""
    raw: dict[str, Any] = {}
    if isinstance(request.data, QueryDict):
        for name in request.data:
            raw[name] = request.data.getlist(name) if name in ("like", "unlike") else request.data[name]
        if "image" in request.FILES:
            raw["image"] = queries.keep_image(dataset, request.FILES["image"]).sha256
        if isinstance(raw.get("filter"), str):
            try:
                raw["filter"] = json.loads(raw["filter"] or "null")
            except ValueError as error:
                raise InvalidQuery(f"filter is not valid JSON ({error}).") from error
    elif isinstance(request.data, dict):
        raw = dict(request.data)
    else:
        raise InvalidQuery("A query is an object with text, like, unlike, image and filter.")
    body = serializer(data=raw)
    body.is_valid(raise_exception=True)
    query = queries.parse(
        dataset, {name: body.validated_data.get(name) for name in ("text", "like", "unlike", "image", "filter", "mode")}
    )
    return query, body.validated_data


class SearchView(APIView):
    """The items most like a query, best first, each with its score."""

    parser_classes = [JSONParser, MultiPartParser, FormParser]

    @extend_schema(
        request={"application/json": SearchSerializer, "multipart/form-data": SearchUploadSerializer},
        responses=AnswerSerializer,
    )
    def post(self, request: Request, pk: int) -> Response:
        began = time.perf_counter()
        dataset = dataset_for(request.user, pk)
        query, asked = _query(dataset, request, SearchSerializer)
        answer = queries.run(query, limit=asked["limit"], min_score=asked.get("min_score"))
        found = Item.objects.in_bulk(answer.ranked.item_ids.tolist())
        ranked = [
            (found[pk], score)
            for pk, score in zip(answer.ranked.item_ids.tolist(), answer.ranked.scores.tolist(), strict=True)
            if pk in found
        ]
        histogram = answer.ranked.histogram
        marked = fulltext.highlights([item.pk for item, _ in ranked], query.text) if answer.matched is not None else {}
        return Response(
            {
                "results": [
                    {"item": item, "score": score, "highlights": marked.get(item["id"], [])}
                    for item, (_, score) in zip(items_json(item for item, _ in ranked), ranked, strict=True)
                ],
                "exact": answer.is_exact,
                "embedded": answer.ranked.embedded,
                "total": answer.total,
                "matched": answer.matched,
                "histogram": {"from": histogram.least, "to": histogram.greatest, "counts": histogram.counts},
                "took_ms": elapsed_ms(began),
                "space": space_json(answer.space, answer.ranked.embedded),
                "query": query.said,
            }
        )


class RankingView(APIView):
    """All embedded items under a query's filter, best first, as bytes: ids (of type ``X-Id-Type``), then float32 scores.

    What the grid orders itself by. Numbers of both are ``X-Count``.
    """

    parser_classes = [JSONParser, MultiPartParser, FormParser]

    @extend_schema(
        request={"application/json": QuerySerializer, "multipart/form-data": SearchUploadSerializer},
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def post(self, request: Request, pk: int) -> HttpResponse:
        began = time.perf_counter()
        dataset = dataset_for(request.user, pk)
        query, _ = _query(dataset, request, QuerySerializer)
        answer = queries.run(query, limit=None)
        ids, id_type = ids_as_bytes(answer.ranked.item_ids)
        scores = answer.ranked.scores.astype(np.dtype("<f4")).tobytes()
        return HttpResponse(ids + scores, "application/octet-stream", headers=_headers(answer, query, id_type, began))


def _headers(answer: Answer, query: Query, id_type: str, began: float) -> dict[str, Any]:
    return {
        "X-Count": len(answer.ranked.item_ids),
        "X-Id-Type": id_type,
        "X-Embedded": answer.ranked.embedded,
        "X-Total": answer.total,
        "X-Matched": "" if answer.matched is None else answer.matched,
        "X-Exact": str(answer.is_exact).lower(),
        "X-Took-Ms": elapsed_ms(began),
        "X-Query-Image": query.image.sha256 if query.image else "",
        "X-Space": f"{answer.space.encoder}/{answer.space.output}",
    }


def elapsed_ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


class EncodersView(APIView):
    """The encoders that a dataset can have. With ``name`` that one alone, which need not be among those listed: some
    families make an encoder of any model that is named to them."""

    @extend_schema(
        operation_id="encoders_list",
        parameters=[OpenApiParameter("name", OpenApiTypes.STR)],
        responses=page_of(EncoderSerializer),
    )
    def get(self, request: Request) -> Response:
        name = request.query_params.get("name")
        specs = [encoders.spec(name)] if name else encoders.all_specs()
        return Response({"results": [_encoder_json(spec) for spec in specs], "next": None})


def _encoder_json(spec: encoders.EncoderSpec) -> dict[str, Any]:
    offer = offers.of_encoder(spec)
    dimensions = [output.dimension for output in spec.outputs] or ([spec.facts.dimension] if spec.facts else [])
    return {
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "modalities": sorted(spec.modalities),
        "outputs": [
            {"name": output.name, "dimension": output.dimension, "accepts": sorted(output.accepts)}
            for output in spec.outputs
        ],
        "dimensions": dimensions,
        "license": spec.license,
        "source": spec.source,
        "is_default": spec.name in {encoders.default_for(modality) for modality in spec.modalities},
        "available": not offer.reason,
        "reason": offer.reason,
        "is_here": offer.is_here,
        "megabytes": offer.megabytes,
        "per_second": offer.per_second,
        "is_recommended": offer.is_recommended,
    }
