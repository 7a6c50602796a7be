"""Regions, region layers and predictions over the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from datasets import predictions
from datasets.models import Dataset, Region, RegionLayer
from datasets.predictions import Predicted
from datasets.regions import Shape
from search.models import PendingEmbedding
from tests.datasets.test_regions import give_label
from tests.fixtures import add_items
from tests.search.test_region_layers import drawn_photos, photos_in, work


@pytest.fixture
def client(client_of: Any, alice: Any) -> APIClient:
    return client_of(alice)


def layers_of(client: APIClient, dataset: Dataset) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/datasets/{dataset.pk}/region-layers/").json()["results"]
    return found


def test_a_region_is_drawn_moved_listed_and_removed(client: APIClient, dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    listed = f"/api/v1/items/{item.pk}/regions/"
    box = {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}
    made = client.post(listed, box, format="json").json()
    assert {name: made[name] for name in box} == box
    assert (made["item"], made["kind"], made["layer"], made["polygon"]) == (item.pk, "drawn", None, None)
    own = f"/api/v1/regions/{made['id']}/"
    assert client.patch(own, {"x": 0.5}, format="json").json()["x"] == 0.5
    triangle = [[0.0, 0.0], [0.5, 0.0], [0.25, 1.0]]
    moved = client.patch(own, {"polygon": triangle}, format="json").json()
    assert (moved["polygon"], moved["x"], moved["width"], moved["height"]) == (triangle, 0.0, 0.5, 1.0)
    assert client.get(listed).json()["results"] == [moved]
    assert client.get(listed + "?kind=tile").json()["results"] == []
    assert client.delete(own).status_code == 204
    assert client.get(own).status_code == 404
    assert client.get(listed).json()["results"] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "needs x, y, width and height"),
        ({"x": 0, "y": 0, "width": 1}, "needs x, y, width and height"),
        ({"x": 0.5, "y": 0, "width": 0.6, "height": 1}, "outside of the image"),
        ({"x": 0, "y": 0, "width": 0, "height": 1}, "no area"),
        ({"x": "left", "y": 0, "width": 1, "height": 1}, "x: "),
        ({"polygon": [[0, 0], [1, 1]]}, "3 to 1,000 points"),
        ({"polygon": [[0, 0, 0], [1, 1], [0, 1]]}, "polygon"),
        ({"polygon": "round"}, "polygon"),
    ],
)
def test_a_bad_region_gets_a_sentence(client: APIClient, dataset: Dataset, body: Any, said: str) -> None:
    item = add_items(dataset, 1)[0]
    response = client.post(f"/api/v1/items/{item.pk}/regions/", body, format="json")
    assert response.status_code == 400, response.content
    assert said in response.json()["detail"]
    assert not Region.objects.exists()


def test_a_labelled_region_is_not_removed(client: APIClient, dataset: Dataset, alice: Any) -> None:
    region = Region.objects.create(item=add_items(dataset, 1)[0], x=0, y=0, width=1, height=1)
    give_label(region, alice)
    response = client.delete(f"/api/v1/regions/{region.pk}/")
    assert response.status_code == 409
    assert "Take off its labels first" in response.json()["detail"]


def test_predictions_of_an_item_come_best_first(client: APIClient, dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    box = Shape(0.25, 0, 0.5, 1)
    for name in ("ours", "theirs"):
        said = [Predicted(item.pk, "cat", 0.9, box), Predicted(item.pk, "dog", 0.2)]
        predictions.replace(predictions.model_named(dataset, name), [item.pk], said)
    found = client.get(f"/api/v1/items/{item.pk}/predictions/?model=theirs").json()["results"]
    assert found == [
        {"model": "theirs", "label": "cat", "score": 0.9, "box": [0.25, 0, 0.5, 1], "region": None},
        {"model": "theirs", "label": "dog", "score": 0.2, "box": None, "region": None},
    ]
    assert len(client.get(f"/api/v1/items/{item.pk}/predictions/").json()["results"]) == 4


def test_a_layer_is_costed_started_changed_and_removed(client: APIClient, dataset: Dataset, tmp_path: Path) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 3))
    address = f"/api/v1/datasets/{dataset.pk}/region-layers/"
    body = {"kind": "tile", "scales": [2], "overlap": 0}
    said = client.post(address + "estimate/", body, format="json").json()
    assert (said["items"], said["regions"], said["vectors"], said["is_exact"]) == (3, 12, 24, True)
    assert said["size_bytes"] > 12 * 2 * (1280 + 384)
    assert layers_of(client, dataset) == []

    job = client.post(address, body, format="json").json()["job"]
    assert layers_of(client, dataset)[0]["state"] == "preparing"
    work(RegionLayer.objects.get().job)  # type: ignore[arg-type]
    layer = layers_of(client, dataset)[0]
    assert {name: layer[name] for name in ("kind", "state", "job", "pending", "failed", "params")} == {
        "kind": "tile", "state": "ready", "job": job, "pending": 0, "failed": 0, "params": {"scales": [2], "overlap": 0.0},
    }  # fmt: skip
    again = client.post(address, body, format="json")
    assert again.status_code == 409
    assert "already" in again.json()["detail"]

    own = f"/api/v1/region-layers/{layer['id']}/"
    assert client.patch(own, {"scales": [1]}, format="json").status_code == 400
    assert client.patch(own, {"threshold": 0.5}, format="json").status_code == 400
    assert client.patch(own, {"scales": [3]}, format="json").status_code == 202
    work(RegionLayer.objects.get().job)  # type: ignore[arg-type]
    assert Region.objects.count() == 27
    assert client.delete(own).status_code == 202
    work(RegionLayer.objects.get().job)  # type: ignore[arg-type]
    assert layers_of(client, dataset) == []
    assert not Region.objects.exists()


def test_failures_are_listed_by_item(client: APIClient, dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    layer = RegionLayer.objects.create(dataset=dataset, kind="tile", encoder=dataset.encoder)
    PendingEmbedding.objects.create(
        dataset=dataset, item=item, encoder=dataset.encoder, layer=layer, reason="It is all black."
    )
    found = client.get(f"/api/v1/region-layers/{layer.pk}/failures/").json()["results"]
    assert [(one["item"]["id"], one["item"]["key"], one["reason"]) for one in found] == [
        (item.pk, item.key, "It is all black.")
    ]
    assert layers_of(client, dataset)[0]["failed"] == 1


def test_the_detectors_say_whether_they_can_be_used(client: APIClient) -> None:
    found = client.get("/api/v1/detectors/").json()["results"]
    starter = next(one for one in found if one["name"] == "starter")
    assert (starter["classes"], starter["is_default"], starter["available"]) == (["person"], True, True)


@pytest.mark.parametrize("rest", ["regions/", "predictions/"])
def test_lists_of_an_item_take_no_more_queries_for_more_rows(
    client: APIClient, dataset: Dataset, rest: str, django_assert_max_num_queries: Any
) -> None:
    item = add_items(dataset, 1)[0]
    Region.objects.bulk_create(Region(item=item, x=0, y=0, width=1, height=1) for _ in range(30))
    said = [Predicted(item.pk, "cat", 0.9) for _ in range(30)]
    predictions.replace(predictions.model_named(dataset, "ours"), [item.pk], said)
    with django_assert_max_num_queries(6):
        assert len(client.get(f"/api/v1/items/{item.pk}/{rest}").json()["results"]) == 30
