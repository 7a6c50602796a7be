"""Shapes of what comes in and goes out; the OpenAPI schema is made from them."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from .. import jobs, operations, regions
from ..importing import Existing
from ..models import Job, LabelClass, Membership, Modality, Operation, Prediction, Region, Role, SavedSearch, Status

User = get_user_model()

# Named sets of choices, for the schema's enums.
ROLE_NAMES = [(role.label, role.label) for role in Role]
# What a job tells of its result.
_RESULTS = ("added", "changed", "already_in", "written", "unchanged", "refused", "missing")
# Of findings: by their kind.
_KINDS_FOUND = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["open", "note"],
        "properties": {
            "open": {"type": "integer"},
            "note": {"type": "string", "description": "What kept it from being looked for."},
        },
    },
}
ITEM_STATES = ["pending", "ready", "unreadable"]
SPACE_STATES = ["preparing", "ready", "failed"]


@cache
def page_of(serializer: type[serializers.BaseSerializer[Any]]) -> Any:
    """The schema of a page of a list."""
    fields = {
        "results": serializer(many=True),
        "next": serializers.URLField(allow_null=True, help_text="The next page, when there is one."),
    }
    return inline_serializer(serializer.__name__.removesuffix("Serializer") + "Page", fields)


class UserSerializer(serializers.ModelSerializer[Any]):
    name = serializers.CharField(source="get_full_name", read_only=True)

    class Meta:
        model = User
        fields = ["id", "username", "name", "is_staff"]
        read_only_fields = fields


class CredentialsSerializer(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1000, trim_whitespace=False, style={"input_type": "password"})


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="One sentence that a person can act on.")
    errors = serializers.DictField(required=False)


# Items ---------------------------------------------------------------------------------------------------------------


class RegionOfLabelSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    box = serializers.ListField(child=serializers.FloatField(), min_length=4, max_length=4)


class ItemLabelSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()
    label_id = serializers.IntegerField()
    source = serializers.ChoiceField(choices=["human", "zero_shot", "propagated", "model", "import"])
    confidence = serializers.FloatField(allow_null=True)
    author = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    region = RegionOfLabelSerializer(required=False)


class ItemSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    key = serializers.CharField()
    text = serializers.CharField(allow_null=True)
    thumbnail_url = serializers.CharField(allow_null=True)
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    labels = ItemLabelSerializer(many=True)
    status = serializers.ChoiceField(choices=Status.values)
    split = serializers.CharField(allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.DictField(child=serializers.JSONField())
    state = serializers.ChoiceField(choices=ITEM_STATES)
    problem = serializers.CharField(allow_blank=True)


class QualitySerializer(serializers.Serializer[Any]):
    brightness = serializers.FloatField()
    contrast = serializers.FloatField()
    sharpness = serializers.FloatField()
    colors = serializers.DictField(child=serializers.FloatField())


class ItemDetailSerializer(ItemSerializer):
    dataset = serializers.IntegerField()
    sha256 = serializers.CharField(allow_null=True)
    size_bytes = serializers.IntegerField(allow_null=True)
    content_type = serializers.CharField(allow_blank=True)
    quality = QualitySerializer(allow_null=True)
    created_at = serializers.DateTimeField()


class ShapeSerializer(serializers.Serializer[Any]):
    """Checked by ``datasets.regions.shape``, which says what is wrong with it."""

    x = serializers.FloatField(required=False, help_text="Of the left edge, relative to the upright image: 0..1.")
    y = serializers.FloatField(required=False)
    width = serializers.FloatField(required=False)
    height = serializers.FloatField(required=False)
    polygon = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2),
        required=False,
        allow_null=True,
        max_length=regions.MOST_POINTS,
        help_text="[[x, y], …]; the box is then found from it.",
    )


class RegionSerializer(serializers.ModelSerializer[Region]):
    polygon = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), allow_null=True, read_only=True
    )

    class Meta:
        model = Region
        fields = ["id", "item", "kind", "layer", "x", "y", "width", "height", "polygon", "created_at"]
        read_only_fields = fields


class PredictionSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(source="model.name")
    label = serializers.CharField()
    score = serializers.FloatField()
    box = serializers.SerializerMethodField(help_text="x, y, width, height, relative to the upright image: 0..1.")
    region = serializers.IntegerField(
        source="region_id", allow_null=True, help_text="The region that was made of it, with a vector of its own."
    )

    @extend_schema_field(serializers.ListField(child=serializers.FloatField(), allow_null=True))
    def get_box(self, prediction: Prediction) -> Any:
        if prediction.x is None:
            return None
        return [prediction.x, prediction.y, prediction.width, prediction.height]


class HistoryEntrySerializer(serializers.Serializer[Any]):
    operation = serializers.IntegerField(allow_null=True)
    kind = serializers.CharField()
    summary = serializers.CharField()
    author = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    source = serializers.CharField(allow_null=True)
    confidence = serializers.FloatField(allow_null=True)


# Datasets ------------------------------------------------------------------------------------------------------------


class SpaceSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    encoder = serializers.CharField()
    output = serializers.CharField()
    dimension = serializers.IntegerField()
    embedded = serializers.IntegerField()
    accepts = serializers.ListField(child=serializers.CharField())
    is_default = serializers.BooleanField()
    state = serializers.ChoiceField(choices=SPACE_STATES)
    problem = serializers.CharField(allow_blank=True, help_text="Why it has failed.")


class DatasetSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(max_length=200)
    modality = serializers.ChoiceField(choices=Modality.choices)
    multi_label = serializers.BooleanField()
    encoder = serializers.CharField()
    role = serializers.ChoiceField(choices=[role.label for role in Role], read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    item_count = serializers.IntegerField(read_only=True)
    embedded_count = serializers.IntegerField(read_only=True)
    labeled_count = serializers.IntegerField(read_only=True)
    failed_count = serializers.IntegerField(read_only=True)
    spaces = SpaceSerializer(many=True, read_only=True)
    preview = ItemSerializer(many=True, read_only=True)
    running_jobs = serializers.ListField(child=serializers.IntegerField(), read_only=True)


class NewDatasetSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200)
    modality = serializers.ChoiceField(choices=Modality.choices, default=Modality.IMAGE)
    encoder = serializers.CharField(max_length=200, required=False, allow_blank=True)
    multi_label = serializers.BooleanField(default=False)


class DatasetChangeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200)


class LabelClassSerializer(serializers.ModelSerializer[LabelClass]):
    color = serializers.RegexField(r"^#[0-9a-fA-F]{6}$", required=False)
    shortcut = serializers.CharField(max_length=1, required=False, allow_blank=True)
    prompts = serializers.ListField(child=serializers.CharField(max_length=500), required=False, max_length=100)

    class Meta:
        model = LabelClass
        fields = ["id", "name", "color", "shortcut", "prompts", "position"]
        read_only_fields = ["position"]
        validators: list[Any] = []


class RoleField(serializers.ChoiceField):
    """A role by its word."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[role.label for role in Role], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return Role[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> Any:
        return Role(value).label


