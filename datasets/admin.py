"""The project managers' panel: datasets, members, classes, operations and jobs, for staff only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from . import creation, jobs, operations, statistics
from .errors import Refused
from .models import Dataset, Item, Job, JobError, JobPhase, LabelClass, Membership, Operation

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


class ReadOnly:
    """What the domain writes, the panel shows and does not touch."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    tab = True
    autocomplete_fields = ["user"]


class LabelClassInline(TabularInline):
    model = LabelClass
    extra = 0
    tab = True
    fields = ["position", "name", "color", "shortcut"]
    can_delete = False


@admin.register(Dataset)
class DatasetAdmin(ModelAdmin):
    list_display = ["name", "modality", "item_count", "labeled_share", "member_count", "encoder", "created_at", "state"]
    list_filter = [("modality", ChoicesDropdownFilter), ("created_at", RangeDateFilter), "multi_label"]
    list_filter_submit = True
    search_fields = ["name"]
    readonly_fields = ["encoder", "modality", "multi_label", "created_at", "created_by", "deleted_at"]
    fields = ["name", *readonly_fields]
    inlines = [MembershipInline, LabelClassInline]
    actions = ["hide", "bring_back"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return super().get_queryset(request).annotate(member_total=Count("members", distinct=True))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Items and labels of the page's datasets are counted in one statement."""
        page = super().get_changelist_instance(request)
        self._counts = statistics.counts_of(list(page.result_list))
        return page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # made in the app, where encoder and import are chosen

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the action hides it first, and it can be brought back

    @display(description="Items")
    def item_count(self, dataset: Dataset) -> str:
        counts = self._counts.get(dataset.pk)
        return f"{counts.items:,}" if counts else "0"

    @display(description="Labelled")
    def labeled_share(self, dataset: Dataset) -> str:
        counts = self._counts.get(dataset.pk)
        return f"{counts.labeled / counts.items:.0%}" if counts and counts.items else "–"

    @display(description="Members", ordering="member_total")
    def member_count(self, dataset: Any) -> int:
        return int(dataset.member_total)

    @display(description="State", label={"deleted": "danger", "in use": "success"})
    def state(self, dataset: Dataset) -> str:
        return "deleted" if dataset.deleted_at else "in use"

    @action(description="Delete (can be brought back for an hour)")
    def hide(self, request: HttpRequest, queryset: QuerySet[Dataset]) -> None:
        for dataset in queryset:
            creation.delete_dataset(dataset)
        self.message_user(request, f"{queryset.count()} deleted. “Bring back” undoes it for an hour.")

    @action(description="Bring back")
    def bring_back(self, request: HttpRequest, queryset: QuerySet[Dataset]) -> None:
        for dataset in queryset:
            creation.restore_dataset(dataset)
        self.message_user(request, f"{queryset.count()} brought back.")


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ["user", "dataset", "role", "created_at"]
    list_editable = ["role"]
    list_filter = [("dataset", RelatedDropdownFilter), ("role", ChoicesDropdownFilter)]
    list_filter_submit = True
    list_select_related = ["user", "dataset"]
    search_fields = ["user__username", "user__email", "dataset__name"]
    autocomplete_fields = ["user", "dataset"]


@admin.register(LabelClass)
class LabelClassAdmin(ModelAdmin):
    list_display = ["name", "dataset", "swatch", "shortcut", "position"]
    list_filter = [("dataset", RelatedDropdownFilter)]
    list_filter_submit = True
    list_select_related = ["dataset"]
    search_fields = ["name", "dataset__name"]
    autocomplete_fields = ["dataset"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # annotations refer to it

    @display(description="Colour")
    def swatch(self, label: LabelClass) -> str:
        return label.color


@admin.register(Item)
class ItemAdmin(ReadOnly, ModelAdmin):
    list_display = ["key", "dataset", "status", "split", "state", "created_at"]
    list_filter = [("dataset", RelatedDropdownFilter), ("status", ChoicesDropdownFilter)]
    list_filter_submit = True
    list_select_related = ["dataset"]
    search_fields = ["key__startswith"]
    show_full_result_count = False  # counting a million rows for a number that nobody reads
    ordering = ["-id"]


@admin.register(Operation)
class OperationAdmin(ReadOnly, ModelAdmin):
    list_display = ["id", "kind", "dataset", "author", "what", "changed", "created_at", "is_undone"]
    list_filter = [
        ("dataset", RelatedDropdownFilter),
        ("author", RelatedDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("created_at", RangeDateFilter),
    ]
    list_filter_submit = True
    list_select_related = ["dataset", "author", "undone_by"]
    search_fields = ["author__username", "dataset__name"]
    date_hierarchy = "created_at"
    actions = ["undo"]

    @display(description="What")
    def what(self, operation: Operation) -> str:
        return operations.describe(operation)

    @display(description="Undone", boolean=True)
    def is_undone(self, operation: Operation) -> bool:
        return hasattr(operation, "undone_by")

    @action(description="Undo")
    def undo(self, request: HttpRequest, queryset: QuerySet[Operation]) -> None:
        """Latest first, as one would by hand."""
        for operation in queryset.order_by("-pk"):
            try:
                undone = operations.undo(operation, by=request.user)
            except Refused as error:
                self.message_user(request, str(error), level="WARNING")
            else:
                kept = undone.kept_because_changed_since
                self.message_user(
                    request,
                    f"Operation {operation.pk}: {undone.reverted:,} items put back"
                    + (f", {kept:,} kept because they were changed since." if kept else "."),
                )


class JobPhaseInline(ReadOnly, TabularInline):
    model = JobPhase
    extra = 0
    fields = ["name", "done", "total", "started_at", "updated_at"]


class JobErrorInline(ReadOnly, TabularInline):
    model = JobError
    extra = 0
    fields = ["key", "reason"]
    per_page = 50


@admin.register(Job)
class JobAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "id",
        "kind",
        "dataset",
        "state_shown",
        "progress",
        "error_total",
        "created_by",
        "created_at",
        "finished_at",
    ]
    list_filter = [
        ("dataset", RelatedDropdownFilter),
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("created_at", RangeDateFilter),
    ]
    list_filter_submit = True
    list_select_related = ["dataset", "created_by"]
    search_fields = ["dataset__name", "created_by__username"]
    inlines = [JobPhaseInline, JobErrorInline]
    actions = ["cancel", "resume"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        jobs_ = super().get_queryset(request).prefetch_related("phases")
        return jobs_.annotate(error_total=Count("errors", distinct=True))

    @display(
        description="State",
        ordering="state",
        label={"queued": "info", "running": "info", "succeeded": "success", "failed": "danger", "canceled": "warning"},
    )
    def state_shown(self, job: Job) -> str:
        return job.state

    @display(description="Progress")
    def progress(self, job: Job) -> str:
        now = jobs.progress(job)
        return f"{now.phase}: {now.done:,} of {now.total:,}"

    @display(description="Refused", ordering="error_total")
    def error_total(self, job: Any) -> int:
        return int(job.error_total)

    @action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._each(request, queryset, jobs.cancel, "canceled")

    @action(description="Resume")
    def resume(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._each(request, queryset, jobs.resume, "handed out again")

    def _each(self, request: HttpRequest, queryset: QuerySet[Job], act: Any, done: str) -> None:
        for job in queryset:
            try:
                act(job)
            except Refused as error:
                self.message_user(request, str(error), level="WARNING")
            else:
                self.message_user(request, f"Job {job.pk} {done}.")
