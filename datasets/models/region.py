from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from .dataset import Dataset
from .item import Item
from .job import Job


class RegionKind(models.TextChoices):
    TILE = "tile", "tiles"
    DETECTED = "detected", "boxes of a detector"
    DRAWN = "drawn", "drawn by people"


class RegionLayer(models.Model):
    """That the images of a dataset have regions of one kind, each with a vector; who makes them, and how.

    Filled by `search` (see ``search.layers``). One of each kind and detector in a dataset.
    """

    Kind = RegionKind

    class State(models.TextChoices):
        FETCHING = "fetching", "its detector or encoder is being fetched"
        PREPARING = "preparing", "is being filled"
        READY = "ready", "new items get its regions by themselves"
        FAILED = "failed", "its detector or encoder cannot be used"
        DROPPING = "dropping", "is being removed"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="region_layers")
    kind = models.CharField(max_length=8, choices=RegionKind)
    detector = models.CharField(max_length=200, blank=True, default="")
    encoder = models.CharField(max_length=200, help_text="Makes the vectors of its regions, in all of its spaces.")
    params = models.JSONField(default=dict, blank=True, help_text="Read by search.layers.")
    state = models.CharField(max_length=10, choices=State, default=State.PREPARING)
    problem = models.CharField(max_length=500, blank=True, default="", help_text="Why it has failed.")
    job = models.ForeignKey(
        Job, models.SET_NULL, null=True, related_name="+", help_text="The last one that filled or drops it."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "kind", "detector"], name="one_layer_per_kind_and_detector"),
            models.CheckConstraint(
                condition=(Q(kind="detected") & ~Q(detector="")) | (~Q(kind="detected") & Q(detector="")),
                name="detector_of_detected_layer",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.dataset}" + (f" by {self.detector}" if self.detector else "")


class RegionQuerySet(models.QuerySet["Region"]):
    def standing(self) -> RegionQuerySet:
        """Those that nobody has removed."""
        return self.filter(removed_at=None)


class Region(models.Model):
    """A box or polygon inside an image item, in relative coordinates 0..1 of the upright image."""

    Kind = RegionKind

    item = models.ForeignKey(Item, models.CASCADE, related_name="regions", db_index=False)
    # Who made it: none for what a person has drawn or redrawn.
    layer = models.ForeignKey(RegionLayer, models.CASCADE, null=True, related_name="regions", db_index=False)
    kind = models.CharField(max_length=8, choices=RegionKind, default=RegionKind.DRAWN)
    x = models.FloatField()
    y = models.FloatField()
    width = models.FloatField()
    height = models.FloatField()
    polygon = models.JSONField(null=True, blank=True, help_text="[[x, y], …] when it is not the box itself.")
    created_at = models.DateTimeField(auto_now_add=True)
    # Of a region that once had a label: the history of its item refers to it, so its row stays.
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = RegionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # What rounding adds to the last tile of a row is no fault.
            models.CheckConstraint(
                condition=Q(x__gte=0, y__gte=0, width__gt=0, height__gt=0)
                & Q(x__lte=1.000001 - F("width"))
                & Q(y__lte=1.000001 - F("height")),
                name="region_lies_in_its_image",
            ),
            models.CheckConstraint(condition=Q(kind="drawn", layer=None) | ~Q(kind="drawn"), name="drawn_has_no_layer"),
        ]
        indexes = [
            # The regions of an item, and whether a layer has made its own there.
            models.Index(fields=["item", "layer"], name="region_by_item"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} region {self.pk} of item {self.item_id}"
