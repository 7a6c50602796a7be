"""Imports, jobs and exports."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, cast
from urllib.parse import quote

from django.db.models import Count, QuerySet
from django.http import QueryDict, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import exporting, filters, importing, jobs
from ...access import dataset_for, object_for
from ...errors import Refused
from ...importing.sources import resolve_server_path
from ...models import Dataset, Job, JobError, Role
from ..filtering import FILTER_PARAMETERS, raw_filter
from ..paging import PAGE_PARAMETERS, NewestFirst, Pages
from ..serializers import (
    JobErrorSerializer,
    JobSerializer,
    JobStartedSerializer,
    PathImportSerializer,
    UploadImportSerializer,
    page_of,
)

_ERRORS_SHOWN = 100


class ImportsView(APIView):
    """Import items, by upload or from a path on the server. Answers with a job."""

    parser_classes = [MultiPartParser, FormParser, JSONParser]

    @extend_schema(
        request={"multipart/form-data": UploadImportSerializer, "application/json": PathImportSerializer},
        responses={202: JobStartedSerializer},
    )
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        job = (
            _from_path(dataset, request)
            if isinstance(request.data, dict) and "path" in request.data and not request.FILES
            else _from_upload(dataset, request)
        )
        return Response({"job": job.pk}, status=202)


def _from_path(dataset: Dataset, request: Request) -> Job:
    body = PathImportSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    asked = body.validated_data
    return importing.start_path_import(
        dataset,
        resolve_server_path(asked["path"]),
        by=request.user,
        split=asked.get("split"),
        format=asked.get("format") or None,
        existing=asked["existing"],
    )


def _from_upload(dataset: Dataset, request: Request) -> Job:
    files = request.FILES.getlist("file")
    if not files:
        raise Refused("No file was sent. Send at least one as “file” (multipart), or a “path” on the server (JSON).")
    form = cast(QueryDict, request.data)
    paths = form.getlist("path")
    if paths and len(paths) != len(files):
        raise Refused(
            f"{len(files)} files came with {len(paths)} paths. Send one path a file, in the same order, or none."
        )
    given = {name: form[name] for name in ("split", "format", "existing", "job", "more") if name in form}
    body = UploadImportSerializer(data={"file": files, **given})
    body.is_valid(raise_exception=True)
    asked = body.validated_data
    uploads: list[Any] = [
        (path or file.name, file) for path, file in zip(paths or [""] * len(files), files, strict=True)
    ]
    if "job" in asked:
        job = object_for(request.user, Job.objects.filter(dataset=dataset), asked["job"], Role.MANAGER)
        return importing.append_upload(job, uploads, more=asked["more"])
    return importing.start_upload_import(
        dataset,
        uploads,
        by=request.user,
        split=asked.get("split"),
        format=asked.get("format") or None,
        existing=asked["existing"],
        more=asked["more"],
    )


_FIRST_ERRORS = """
SELECT error.id, error.job_id, error.key, error.reason
  FROM unnest(%s::bigint[]) AS wanted (job_id)
 CROSS JOIN LATERAL (
       SELECT * FROM datasets_joberror WHERE job_id = wanted.job_id ORDER BY id LIMIT %s) AS error
"""


def _jobs() -> QuerySet[Job]:
    return (
        Job.objects.select_related("dataset")
        .prefetch_related("phases")
        .annotate(error_count=Count("errors", distinct=True))
    )


def _jobs_json(page: list[Job]) -> Any:
    """One query for the first errors of all of them."""
    first: dict[int, list[JobError]] = defaultdict(list)
    for error in JobError.objects.raw(_FIRST_ERRORS, [[job.pk for job in page], _ERRORS_SHOWN]):
        first[error.job_id].append(error)
    for job in page:
        job.first_errors = first[job.pk]  # type: ignore[attr-defined]
    return JobSerializer(page, many=True).data


_STATE = OpenApiParameter("state", OpenApiTypes.STR, enum=Job.State.values, many=True)


class JobListView(APIView):
    def answer(self, request: Request, queryset: QuerySet[Job]) -> Response:
        states = request.query_params.getlist("state")
        for state in states:
            if state not in Job.State.values:
                raise Refused(f"state is one of {', '.join(Job.State.values)}, not “{state}”.")
        pages = NewestFirst()
        page = pages.paginate_queryset(queryset.filter(state__in=states) if states else queryset, request, self) or []
        return pages.get_paginated_response(_jobs_json(page))


class JobsView(JobListView):
    """The jobs of all your datasets, latest first."""

    @extend_schema(operation_id="jobs_list", parameters=[_STATE, *PAGE_PARAMETERS], responses=page_of(JobSerializer))
    def get(self, request: Request) -> Response:
        return self.answer(request, _jobs().filter(dataset__in=Dataset.objects.visible_to(request.user)))


class DatasetJobsView(JobListView):
    """The jobs of one dataset, latest first."""

    @extend_schema(
        operation_id="dataset_jobs_list", parameters=[_STATE, *PAGE_PARAMETERS], responses=page_of(JobSerializer)
    )
    def get(self, request: Request, pk: int) -> Response:
        return self.answer(request, _jobs().filter(dataset=dataset_for(request.user, pk)))


class JobView(APIView):
    """One job, with its progress and its first errors."""

    @extend_schema(operation_id="jobs_retrieve", responses=JobSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(_jobs_json([object_for(request.user, _jobs(), pk)])[0])


class JobErrorsView(APIView):
    """Everything that the job refused, and why."""

    @extend_schema(operation_id="job_errors_list", parameters=PAGE_PARAMETERS, responses=page_of(JobErrorSerializer))
    def get(self, request: Request, pk: int) -> Response:
        job = object_for(request.user, Job.objects.all(), pk)
        pages = Pages()
        page = pages.paginate_queryset(JobError.objects.filter(job=job), request, self)
        return pages.get_paginated_response(JobErrorSerializer(page, many=True).data)


class CancelView(APIView):
    """Stop a job. What is in stays in."""

    @extend_schema(request=None, responses=JobSerializer)
    def post(self, request: Request, pk: int) -> Response:
        jobs.cancel(object_for(request.user, Job.objects.all(), pk, Role.MANAGER))
        return Response(_jobs_json([object_for(request.user, _jobs(), pk)])[0])


class ResumeView(APIView):
    """Go on with a job that was canceled or has failed."""

    @extend_schema(request=None, responses={202: JobSerializer})
    def post(self, request: Request, pk: int) -> Response:
        jobs.resume(object_for(request.user, Job.objects.all(), pk, Role.MANAGER))
        return Response(_jobs_json([object_for(request.user, _jobs(), pk)])[0], status=202)


class ExportView(APIView):
    """The labels under a filter, streamed. Excluded items are left out unless asked for."""

    @extend_schema(
        parameters=[
            OpenApiParameter("format", OpenApiTypes.STR, enum=list(exporting.FORMATS), default="csv"),
            OpenApiParameter("include_excluded", OpenApiTypes.BOOL, default=False),
            *FILTER_PARAMETERS,
        ],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request, pk: int) -> StreamingHttpResponse:
        dataset = dataset_for(request.user, pk)
        format = exporting.format_named(request.query_params.get("format") or "csv")
        rows = exporting.export(
            dataset,
            filters.parse(dataset, raw_filter(request)),
            format,
            include_excluded=request.query_params.get("include_excluded") in ("1", "true", "True"),
        )
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in dataset.name)[:80]
        response = StreamingHttpResponse(rows, content_type=format.content_type)
        response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.{format.extension}"
        return response
