"""Staff see why a space has failed, and have it tried again."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from datasets import jobs
from datasets.models import Dataset, Job
from search import pending
from search.models import EmbeddingSpace, PendingEmbedding
from tests.fixtures import add_items


def test_staff_have_a_failed_space_tried_again(dataset: Dataset, alice: Any, client: Client) -> None:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    client.force_login(alice)
    add_items(dataset, 3)
    pending.give_up(dataset, dataset.encoder, "out of order")
    page = reverse("admin:search_embeddingspace_changelist")
    assert "out of order" in client.get(page).content.decode()
    space = dataset.spaces.all()[0]
    said = client.post(page, {"action": "try_again", "_selected_action": [space.pk]}, follow=True).content.decode()
    job = Job.objects.get(kind=Job.Kind.EMBED)
    assert f"{dataset.encoder} tries again in “{dataset}”: job {job.pk}." in said
    jobs.run(job.pk)
    assert {one.state for one in dataset.spaces.all()} == {EmbeddingSpace.State.READY}
    assert PendingEmbedding.objects.filter(dataset=dataset).count() == 3
