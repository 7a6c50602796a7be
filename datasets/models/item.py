from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from .dataset import Dataset


class Status(models.TextChoices):
    TODO = "todo", "To do"
    DONE = "done", "Done"
    EXCLUDED = "excluded", "Excluded"


class Item(models.Model):
    """One image or one text of a dataset, unique by its key.

    An image item is *pending* until its file has been opened (``sha256`` is null), then *ready*; it is
    *unreadable* when ``problem`` says why its file cannot be used.
    """

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="items")
    key = models.CharField(max_length=1024, db_collation="C", help_text="Its path or id in the import.")
    text = models.TextField(null=True)
    # Equal for texts that differ in their writing only, see datasets.duplicates. 16 bytes.
    text_hash = models.BinaryField(max_length=16, null=True)
    # One of the two for an image: the name of an uploaded file in the media storage, or the path of a file on
    # this server that was imported without copying.
    file = models.CharField(max_length=200, blank=True, default="")
    external_path = models.CharField(max_length=4096, blank=True, default="")

    split = models.CharField(max_length=64, blank=True, default="")
    status = models.CharField(max_length=8, choices=Status, default=Status.TODO)
    tags = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    # Found when the file is opened.
    sha256 = models.CharField(max_length=64, null=True)
    size_bytes = models.BigIntegerField(null=True)
    content_type = models.CharField(max_length=32, blank=True, default="")
    width = models.PositiveIntegerField(null=True)
    height = models.PositiveIntegerField(null=True)
    brightness = models.FloatField(null=True)
    contrast = models.FloatField(null=True)
    sharpness = models.FloatField(null=True)
    colors = ArrayField(models.FloatField(), null=True, help_text="Shares, in the order of datasets.colours.")
    problem = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "key"], name="item_key_is_unique"),
            models.CheckConstraint(
                condition=Q(text__isnull=False) | ~Q(file="") | ~Q(external_path=""), name="item_has_content"
            ),
        ]
        indexes = [
            # The grid's order, and every count of a dataset.
            models.Index(fields=["dataset", "id"], name="item_in_order"),
            models.Index(fields=["dataset", "status", "split"], name="item_by_status_and_split"),
            # "Is this file used elsewhere?" when files are freed.
            models.Index(fields=["sha256"], name="item_by_content", condition=Q(sha256__isnull=False)),
            models.Index(fields=["file"], name="item_by_unopened_file", condition=Q(sha256=None) & ~Q(file="")),
            # Content that occurs more than once: neighbours in these.
            models.Index(
                fields=["dataset", "text_hash", "id"], name="item_by_text", condition=Q(text_hash__isnull=False)
            ),
            models.Index(
                fields=["dataset", "sha256", "id"], name="item_by_file", condition=Q(sha256__isnull=False, text=None)
            ),
            GinIndex(fields=["tags"], name="item_by_tag"),
            GinIndex(fields=["metadata"], opclasses=["jsonb_path_ops"], name="item_by_metadata"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def state(self) -> str:
        return self.state_of(self.problem, self.sha256)

    @staticmethod
    def state_of(problem: str, sha256: str | None) -> str:
        if problem:
            return "unreadable"
        return "ready" if sha256 else "pending"
