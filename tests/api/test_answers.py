"""What the endpoints answer: shapes of the contract, paging, bad input, numbers of queries."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import labelling, media, predictions, selection
from datasets.models import Dataset, Item, Operation
from datasets.predictions import Predicted
from datasets.regions import Shape
from search import vectors
from search.models import EmbeddingSpace
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


def test_ids_come_as_runs_to_who_takes_them(client: Any, dataset: Dataset) -> None:
    ids = [item.pk for item in add_items(dataset, 9)]
    response = client.get(address(dataset, "ids/?runs=true"))
    assert (response.headers["X-Count"], response.headers["X-Runs"]) == ("9", "1")
    assert np.frombuffer(response.content, "<u4").tolist() == [ids[0], 9]
    Item.objects.filter(pk=ids[4]).delete()
    response = client.get(address(dataset, "ids/?runs=true"))
    assert np.frombuffer(response.content, "<u4").tolist() == [ids[0], 4, ids[5], 4]
    # No shorter: as they are.
    Item.objects.filter(pk__in=[ids[1], ids[3], ids[6]]).delete()
    response = client.get(address(dataset, "ids/?runs=true&order=-id"))
    assert "X-Runs" not in response.headers
    assert np.frombuffer(response.content, "<u4").tolist() == [ids[8], ids[7], ids[5], ids[2], ids[0]]


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
        ("search/", {"text": "x", "literal": "perhaps"}, "boolean"),
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


def test_thumbnails_of_many_items_come_in_one_answer(client: Any, dataset: Dataset, multi: Dataset) -> None:
    items, others = add_items(dataset, 3), add_items(multi, 1)
    for item, letter in zip([*items, *others], "def", strict=False):
        Item.objects.filter(pk=item.pk).update(sha256=letter * 64)
        media.keep_thumbnail(letter * 64, b"picture " + letter.encode())
    media.keep_thumbnail("9" * 64, b"of another dataset")
    Item.objects.filter(pk=others[0].pk).update(sha256="9" * 64)
    Item.objects.filter(pk=items[2].pk).update(sha256=None)
    wanted = [items[1].pk, others[0].pk, items[2].pk, items[0].pk, 10**9]
    where = address(dataset, "thumbnails/?ids=" + ",".join(map(str, wanted)))
    response = client.get(where)
    assert np.frombuffer(response.content[:20], "<u4").tolist() == [9, 0, 0, 9, 0]
    assert response.content[20:] == b"picture epicture d"
    assert client.get(where, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
    Item.objects.filter(pk=items[2].pk).update(sha256="d" * 64)
    assert client.get(where, headers={"If-None-Match": response.headers["ETag"]}).status_code == 200
    assert "up to 300" in client.get(address(dataset, "thumbnails/?ids=" + "1," * 301)).json()["detail"]
    for ids in ("a", "-1", "\u00b2"):
        assert client.get(address(dataset, f"thumbnails/?ids={ids}")).status_code == 400


def test_long_texts_can_be_cut_in_lists(client: Any, multi: Dataset) -> None:
    item = add_items(multi, 1)[0]
    Item.objects.filter(pk=item.pk).update(text="größe " * 1000)
    for query in (f"items/?ids={item.pk}&max_text=5", "items/?max_text=5"):
        assert client.get(address(multi, query)).json()["results"][0]["text"] == "größe"
    assert len(client.get(address(multi, "items/")).json()["results"][0]["text"]) == 6000
    assert len(client.get(f"/api/v1/items/{item.pk}/").json()["text"]) == 6000
    assert "max_text is a number" in client.get(address(multi, "items/?max_text=few")).json()["detail"]


@pytest.fixture
def people(dataset: Dataset) -> list[Item]:
    """Items with none, one, two and three people."""
    items = add_items(dataset, 4, brightness=0.5)
    said = [
        Predicted(item.pk, "person", 0.9, Shape(0.7, 0.1, 0.2, 0.5)) for at, item in enumerate(items) for _ in range(at)
    ]
    predictions.replace(predictions.model_named(dataset, "eyes", ["person"]), [item.pk for item in items], said)
    return items


def test_a_search_says_what_it_understood(client: Any, dataset: Dataset, people: list[Item]) -> None:
    answer = client.post(address(dataset, "search/"), {"text": "more than one person"}, format="json").json()
    assert [(one["item"]["id"], one["score"]) for one in answer["results"]] == [(item.pk, None) for item in people[2:]]
    assert answer["understood"] == {
        "parts": [
            {
                "phrase": "more than one person",
                "source": "detections",
                "filter": {"count.person": ">1"},
                "by": "eyes",
            }
        ],
        "words": "",
        "notes": [],
    }
    assert (answer["space"], answer["total"], answer["exact"]) == (None, 2, True)
    assert answer["histogram"]["counts"] == []
    literal = {"text": "more than one person", "literal": True}
    answer = client.post(address(dataset, "search/"), literal, format="json").json()
    assert (answer["total"], answer["space"]["output"]) == (4, "language")
    assert answer["understood"] == {"parts": [], "words": "more than one person", "notes": []}
    assert answer["query"]["literal"] is True


def test_a_ranking_by_conditions_alone_has_no_scores(client: Any, dataset: Dataset, people: list[Item]) -> None:
    response = client.post(address(dataset, "ranking/"), {"text": "one person on the right"}, format="json")
    assert (response.headers["X-Count"], response.headers["X-Total"], response.headers["X-Space"]) == ("1", "1", "")
    assert np.frombuffer(response.content[:4], "<u4").tolist() == [people[1].pk]
    assert np.isnan(np.frombuffer(response.content[4:], "<f4")).all()


def test_an_act_on_a_search_in_words_is_for_what_it_understood(
    client: Any, dataset: Dataset, people: list[Item]
) -> None:
    add_class(dataset, "crowd")
    body = {"selection": {"query": {"text": "at least two people"}}, "label": "crowd"}
    assert client.post(address(dataset, "annotations/"), body, format="json").json()["changed"] == 2


def test_words_are_understood_without_a_search(client: Any, dataset: Dataset, people: list[Item]) -> None:
    said = {"text": "sunset, dark, with 2 unicorns and no person"}
    answer = client.get(address(dataset, "search/understand/"), said).json()
    assert [part["filter"] for part in answer["parts"]] == [{"brightness": "<0.25"}, {"count.person": "=0"}]
    assert answer["words"] == "sunset 2 unicorns"
    assert answer["notes"] == [
        "“unicorns” is none of the things that a detector here looks for, so this is searched as words."
    ]
    assert client.get(address(dataset, "search/understand/")).json() == {"parts": [], "words": "", "notes": []}
    refused = client.get(address(dataset, "search/understand/"), {"text": "x" * 2_001})
    assert (refused.status_code, "2,001 characters" in refused.json()["detail"]) == (400, True)


# What a score is worth ------------------------------------------------------------------------------------------------


@pytest.fixture
def alike(dataset: Dataset) -> list[Item]:
    """Forty items with vectors, ten and ten about the same."""
    items = add_items(dataset, 40)
    made = np.random.default_rng(4).normal(size=(40, 1280))
    made = made[np.arange(40) // 10 * 10] + 0.5 * made
    space = EmbeddingSpace.objects.get(dataset=dataset, output="visual")
    vectors.write(space, [item.pk for item in items], vectors.normalised(made))
    return items


def test_every_page_tells_the_place_of_its_results_and_the_same_cut(
    client: Any, dataset: Dataset, alike: list[Item]
) -> None:
    body = {"like": [alike[0].pk], "limit": 15}
    first = client.post(address(dataset, "search/"), body, format="json").json()
    second = client.post(address(dataset, "search/"), body | {"after": first["next"]}, format="json").json()
    places = [result["percentile"] for page in (first, second) for result in page["results"]]
    assert places == sorted(places, reverse=True)
    assert places[0] == 97.5
    assert places[15:] == pytest.approx([100 * (24 - at) / 40 for at in range(15)], abs=2.6)
    told = ("stands_out", "suggested_min_score", "best_score", "ordinary_score", "verdict")
    assert {name: first[name] for name in told} == {name: second[name] for name in told}
    assert (first["stands_out"], first["verdict"]) == (True, "")
    assert first["results"][9]["score"] >= first["suggested_min_score"] > first["results"][10]["score"]


def test_a_sentence_says_that_nothing_stands_out(client: Any, dataset: Dataset, alike: list[Item]) -> None:
    Item.objects.filter(pk__in=[item.pk for item in alike[10:15]]).update(split="test")
    body = {"like": [alike[0].pk], "filter": {"split": "test"}}
    answer = client.post(address(dataset, "search/"), body, format="json").json()
    assert (answer["stands_out"], answer["suggested_min_score"]) == (False, None)
    assert answer["best_score"] < answer["ordinary_score"]
    assert answer["verdict"].startswith(f"Nothing here is like that: the best score is {answer['best_score']:.2f}.")
    assert len(answer["results"]) == 5


def test_a_ranking_tells_the_cut_in_its_headers(client: Any, dataset: Dataset, alike: list[Item]) -> None:
    body = {"like": [alike[0].pk]}
    ranking = client.post(address(dataset, "ranking/"), body, format="json")
    answer = client.post(address(dataset, "search/"), body, format="json").json()
    assert ranking.headers["X-Stands-Out"] == "true"
    assert float(ranking.headers["X-Suggested-Min-Score"]) == answer["suggested_min_score"]
    assert float(ranking.headers["X-Ordinary-Score"]) == answer["ordinary_score"]


def test_without_scores_there_are_no_places(client: Any, dataset: Dataset, people: list[Item]) -> None:
    answer = client.post(address(dataset, "search/"), {"text": "one person on the right"}, format="json").json()
    assert {result["percentile"] for result in answer["results"]} == {None}
    assert (answer["stands_out"], answer["suggested_min_score"], answer["verdict"]) == (None, None, "")
    ranking = client.post(address(dataset, "ranking/"), {"text": "one person on the right"}, format="json")
    assert ranking.headers["X-Stands-Out"] == ""
