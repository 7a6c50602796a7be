from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from pgvector.django import HalfVectorField

from datasets.models import Dataset, Item, Job, LabelClass, Operation, Region, RegionLayer

# Begins the encoder of a space whose vectors are computed elsewhere: there is no such encoder, and no worker fills it.
UPLOADED = "uploaded:"


class EmbeddingSpace(models.Model):
    """The vectors of one dataset under one output of one encoder. Its partitions are made and dropped with it.

    An encoder whose outputs only its weights tell has one placeholder meanwhile: no output, dimension 0, no partition.
    """

    class State(models.TextChoices):
        PREPARING = "preparing", "its encoder is being fetched"
        READY = "ready", "takes vectors"
        FAILED = "failed", "its encoder cannot be used"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="spaces")
    encoder = models.CharField(max_length=200)
    output = models.CharField(max_length=32)
    dimension = models.PositiveIntegerField()
    accepts = ArrayField(models.CharField(max_length=8), help_text="What can be turned into its vectors: image, text.")
    is_default = models.BooleanField(default=False, help_text="Answers queries by example.")
    state = models.CharField(max_length=10, choices=State, default=State.READY)
    problem = models.CharField(max_length=500, blank=True, default="", help_text="Why it has failed.")
    becomes_default = models.BooleanField(default=False, help_text="Takes over as default once it is complete.")
    # Of its approximate index (see ``indexing``).
    index_replaced = models.BigIntegerField(default=0, help_text="Vectors replaced and deleted before it was built.")
    ef_search = models.PositiveSmallIntegerField(default=200, help_text="How hard it looks to be right, as measured.")
    index_recall = models.FloatField(null=True, help_text="Of the best 100, with that, on the space's own vectors.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        verbose_name = "space"
        constraints = [
            models.UniqueConstraint(fields=["dataset", "encoder", "output"], name="one_space_per_output"),
            models.UniqueConstraint(fields=["dataset"], condition=Q(is_default=True), name="one_default_space"),
        ]

    def __str__(self) -> str:
        return f"{self.encoder}/{self.output} of {self.dataset}"

    @property
    def is_uploaded(self) -> bool:
        return self.encoder.startswith(UPLOADED)

    @property
    def is_placeholder(self) -> bool:
        return not self.output


class Embedding(models.Model):
    """One L2-normalised vector. ``LIST``-partitioned by space (see migration 0001 and ``search.vectors``)."""

    pk = models.CompositePrimaryKey("space_id", "item_id")
    space = models.ForeignKey(EmbeddingSpace, models.DO_NOTHING, db_constraint=False, db_index=False)
    item = models.ForeignKey(Item, models.DO_NOTHING, db_constraint=False, db_index=False)
    vector = HalfVectorField()

    class Meta:
        managed = False
        db_table = "search_embedding"

    def __str__(self) -> str:
        return f"item {self.item_id} in space {self.space_id}"


class RegionEmbedding(models.Model):
    """One L2-normalised vector of a region; the twin of ``Embedding``, partitioned alike (see migration 0003)."""

    # The item before the region: what is asked for, replaced and deleted is that of items.
    pk = models.CompositePrimaryKey("space_id", "item_id", "region_id")
    space = models.ForeignKey(EmbeddingSpace, models.DO_NOTHING, db_constraint=False, db_index=False)
    item = models.ForeignKey(Item, models.DO_NOTHING, db_constraint=False, db_index=False)
    region = models.ForeignKey(Region, models.DO_NOTHING, db_constraint=False, db_index=False)
    vector = HalfVectorField()

    class Meta:
        managed = False
        db_table = "search_regionembedding"

    def __str__(self) -> str:
        return f"region {self.region_id} in space {self.space_id}"


class PendingEmbedding(models.Model):
    """An item that an encoder has yet to see, or whose regions of one layer it has. Workers claim these rows with SKIP LOCKED and delete them with the
    vectors they write, in one transaction: a killed worker's claim is released by its lost connection.

    ``reason`` is set when the encoder could not do it; such a row is kept, and not tried again by itself.
    """

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="+")
    item = models.ForeignKey(Item, models.CASCADE, related_name="+", db_index=False)
    encoder = models.CharField(max_length=200)
    layer = models.ForeignKey(
        RegionLayer, models.CASCADE, null=True, related_name="+", help_text="None: the item as a whole."
    )
    job = models.ForeignKey(Job, models.SET_NULL, null=True, related_name="+")
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often a worker ended while it was at this.")
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["item", "encoder", "layer"], nulls_distinct=False, name="pending_once")
        ]
        indexes = [
            # Those that no worker has ended at come first, and of them the items as a whole.
            models.Index(
                F("dataset"),
                F("tries"),
                F("layer").asc(nulls_first=True),
                F("item"),
                name="pending_to_claim",
                condition=Q(reason=""),
            ),
            # What waits for an encoder, counted and dropped.
            models.Index(fields=["dataset", "encoder"], name="pending_by_encoder", condition=Q(reason="", layer=None)),
            # The failures of a space, counted and listed.
            models.Index(fields=["dataset", "encoder"], name="pending_failed", condition=~Q(reason="") & Q(layer=None)),
        ]

    def __str__(self) -> str:
        return f"item {self.item_id} for {self.encoder}" + (f", layer {self.layer_id}" if self.layer_id else "")


