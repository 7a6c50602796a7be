"""Search and ranking, and the list of encoders."""

from __future__ import annotations

import io
import json
import math
import time
from typing import Any

import numpy as np
from django.http import HttpResponse, HttpResponseBase, QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for
from datasets.api.rendering import items_json, thumbnail_url
from datasets.api.serializers import page_of
from datasets.api.views.items import ids_as_bytes, picture
from datasets.models import Dataset, Item, Region

from .. import answers, encoders, fulltext, offers, reasons
from .. import query as queries
from ..answers import Answer
from ..calibration import Calibration
from ..query import InvalidQuery, Query
from ..reasons import Likeness
from ..region_ranking import RankedByRegion
from ..vectors import Ranked
from .serializers import (
    AnswerSerializer,
    EncoderSerializer,
    QuerySerializer,
    RankingSerializer,
    ReasonsSerializer,
    SearchSerializer,
    SearchUploadSerializer,
    UnderstoodSerializer,
    WhySerializer,
)
from .spaces import space_json


def _query(dataset: Dataset, request: Request, serializer: type[QuerySerializer]) -> tuple[Query, dict[str, Any]]:
    """The query of a JSON or multipart body; an uploaded image is kept and stands in it by its reference."""
    raw: dict[str, Any] = {}
    if isinstance(request.data, QueryDict):
        for name in request.data:
            raw[name] = _from_form(request.data, name)
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
        raise InvalidQuery(f"A query is an object with some of {', '.join(queries.KEYS)}.")
    body = serializer(data=raw)
    body.is_valid(raise_exception=True)
    query = queries.parse(dataset, {name: body.validated_data.get(name) for name in queries.KEYS})
    return query, body.validated_data


def _from_form(form: QueryDict, name: str) -> Any:
    """Examples come one by one, or all of them as one JSON list."""
    if name in ("like", "unlike") and not (len(given := form.getlist(name)) == 1 and given[0].lstrip().startswith("[")):
        return given
    return form[name]


def _regions_of(ranked: Ranked) -> dict[int, dict[str, Any]]:
    """Item → the region that was best in it, as far as one was. One query."""
    if not isinstance(ranked, RankedByRegion):
        return {}
    scores = dict(zip(ranked.region_ids.tolist(), ranked.scores.tolist(), strict=True))
    regions = Region.objects.standing().filter(pk__in=ranked.region_ids[ranked.region_ids > 0].tolist())
    return {region.item_id: region_json(region) | {"score": scores[region.pk]} for region in regions}


def region_json(region: Region) -> dict[str, Any]:
    names = ("kind", "x", "y", "width", "height", "polygon")
    return {"id": region.pk, **{name: getattr(region, name) for name in names}}


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
        answer = answers.run(
            query,
            limit=asked["limit"],
            min_score=asked.get("min_score"),
            after=answers.parse_after(asked.get("after")),
            exact=asked.get("exact", False),
        )
        ids = answer.best.item_ids.tolist()
        scores = dict(zip(ids, answer.best.scores.tolist(), strict=True))
        percentiles = dict(zip(ids, answer.percentiles, strict=True))
        histogram = answer.histogram
        regions = _regions_of(answer.best)
        marked = fulltext.highlights(list(scores), query.text) if answer.matched is not None else {}
        return Response(
            {
                "results": [
                    {
                        "item": item,
                        "score": None if math.isnan(scores[item["id"]]) else scores[item["id"]],
                        "percentile": percentiles[item["id"]],
                        "highlights": marked.get(item["id"], []),
                    }
                    | ({"region": regions[item["id"]]} if item["id"] in regions else {})
                    for item in items_json(list(scores))
                ],
                "exact": answer.is_exact,
                "embedded": answer.embedded,
                "total": answer.total,
                "matched": answer.matched,
                "regions": _compared(answer),
                "histogram": {
                    "from": histogram.least,
                    "to": histogram.greatest,
                    "counts": histogram.counts,
                    "sampled": histogram.sampled,
                },
                **_calibration_json(answer.calibration),
                "next": answer.next,
                "took_ms": elapsed_ms(began),
                "space": space_json(answer.space, answer.embedded) if answer.space else None,
                "query": query.said,
                "understood": query.understood.as_json(),
                **({"plan": answer.plan.said} if asked.get("explain") else {}),
            }
        )


class UnderstandView(APIView):
    """What a search in these words would mean, without searching: conditions, and the words that are left."""

    @extend_schema(
        parameters=[OpenApiParameter("text", OpenApiTypes.STR, required=True)], responses=UnderstoodSerializer
    )
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response(queries.understand(dataset, request.query_params.get("text")).as_json())


