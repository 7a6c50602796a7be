"""The review queue: what to look at next, what to look at beside it, many decisions at once, and how far it has come."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import Count
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.access import dataset_for, object_for
from datasets.api.rendering import items_json
from datasets.api.serializers import ItemSerializer
from datasets.models import Annotation, Dataset, Operation, Role

from ..findings import KINDS, chosen, deciding, evidence, groups, progress, queueing
from ..models import Finding
from .findings import FINDING_KINDS, FindingSerializer, VerdictSerializer, findings_json

State = Finding.State


class ReviewGroupSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="As the findings have it.")
    title = serializers.CharField()
    open = serializers.IntegerField()


class ReviewProgressSerializer(serializers.Serializer[Any]):
    open = serializers.IntegerField()
    confirmed = serializers.IntegerField()
    dismissed = serializers.IntegerField()
    precision = serializers.FloatField(allow_null=True, help_text="Share of what was decided that was confirmed.")
    interval = serializers.ListField(
        child=serializers.FloatField(), allow_null=True, help_text="Of the precision, 95 % (Clopper and Pearson)."
    )
    errors_left = serializers.FloatField(allow_null=True, help_text="Likely among the open ones; after ten decisions.")
    stop_below = serializers.IntegerField(allow_null=True, help_text="Fewer left than this are under 5 % of all.")
    is_enough = serializers.BooleanField()


class DecidedTodaySerializer(serializers.Serializer[Any]):
    fixed = serializers.IntegerField(help_text="Confirmed with a label.")
    excluded = serializers.IntegerField(help_text="Confirmed, and the item excluded.")
    confirmed = serializers.IntegerField(help_text="Confirmed, and nothing changed.")
    kept = serializers.IntegerField(help_text="Dismissed.")


class ReviewSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=FINDING_KINDS)
    open = serializers.DictField(child=serializers.IntegerField(), help_text="Open findings of each kind.")
    progress = ReviewProgressSerializer()
    groups = ReviewGroupSerializer(many=True, help_text="Of the same mistake, the largest first.")
    today = DecidedTodaySerializer(help_text="Of all kinds, in UTC.")


class ClaimSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(max_length=32)
    group = serializers.CharField(required=False, allow_blank=True, default="", max_length=32)
    number = serializers.IntegerField(required=False, default=3, min_value=1, max_value=queueing.MOST_CLAIMED)
    after = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=2**63 - 1),
        required=False,
        min_length=2,
        max_length=2,
        help_text="Rank and id of a finding: those behind it.",
    )


class ClaimedSerializer(serializers.Serializer[Any]):
    results = FindingSerializer(many=True)
    open = serializers.IntegerField(help_text="Of the kind and group.")
    held = serializers.IntegerField(help_text="Of these by others, who look at them now.")
    seconds = serializers.IntegerField(help_text="For which nobody else is given these items.")


class DecideAllSerializer(VerdictSerializer):
    ids = serializers.ListField(child=serializers.IntegerField(min_value=1), min_length=1, max_length=10_000)


class DecidedAllSerializer(serializers.Serializer[Any]):
    operation = serializers.IntegerField(allow_null=True, help_text="To be undone.")
    decided = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Decided by somebody meanwhile, or labelled otherwise by now.")


class NearItemSerializer(serializers.Serializer[Any]):
    item = ItemSerializer()
    score = serializers.FloatField(help_text="Cosine.")


class TypicalSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]  # a field of that name
    label_id = serializers.IntegerField()
    count = serializers.IntegerField(help_text="Items with this label.")
    items = ItemSerializer(many=True, help_text="Nearest to the mean of their class.")


class EvidenceSerializer(serializers.Serializer[Any]):
    nearest = NearItemSerializer(many=True)
    classes = TypicalSerializer(many=True, help_text="The suggested one first, then the given ones.")


class ReviewView(APIView):
    """How far the review of a dataset's findings has come."""

    @extend_schema(
        parameters=[
            OpenApiParameter("kind", OpenApiTypes.STR, description="Unless told, the first with open findings.")
        ],
        responses=ReviewSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        found = Finding.objects.filter(dataset=dataset, state=State.OPEN).order_by().values_list("kind")
        numbers = dict(found.annotate(Count("pk")))
        is_open = {name: numbers.get(name, 0) for name in KINDS}
        asked = request.query_params.get("kind", "")
        kind = chosen([asked])[0] if asked else next((name for name in KINDS if is_open[name]), next(iter(KINDS)))
        made = progress.of_kind(dataset, kind)
        return Response(
            {
                "kind": kind,
                "open": is_open,
                "progress": asdict(made) | {"is_enough": made.is_enough},
                "groups": [asdict(one) for one in groups.of_kind(dataset, kind)],
                "today": _today(dataset),
            }
        )


class ClaimView(APIView):
    @extend_schema(request=ClaimSerializer, responses=ClaimedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """The next findings to look at. Nobody else is given their items for some minutes."""
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = ClaimSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        said = body.validated_data
        found = queueing.claim(
            dataset,
            said["kind"],
            by=request.user,
            number=said["number"],
            group=said["group"],
            after=tuple(said.get("after", (0, 0))),
        )
        is_open, held = queueing.waiting(dataset, said["kind"], by=request.user, group=said["group"])
        return Response({"results": findings_json(found), "open": is_open, "held": held, "seconds": queueing.HELD_S})


class ReleaseView(APIView):
    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request, pk: int) -> Response:
        """You look at nothing any more."""
        queueing.release(dataset_for(request.user, pk, Role.ANNOTATOR), by=request.user)
        return Response(status=204)


class DecideAllView(APIView):
    @extend_schema(request=DecideAllSerializer, responses=DecidedAllSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """The same verdict on many findings, as one operation."""
        dataset = dataset_for(request.user, pk, Role.ANNOTATOR)
        body = DecideAllSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        done = deciding.decide_all(dataset, body.validated_data["ids"], body.verdict(dataset), by=request.user)
        operation = done.operation.pk if done.operation else None
        return Response({"operation": operation, "decided": done.decided, "left": done.left})


class EvidenceView(APIView):
    """What speaks for a finding, or against it."""

    @extend_schema(responses=EvidenceSerializer)
    def get(self, request: Request, pk: int) -> Response:
        found = evidence.of_finding(object_for(request.user, Finding.objects.all(), pk))
        named = {pk for pk, _ in found.nearest} | {pk for _, typical in found.classes for pk in typical}
        items = {item["id"]: item for item in items_json(sorted(named))}
        return Response(
            {
                "nearest": [{"item": items[pk], "score": score} for pk, score in found.nearest if pk in items],
                "classes": [
                    {
                        "label": label.name,
                        "label_id": label.pk,
                        "count": Annotation.objects.standing().filter(label=label, region=None).count(),
                        "items": [items[pk] for pk in typical if pk in items],
                    }
                    for label, typical in found.classes
                ],
            }
        )


def _today(dataset: Dataset) -> dict[str, int]:
    since = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    decided = Finding.objects.filter(dataset=dataset, decided_at__gte=since).exclude(state=State.OPEN)
    kinds = decided.order_by().values_list("state", "operation__kind").annotate(number=Count("pk"))
    told = {"fixed": 0, "excluded": 0, "confirmed": 0, "kept": 0}
    by_operation = {Operation.Kind.LABEL: "fixed", Operation.Kind.STATUS: "excluded"}
    for state, operation, number in kinds:
        told["kept" if state == State.DISMISSED else by_operation.get(operation, "confirmed")] += number
    return told