class EmbeddingAttempt(models.Model):
    """What a worker is at. Written outside the transaction of the work, so that it outlives a worker that ends in the
    middle: then one of these may have ended it (see ``search.attempts``)."""

    token = models.IntegerField(help_text="Number of the advisory lock that the worker holds meanwhile.")
    dataset_id = models.BigIntegerField(db_index=True)
    pending_ids = ArrayField(models.BigIntegerField())
    reason = models.CharField(
        max_length=500, blank=True, default="", help_text="What it ended with, when it could say."
    )
    started_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{len(self.pending_ids)} pending embeddings since {self.started_at}"


class Finding(models.Model):
    """Something about an item that a person should look at, and what they said to it. Written by a job (``search.findings``),
    which keeps what was decided: one that was dismissed comes back only when what speaks for it has changed."""

    class State(models.TextChoices):
        OPEN = "open"
        CONFIRMED = "confirmed"
        DISMISSED = "dismissed"

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="findings", db_index=False)
    kind = models.CharField(max_length=16)
    item = models.ForeignKey(Item, models.CASCADE, related_name="findings")
    subject = models.CharField(
        max_length=32, blank=True, default="", help_text="Which one of its kind, where an item can have several."
    )
    score = models.FloatField(help_text="0 to 1; above a half is beyond what is usual.")
    rank = models.PositiveIntegerField(help_text="1 is the first of its kind to look at.")
    reason = models.CharField(max_length=500)
    related = ArrayField(models.BigIntegerField(), default=list, help_text="Items that speak for it, the best first.")
    suggested_label = models.ForeignKey(LabelClass, models.SET_NULL, null=True, related_name="+")
    confidence = models.FloatField(null=True, help_text="Of the suggested label.")
    label_ids = ArrayField(models.BigIntegerField(), default=list, help_text="The item's labels when it was found.")
    group = models.CharField(max_length=32, blank=True, default="", help_text="The same for those found together.")
    evidence = models.BinaryField(max_length=16, help_text="Changes with what speaks for it.")
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    # That of the decision, or of its undo: then ``decided_state`` tells what it was.
    operation = models.ForeignKey(Operation, models.SET_NULL, null=True, related_name="+", db_index=False)
    decided_state = models.CharField(max_length=9, blank=True, default="")
    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
        help_text="Who looks at it in the review queue.",
    )
    held_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["kind", "rank", "id"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "kind", "item", "subject"], name="one_finding_of_a_kind"),
        ]
        indexes = [
            # The list, best first, and the filter.
            models.Index(fields=["dataset", "state", "kind", "rank", "id"], name="finding_in_order"),
            # What an undo opens again; what somebody holds.
            models.Index(fields=["operation"], name="finding_by_operation", condition=Q(operation__isnull=False)),
            models.Index(fields=["held_by"], name="finding_held", condition=Q(held_by__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} on item {self.item_id}"
