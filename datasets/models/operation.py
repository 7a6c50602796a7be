from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from .dataset import Dataset
from .item import Item
from .job import Job


class Operation(models.Model):
    """One recorded act of one user (or job) that changed labels, tags or status of any number of items.

    Ids are given out after the act has locked its items, so of two operations on the same item the one with
    the greater id came later.
    """

    class Kind(models.TextChoices):
        LABEL = "label"
        UNLABEL = "unlabel"
        TAG = "tag"
        STATUS = "status"
        IMPORT = "import"
        REVIEW = "review"  # decided on findings, and changed nothing else
        UNDO = "undo"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=8, choices=Kind)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="operations")
    job = models.OneToOneField(Job, models.SET_NULL, null=True, related_name="operation")
    created_at = models.DateTimeField(auto_now_add=True)
    selection = models.JSONField(default=dict, help_text="Which items were meant, as it was said.")
    detail = models.JSONField(default=dict)
    changed = models.BigIntegerField(default=0, help_text="How many items are different for it.")
    undoes = models.OneToOneField("self", models.CASCADE, null=True, related_name="undone_by")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["dataset", "-id"], name="operation_log")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk} ({self.changed} items)"


class ItemChange(models.Model):
    """What an operation changed of one item besides its labels: its status, its tags. Append-only."""

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="item_changes")
    item = models.ForeignKey(Item, models.CASCADE, related_name="changes")
    status_before = models.CharField(max_length=8, null=True)
    status_after = models.CharField(max_length=8, null=True)
    tags_added = ArrayField(models.CharField(max_length=64), default=list)
    tags_removed = ArrayField(models.CharField(max_length=64), default=list)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["item", "operation"], name="one_change_per_item")]

    def __str__(self) -> str:
        return f"operation {self.operation_id} on item {self.item_id}"
