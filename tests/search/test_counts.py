"""What is counted is what a bulk act on the same words would meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from datasets import labelling, selection
from datasets.models import Dataset, Item
from search import vectors
from tests.fixtures import add_class, add_items

pytestmark = pytest.mark.django_db


@pytest.fixture
def items(dataset: Dataset, alice: Any) -> list[Item]:
    """40 items in order of their likeness to the first; the last four have no vector; five are labelled “stop”."""
    made = add_items(dataset, 20, split="train") + add_items(dataset, 20, split="test")
    matrix = np.zeros((36, 1280), np.float32)
    matrix[:, 0], matrix[:, 1] = 1, np.arange(36) / 10
    space = dataset.spaces.get(output="visual")
    vectors.write(space, [item.pk for item in made[:36]], vectors.normalised(matrix))
    chosen = selection.of_items(dataset, [item.pk for item in made[1:6]])
    labelling.apply_label(chosen, add_class(dataset, "stop"), by=alice)
    return made


def counted(client: APIClient, dataset: Dataset, **parameters: Any) -> dict[str, Any]:
    address = f"/api/v1/datasets/{dataset.pk}/search/count/"
    got = client.get(address, {key.replace("__", "."): value for key, value in parameters.items()}).json()
    got.pop("took_ms", None)
    return got


def test_a_query_counts_what_a_selection_by_it_holds(
    dataset: Dataset, items: list[Item], client_of: Callable[[Any], APIClient], vera: Any
) -> None:
    client = client_of(vera)
    like = items[0].pk
    for cut in (None, 0.99, 0.8, 0.5, 2):
        for filter in ({}, {"split": "train"}, {"unlabeled": "false"}):
            said = {"query": {"like": [like], "filter": filter}, "min_score": cut}
            meant = selection.preview(selection.parse(dataset, said))
            asked = {"like": like} | filter | ({} if cut is None else {"min_score": cut})
            assert counted(client, dataset, labelled="any", **asked)["count"] == meant.count
            assert counted(client, dataset, **asked)["count"] == meant.count - meant.labeled


def test_the_answer_says_of_how_many(
    dataset: Dataset, items: list[Item], client_of: Callable[[Any], APIClient], vera: Any
) -> None:
    client = client_of(vera)
    assert counted(client, dataset, like=items[0].pk) == {
        "count": 31, "total": 35, "embedded": 31, "exact": True, "labelled": "no",
    }  # fmt: skip
    assert counted(client, dataset, split="test", labelled="any") == {
        "count": 20, "total": 20, "embedded": 16, "exact": True, "labelled": "any",
    }  # fmt: skip
    assert counted(client, dataset, label="stop")["count"] == 0
    assert counted(client, dataset, label="stop", labelled="any")["count"] == 5


def test_a_body_says_the_same_as_an_address(
    dataset: Dataset, items: list[Item], client_of: Callable[[Any], APIClient], vera: Any
) -> None:
    client = client_of(vera)
    body = {
        "like": [items[0].pk, items[1].pk],
        "unlike": [items[30].pk],
        "filter": {"split": "train"},
        "min_score": 0.7,
    }
    posted = client.post(f"/api/v1/datasets/{dataset.pk}/search/count/", body, format="json").json()
    posted.pop("took_ms")
    like = f"{items[0].pk},{items[1].pk}"
    assert posted == counted(client, dataset, like=like, unlike=items[30].pk, split="train", min_score=0.7)
    assert 0 < posted["count"] < 20


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"min_score": 0.5}, "min_score needs scores"),
        ({"like": "x"}, "like is a list of item ids"),
        ({"unlike": "1"}, "no item"),
        ({"colour": "red"}, "There is no filter “colour”"),
        ({"labelled": "perhaps"}, "labelled"),
    ],
)
def test_what_cannot_be_counted_gets_a_sentence(
    dataset: Dataset, asked: dict[str, Any], said: str, client_of: Callable[[Any], APIClient], vera: Any
) -> None:
    answer = client_of(vera).get(f"/api/v1/datasets/{dataset.pk}/search/count/", asked)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
