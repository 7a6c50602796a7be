from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from .dataset import Dataset
from .item import Item
from .operation import Operation
from .region import Region

# The twelve class colours of the design tokens (light theme), given out in turn.
CLASS_COLORS = (
    "#3b6fd8", "#d9742b", "#2f9a68", "#c9456a", "#8a5cd0", "#a98a12",
    "#1d93a8", "#b3552f", "#6b8f2a", "#b04fb0", "#5f7488", "#d1558c",
)  # fmt: skip


class LabelClass(models.Model):
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="classes")
    name = models.CharField(max_length=200)
    color = models.CharField(max_length=7, validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", "Use #rrggbb.")])
    shortcut = models.CharField(max_length=1, blank=True, default="")
    prompts = models.JSONField(default=list, blank=True)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]
        verbose_name_plural = "label classes"
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="class_name_is_unique"),
            models.UniqueConstraint(
                fields=["dataset", "shortcut"], condition=~Q(shortcut=""), name="class_shortcut_is_unique"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="class_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Source(models.TextChoices):
    """Where an annotation comes from."""

    HUMAN = "human"
    ZERO_SHOT = "zero_shot"
    PROPAGATED = "propagated"
    MODEL = "model"
    IMPORT = "import"


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def standing(self) -> AnnotationQuerySet:
        """Those that hold now: no operation has retracted them."""
        return self.filter(retracted_by=None)


class Annotation(models.Model):
    """One label given to one item or region. Never deleted: a later operation retracts it."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="annotations")
    region = models.ForeignKey(Region, models.CASCADE, null=True, related_name="annotations")
    label = models.ForeignKey(LabelClass, models.PROTECT, related_name="annotations")
    source = models.CharField(max_length=10, choices=Source)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    confidence = models.FloatField(null=True)
    operation = models.ForeignKey(Operation, models.CASCADE, related_name="annotations")
    retracted_by = models.ForeignKey(Operation, models.CASCADE, null=True, related_name="retracted")
    created_at = models.DateTimeField()

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # What holds now, and the way to an item's labels.
            models.UniqueConstraint(
                fields=["item", "region", "label"],
                condition=Q(retracted_by=None),
                nulls_distinct=False,
                name="one_standing_annotation",
            ),
        ]
        indexes = [
            # Items of a class, and the counts by class: an index-only scan.
            models.Index(fields=["label", "item"], name="standing_by_label", condition=Q(retracted_by=None)),
        ]

    def __str__(self) -> str:
        return f"{self.label_id} on {self.item_id} by operation {self.operation_id}"
