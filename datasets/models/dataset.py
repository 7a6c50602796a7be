from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q


class Modality(models.TextChoices):
    IMAGE = "image", "images"
    TEXT = "text", "texts"


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: Any) -> DatasetQuerySet:
        """The datasets that ``user`` is a member of and that nobody has deleted."""
        return self.filter(deleted_at=None, members__user=user)


class Dataset(models.Model):
    name = models.CharField(max_length=200)
    modality = models.CharField(max_length=8, choices=Modality)
    # A single-label dataset (the default) holds at most one label an item: a new one replaces the old.
    multi_label = models.BooleanField(default=False)
    encoder = models.CharField(max_length=200, help_text="Name of the encoder that fills its default space.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="dataset_has_a_name")]

    def __str__(self) -> str:
        return self.name


class Role(models.IntegerChoices):
    """Ordered: a greater role may do all that a lesser one may."""

    VIEWER = 10, "viewer"
    ANNOTATOR = 20, "annotator"
    REVIEWER = 30, "reviewer"
    MANAGER = 40, "manager"


class Membership(models.Model):
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.PositiveSmallIntegerField(choices=Role, default=Role.ANNOTATOR)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} is {self.get_role_display()} of {self.dataset}"
