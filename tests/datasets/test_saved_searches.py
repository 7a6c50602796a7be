"""A saved search stands for what it finds now, wherever a selection is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from datasets import classes, labelling, saved_searches, selection
from datasets.errors import Conflict, Forbidden, Refused
from datasets.models import Dataset, Item, SavedSearch
from search import vectors
from tests.fixtures import add_class, add_items

pytestmark = pytest.mark.django_db


@pytest.fixture
def items(dataset: Dataset) -> list[Item]:
    """Ten in train and ten in test, less and less like the first."""
    made = add_items(dataset, 10, split="train") + add_items(dataset, 10, split="test")
    matrix = np.zeros((20, 1280), np.float32)
    matrix[:, 0], matrix[:, 1] = 1, np.arange(20) / 5
    vectors.write(dataset.spaces.get(output="visual"), [item.pk for item in made], vectors.normalised(matrix))
    return made


def meant(dataset: Dataset, raw: dict[str, Any]) -> set[int]:
    return set(selection.parse(dataset, raw).items.values_list("pk", flat=True))


def test_it_means_what_its_query_and_its_cut_mean(dataset: Dataset, items: list[Item], bob: Any) -> None:
    query = {"like": [items[0].pk], "filter": {"split": "train"}}
    saved = saved_searches.save(dataset, name="alike", query=query, min_score=0.8, by=bob)
    found = meant(dataset, {"saved": saved.pk})
    assert found == meant(dataset, {"query": query, "min_score": 0.8})
    assert 0 < len(found) < 10
    assert meant(dataset, {"saved": saved.pk, "except": [items[0].pk]}) == found - {items[0].pk}


def test_a_filter_alone_is_one_too_and_grows_with_the_dataset(dataset: Dataset, items: list[Item], bob: Any) -> None:
    saved = saved_searches.save(dataset, name="test", query={"filter": {"split": "test"}}, by=bob)
    added = add_items(dataset, 1, split="test")
    assert meant(dataset, {"saved": saved.pk}) == {item.pk for item in items[10:] + added}


def test_an_act_on_it_keeps_what_it_meant_then(dataset: Dataset, items: list[Item], bob: Any) -> None:
    saved = saved_searches.save(dataset, name="test", query={"filter": {"split": "test"}}, by=bob)
    chosen = selection.parse(dataset, {"saved": saved.pk})
    operation = labelling.apply_label(chosen, add_class(dataset, "stop"), by=bob).operation
    assert operation.changed == 10
    assert operation.selection == {"saved": saved.pk, "filter": {"split": "test"}}


def test_who_saved_it_and_managers_change_it(dataset: Dataset, bob: Any, rita: Any, alice: Any) -> None:
    saved = saved_searches.save(dataset, name="test", query={"filter": {"split": "test"}}, by=bob)
    with pytest.raises(Forbidden, match="by who saved it and by the managers"):
        saved_searches.change(saved, by=rita, name="mine")
    with pytest.raises(Forbidden):
        saved_searches.delete(saved, by=rita)
    assert saved_searches.change(saved, by=bob, name=" ours ").name == "ours"
    assert saved_searches.change(saved, by=alice, query={"filter": {"split": "train"}}).name == "ours"
    saved_searches.delete(saved, by=alice)
    assert not SavedSearch.objects.exists()


def test_a_name_stands_once_in_a_dataset(dataset: Dataset, multi: Dataset, bob: Any) -> None:
    query = {"filter": {"split": "test"}}
    saved_searches.save(dataset, name="test", query=query, by=bob)
    saved_searches.save(multi, name="test", query=query, by=bob)
    with pytest.raises(Conflict, match="already"):
        saved_searches.save(dataset, name="test ", query=query, by=bob)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "nothing to save"),
        ({"filter": {}}, "nothing to save"),
        ({"filter": {"colour": "red"}}, "no filter “colour”"),
        ({"words": "cat"}, "A query has no “words”"),
        ({"like": [1]}, "no item 1"),
    ],
)
def test_what_cannot_be_run_is_not_saved(dataset: Dataset, query: dict[str, Any], said: str, bob: Any) -> None:
    with pytest.raises(Refused, match=said):
        saved_searches.save(dataset, name="x", query=query, by=bob)
    assert not SavedSearch.objects.exists()


def test_a_cut_that_is_no_number_is_not_saved(dataset: Dataset, bob: Any) -> None:
    with pytest.raises(Refused, match="min_score is a number"):
        saved_searches.save(dataset, name="x", query={"filter": {"split": "a"}}, min_score=float("nan"), by=bob)


def test_what_is_gone_is_said_and_the_list_stays(
    dataset: Dataset, items: list[Item], bob: Any, client_of: Callable[[Any], APIClient]
) -> None:
    label = add_class(dataset, "stop")
    by_label = saved_searches.save(dataset, name="stops", query={"filter": {"label": "stop"}}, by=bob)
    by_item = saved_searches.save(dataset, name="alike", query={"like": [items[3].pk]}, by=bob)
    classes.delete_class(label)
    items[3].delete()
    client = client_of(bob)
    listed = client.get(f"/api/v1/datasets/{dataset.pk}/searches/").json()["results"]
    assert [(one["name"], one["author"], one["can_change"]) for one in listed] == [
        ("alike", "bob", True),
        ("stops", "bob", True),
    ]
    for saved, said in ((by_label, "has no class “stop”"), (by_item, "has no item")):
        answer = client.get(f"/api/v1/searches/{saved.pk}/count/")
        assert answer.status_code == 400
        assert f"The saved search “{saved.name}” no longer works:" in answer.json()["detail"]
        assert said in answer.json()["detail"]


def test_its_count_is_that_of_the_selection(
    dataset: Dataset, items: list[Item], bob: Any, vera: Any, client_of: Callable[[Any], APIClient]
) -> None:
    saved = saved_searches.save(dataset, name="alike", query={"like": [items[0].pk]}, min_score=0.8, by=bob)
    labelling.apply_label(selection.of_items(dataset, [items[0].pk]), add_class(dataset, "stop"), by=bob)
    answer = client_of(vera).get(f"/api/v1/searches/{saved.pk}/count/").json()
    assert answer == {"count": len(meant(dataset, {"saved": saved.pk})), "labeled": 1, "labeled_by_people": 1}


@pytest.mark.parametrize("saved", [0, -1, 10**30, True, "1", {}])
def test_what_is_no_saved_search_is_refused(dataset: Dataset, saved: Any) -> None:
    with pytest.raises(Refused, match="has no saved search"):
        selection.parse(dataset, {"saved": saved})
