"""The filter by findings: in the grid's address, in selections, in the rail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from datasets import filters, passing, selection
from datasets.errors import Refused
from datasets.models import Dataset, Item
from search.findings import Found, storing
from search.models import Finding
from tests.fixtures import add_items


@pytest.fixture
def items(dataset: Dataset) -> list[Item]:
    """An outlier, a duplicate, one that is both, a dismissed outlier, and one that nothing is wrong with."""
    made = add_items(dataset, 5, split="train")
    one, two, both, dismissed, _ = made
    storing.store(dataset, "outlier", [Found(item.pk, 0.7, "It is odd.", ()) for item in (one, both, dismissed)])
    storing.store(dataset, "duplicate", [Found(item.pk, 0.7, "It is twice.", ()) for item in (two, both)])
    Finding.objects.filter(item=dismissed).update(state="dismissed")
    Item.objects.filter(pk=both.pk).update(split="test")
    return made


@pytest.mark.parametrize(
    ("said", "places"),
    [
        ({"finding": "outlier"}, [0, 2]),
        ({"finding": "outlier,duplicate"}, [0, 1, 2]),
        ({"finding": ["outlier", "duplicate"]}, [0, 1, 2]),
        ({"finding": "any"}, [0, 1, 2]),
        ({"finding": "outlier", "finding_state": "dismissed"}, [3]),
        ({"finding": "any", "finding_state": "any"}, [0, 1, 2, 3]),
        ({"finding_state": "dismissed"}, [3]),
        ({"finding": "label_error"}, []),
        ({"finding": "any", "split": "test"}, [2]),
    ],
)
def test_the_filter_finds_items_by_their_findings(
    said: dict[str, Any], places: list[int], dataset: Dataset, items: list[Item]
) -> None:
    wanted = [items[at].pk for at in places]
    assert list(selection.parse(dataset, {"filter": said}).items.order_by("pk").values_list("pk", flat=True)) == wanted
    assert passing.ids(dataset, filters.parse(dataset, said)).tolist() == wanted


def test_findings_of_another_dataset_are_not_meant(dataset: Dataset, foreign: Dataset, items: list[Item]) -> None:
    storing.store(foreign, "outlier", [Found(add_items(foreign, 1)[0].pk, 0.7, "It is odd.", ())])
    assert selection.parse(dataset, {"filter": {"finding": "outlier"}}).items.count() == 2


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"finding": "ugly"}, "no kind of finding “ugly”"),
        ({"finding": "any", "finding_state": "gone"}, "not “gone”"),
        ({"finding": {"a": 1}}, "not a value"),
    ],
)
def test_what_there_is_not_is_refused_by_name(said: dict[str, Any], words: str, dataset: Dataset) -> None:
    with pytest.raises(Refused, match=words):
        filters.parse(dataset, said)


def test_the_rail_counts_items_under_the_other_filters(
    dataset: Dataset, items: list[Item], vera: Any, client_of: Callable[[Any], APIClient]
) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/stats/findings/"
    every = {"any": 3, "label_error": 0, "conflict": 0, "outlier": 2, "duplicate": 2, "leak": 0, "quality": 0}
    client = client_of(vera)
    assert client.get(address).json() == {"finding": every}
    assert client.get(f"{address}?finding=outlier").json() == {"finding": every}
    assert client.get(f"{address}?split=test").json()["finding"]["any"] == 1


def test_the_list_is_best_first_in_pages(
    dataset: Dataset, items: list[Item], vera: Any, client_of: Callable[[Any], APIClient]
) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/findings/?limit=3"
    seen, client = [], client_of(vera)
    while address:
        page = client.get(address).json()
        seen += [(one["rank"], one["kind"], one["item"]["id"]) for one in page["results"]]
        address = page["next"]
    assert len(seen) == 4
    assert [rank for rank, *_ in seen] == sorted(rank for rank, *_ in seen)
    assert client.get(f"/api/v1/datasets/{dataset.pk}/findings/?kind=outlier&state=dismissed").json()["results"]
    assert client.get(f"/api/v1/datasets/{dataset.pk}/findings/?item={items[2].pk}").json()["results"][1]


@pytest.mark.parametrize("query", ["kind=ugly", "state=gone", "item=x", "item=-1"])
def test_a_list_that_cannot_be_is_refused(
    query: str, dataset: Dataset, vera: Any, client_of: Callable[[Any], APIClient]
) -> None:
    response = client_of(vera).get(f"/api/v1/datasets/{dataset.pk}/findings/?{query}")
    assert response.status_code == 400
    assert response.json()["detail"].endswith(".")
