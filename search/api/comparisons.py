"""Comparisons of encoders on a dataset: asked for, and those that were made."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets import jobs
from datasets.access import dataset_for
from datasets.api.paging import PAGE_PARAMETERS, NewestFirst
from datasets.api.serializers import JobStartedSerializer, page_of
from datasets.models import Job, Role

from .. import comparison
from .serializers import ComparisonSerializer, NewComparisonSerializer


class ComparisonsView(APIView):
    """Encoders side by side on a sample of the dataset."""

    @extend_schema(
        operation_id="encoder_comparisons_list", parameters=PAGE_PARAMETERS, responses=page_of(ComparisonSerializer)
    )
    def get(self, request: Request, pk: int) -> Response:
        """Those that were asked for, the newest first."""
        dataset = dataset_for(request.user, pk)
        made = Job.objects.filter(dataset=dataset, kind=Job.Kind.COMPARISON)
        pages = NewestFirst()
        found = made.select_related("created_by").prefetch_related("phases")
        page = pages.paginate_queryset(found, request, self) or []
        return pages.get_paginated_response([_comparison_json(job) for job in page])

    @extend_schema(request=NewComparisonSerializer, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Compare some encoders, none of which the dataset need have. A job does it; nothing of the dataset changes."""
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        body = NewComparisonSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        job = comparison.start(dataset, asked["encoders"], sample=asked["sample"], by=request.user)
        return Response({"job": job.pk}, status=202)


def _comparison_json(job: Job) -> dict[str, Any]:
    progress = jobs.progress(job)
    return {
        "job": job.pk,
        "state": job.state,
        "phase": progress.phase,
        "done": progress.done,
        "total": progress.total,
        "rate": progress.rate,
        "eta_s": progress.eta_s,
        "message": job.message,
        "encoders": job.params["encoders"],
        "sample": job.params["sample"],
        "author": job.created_by.username if job.created_by else None,
        "created_at": job.created_at,
        "result": job.result or None,
    }
