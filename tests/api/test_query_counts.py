"""Lists cost the same number of statements whatever their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from datasets import creation, jobs, labelling, selection
from datasets.models import Dataset, Job, LabelClass, Membership, Role, SavedSearch
from search import preparation
from search.findings import Found, storing
from search.models import EmbeddingSpace, Finding, PendingEmbedding
from tests.fixtures import add_items

LISTS = [
    "datasets/",
    "datasets/{id}/items/",
    "datasets/{id}/classes/",
    "datasets/{id}/members/",
    "datasets/{id}/jobs/",
    "datasets/{id}/operations/",
    "datasets/{id}/searches/",
    "datasets/{id}/stats/",
    "datasets/{id}/stats/predictions/",
    "datasets/{id}/spaces/",
    "datasets/{id}/encoder-comparisons/",
    "datasets/{id}/findings/?state=any",
    "datasets/{id}/stats/findings/",
    "spaces/{space}/failures/",
    "jobs/",
]


def grow(dataset: Dataset, by: Any, number: int) -> None:
    """``number`` more rows in every list."""
    start = dataset.items.count()
    items = add_items(dataset, number, split="train", metadata={"camera": "left"})
    label = LabelClass.objects.create(dataset=dataset, name=f"suggested {start}", color="#123456")
    every = [
        Found(pk, 0.7, "It is odd.", (), related=[items[0].pk], suggested=label.pk)
        for pk in dataset.items.values_list("pk", flat=True)
    ]
    storing.store(dataset, "label_error", every)
    Finding.objects.filter(dataset=dataset).update(state="confirmed", decided_by=by)
    for at, item in enumerate(items):
        label = LabelClass.objects.create(dataset=dataset, name=f"class {start + at}", color="#123456")
        labelling.apply_label(selection.of_items(dataset, [item.pk]), label, by=by)
        SavedSearch.objects.create(dataset=dataset, name=f"saved {start + at}", query={"text": "a cat"}, author=by)
        user = User.objects.create(username=f"user {start + at}")
        Membership.objects.create(dataset=dataset, user=user, role=Role.VIEWER)
        job = jobs.create(dataset, Job.Kind.IMPORT, by=by, phases=["scan", "index"], params={})
        jobs.refuse(job.pk, "bad.jpg", "It is bad.")
        asked = {"encoders": ["starter"], "sample": 500}
        jobs.create(dataset, Job.Kind.COMPARISON, by=user, phases=["prepare", "compare"], params=asked)
        PendingEmbedding.objects.create(dataset=dataset, item=item, encoder=dataset.encoder, reason="It is bad.")
        EmbeddingSpace.objects.create(
            dataset=dataset, encoder=f"encoder {start + at}", output="o", dimension=2, accepts=[]
        )
        preparation.try_again(EmbeddingSpace.objects.latest("pk"), by=by)
        add_items(creation.create_dataset(name=f"other {start + at}", modality="text", by=by), 6)


@pytest.mark.parametrize("address", LISTS)
def test_a_list_costs_the_same_however_long(
    address: str, dataset: Dataset, alice: Any, client_of: Callable[[Any], APIClient]
) -> None:
    client = client_of(alice)
    costs = []
    for number in (2, 18):
        grow(dataset, alice, number)
        with CaptureQueriesContext(connection) as queries:
            response = client.get("/api/v1/" + address.format(id=dataset.pk, space=dataset.spaces.all()[0].pk))
        assert response.status_code == 200
        costs.append(len(queries))
    assert costs[0] == costs[1]
    assert costs[1] <= 25
