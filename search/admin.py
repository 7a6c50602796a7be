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

from . import spaces
from .api.spaces import spaces_of
from .models import EmbeddingSpace, PendingEmbedding


@admin.register(EmbeddingSpace)
class EmbeddingSpaceAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "dataset", "encoder", "output", "dimension", "embedded", "state", "problem", "is_default"]
    list_filter = [("dataset", RelatedDropdownFilter), "state", "is_default"]
    actions = ["try_again"]
    list_filter_submit = True
    list_select_related = ["dataset"]
    search_fields = ["dataset__name", "encoder"]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The vectors of all spaces of the page are counted in one statement."""
        page = super().get_changelist_instance(request)
        by_dataset = spaces_of(list({space.dataset_id for space in page.result_list}))
        self._embedded = {space["id"]: space["embedded"] for found in by_dataset.values() for space in found}
        return page

    @admin.action(description="Try again what could not be embedded", permissions=["view"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[EmbeddingSpace]) -> None:
        number = sum(spaces.try_again(space) for space in queryset.select_related("dataset"))
        self.message_user(request, f"{number:,} items are asked for again.")

    @display(description="Vectors")
    def embedded(self, space: EmbeddingSpace) -> str:
        return f"{self._embedded.get(space.pk, 0):,}"


@admin.register(PendingEmbedding)
class PendingEmbeddingAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "dataset", "item", "encoder", "job", "reason"]
    list_filter = [("dataset", RelatedDropdownFilter)]
    list_filter_submit = True
    list_select_related = ["dataset", "item", "job"]
    show_full_result_count = False
