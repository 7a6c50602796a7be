from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from .dataset import Dataset


class Job(models.Model):
    """Background work with progress, cancel, resume and an error report."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELED = "canceled"

    class Kind(models.TextChoices):
        IMPORT = "import"
        EMBED = "embed"
        VECTORS = "vectors"
        REGIONS = "regions"
        COMPARISON = "comparison"
        INDEX = "index"
        FINDINGS = "findings"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=16, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    params = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    message = models.CharField(max_length=1000, blank=True, default="")
    # Set when all its work has been handed out, so that it is over as soon as every phase is complete.
    handed_out = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            # What recovery and the pages poll: the few jobs that are not over.
            models.Index(fields=["state"], name="job_open", condition=Q(state__in=["queued", "running"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)


class JobPhase(models.Model):
    """A counted stretch of a job. Several workers add to ``done`` in the transaction of the work it counts."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="phases")
    name = models.CharField(max_length=16)
    position = models.PositiveSmallIntegerField()
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["job", "position"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="one_phase_per_name")]

    def __str__(self) -> str:
        return f"{self.name}: {self.done} of {self.total}"


class JobError(models.Model):
    """One thing that a job refused, and why. A resumed job meets it again: one row a key."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="errors")
    key = models.CharField(max_length=1024)
    reason = models.CharField(max_length=500)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["job", "key"], name="one_error_per_key")]

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


class StagedFile(models.Model):
    """A file that was uploaded for an import and waits to be read; an archive or table goes once it has been."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="staged_files")
    name = models.CharField(max_length=1024)
    file = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="one_staged_file_per_name")]

    def __str__(self) -> str:
        return self.name
