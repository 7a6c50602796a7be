"""Saved searches, and how many items each finds now."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ... import saved_searches, selection
from ...access import dataset_for, object_for
from ...models import Membership, Role, SavedSearch
from ..serializers import (
    NewSavedSearchSerializer,
    PreviewSerializer,
    SavedSearchChangeSerializer,
    SavedSearchSerializer,
    page_of,
)


def _context(request: Request, dataset_id: int) -> dict[str, object]:
    role = Membership.objects.get(user=request.user.pk, dataset=dataset_id).role
    return {"user": request.user, "role": role}


class SearchesView(APIView):
    """The saved searches of a dataset, by their names: all of them, for there are few."""

    @extend_schema(operation_id="searches_list", responses=page_of(SavedSearchSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        found = SavedSearch.objects.filter(dataset=dataset).select_related("author")
        results = SavedSearchSerializer(found, many=True, context=_context(request, pk)).data
        return Response({"results": results, "next": None})

    @extend_schema(request=NewSavedSearchSerializer, responses={201: SavedSearchSerializer})
    def post(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = NewSavedSearchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        saved = saved_searches.save(dataset, by=request.user, **body.validated_data)
        return Response(SavedSearchSerializer(saved, context=_context(request, pk)).data, status=201)


class SavedSearchView(APIView):
    """One saved search. Who saved it and the managers change and delete it."""

    @extend_schema(operation_id="searches_retrieve", responses=SavedSearchSerializer)
    def get(self, request: Request, pk: int) -> Response:
        saved = object_for(request.user, SavedSearch.objects.all(), pk)
        return Response(SavedSearchSerializer(saved, context=_context(request, saved.dataset_id)).data)

    @extend_schema(request=SavedSearchChangeSerializer, responses=SavedSearchSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        saved = object_for(request.user, SavedSearch.objects.all(), pk, Role.ANNOTATOR)
        body = SavedSearchChangeSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        saved_searches.change(saved, by=request.user, **body.validated_data)
        return Response(SavedSearchSerializer(saved, context=_context(request, saved.dataset_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        saved = object_for(request.user, SavedSearch.objects.all(), pk, Role.ANNOTATOR)
        saved_searches.delete(saved, by=request.user)
        return Response(status=204)


class SavedSearchCountView(APIView):
    """How many items it finds now, exactly; a sentence when something that it names is gone."""

    @extend_schema(operation_id="searches_count", responses=PreviewSerializer)
    def get(self, request: Request, pk: int) -> Response:
        saved = object_for(request.user, SavedSearch.objects.all(), pk)
        return Response(asdict(selection.preview(selection.parse(saved.dataset, {"saved": saved.pk}))))
