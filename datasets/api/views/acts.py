"""Bulk acts on a selection, the log of operations, undo."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import filters, labelling, marking, operations, selection
from ...access import dataset_for, object_for
from ...errors import Refused
from ...labelling import Mode
from ...models import Membership, Operation, Role
from ...operations import Applied
from ..paging import PAGE_PARAMETERS, NewestFirst
from ..serializers import (
    AnnotationActSerializer,
    AppliedSerializer,
    OperationSerializer,
    PreviewSerializer,
    SelectionSerializer,
    StatusActSerializer,
    TagsActSerializer,
    UndoneSerializer,
    page_of,
)


def _applied(applied: Applied) -> Response:
    return Response({"operation": applied.operation.pk, "changed": applied.changed, "skipped": applied.skipped})


class SelectionView(APIView):
    """What a bulk act on a selection would meet: its preview."""

    @extend_schema(request=SelectionSerializer, responses=PreviewSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        body = SelectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(asdict(selection.preview(selection.parse(dataset, body.validated_data["selection"]))))


class AnnotationsView(APIView):
    """Give or take a label on a selection, as one operation."""

    @extend_schema(request=AnnotationActSerializer, responses=AppliedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = AnnotationActSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        mode = Mode(asked.get("mode") or (Mode.ADD if dataset.multi_label else Mode.REPLACE))
        label = filters.find_class(dataset, asked["label"]) if asked.get("label") is not None else None
        chosen = selection.parse(dataset, asked["selection"])
        if label is None:
            if mode is not Mode.REMOVE:
                raise Refused("label: name the class to give, by its name or id.")
            return _applied(labelling.remove_labels(chosen, None, by=request.user))
        return _applied(
            labelling.apply_label(chosen, label, by=request.user, mode=mode, keep_human=asked["keep_human"])
        )


class TagsView(APIView):
    """Add and remove tags on a selection, as one operation."""

    @extend_schema(request=TagsActSerializer, responses=AppliedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = TagsActSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        chosen = selection.parse(dataset, asked["selection"])
        return _applied(marking.change_tags(chosen, add=asked["add"], remove=asked["remove"], by=request.user))


class StatusView(APIView):
    """Set the status of a selection, as one operation."""

    @extend_schema(request=StatusActSerializer, responses=AppliedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = StatusActSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        chosen = selection.parse(dataset, body.validated_data["selection"])
        return _applied(marking.set_status(chosen, body.validated_data["status"], by=request.user))


class OperationsView(APIView):
    """The log of the dataset, latest first."""

    @extend_schema(operation_id="operations_list", parameters=PAGE_PARAMETERS, responses=page_of(OperationSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        log = Operation.objects.filter(dataset=dataset).select_related("author", "undone_by")
        pages = NewestFirst()
        page = pages.paginate_queryset(log, request, self)
        context = {"user": request.user, "role": Membership.objects.get(user=request.user.pk, dataset=dataset).role}
        return pages.get_paginated_response(OperationSerializer(page, many=True, context=context).data)


class UndoView(APIView):
    """Undo an operation, days later if need be: your own as annotator, anybody's as reviewer."""

    @extend_schema(request=None, responses=UndoneSerializer)
    def post(self, request: Request, pk: int) -> Response:
        operation = object_for(request.user, Operation.objects.all(), pk, Role.ANNOTATOR)
        if operation.author_id != request.user.pk:
            dataset_for(request.user, operation.dataset_id, Role.REVIEWER)
        undone = operations.undo(operation, by=request.user)
        return Response(
            {
                "operation": undone.operation.pk,
                "reverted": undone.reverted,
                "kept_because_changed_since": undone.kept_because_changed_since,
            }
        )
