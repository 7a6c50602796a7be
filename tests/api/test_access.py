"""Every endpoint × every role, in one table; and nobody crosses into another dataset."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, get_resolver
from rest_framework.test import APIClient

from datasets import jobs, labelling, regions, saved_searches, selection
from datasets.models import Dataset, Item, Job, LabelClass, Membership, Operation, Region, RegionLayer, SavedSearch
from search import layers
from search.findings import Found, storing
from search.models import EmbeddingSpace, Finding
from tests.fixtures import add_class, add_items, jpeg

VIEWER, ANNOTATOR, REVIEWER, MANAGER = "vera", "bob", "rita", "alice"
RANK = [VIEWER, ANNOTATOR, REVIEWER, MANAGER]


@dataclass(frozen=True)
class World:
    dataset: Dataset
    items: list[Item]
    label: LabelClass
    operation: Operation
    job: Job
    member: Membership
    space: EmbeddingSpace
    region: Region
    layer: RegionLayer
    saved: SavedSearch
    finding: Finding


@pytest.fixture
def world(dataset: Dataset, alice: Any) -> World:
    items = add_items(dataset, 2)
    label = add_class(dataset, "stop")
    operation = labelling.apply_label(selection.of_items(dataset, [items[0].pk]), label, by=alice).operation
    job = jobs.create(dataset, Job.Kind.IMPORT, by=alice, phases=["scan"], params={})
    region = regions.draw(items[0], regions.Shape(0, 0, 0.5, 0.5))
    layer = RegionLayer.objects.get(
        job=layers.start(layers.describe(dataset, "detected", {"detector": "starter"}), by=alice)
    )
    jobs.cancel(layers.start(layers.describe(dataset, "drawn", {}), by=alice))
    assert layer.job is not None
    jobs.cancel(layer.job)
    member, space = dataset.members.get(user__username="vera"), dataset.spaces.get(is_default=True)
    saved = saved_searches.save(dataset, name="train", query={"filter": {"split": "train"}}, by=alice)
    storing.store(dataset, "outlier", [Found(items[0].pk, 0.7, "It is odd.", because=())])
    finding = Finding.objects.get(dataset=dataset)
    return World(dataset, items, label, operation, job, member, space, region, layer, saved, finding)


Body = Callable[[World], dict[str, Any]] | None


def chosen(world: World) -> dict[str, Any]:
    return {"ids": [world.items[0].pk]}


# (method, address, body, least role, status for those who may)
TABLE: list[tuple[str, str, Body, str, set[int]]] = [
    ("get", "datasets/{dataset}/", None, VIEWER, {200}),
    ("patch", "datasets/{dataset}/", lambda w: {"name": "new"}, MANAGER, {200}),
    ("delete", "datasets/{dataset}/", None, MANAGER, {204}),
    ("get", "datasets/{dataset}/classes/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/classes/", lambda w: {"name": "yield"}, ANNOTATOR, {201}),
    ("get", "classes/{label}/", None, VIEWER, {200}),
    ("patch", "classes/{label}/", lambda w: {"color": "#000000"}, MANAGER, {200}),
    ("delete", "classes/{label}/", None, MANAGER, {409}),
    ("get", "datasets/{dataset}/members/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/members/", lambda w: {"username": "charlie", "role": "viewer"}, MANAGER, {201}),
    ("patch", "members/{member}/", lambda w: {"role": "annotator"}, MANAGER, {200}),
    ("delete", "members/{member}/", None, MANAGER, {204}),
    ("get", "datasets/{dataset}/stats/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/stats/predictions/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/items/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/ids/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/thumbnails/?ids=1", None, VIEWER, {200}),
    ("get", "items/{item}/", None, VIEWER, {200}),
    ("get", "items/{item}/image/", None, VIEWER, {404}),
    ("get", "items/{item}/thumbnail/", None, VIEWER, {404}),
    ("get", "items/{item}/history/", None, VIEWER, {200}),
    ("get", "items/{item}/regions/", None, VIEWER, {200}),
    ("post", "items/{item}/regions/", lambda w: {"x": 0, "y": 0, "width": 1, "height": 1}, ANNOTATOR, {201}),
    ("get", "items/{item}/predictions/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/regions/?ids=1", None, VIEWER, {200}),
    ("get", "regions/{region}/", None, VIEWER, {200}),
    ("patch", "regions/{region}/", lambda w: {"x": 0.25}, ANNOTATOR, {200}),
    ("delete", "regions/{region}/", None, ANNOTATOR, {204}),
    ("get", "datasets/{dataset}/region-layers/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/region-layers/", lambda w: {"kind": "tile"}, MANAGER, {202}),
    ("post", "datasets/{dataset}/region-layers/estimate/", lambda w: {"kind": "detected"}, MANAGER, {400}),
    ("patch", "region-layers/{layer}/", lambda w: {"threshold": 0.5}, MANAGER, {202}),
    ("delete", "region-layers/{layer}/", None, MANAGER, {202}),
    ("get", "region-layers/{layer}/failures/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/imports/", lambda w: {"path": "/not/allowed"}, MANAGER, {400}),
    ("get", "datasets/{dataset}/jobs/", None, VIEWER, {200}),
    ("get", "jobs/{job}/", None, VIEWER, {200}),
    ("get", "jobs/{job}/errors/", None, VIEWER, {200}),
    ("post", "jobs/{job}/cancel/", None, MANAGER, {200}),
    ("post", "jobs/{job}/resume/", None, MANAGER, {409}),
    ("get", "datasets/{dataset}/export/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/selection/", lambda w: {"selection": chosen(w)}, VIEWER, {200}),
    ("post", "datasets/{dataset}/annotations/", lambda w: {"selection": chosen(w), "label": "stop"}, ANNOTATOR, {200}),
    ("post", "datasets/{dataset}/tags/", lambda w: {"selection": chosen(w), "add": ["x"]}, ANNOTATOR, {200}),
    ("post", "datasets/{dataset}/status/", lambda w: {"selection": chosen(w), "status": "done"}, ANNOTATOR, {200}),
    ("get", "datasets/{dataset}/searches/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/searches/", lambda w: {"name": "x", "query": {"filter": {"split": "a"}}}, ANNOTATOR, {201}),
    ("get", "searches/{saved}/", None, VIEWER, {200}),
    ("get", "searches/{saved}/count/", None, VIEWER, {200}),
    ("patch", "searches/{saved}/", lambda w: {"name": "new"}, MANAGER, {200}),  # Alice's: others' needs a manager
    ("delete", "searches/{saved}/", None, MANAGER, {204}),
    ("get", "datasets/{dataset}/operations/", None, VIEWER, {200}),
    ("post", "operations/{operation}/undo/", None, REVIEWER, {200}),  # Alice's: others' needs a reviewer
    ("post", "datasets/{dataset}/search/", lambda w: {"like": [w.items[0].pk]}, VIEWER, {409}),  # not embedded yet
    ("get", "datasets/{dataset}/search/understand/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/search/why/", lambda w: {"like": [w.items[0].pk], "item": w.items[1].pk}, VIEWER, {409}),
    ("get", "datasets/{dataset}/query-images/{reference}/", None, VIEWER, {400}),  # none is kept under it
    ("get", "datasets/{dataset}/search/count/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/search/count/", lambda w: {"like": [w.items[0].pk]}, VIEWER, {409}),
    ("post", "datasets/{dataset}/ranking/", lambda w: {"like": [w.items[0].pk]}, VIEWER, {409}),
    ("post", "datasets/{dataset}/vectors/", None, MANAGER, {400}),  # no file
    ("post", "spaces/{space}/index/", None, MANAGER, {400}),  # too small to need one
    ("get", "spaces/{space}/vectors/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/spaces/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/spaces/", lambda w: {"encoder": "efficientnet-lite0"}, MANAGER, {202}),
    ("get", "datasets/{dataset}/encoder-comparisons/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/encoder-comparisons/", lambda w: {"encoders": ["starter"]}, MANAGER, {202}),
    ("get", "spaces/{space}/", None, VIEWER, {200}),
    ("patch", "spaces/{space}/", lambda w: {"is_default": True}, MANAGER, {200}),
    ("delete", "spaces/{space}/", None, MANAGER, {409}),  # the only one
    ("get", "spaces/{space}/failures/", None, VIEWER, {200}),
    ("post", "spaces/{space}/retry/", None, MANAGER, {202}),
    ("get", "datasets/{dataset}/findings/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/findings/", lambda w: {"kinds": ["quality"]}, REVIEWER, {202}),
    ("get", "datasets/{dataset}/stats/findings/", None, VIEWER, {200}),
    ("get", "findings/{finding}/", None, VIEWER, {200}),
    ("post", "findings/{finding}/", lambda w: {"state": "confirmed"}, ANNOTATOR, {200}),
    ("get", "findings/{finding}/evidence/", None, VIEWER, {200}),
    ("get", "datasets/{dataset}/review/", None, VIEWER, {200}),
    ("post", "datasets/{dataset}/review/claim/", lambda w: {"kind": "outlier"}, ANNOTATOR, {200}),
    ("post", "datasets/{dataset}/review/release/", None, ANNOTATOR, {204}),
    ("post", "datasets/{dataset}/review/decide/", lambda w: {"ids": [w.finding.pk], "state": "dismissed"}, ANNOTATOR, {200}),
    ("post", "datasets/{dataset}/restore/", None, MANAGER, {404}),  # it is not deleted
]  # fmt: skip

# Endpoints without a dataset in their address.
GLOBAL = {
    "auth/token/", "auth/login/", "auth/logout/", "auth/csrf/", "auth/me/", "datasets/", "jobs/", "encoders/", "detectors/", "schema/", "docs/",
}  # fmt: skip


def call(client: APIClient, world: World, method: str, address: str, body: Body) -> Any:
    url = "/api/v1/" + address.format(
        dataset=world.dataset.pk,
        label=world.label.pk,
        operation=world.operation.pk,
        job=world.job.pk,
        member=world.member.pk,
        space=world.space.pk,
        item=world.items[0].pk,
        region=world.region.pk,
        layer=world.layer.pk,
        reference="0123",
        saved=world.saved.pk,
        finding=world.finding.pk,
    )
    return getattr(client, method)(url, body(world) if body else None, format="json")


@pytest.mark.parametrize(
    ("method", "address", "body", "least", "allowed"), TABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_role_may_do_what_it_may(
    method: str, address: str, body: Body, least: str, allowed: set[int], world: World, client_of: Any, charlie: Any,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    for name in RANK:
        response = call(client_of(request.getfixturevalue(name)), world, method, address, body)
        if RANK.index(name) < RANK.index(least):
            is_hidden = address.endswith("restore/")
            assert response.status_code == (404 if is_hidden else 403), (name, response.status_code)
            assert response.json()["detail"]
        elif name == least:
            assert response.status_code in allowed, (name, response.content)
            break


@pytest.mark.parametrize(
    ("method", "address", "body", "least", "allowed"), TABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_stranger_meets_404_everywhere(
    method: str,
    address: str,
    body: Body,
    least: str,
    allowed: set[int],
    world: World,
    client_of: Any,
    charlie: Any,
    foreign: Dataset,
) -> None:
    response = call(client_of(charlie), world, method, address, body)
    assert response.status_code == 404, response.content
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "address", "body", "least", "allowed"), TABLE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_nobody_gets_in_without_signing_in(
    method: str, address: str, body: Body, least: str, allowed: set[int], world: World
) -> None:
    response = call(APIClient(), world, method, address, body)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"]


def test_the_table_holds_every_endpoint() -> None:
    """A new endpoint without a row here fails."""

    def addresses(patterns: Any, prefix: str = "") -> set[str]:
        found = set()
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            found |= {route} if isinstance(pattern, URLPattern) else addresses(pattern.url_patterns, route)
        return found

    ours = {a.removeprefix("api/v1/") for a in addresses(get_resolver().url_patterns) if a.startswith("api/v1/")}
    in_table = {address.partition("?")[0] for _, address, *_ in TABLE}
    in_table = {re.sub(r"{\w+}", "<int:pk>", one.replace("{reference}", "<str:reference>")) for one in in_table}
    assert ours == in_table | GLOBAL


def test_lists_show_only_what_is_mine(
    dataset: Dataset, foreign: Dataset, world: World, client_of: Any, charlie: Any
) -> None:
    client = client_of(charlie)
    assert [d["id"] for d in client.get("/api/v1/datasets/").json()["results"]] == [foreign.pk]
    assert client.get("/api/v1/jobs/").json()["results"] == []


def test_items_of_another_dataset_cannot_be_smuggled_in(
    world: World, foreign: Dataset, client_of: Any, charlie: Any
) -> None:
    """Charlie manages a dataset of his own and names Alice's items, classes and jobs in it."""
    client = client_of(charlie)
    theirs = world.items[0].pk
    mine = f"/api/v1/datasets/{foreign.pk}/"
    add_class(foreign, "own")
    for address, body in (
        ("annotations/", {"selection": {"ids": [theirs]}, "label": "own"}),
        ("annotations/", {"selection": {"all": True}, "label": world.label.pk}),
        ("tags/", {"selection": {"ids": [theirs]}, "add": ["x"]}),
        ("status/", {"selection": {"ids": [theirs]}, "status": "done"}),
        ("selection/", {"selection": {"ids": [theirs]}}),
        ("selection/", {"selection": {"saved": world.saved.pk}}),
        ("search/", {"like": [theirs]}),
        ("search/", {"text": "x", "filter": {"label": world.label.pk}}),
        ("ranking/", {"like": [theirs]}),
        ("search/", {"like": [{"item": theirs, "box": [0, 0, 1, 1]}]}),
        ("search/", {"like": [{"item": theirs, "region": world.region.pk}]}),
        ("search/why/", {"text": "x", "item": theirs}),
        ("annotations/", {"selection": {"region_ids": [world.region.pk]}, "label": "own"}),
        ("search/count/", {"like": [theirs]}),
    ):
        response = client.post(mine + address, body, format="json")
        assert response.status_code == 400, (address, response.content)
    assert client.get(f"{mine}items/?ids={theirs}").json()["results"] == []
    upload = {"file": SimpleUploadedFile("a.jpg", jpeg()), "job": world.job.pk}
    assert client.post(f"{mine}imports/", upload, format="multipart").status_code == 404
    vectors = {"file": SimpleUploadedFile("a.parquet", b"PAR1"), "space": world.space.pk}
    assert client.post(f"{mine}vectors/", vectors, format="multipart").status_code == 404
    assert not Operation.objects.filter(dataset=foreign).exists()