class RankingView(APIView):
    """All embedded items under a query's filter, best first, as bytes: ids (of type ``X-Id-Type``), then float32 scores.

    Where nothing but a filter is left of the words, they come in the order of their ids, with NaN for a score. What the grid
    orders itself by. Numbers of both are ``X-Count``. With ``X-Region-Id-Type`` there follow as many ids of regions, of that
    type: the one that was best in the item, 0 where the item as a whole was.
    """

    parser_classes = [JSONParser, MultiPartParser, FormParser]

    @extend_schema(
        request={"application/json": RankingSerializer, "multipart/form-data": SearchUploadSerializer},
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def post(self, request: Request, pk: int) -> HttpResponse:
        began = time.perf_counter()
        dataset = dataset_for(request.user, pk)
        query, asked = _query(dataset, request, RankingSerializer)
        limit = asked.get("limit")
        answer = answers.run(query, limit=limit) if limit else answers.rank_all(query)
        ids, id_type = ids_as_bytes(answer.best.item_ids)
        scores = answer.best.scores.astype(np.dtype("<f4")).tobytes()
        headers = _headers(answer, query, id_type, began)
        regions = b""
        if isinstance(answer.best, RankedByRegion):
            regions, headers["X-Region-Id-Type"] = ids_as_bytes(answer.best.region_ids)
            headers["X-Regions"] = answer.best.regions
        return HttpResponse(ids + scores + regions, "application/octet-stream", headers=headers)


class WhyView(APIView):
    """Why an item is a result: its likeness with every part of the query, the nearest first."""

    @extend_schema(request=WhySerializer, responses=ReasonsSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        query, asked = _query(dataset, request, WhySerializer)
        why = reasons.explain(query, asked["item"])
        region = Region.objects.standing().filter(pk=why.region_id).first()
        named = {one.part.example.item_id for one in why.likenesses if one.part.example}
        items = Item.objects.only("key", "sha256", "text").in_bulk(named)
        return Response(
            {
                "item": asked["item"],
                "score": why.score,
                "region": region and region_json(region) | {"score": why.score},
                "parts": [_part_json(query, one, items) for one in why.likenesses],
            }
        )


def _part_json(query: Query, likeness: Likeness, items: dict[int, Item]) -> dict[str, Any]:
    part = likeness.part
    told: dict[str, Any] = {
        "kind": part.kind,
        "side": "like" if part.is_wanted else "unlike",
        "score": likeness.score,
        "region_score": likeness.region_score,
    }
    area = query.image_area if part.kind == "image" else None
    if part.kind == "text":
        told["text"] = query.text
    if part.example is not None:
        item, area = items[part.example.item_id], part.example.shape
        told |= {"item": item.pk, "key": item.key, "thumbnail_url": thumbnail_url(item.pk, item.sha256)}
        if part.example.region_id is not None:
            told["region"] = part.example.region_id
    if area:
        told["box"] = [area.x, area.y, area.width, area.height]
        if area.polygon:
            told["polygon"] = area.polygon
    return told


class QueryImageView(APIView):
    """An image that somebody searched this dataset with, by its reference."""

    @extend_schema(responses={(200, "image/*"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, reference: str) -> HttpResponseBase:
        dataset = dataset_for(request.user, pk)
        return picture(io.BytesIO(queries.show_image(dataset, reference)), "image/jpeg", reference)


def _compared(answer: Answer) -> int | None:
    return answer.best.regions if isinstance(answer.best, RankedByRegion) else None


def _calibration_json(found: Calibration) -> dict[str, Any]:
    return {
        "stands_out": found.stands_out,
        "suggested_min_score": found.suggested,
        "best_score": found.best,
        "ordinary_score": found.bar,
        "verdict": found.verdict,
    }


def _headers(answer: Answer, query: Query, id_type: str, began: float) -> dict[str, Any]:
    found = answer.calibration
    return {
        "X-Count": len(answer.best.item_ids),
        "X-Id-Type": id_type,
        "X-Embedded": answer.embedded,
        "X-Total": answer.total,
        "X-Matched": "" if answer.matched is None else answer.matched,
        "X-Exact": str(answer.is_exact).lower(),
        "X-Stands-Out": _header(found.stands_out),
        "X-Suggested-Min-Score": _header(found.suggested),
        "X-Best-Score": _header(found.best),
        "X-Ordinary-Score": _header(found.bar),
        "X-Took-Ms": elapsed_ms(began),
        "X-Query-Image": query.image.sha256 if query.image else "",
        "X-Space": f"{answer.space.encoder}/{answer.space.output}" if answer.space else "",
    }


def _header(value: float | bool | None) -> str:
    return json.dumps(value) if value is not None else ""


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
