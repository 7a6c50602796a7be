"""Datasets, their classes, members and statistics."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import classes, creation, filters, membership, statistics
from ...access import dataset_for, object_for
from ...models import Dataset, Job, LabelClass, Membership, Role
from .. import extras
from ..filtering import FILTER_PARAMETERS, raw_filter
from ..paging import PAGE_PARAMETERS, NewestFirst
from ..rendering import items_json
from ..serializers import (
    DatasetChangeSerializer,
    DatasetSerializer,
    LabelClassSerializer,
    MemberChangeSerializer,
    MemberSerializer,
    NewDatasetSerializer,
    PredictionStatisticsSerializer,
    StatisticsSerializer,
    page_of,
)

User = get_user_model()

_PREVIEW_CHARACTERS = 300  # of a text on a dataset's card


def datasets_json(datasets: list[Dataset], user: Any) -> list[dict[str, Any]]:
    """A fixed number of queries for the whole list."""
    ids = [dataset.pk for dataset in datasets]
    counts = statistics.counts_of(datasets)
    roles = dict(Membership.objects.filter(user=user, dataset__in=ids).values_list("dataset", "role"))
    running: dict[int, list[int]] = {}
    for job_id, dataset_id in Job.objects.filter(
        dataset__in=ids, state__in=[Job.State.QUEUED, Job.State.RUNNING]
    ).values_list("pk", "dataset"):
        running.setdefault(dataset_id, []).append(job_id)
    spaces = extras.spaces_of(ids)
    typical = statistics.typical_items(ids)
    shown = items_json([item for items in typical.values() for item in items], max_text=_PREVIEW_CHARACTERS)
    pictures = {item["id"]: item for item in shown}
    none = statistics.DatasetCounts(0, 0, 0)
    return [
        {
            "id": dataset.pk,
            "name": dataset.name,
            "modality": dataset.modality,
            "multi_label": dataset.multi_label,
            "encoder": dataset.encoder,
            "role": Role(roles[dataset.pk]).label,
            "created_at": dataset.created_at,
            "item_count": counts.get(dataset.pk, none).items,
            "embedded_count": max((s["embedded"] for s in spaces.get(dataset.pk, []) if s["is_default"]), default=0),
            "labeled_count": counts.get(dataset.pk, none).labeled,
            "failed_count": counts.get(dataset.pk, none).unreadable,
            "spaces": spaces.get(dataset.pk, []),
            "preview": [pictures[item] for item in typical.get(dataset.pk, []) if item in pictures],
            "running_jobs": running.get(dataset.pk, []),
        }
        for dataset in datasets
    ]


class DatasetsView(APIView):
    """The datasets that you are a member of."""

    @extend_schema(operation_id="datasets_list", parameters=PAGE_PARAMETERS, responses=page_of(DatasetSerializer))
    def get(self, request: Request) -> Response:
        pages = NewestFirst()
        datasets = pages.paginate_queryset(Dataset.objects.visible_to(request.user), request, self) or []
        return pages.get_paginated_response(datasets_json(datasets, request.user))

    @extend_schema(request=NewDatasetSerializer, responses={201: DatasetSerializer})
    def post(self, request: Request) -> Response:
        body = NewDatasetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        dataset = creation.create_dataset(by=request.user, **body.validated_data)
        return Response(datasets_json([dataset], request.user)[0], status=201)


class DatasetView(APIView):
    """One dataset."""

    @extend_schema(operation_id="datasets_retrieve", responses=DatasetSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(datasets_json([dataset_for(request.user, pk)], request.user)[0])

    @extend_schema(request=DatasetChangeSerializer, responses=DatasetSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        body = DatasetChangeSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        creation.rename_dataset(dataset, **body.validated_data)
        return Response(datasets_json([dataset], request.user)[0])

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Hide the dataset at once; an hour later it is freed. Until then ``restore`` brings it back."""
        creation.delete_dataset(dataset_for(request.user, pk, Role.MANAGER))
        return Response(status=204)


class RestoreView(APIView):
    """Bring a deleted dataset back, as long as it has not been freed."""

    @extend_schema(request=None, responses=DatasetSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = membership.deleted_dataset_for(request.user, pk)
        creation.restore_dataset(dataset)
        return Response(datasets_json([dataset], request.user)[0])


class ClassesView(APIView):
    """The label classes of a dataset, in their order."""

    @extend_schema(operation_id="classes_list", parameters=PAGE_PARAMETERS, responses=page_of(LabelClassSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response({"results": LabelClassSerializer(dataset.classes.all(), many=True).data, "next": None})

    @extend_schema(request=LabelClassSerializer, responses={201: LabelClassSerializer})
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = LabelClassSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        label = classes.create_class(dataset, **body.validated_data)
        return Response(LabelClassSerializer(label).data, status=201)


class ClassView(APIView):
    """One label class."""

    @extend_schema(operation_id="classes_retrieve", responses=LabelClassSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(LabelClassSerializer(object_for(request.user, LabelClass.objects.all(), pk)).data)

    @extend_schema(request=LabelClassSerializer, responses=LabelClassSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        label = object_for(request.user, LabelClass.objects.all(), pk, Role.MANAGER)
        body = LabelClassSerializer(label, data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(LabelClassSerializer(classes.change_class(label, **body.validated_data)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        classes.delete_class(object_for(request.user, LabelClass.objects.all(), pk, Role.MANAGER))
        return Response(status=204)


class MembersView(APIView):
    """Who is in, with which role."""

    @extend_schema(operation_id="members_list", parameters=PAGE_PARAMETERS, responses=page_of(MemberSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        members = dataset.members.select_related("user")
        return Response({"results": MemberSerializer(members, many=True).data, "next": None})

    @extend_schema(request=MemberSerializer, responses={201: MemberSerializer})
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        body = MemberSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        member = membership.add_member(
            dataset, username=body.validated_data["user"]["username"], role=body.validated_data["role"]
        )
        return Response(MemberSerializer(member).data, status=201)


class MemberView(APIView):
    """One membership."""

    @extend_schema(request=MemberChangeSerializer, responses=MemberSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        member = object_for(request.user, Membership.objects.select_related("user"), pk, Role.MANAGER)
        body = MemberChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(MemberSerializer(membership.change_role(member, body.validated_data["role"])).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        membership.remove_member(object_for(request.user, Membership.objects.all(), pk, Role.MANAGER))
        return Response(status=204)


class StatisticsView(APIView):
    """Counts by every facet, under a filter; each facet leaves its own condition out."""

    @extend_schema(parameters=FILTER_PARAMETERS, responses=StatisticsSerializer)
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response(statistics.statistics(dataset, filters.parse(dataset, raw_filter(request))))


class PredictionStatisticsView(APIView):
    """Counts by what models predicted, under a filter; each facet leaves its own condition out."""

    @extend_schema(parameters=FILTER_PARAMETERS, responses=PredictionStatisticsSerializer)
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response(statistics.predictions(dataset, filters.parse(dataset, raw_filter(request))))
