from __future__ import annotations

from django.db import models

from .dataset import Dataset


class QueryImage(models.Model):
    """An uploaded image that somebody searched a dataset with, kept so that the search can be shared and acted on."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="query_images")
    sha256 = models.CharField(max_length=64)
    file = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "sha256"], name="one_query_image_per_content")]

    def __str__(self) -> str:
        return self.sha256