def test_an_annotator_undoes_their_own_act(world: World, client_of: Any, bob: Any) -> None:
    own = labelling.apply_label(selection.of_items(world.dataset, [world.items[1].pk]), world.label, by=bob).operation
    assert client_of(bob).post(f"/api/v1/operations/{own.pk}/undo/").status_code == 200


def test_a_deleted_dataset_is_gone_at_once_and_can_be_brought_back(world: World, client_of: Any, alice: Any) -> None:
    client = client_of(alice)
    address = f"/api/v1/datasets/{world.dataset.pk}/"
    assert client.delete(address).status_code == 204
    for gone in (address, f"{address}items/", f"/api/v1/items/{world.items[0].pk}/", f"/api/v1/jobs/{world.job.pk}/"):
        assert client.get(gone).status_code == 404
    assert client.post(f"{address}restore/").status_code == 200
    assert client.get(address).json()["item_count"] == 2


def test_only_staff_get_into_the_admin(client: Any, alice: Any, admin_user: Any, world: World) -> None:
    for page in (
        "",
        "datasets/dataset/",
        "datasets/job/",
        "datasets/operation/",
        "datasets/item/",
        "search/embeddingspace/",
    ):
        client.force_login(alice)
        assert client.get(f"/admin/{page}").status_code == 302
        client.force_login(admin_user)
        assert client.get(f"/admin/{page}").status_code == 200
    assert client.get(f"/admin/datasets/dataset/{world.dataset.pk}/change/").status_code == 200
    assert client.get(f"/admin/datasets/job/{world.job.pk}/change/").status_code == 200
