"""What the endpoints answer: shapes of the contract, paging, bad input, numbers of queries."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import labelling, media, selection
from datasets.models import Dataset, Item, Operation
from tests.fixtures import add_class, add_items


@pytest.fixture
def client(client_of: Any, alice: Any) -> Any:
    return client_of(alice)


def address(dataset: Dataset, rest: str = "") -> str:
    return f"/api/v1/datasets/{dataset.pk}/{rest}"


def test_a_token_is_given_for_the_right_password_only(alice: Any, db: None) -> None:
    from rest_framework.test import APIClient

    client = APIClient()
    wrong = client.post("/api/v1/auth/token/", {"username": "alice", "password": "no"}, format="json")
    assert (wrong.status_code, wrong.json()["detail"]) == (
        401,
        "The username or the password is wrong. Check both and try again.",
    )
    right = client.post("/api/v1/auth/token/", {"username": "alice", "password": "alice-password"}, format="json")
    client.credentials(HTTP_AUTHORIZATION=f"Token {right.json()['token']}")
    assert client.get("/api/v1/auth/me/").json()["username"] == "alice"


def test_items_come_in_pages_that_hold_while_labels_change(client: Any, dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 25)
    stop = add_class(dataset, "stop")
    seen: list[int] = []
    page = client.get(address(dataset, "items/?limit=10")).json()
    while True:
        seen += [item["id"] for item in page["results"]]
        labelling.apply_label(selection.of_items(dataset, seen[-3:]), stop, by=alice)
        if not page["next"]:
            break
        page = client.get(page["next"]).json()
    assert seen == [item.pk for item in items]


def test_items_by_ids_come_in_that_order(client: Any, dataset: Dataset) -> None:
    ids = [item.pk for item in add_items(dataset, 5)]
    wanted = [ids[3], ids[0], ids[4]]
    results = client.get(address(dataset, "items/?ids=" + ",".join(map(str, wanted)))).json()["results"]
    assert [item["id"] for item in results] == wanted


def test_all_ids_come_as_one_binary_array_with_a_version(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 7)
    response = client.get(address(dataset, "ids/"))
    assert response.headers["X-Id-Type"] == "uint32"
    assert np.frombuffer(response.content, "<u4").tolist() == [item.pk for item in items]
    assert client.get(address(dataset, "ids/"), headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_ids_have_another_version_when_an_item_leaves(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 3)
    before = client.get(address(dataset, "ids/"))
    items[0].delete()
    after = client.get(address(dataset, "ids/"), headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.headers["X-Version"] != before.headers["X-Version"]
    assert np.frombuffer(after.content, "<u4").tolist() == [item.pk for item in items[1:]]


def test_an_act_answers_with_its_operation_and_undo_reports(client: Any, dataset: Dataset) -> None:
    ids = [item.pk for item in add_items(dataset, 3)]
    add_class(dataset, "stop")
    body = {"selection": {"ids": ids[:2]}, "label": "stop", "mode": "replace"}
    act = client.post(address(dataset, "annotations/"), body, format="json").json()
    assert act["changed"] == 2
    undone = client.post(f"/api/v1/operations/{act['operation']}/undo/").json()
    assert (undone["reverted"], undone["kept_because_changed_since"]) == (2, 0)
    again = client.post(f"/api/v1/operations/{act['operation']}/undo/")
    assert again.status_code == 409
    assert "already undone" in again.json()["detail"]


def test_a_class_can_be_named_by_its_id_too(client: Any, dataset: Dataset) -> None:
    add_items(dataset, 1)
    stop = add_class(dataset, "stop")
    body = {"selection": {"all": True}, "label": stop.pk}
    assert client.post(address(dataset, "annotations/"), body, format="json").json()["changed"] == 1
    assert len(client.get(address(dataset, f"items/?label={stop.pk}")).json()["results"]) == 1


@pytest.mark.parametrize(
    ("rest", "body", "said"),
    [
        ("annotations/", {"selection": {"ids": [1]}, "label": "nope"}, "no class “nope”"),
        ("annotations/", {"selection": {"all": True}}, "name the class"),
        ("annotations/", {"selection": {}, "label": "stop"}, "exactly one of"),
        ("annotations/", {"selection": {"all": True, "ids": []}, "label": "stop"}, "exactly one of"),
        ("annotations/", {"selection": {"ids": ["x"]}, "label": "stop"}, "list of item ids"),
        ("annotations/", {"selection": {"filter": {"colour": "red"}}, "label": "stop"}, "no filter “colour”"),
        ("annotations/", {"selection": {"all": True}, "label": "stop", "mode": "swap"}, "mode"),
        ("status/", {"selection": {"all": True}, "status": "finished"}, "status"),
        ("tags/", {"selection": {"all": True}, "add": [" "]}, "add"),
        ("search/", {}, "nothing to look for"),
        ("search/", {"text": "x" * 10_000}, "10,000 characters"),
        ("search/", {"text": "x", "limit": 5000}, "limit"),
        ("search/", {"text": "x", "filter": {"brightness": "bright"}}, "brightness takes"),
        ("search/", {"like": [999_999_999]}, "no item 999999999"),
        ("search/", [1, 2], "A query is an object"),
    ],
)
def test_bad_input_gets_a_sentence_and_writes_nothing(
    client: Any, dataset: Dataset, rest: str, body: Any, said: str
) -> None:
    add_items(dataset, 1)
    add_class(dataset, "stop")
    response = client.post(address(dataset, rest), body, format="json")
    assert response.status_code == 400, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    assert said in response.json()["detail"]
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    "query", ["status=gone", "order=random", "label=nope", "width=wide", "ids=1,x", "created_after=soon"]
)
def test_bad_filters_in_an_address_get_a_sentence(client: Any, dataset: Dataset, query: str) -> None:
    response = client.get(address(dataset, f"items/?{query}"))
    assert response.status_code == 400
    assert response.json()["detail"]


def test_ids_beyond_the_database_are_not_found(client: Any) -> None:
    for path in (f"datasets/{10**30}/", f"items/{2**63}/", f"jobs/{10**19}/"):
        assert client.get(f"/api/v1/{path}").status_code == 404


def test_statistics_leave_each_facet_its_own_condition_out(client: Any, dataset: Dataset, alice: Any) -> None:
    train, test = add_items(dataset, 4, split="train"), add_items(dataset, 2, split="test")
    stop = add_class(dataset, "stop")
    labelling.apply_label(selection.of_items(dataset, [train[0].pk, test[0].pk]), stop, by=alice)
    stats = client.get(address(dataset, "stats/?split=train")).json()
    assert (stats["total"], stats["all"]) == (4, 6)
    assert stats["split"] == {"train": 4, "test": 2}
    assert [(c["name"], c["count"]) for c in stats["labels"]] == [("stop", 1)]
    assert stats["unlabeled"] == 3
    stats = client.get(address(dataset, "stats/?label=stop")).json()
    assert (stats["total"], stats["unlabeled"], stats["labels"][0]["count"]) == (2, 4, 2)


def test_export_has_a_row_for_every_label_and_leaves_excluded_out(client: Any, multi: Dataset, alice: Any) -> None:
    items = add_items(multi, 4)
    for name in ("a", 'ü,"b'):
        labelling.apply_label(
            selection.of_items(multi, [items[0].pk]), add_class(multi, name), by=alice, mode=labelling.Mode.ADD
        )
    client.post(address(multi, "status/"), {"selection": {"ids": [items[3].pk]}, "status": "excluded"}, format="json")
    text = b"".join(client.get(address(multi, "export/?format=csv")).streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["key"], row["label"]) for row in rows] == [
        ("item-0000", "a"), ("item-0000", "ü,\"b"), ("item-0001", ""), ("item-0002", ""),
    ]  # fmt: skip
    assert rows[0]["source"] == "human"
    assert rows[0]["author"] == "alice"
    assert rows[0]["labeled_at"]
    lines = b"".join(client.get(address(multi, "export/?format=jsonl&include_excluded=1")).streaming_content).decode()
    parsed = [json.loads(line) for line in lines.splitlines()]
    assert [row["status"] for row in parsed][-1] == "excluded"
    assert parsed[1]["label"] == 'ü,"b'


def test_export_in_an_unknown_format_is_refused(client: Any, dataset: Dataset) -> None:
    assert "no export format" in client.get(address(dataset, "export/?format=xls")).json()["detail"]


def test_history_tells_who_did_what(client: Any, dataset: Dataset, alice: Any, bob: Any) -> None:
    item = add_items(dataset, 1)[0]
    labelling.apply_label(selection.of_items(dataset, [item.pk]), add_class(dataset, "stop"), by=bob)
    client.post(address(dataset, "tags/"), {"selection": {"all": True}, "add": ["night"]}, format="json")
    entries = client.get(f"/api/v1/items/{item.pk}/history/").json()["results"]
    assert [(e["author"], e["summary"]) for e in entries] == [
        ("alice", "tagged night"), ("bob", "labelled stop"), (None, "imported"),
    ]  # fmt: skip


@pytest.mark.parametrize("rest", ["items/?limit=50", "operations/", "classes/", "members/", "jobs/", "stats/", "ids/"])
def test_lists_take_no_more_queries_for_more_rows(
    client: Any, dataset: Dataset, alice: Any, rest: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        items = add_items(dataset, 3)
        labelling.apply_label(
            selection.of_items(dataset, [i.pk for i in items]), add_class(dataset, f"c{number}"), by=alice
        )
    with django_assert_max_num_queries(24 if rest == "stats/" else 6):
        assert client.get(address(dataset, rest)).status_code == 200


def test_the_list_of_datasets_takes_few_queries(
    client: Any, dataset: Dataset, django_assert_max_num_queries: Any
) -> None:
    add_items(dataset, 5)
    with django_assert_max_num_queries(10):
        found = client.get("/api/v1/datasets/").json()["results"][0]
    assert found["item_count"] == 5
    assert found["role"] == "manager"
    assert {space["output"] for space in found["spaces"]} == {"visual", "language"}


def test_a_thumbnail_is_a_jpeg_and_an_older_one_is_still_there(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 4)
    for item, letter in zip(items, "abcd", strict=True):
        Item.objects.filter(pk=item.pk).update(sha256=letter * 64)
    media.keep_thumbnail("a" * 64, b"jpeg")
    for name, content in ((f"bb/bb/{'b' * 64}.jpg", b"former"), (f"cc/cc/{'c' * 64}.webp", b"webp")):
        former = Path(media.default_storage.path(f"thumbnails/{name}"))
        former.parent.mkdir(parents=True, exist_ok=True)
        former.write_bytes(content)
    said = [("image/jpeg", b"jpeg"), ("image/jpeg", b"former"), ("image/webp", b"webp")]
    for item, (content_type, content) in zip(items, said, strict=False):
        response = client.get(f"/api/v1/items/{item.pk}/thumbnail/")
        assert (response["Content-Type"], response.getvalue()) == (content_type, content)
    assert client.get(f"/api/v1/items/{items[3].pk}/thumbnail/").status_code == 404


def test_long_texts_can_be_cut_in_lists(client: Any, multi: Dataset) -> None:
    item = add_items(multi, 1)[0]
    Item.objects.filter(pk=item.pk).update(text="größe " * 1000)
    for query in (f"items/?ids={item.pk}&max_text=5", "items/?max_text=5"):
        assert client.get(address(multi, query)).json()["results"][0]["text"] == "größe"
    assert len(client.get(address(multi, "items/")).json()["results"][0]["text"]) == 6000
    assert len(client.get(f"/api/v1/items/{item.pk}/").json()["text"]) == 6000
    assert "max_text is a number" in client.get(address(multi, "items/?max_text=few")).json()["detail"]
