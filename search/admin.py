"""The spaces of datasets, for staff to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import display

from datasets.admin import ReadOnly
from datasets.errors import Refused

from . import coverage, preparation
from .models import EmbeddingSpace, PendingEmbedding


@admin.register(EmbeddingSpace)
class EmbeddingSpaceAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "id",
        "dataset",
        "encoder",
        "output",
        "dimension",
        "embedded",
        "waiting",
        "failed",
        "state",
        "problem",
        "is_default",
        "becomes_default",
    ]
    list_filter = [("dataset", RelatedDropdownFilter), "state", "is_default", "becomes_default"]
    actions = ["try_again"]
    list_filter_submit = True
    list_select_related = ["dataset"]
    search_fields = ["dataset__name", "encoder"]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """All spaces of the page are counted at once."""
        page = super().get_changelist_instance(request)
        self._coverage = coverage.of_spaces(list(page.result_list))
        return page

    @admin.action(description="Try again what could not be embedded", permissions=["view"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[EmbeddingSpace]) -> None:
        tried: set[tuple[int, str]] = set()  # an encoder's several spaces are tried together
        for space in queryset.select_related("dataset"):
            if (space.dataset_id, space.encoder) in tried:
                continue
            tried.add((space.dataset_id, space.encoder))
            try:
                job = preparation.try_again(space, by=request.user)
            except Refused as error:
                self.message_user(request, str(error), level="WARNING")
            else:
                self.message_user(request, f"{space.encoder} tries again in “{space.dataset}”: job {job.pk}.")

    @display(description="Embedded")
    def embedded(self, space: EmbeddingSpace) -> str:
        found = self._coverage[space.pk]
        return f"{found.embedded:,} of {found.total:,}"

    @display(description="Waiting")
    def waiting(self, space: EmbeddingSpace) -> str:
        return f"{self._coverage[space.pk].pending:,}"

    @display(description="Failed")
    def failed(self, space: EmbeddingSpace) -> str:
        return f"{self._coverage[space.pk].failed:,}"


@admin.register(PendingEmbedding)
class PendingEmbeddingAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "dataset", "item", "encoder", "job", "reason"]
    list_filter = [("dataset", RelatedDropdownFilter)]
    list_filter_submit = True
    list_select_related = ["dataset", "item", "job"]
    show_full_result_count = False
