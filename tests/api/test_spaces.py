"""What the endpoints of spaces answer, to the end of a job."""

from __future__ import annotations

import io
from typing import Any

import pytest

from datasets import importing, jobs
from datasets.models import Dataset
from search import embedding
from search.models import PendingEmbedding
from tests.fixtures import add_items, jpeg


@pytest.fixture
def client(client_of: Any, alice: Any) -> Any:
    return client_of(alice)


@pytest.fixture
def photos_in(dataset: Dataset, alice: Any) -> Dataset:
    """Four photos, embedded with the starter."""
    files: list[importing.job.Upload] = [(f"{at}.jpg", io.BytesIO(jpeg(at))) for at in range(4)]
    jobs.run(importing.start_upload_import(dataset, files, by=alice).pk)
    embedding.embed_pending(dataset.pk)
    return dataset


def spaces_of(client: Any, dataset: Dataset) -> dict[str, Any]:
    """By encoder and output."""
    found = client.get(f"/api/v1/datasets/{dataset.pk}/spaces/").json()["results"]
    return {f"{one['encoder']}/{one['output']}": one for one in found}


def test_an_encoder_is_added_made_the_default_and_the_old_one_deleted(client: Any, photos_in: Dataset) -> None:
    address = f"/api/v1/datasets/{photos_in.pk}/"
    started = client.post(f"{address}spaces/", {"encoder": "efficientnet-lite0"})
    assert started.status_code == 202
    space = spaces_of(client, photos_in)["efficientnet-lite0/visual"]
    assert (space["job"], space["state"], space["title"]) == (started.json()["job"], "ready", "EfficientNet-Lite0")
    assert (space["embedded"], space["total"], space["is_default"]) == (0, 4, False)
    again = client.post(f"{address}spaces/", {"encoder": "efficientnet-lite0"})
    assert (again.status_code, again.json()["detail"]) == (409, "“signs” has the encoder “efficientnet-lite0” already.")

    jobs.run(space["job"])
    assert spaces_of(client, photos_in)["efficientnet-lite0/visual"]["pending"] == 4
    too_early = client.patch(f"/api/v1/spaces/{space['id']}/", {"is_default": True})
    assert too_early.status_code == 409
    assert "0 of 4 items; 4 are missing" in too_early.json()["detail"]
    waits = client.patch(f"/api/v1/spaces/{space['id']}/", {"is_default": True, "when_complete": True}).json()
    assert (waits["is_default"], waits["becomes_default"]) == (False, True)
    assert client.get(f"/api/v1/jobs/{space['job']}/").json()["state"] == "running"

    embedding.embed_pending(photos_in.pk)
    assert client.get(f"/api/v1/jobs/{space['job']}/").json()["state"] == "succeeded"
    complete = client.get(f"/api/v1/spaces/{space['id']}/").json()
    assert (complete["is_default"], complete["embedded"], complete["pending"], complete["job"]) == (True, 4, 0, None)
    assert complete["size_bytes"] > 4 * 1280 * 2
    assert client.get(address).json()["encoder"] == "efficientnet-lite0"

    old = spaces_of(client, photos_in)["starter/visual"]["id"]
    assert client.delete(f"/api/v1/spaces/{old}/").status_code == 204
    assert list(spaces_of(client, photos_in)) == ["efficientnet-lite0/visual"]
    assert client.get(f"/api/v1/spaces/{old}/").status_code == 404
    assert client.delete(f"/api/v1/spaces/{space['id']}/").status_code == 409
    item = photos_in.items.all()[0]
    found = client.post(f"{address}search/", {"like": [item.pk]}).json()
    assert (found["space"]["id"], found["embedded"]) == (space["id"], 4)


def test_failures_are_listed_by_item_and_tried_again(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 5)
    for item in items[:3]:
        PendingEmbedding.objects.create(dataset=dataset, item=item, encoder=dataset.encoder, reason="too dark")
    space = spaces_of(client, dataset)["starter/visual"]
    assert space["failed"] == 3
    page = client.get(f"/api/v1/spaces/{space['id']}/failures/?limit=2").json()
    rows = page["results"] + client.get(page["next"]).json()["results"]
    assert [(row["item"]["key"], row["reason"]) for row in rows] == [(item.key, "too dark") for item in items[:3]]
    started = client.post(f"/api/v1/spaces/{space['id']}/retry/")
    assert started.status_code == 202
    assert client.post(f"/api/v1/spaces/{space['id']}/retry/").status_code == 409
    jobs.run(started.json()["job"])
    assert client.get(f"/api/v1/spaces/{space['id']}/failures/").json()["results"] == []
    assert spaces_of(client, dataset)["starter/visual"]["pending"] == 5


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "encoder"),
        ({"encoder": "no-such"}, "There is no encoder “no-such”"),
        ({"encoder": "starter-text"}, "cannot read images"),
    ],
)
def test_an_encoder_that_cannot_serve_is_refused(client: Any, dataset: Dataset, body: Any, said: str) -> None:
    response = client.post(f"/api/v1/datasets/{dataset.pk}/spaces/", body)
    assert response.status_code == 400
    assert said in response.json()["detail"]


@pytest.mark.parametrize("body", [{"is_default": False}, {"becomes_default": True}])
def test_a_change_that_means_nothing_gets_a_sentence(client: Any, dataset: Dataset, body: Any) -> None:
    response = client.patch(f"/api/v1/spaces/{dataset.spaces.all()[0].pk}/", body)
    assert response.status_code == 400
    assert response.json()["detail"].endswith(".")


def test_an_encoder_can_be_asked_for_by_its_name(client: Any) -> None:
    found = client.get("/api/v1/encoders/?name=efficientnet-lite0").json()["results"]
    assert [one["title"] for one in found] == ["EfficientNet-Lite0"]
    unknown = client.get("/api/v1/encoders/?name=no-such")
    assert (unknown.status_code, "no encoder “no-such”" in unknown.json()["detail"]) == (400, True)


def test_a_dataset_tells_the_state_of_its_spaces(client: Any, dataset: Dataset) -> None:
    dataset.spaces.update(state="failed", problem="out of order")
    found = client.get(f"/api/v1/datasets/{dataset.pk}/").json()["spaces"]
    assert {(one["state"], one["problem"]) for one in found} == {("failed", "out of order")}
