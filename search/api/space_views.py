"""The spaces of a dataset: which encoders it has, how far each is, and which one is the default."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for, object_for
from datasets.api.paging import PAGE_PARAMETERS, Pages
from datasets.api.rendering import items_json
from datasets.api.serializers import JobStartedSerializer, page_of
from datasets.models import Role

from .. import indexing, pending, preparation, spaces
from ..models import EmbeddingSpace
from .serializers import FailureSerializer, NewSpaceSerializer, SpaceChangeSerializer, SpaceDetailSerializer
from .spaces import details_json


class SpacesView(APIView):
    """The spaces of a dataset, oldest first. An encoder with several outputs has a space for each."""

    @extend_schema(operation_id="spaces_list", parameters=PAGE_PARAMETERS, responses=page_of(SpaceDetailSerializer))
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        return Response({"results": details_json(list(dataset.spaces.all())), "next": None})

    @extend_schema(request=NewSpaceSerializer, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Embed everything with one more encoder. Its spaces are there at once; the job fills them."""
        dataset = dataset_for(request.user, pk, Role.MANAGER)
        body = NewSpaceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        job = preparation.add_spaces(dataset, by=request.user, **body.validated_data)
        return Response({"job": job.pk}, status=202)


class SpaceView(APIView):
    """One space."""

    @extend_schema(operation_id="spaces_retrieve", responses=SpaceDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(details_json([object_for(request.user, EmbeddingSpace.objects.all(), pk)])[0])

    @extend_schema(request=SpaceChangeSerializer, responses=SpaceDetailSerializer)
    def patch(self, request: Request, pk: int) -> Response:
        """Make it the default: now, which needs it to be complete, or as soon as it is."""
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk, Role.MANAGER)
        body = SpaceChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        if "is_default" in asked:
            spaces.choose_default(space, when_complete=asked.get("when_complete", False))
        elif "becomes_default" in asked:
            spaces.give_up_default(space)
        space.refresh_from_db()
        return Response(details_json([space])[0])

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete its encoder from the dataset: all spaces of that encoder, with their vectors."""
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk, Role.MANAGER)
        spaces.delete_spaces(space.dataset, space.encoder)
        return Response(status=204)


class FailuresView(APIView):
    """The items that the encoder of the space could make no vector of, each with the reason."""

    @extend_schema(operation_id="space_failures_list", parameters=PAGE_PARAMETERS, responses=page_of(FailureSerializer))
    def get(self, request: Request, pk: int) -> Response:
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk)
        pages = Pages()
        page = pages.paginate_queryset(pending.failures(space), request, self) or []
        reasons = {row.item_id: row.reason for row in page}
        return pages.get_paginated_response(
            [{"item": item, "reason": reasons[item["id"]]} for item in items_json(list(reasons))]
        )


class RetryView(APIView):
    """Let the encoder try again: to be fetched, and what it failed at, or what a canceled job left out."""

    @extend_schema(request=None, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk, Role.MANAGER)
        return Response({"job": preparation.try_again(space, by=request.user).pk}, status=202)


class IndexView(APIView):
    """Build the approximate index of the space now, or anew. Large spaces get theirs by themselves."""

    @extend_schema(request=None, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        space = object_for(request.user, EmbeddingSpace.objects.all(), pk, Role.MANAGER)
        return Response({"job": indexing.start_by_hand(space, by=request.user).pk}, status=202)
