"""Findings: looked for by a job, listed best first, decided on one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets import filters
from datasets.access import dataset_for, object_for
from datasets.api.filtering import FILTER_PARAMETERS, raw_filter
from datasets.api.paging import PAGE_PARAMETERS, Pages
from datasets.api.rendering import items_json
from datasets.api.serializers import ItemSerializer, JobStartedSerializer, LabelField, page_of
from datasets.errors import Refused
from datasets.models import Dataset, Role

from ..findings import KINDS, chosen, deciding, filtering
from ..findings import job as looking
from ..findings.deciding import Verdict
from ..models import Finding

# A named set of choices, for the schema's enums.
FINDING_KINDS = list(KINDS)


class LookSerializer(serializers.Serializer[Any]):
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=32), required=False, max_length=100, help_text="All unless told."
    )


class FindingSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=FINDING_KINDS)
    subject = serializers.CharField(allow_blank=True, help_text="Which of its kind: dark or blurry, of the class.")
    item = ItemSerializer()
    related = ItemSerializer(many=True, help_text="Items that speak for it, the most telling first.")
    score = serializers.FloatField(help_text="0 to 1; above a half is beyond what is usual.")
    rank = serializers.IntegerField()
    reason = serializers.CharField()
    suggested_label = serializers.CharField(allow_null=True)
    suggested_label_id = serializers.IntegerField(allow_null=True)
    confidence = serializers.FloatField(allow_null=True, help_text="Of the suggested label.")
    group = serializers.CharField(allow_blank=True, help_text="The same for those found together.")
    state = serializers.ChoiceField(choices=Finding.State.choices)
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)


class VerdictSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=Finding.State.choices)
    label = LabelField(
        required=False, allow_null=True, help_text="With confirmed: the class to give, by its name or id."
    )
    exclude = serializers.BooleanField(required=False, help_text="With confirmed: exclude the item.")
    duplicate = serializers.BooleanField(
        required=False, help_text=f"With confirmed: exclude the item, and tag it “{deciding.DUPLICATE}”."
    )

    def verdict(self, dataset: Dataset) -> Verdict:
        """Raises ``Refused``."""
        said = self.validated_data
        named = said.get("label")
        label = filters.find_class(dataset, named) if named is not None else None
        return Verdict(
            said["state"], label, excludes=said.get("exclude", False), is_duplicate=said.get("duplicate", False)
        )


class DecidedSerializer(FindingSerializer):
    operation = serializers.IntegerField(allow_null=True, help_text="The decision in the log, to be undone.")


class FindingStatisticsSerializer(serializers.Serializer[Any]):
    finding = serializers.DictField(
        child=serializers.IntegerField(), help_text="Items with an open finding, by its kind; any: of any kind."
    )


class _BestFirst(Pages):
    ordering = ("rank", "id")


class FindingsView(APIView):
    """What is wrong with a dataset."""

    @extend_schema(
        operation_id="findings_list",
        parameters=[
            OpenApiParameter("kind", OpenApiTypes.STR, many=True, description=f"Some of {', '.join(KINDS)}."),
            OpenApiParameter("state", OpenApiTypes.STR, description="open (unless told), confirmed, dismissed or any."),
            OpenApiParameter("item", OpenApiTypes.INT, description="Of this item alone."),
            OpenApiParameter("group", OpenApiTypes.STR, description="Of this group alone."),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(FindingSerializer),
    )
    def get(self, request: Request, pk: int) -> Response:
        """Best first; of several kinds the first of each come first."""
        dataset = dataset_for(request.user, pk)
        asked = request.query_params
        state = filtering.states(asked.get("state") or Finding.State.OPEN)
        found = Finding.objects.filter(
            dataset=dataset, state__in=state, kind__in=chosen(_listed(asked.getlist("kind")))
        )
        if asked.get("item"):
            if not asked["item"].isdecimal() or len(asked["item"]) > 18:
                raise Refused("item is the id of an item.")
            found = found.filter(item=int(asked["item"]))
        if asked.get("group"):
            found = found.filter(group=asked["group"])
        pages = _BestFirst()
        page = pages.paginate_queryset(found.select_related("suggested_label", "decided_by"), request, self) or []
        return pages.get_paginated_response(findings_json(page))

    @extend_schema(request=LookSerializer, responses={202: JobStartedSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Look for findings. What people decided on earlier ones stays, unless what speaks for them has changed."""
        dataset = dataset_for(request.user, pk, Role.REVIEWER)
        body = LookSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        job = looking.start(dataset, body.validated_data.get("kinds", []), by=request.user)
        return Response({"job": job.pk}, status=202)


class FindingView(APIView):
    """One finding."""

    @extend_schema(operation_id="findings_retrieve", responses=FindingSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(findings_json([object_for(request.user, Finding.objects.all(), pk)])[0])

    @extend_schema(request=VerdictSerializer, responses=DecidedSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Confirm it, with the label that sets it right if there is one; dismiss it; or open it again."""
        finding = object_for(request.user, Finding.objects.all(), pk, Role.ANNOTATOR)
        body = VerdictSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        decision = deciding.decide(finding, body.verdict(finding.dataset), by=request.user)
        operation = decision.operation.pk if decision.operation else None
        return Response(findings_json([decision.finding])[0] | {"operation": operation})


class FindingStatisticsView(APIView):
    """The facet of open findings, under the filter."""

    @extend_schema(parameters=FILTER_PARAMETERS, responses=FindingStatisticsSerializer)
    def get(self, request: Request, pk: int) -> Response:
        dataset = dataset_for(request.user, pk)
        others = filters.parse(dataset, raw_filter(request)).without("finding")
        items = others.apply(filters.items_of(dataset)) if others else None
        return Response({"finding": filtering.counts(dataset, items)})


def _listed(values: Sequence[str]) -> list[str]:
    return [one.strip() for value in values for one in value.split(",") if one.strip()]


def is_open(finding: Finding) -> bool:
    return finding.state == Finding.State.OPEN


def findings_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Two statements for all items that they name."""
    named = {one for finding in found for one in (finding.item_id, *finding.related)}
    items = {item["id"]: item for item in items_json(sorted(named))}
    return [
        {
            "id": finding.pk,
            "kind": finding.kind,
            "subject": finding.subject,
            "item": items[finding.item_id],
            "related": [items[one] for one in finding.related if one in items],
            "score": finding.score,
            "rank": finding.rank,
            "reason": finding.reason,
            "suggested_label": finding.suggested_label.name if finding.suggested_label else None,
            "suggested_label_id": finding.suggested_label_id,
            "confidence": finding.confidence,
            "group": finding.group,
            "state": finding.state,
            "decided_by": finding.decided_by.username if finding.decided_by and not is_open(finding) else None,
            "decided_at": None if is_open(finding) else finding.decided_at,
        }
        for finding in found
        if finding.item_id in items
    ]
