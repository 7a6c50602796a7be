from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from .dataset import Dataset
from .item import Item
from .region import Region


class PredictionModel(models.Model):
    """A model that has said something about items of a dataset: a detector of ours, or one of somebody else's."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="prediction_models")
    name = models.CharField(max_length=200)
    labels = ArrayField(
        models.CharField(max_length=200),
        default=list,
        help_text="Every class that it can find, so that none found is told from not looked for. Empty: not known.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="prediction_model_name_is_unique"),
            models.CheckConstraint(condition=~Q(name=""), name="prediction_model_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Prediction(models.Model):
    """What a model said about an item: a class, a score, and for an object its box, relative to the image (0..1).

    Never counted as a label. Written by ``datasets.predictions``, in bulk; with a million images there are tens of
    millions of them.
    """

    model = models.ForeignKey(PredictionModel, models.CASCADE, related_name="predictions", db_index=False)
    item = models.ForeignKey(Item, models.CASCADE, related_name="predictions", db_index=False)
    # Those that have a vector of their own, too.
    region = models.ForeignKey(Region, models.SET_NULL, null=True, related_name="predictions", db_index=False)
    label = models.CharField(max_length=200, help_text="The model's word for it; no class of ours.")
    score = models.FloatField()
    x = models.FloatField(null=True)
    y = models.FloatField(null=True)
    width = models.FloatField(null=True)
    height = models.FloatField(null=True)
    # Eleven bytes instead of the sixty of an array: there are tens of millions.
    colors = models.BinaryField(
        max_length=11,
        null=True,
        help_text="Shares of the box, a byte each (255 is all), in the order of datasets.colours.",
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=1), name="prediction_score_is_a_share"),
            models.CheckConstraint(
                condition=Q(x=None, y=None, width=None, height=None)
                | Q(x__isnull=False, y__isnull=False, width__gt=0, height__gt=0),
                name="prediction_has_a_whole_box_or_none",
            ),
        ]
        indexes = [
            # "More than two people" at any threshold: an index-only scan of one model's one class from a score up.
            models.Index(fields=["model", "label", "score"], include=["item"], name="prediction_to_count"),
            models.Index(fields=["item", "model"], name="prediction_by_item"),
            # What a model thinks best of each item as a whole: an index-only scan in the order of the items.
            models.Index(
                F("model"),
                F("item"),
                F("score").desc(),
                include=["label"],
                name="prediction_of_whole",
                condition=Q(x=None),
            ),
            # For regions that go.
            models.Index(fields=["region"], name="prediction_by_region", condition=Q(region__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.score:.2f} on item {self.item_id}"


class PredictedItem(models.Model):
    """That a model has looked at an item, whatever it found: nothing found is not the same as not looked at."""

    pk = models.CompositePrimaryKey("model_id", "item_id")
    model = models.ForeignKey(PredictionModel, models.CASCADE, related_name="+", db_index=False)
    item = models.ForeignKey(Item, models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"item {self.item_id} by model {self.model_id}"
