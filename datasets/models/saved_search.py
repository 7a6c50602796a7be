from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from .dataset import Dataset


class SavedSearch(models.Model):
    """A query, a filter, or both, kept under a name for everybody in the dataset."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="saved_searches")
    name = models.CharField(max_length=200)
    query = models.JSONField(help_text="The body of a search, its filter included, as it was said.")
    min_score = models.FloatField(null=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name = "saved search"
        verbose_name_plural = "saved searches"
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="saved_search_name_is_unique"),
            models.CheckConstraint(condition=~Q(name=""), name="saved_search_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def selection(self) -> dict[str, Any]:
        """The selection that it stands for: by query where it looks for something, else by filter."""
        if any(value for key, value in self.query.items() if key != "filter"):
            return {"query": self.query, "min_score": self.min_score}
        return {"filter": self.query.get("filter") or {}}