class MemberSerializer(serializers.ModelSerializer[Membership]):
    username = serializers.CharField(source="user.username", max_length=150)
    name = serializers.CharField(source="user.get_full_name", read_only=True)
    role = RoleField()

    class Meta:
        model = Membership
        fields = ["id", "username", "name", "role"]


class MemberChangeSerializer(serializers.Serializer[Any]):
    role = RoleField()


# Jobs and operations -------------------------------------------------------------------------------------------------


class PhaseSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()


class JobErrorSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    reason = serializers.CharField()


class JobSerializer(serializers.ModelSerializer[Job]):
    dataset_name = serializers.CharField(source="dataset.name", read_only=True)
    phases = PhaseSerializer(many=True, read_only=True)
    phase = serializers.SerializerMethodField()
    done = serializers.SerializerMethodField()
    total = serializers.SerializerMethodField()
    rate = serializers.SerializerMethodField()
    eta_s = serializers.SerializerMethodField()
    errors = serializers.SerializerMethodField()
    error_count = serializers.IntegerField(read_only=True)
    result = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id", "kind", "dataset", "dataset_name", "state", "phase", "phases", "done", "total", "rate", "eta_s",
            "errors", "error_count", "result", "message", "created_at", "started_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    def to_representation(self, job: Job) -> Any:
        self._progress = jobs.progress(job)
        return super().to_representation(job)

    def get_phase(self, job: Job) -> str:
        return self._progress.phase

    def get_done(self, job: Job) -> int:
        return self._progress.done

    def get_total(self, job: Job) -> int:
        return self._progress.total

    def get_rate(self, job: Job) -> float | None:
        return self._progress.rate

    def get_eta_s(self, job: Job) -> float | None:
        return self._progress.eta_s

    @extend_schema_field(JobErrorSerializer(many=True))
    def get_errors(self, job: Job) -> Any:
        return JobErrorSerializer(getattr(job, "first_errors", []), many=True).data

    @extend_schema_field(
        {"type": "object", "properties": {name: {"type": "integer"} for name in _RESULTS} | {"kinds": _KINDS_FOUND}}
    )
    def get_result(self, job: Job) -> Any:
        return {name: job.result[name] for name in (*_RESULTS, "kinds") if name in job.result}


