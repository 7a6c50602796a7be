"""Vectors in and out as files."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets import filters
from datasets.access import dataset_for, object_for
from datasets.api.filtering import FILTER_PARAMETERS, raw_filter
from datasets.models import Role

from .. import vector_upload
from ..models import EmbeddingSpace
from ..vector_download import download
from ..vector_upload import Upload

_PRECISIONS = ("float16", "float32")


class VectorsUploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(
        help_text="Parquet with columns id or key, and vector; or NPY of shape (n, dimension).",
        error_messages={"required": "No file was sent. Send a Parquet or NPY file as “file” (multipart)."},
    )
    ids = serializers.FileField(required=False, help_text="For NPY: the item of each row, as .npy, .csv or .txt.")
    by = serializers.ChoiceField(
        choices=["id", "key"],
        required=False,
        help_text="What the rows call their items, where the file does not say it.",
    )
    space = serializers.IntegerField(required=False, min_value=1, help_text="A space of the dataset, or …")
    name = serializers.CharField(required=False, max_length=100, help_text="… the name of a new one.")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if ("space" in given) == ("name" in given):
            raise serializers.ValidationError(
                "Say where the vectors go: the id of a “space” of the dataset, or the “name” of a new one."
            )
        return given


class VectorsUploadedSerializer(serializers.Serializer[Any]):
    job = serializers.IntegerField()
    space = serializers.IntegerField()


class UploadView(APIView):
    """Put vectors that were computed elsewhere into a space. Answers with a job.

    Its result counts rows `written`, `unchanged` and `refused`, and items of the dataset that are `missing` in the file.
    """

    parser_classes = [MultiPartParser, FormParser]

    @extend_schema(request={"multipart/form-data": VectorsUploadSerializer}, responses={202: VectorsUploadedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        body = VectorsUploadSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        given = body.validated_data
        spaces = EmbeddingSpace.objects.filter(dataset=dataset)
        into = object_for(request.user, spaces, given["space"], Role.MANAGER) if "space" in given else given["name"]
        ids = given.get("ids")
        job, space = vector_upload.start(
            dataset,
            Upload(given["file"].name, given["file"].file),
            by=request.user,
            into=into,
            ids=Upload(ids.name, ids.file) if ids else None,
            named_by=given.get("by"),
        )
        return Response({"job": job.pk, "space": space.pk}, status=202)


class DownloadView(APIView):
    """The vectors of a space under a filter, streamed as Parquet. Excluded items are left out unless asked for."""

    @extend_schema(
        parameters=[
            OpenApiParameter("precision", OpenApiTypes.STR, enum=_PRECISIONS, default="float32"),
            OpenApiParameter("include_excluded", OpenApiTypes.BOOL, default=False),
            *FILTER_PARAMETERS,
        ],
        responses={(200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, pk: int) -> StreamingHttpResponse:
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk)
        precision = serializers.ChoiceField(_PRECISIONS).run_validation(
            request.query_params.get("precision") or "float32"
        )
        pieces = download(
            space,
            filters.parse(space.dataset, raw_filter(request, "precision")),
            precision=cast(Any, precision),
            include_excluded=request.query_params.get("include_excluded") in ("1", "true", "True"),
        )
        response = StreamingHttpResponse(pieces, content_type="application/vnd.apache.parquet")
        name = "".join(
            c if c.isalnum() or c in "-_." else "-" for c in f"{space.dataset.name}-{space.encoder}-{space.output}"
        )
        response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name[:120])}.parquet"
        return response