class JobStartedSerializer(serializers.Serializer[Any]):
    job = serializers.IntegerField()


class _ImportSerializer(serializers.Serializer[Any]):
    split = serializers.CharField(max_length=64, required=False, allow_blank=True)
    format = serializers.CharField(max_length=32, required=False, allow_blank=True)
    existing = serializers.ChoiceField(
        Existing.choices,
        default=Existing.KEEP,
        help_text="What becomes of an item that is in and whose key comes with other content.",
    )


class PathImportSerializer(_ImportSerializer):
    path = serializers.CharField(max_length=4096)


class UploadImportSerializer(_ImportSerializer):
    file = serializers.ListField(child=serializers.FileField(allow_empty_file=True))
    path = serializers.ListField(child=serializers.CharField(max_length=4096), required=False)
    job = serializers.IntegerField(required=False, help_text="Add the files to this running upload.")
    more = serializers.BooleanField(default=False, help_text="More files follow: the job waits for them.")


class OperationSerializer(serializers.ModelSerializer[Operation]):
    author = serializers.CharField(source="author.username", default=None, read_only=True)
    summary = serializers.SerializerMethodField()
    undoes = serializers.IntegerField(source="undoes_id", allow_null=True, read_only=True)
    undone_by = serializers.IntegerField(source="undone_by.pk", default=None, allow_null=True, read_only=True)
    can_undo = serializers.SerializerMethodField()

    class Meta:
        model = Operation
        fields = [
            "id",
            "kind",
            "summary",
            "author",
            "created_at",
            "changed",
            "undoes",
            "undone_by",
            "can_undo",
            "detail",
        ]
        read_only_fields = fields

    def get_summary(self, operation: Operation) -> str:
        return operations.describe(operation)

    def get_can_undo(self, operation: Operation) -> bool:
        is_own = operation.author_id == self.context["user"].pk
        role = self.context["role"]
        return not hasattr(operation, "undone_by") and (role >= Role.REVIEWER or (is_own and role >= Role.ANNOTATOR))


class AppliedSerializer(serializers.Serializer[Any]):
    operation = serializers.IntegerField()
    changed = serializers.IntegerField()
    skipped = serializers.IntegerField()


class UndoneSerializer(serializers.Serializer[Any]):
    operation = serializers.IntegerField()
    reverted = serializers.IntegerField()
    kept_because_changed_since = serializers.IntegerField()


# Saved searches ------------------------------------------------------------------------------------------------------


@extend_schema_field({"type": "object", "additionalProperties": True})
class SearchField(serializers.JSONField):
    """The body of a search; checked by running it."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError('A search is an object, for example {"text": "a cat", "filter": {}}.')
        return super().to_internal_value(data)


class SavedSearchSerializer(serializers.ModelSerializer[SavedSearch]):
    query = SearchField(read_only=True)
    author = serializers.CharField(source="author.username", default=None, read_only=True, allow_null=True)
    can_change = serializers.SerializerMethodField()

    class Meta:
        model = SavedSearch
        fields = ["id", "name", "query", "min_score", "author", "created_at", "can_change"]
        read_only_fields = fields

    def get_can_change(self, saved: SavedSearch) -> bool:
        role = self.context["role"]
        is_own = saved.author_id == self.context["user"].pk
        return role >= Role.MANAGER or (is_own and role >= Role.ANNOTATOR)


class SavedSearchChangeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200)
    query = SearchField(help_text="As the body of a search: text, like, unlike, image, filter.")
    min_score = serializers.FloatField(required=False, allow_null=True)


class NewSavedSearchSerializer(SavedSearchChangeSerializer):
    pass


# Bulk acts -----------------------------------------------------------------------------------------------------------


@extend_schema_field(
    {
        "type": "object",
        "description": "Exactly one of ids, filter, query (with min_score), saved, all, region_ids; optionally except (items)."
        " With region_ids, or regions beside a query, labels go to the regions.",
        "properties": {
            "ids": {"type": "array", "items": {"type": "integer"}},
            "filter": {"type": "object", "additionalProperties": True},
            "query": {"type": "object", "additionalProperties": True},
            "min_score": {"type": "number"},
            "regions": {"type": "boolean", "description": "With query: the regions that it found, not their items."},
            "region_ids": {"type": "array", "items": {"type": "integer"}},
            "saved": {"type": "integer", "description": "Id of a saved search."},
            "all": {"type": "boolean"},
            "except": {"type": "array", "items": {"type": "integer"}},
        },
    }
)
class SelectionField(serializers.JSONField):
    """Read by ``datasets.selection.parse``, which says what is wrong with it."""


class SelectionSerializer(serializers.Serializer[Any]):
    selection = SelectionField()


class PreviewSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    labeled = serializers.IntegerField()
    labeled_by_people = serializers.IntegerField()


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class LabelField(serializers.JSONField):
    """A class by its name or id."""


class AnnotationActSerializer(serializers.Serializer[Any]):
    selection = SelectionField()
    label = LabelField(
        required=False, allow_null=True, help_text="Name or id of a class; with mode remove, none means any."
    )
    mode = serializers.ChoiceField(choices=["add", "replace", "remove"], required=False)
    keep_human = serializers.BooleanField(default=False, help_text="Leave items alone that a person has labelled.")


class TagsActSerializer(serializers.Serializer[Any]):
    selection = SelectionField()
    add = serializers.ListField(child=serializers.CharField(), required=False, default=list, max_length=100)
    remove = serializers.ListField(child=serializers.CharField(), required=False, default=list, max_length=100)


class StatusActSerializer(serializers.Serializer[Any]):
    selection = SelectionField()
    status = serializers.ChoiceField(choices=Status.values)


# Statistics ----------------------------------------------------------------------------------------------------------


class ClassCountSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    shortcut = serializers.CharField(allow_blank=True)
    count = serializers.IntegerField()


class MeasureHistogramSerializer(serializers.Serializer[Any]):
    counts = serializers.ListField(child=serializers.IntegerField())

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.FloatField(), "to": serializers.FloatField(), **super().get_fields()}


class DuplicateCountsSerializer(serializers.Serializer[Any]):
    any = serializers.IntegerField(help_text="All of them.")
    extra = serializers.IntegerField(help_text="All but the first of each content.")


class StatisticsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Items under the filter.")
    all = serializers.IntegerField(help_text="Items of the dataset.")
    labels = ClassCountSerializer(many=True)
    unlabeled = serializers.IntegerField()
    status = serializers.DictField(child=serializers.IntegerField())
    split = serializers.DictField(child=serializers.IntegerField())
    tags = serializers.DictField(child=serializers.IntegerField())
    duplicates = DuplicateCountsSerializer(help_text="Items whose content occurs more than once in the dataset.")
    source = serializers.DictField(child=serializers.IntegerField())
    annotator = serializers.DictField(child=serializers.IntegerField())
    day = serializers.DictField(child=serializers.IntegerField())
    imbalance = serializers.FloatField(
        allow_null=True, help_text="Items of the largest class by those of the smallest."
    )
    metadata = serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()))
    brightness = MeasureHistogramSerializer(allow_null=True)
    sharpness = MeasureHistogramSerializer(allow_null=True)


class PredictionStatisticsSerializer(serializers.Serializer[Any]):
    predicted = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Items by the classes that models predicted, from a score of .25 on.",
    )
    disagrees = serializers.IntegerField(
        allow_null=True, help_text="Items whose label is not what the newest model thinks; null: none has said."
    )
