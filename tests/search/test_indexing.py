"""The approximate index: built, kept, built anew beside everything; and answers that never lose a row to it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connection, connections
from rest_framework.test import APIClient

from datasets import creation, filters, jobs
from datasets.models import Dataset, Item, Job
from search import answers, indexing, planning, query, samples, spaces, vectors
from search.models import EmbeddingSpace, PendingEmbedding
from tests.fixtures import add_items, make_user

pytestmark = pytest.mark.django_db(transaction=True)

ROWS, DIMENSION = 2_000, 32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, unheard: None) -> None:
    """Small enough to be quick, large enough for an index."""
    monkeypatch.setattr(indexing, "LEAST_ROWS", 500)
    monkeypatch.setattr(indexing, "_CALM_S", 0.05)
    monkeypatch.setattr(samples, "_kept", {})
    monkeypatch.setattr(indexing, "_LATELY_S", -1.0)


@pytest.fixture
def alice() -> Any:
    return make_user("alice")


@pytest.fixture
def many(alice: Any) -> Dataset:
    dataset = creation.create_dataset(name="many", modality="image", by=alice)
    space = spaces.create_uploaded(dataset, "made", DIMENSION)
    spaces.choose_default(space)
    items = add_items(dataset, ROWS)
    for split, every in (("half", 2), ("rare", 100)):
        Item.objects.filter(pk__in=[item.pk for item in items[::every]]).update(split=split)
    put(space, [item.pk for item in items], made(ROWS))
    return dataset


def space_of(dataset: Dataset) -> EmbeddingSpace:
    return EmbeddingSpace.objects.get(dataset=dataset, encoder="uploaded:made")


def made(number: int, seed: int = 0) -> vectors.Vectors:
    return vectors.normalised(np.random.default_rng(seed).standard_normal((number, DIMENSION)))


def put(space: EmbeddingSpace, ids: list[int], values: vectors.Vectors) -> None:
    vectors.write(space, ids, values)
    with connection.cursor() as cursor:  # Postgres tells its statistics now and not in a second
        cursor.execute("SELECT pg_stat_force_next_flush()")


def build(dataset: Dataset) -> Job:
    indexing.maintain()
    job = indexing.jobs_of(space_of(dataset)).first()
    jobs.run(job.pk)
    job.refresh_from_db()
    return job


def brute_force(space: EmbeddingSpace, items: Any, vector: vectors.Vectors) -> list[int]:
    known = vectors.of_items(space, list(items.values_list("pk", flat=True)))
    return sorted(known, key=lambda pk: (-float(known[pk] @ vector), pk))


def ask(dataset: Dataset, example: int = 7, **said: Any) -> tuple[query.Query, vectors.Vectors]:
    like = dataset.items.order_by("pk")[example].pk
    asked = query.parse(dataset, {"like": [like], **said})
    return asked, query.compile(asked)[1]


def test_a_large_space_gets_an_index_once_nothing_fills_it(many: Dataset) -> None:
    space = space_of(many)
    waiting = PendingEmbedding.objects.create(dataset=many, item=many.items.all()[0], encoder=space.encoder)
    indexing.maintain()
    assert not indexing.jobs_of(space).exists()
    waiting.delete()
    job = build(many)
    assert (job.state, job.message) == (Job.State.SUCCEEDED, "")
    assert {phase.name: phase.done for phase in job.phases.all()} == {"build": ROWS, "measure": 40}
    assert indexing.standing(space).has_index
    space.refresh_from_db()
    assert space.index_recall is not None
    assert space.index_recall > 0.99
    indexing.maintain()
    assert indexing.jobs_of(space).count() == 1


def test_a_small_space_has_none(many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LEAST_ROWS", ROWS + 1)
    indexing.maintain()
    assert not Job.objects.filter(kind=Job.Kind.INDEX).exists()
    asked, _ = ask(many)
    answer = answers.run(asked, limit=10)
    assert answer.is_exact
    assert answer.plan.said["way"] == "exact"


def test_the_index_answers_and_says_so(many: Dataset) -> None:
    build(many)
    asked, vector = ask(many)
    answer = answers.run(asked, limit=100)
    assert (answer.is_exact, answer.total, answer.embedded) == (False, ROWS, ROWS)
    expected = brute_force(space_of(many), many.items, vector)[:100]
    assert len(set(answer.best.item_ids.tolist()) & set(expected)) >= 98
    assert answer.best.scores.tolist() == sorted(answer.best.scores.tolist(), reverse=True)
    assert answer.histogram.sampled is not None
    assert abs(sum(answer.histogram.counts) - ROWS) < 60
    exactly = answers.run(asked, limit=100, exact=True)
    assert (exactly.is_exact, exactly.best.item_ids.tolist()) == (True, expected)
    assert exactly.histogram.sampled is None


def test_vectors_that_come_later_are_found_through_it(many: Dataset) -> None:
    build(many)
    new = add_items(many, 3)
    put(space_of(many), [item.pk for item in new], made(3, seed=9))
    for at, item in enumerate(new):
        asked = query.parse(many, {"like": [item.pk]})
        answer = answers.run(asked, limit=5)
        assert not answer.is_exact
        assert answer.best.item_ids[0] == item.pk, at


@pytest.mark.parametrize("share", ["index", "exact"])
@pytest.mark.parametrize(
    "filter", [{"split": "half"}, {"split": "rare"}, {"key_contains": "item-0007"}, {"tag": "none"}]
)
def test_a_filter_never_loses_a_row(
    many: Dataset, filter: dict[str, Any], share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(many)
    # As if comparing were slow, or the index.
    monkeypatch.setattr(planning, "_MS_PER_COMPARED" if share == "index" else "_MS_PER_VISITED", 1e6)
    asked, vector = ask(many, filter=filter)
    items = filters.parse(many, filter).apply(filters.items_of(many))
    for limit in (10, 200):
        answer = answers.run(asked, limit=limit)
        expected = brute_force(space_of(many), items, vector)[:limit]
        assert len(answer.best.item_ids) == len(expected)
        assert set(answer.best.item_ids.tolist()) <= set(items.values_list("pk", flat=True))
        assert len(set(answer.best.item_ids.tolist()) & set(expected)) >= 0.98 * len(expected)
        assert answer.total == items.count()


def test_the_cheaper_way_is_chosen(many: Dataset) -> None:
    build(many)
    space = space_of(many)
    items = filters.items_of(many)
    assert planning.choose(space, None, limit=100).uses_index
    assert not planning.choose(space, items.filter(split="rare"), limit=100).uses_index
    half = planning.choose(space, items.filter(split="half"), limit=100)
    assert 0.4 < half.share < 0.6
    assert not half.uses_index  # of so few, comparing a thousand takes no time


def test_where_the_index_is_astray_the_sample_leads_it(many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    space, number = space_of(many), 60
    ids = list(many.items.order_by("pk").values_list("pk", flat=True)[:number])
    close = vectors.normalised(made(1, seed=3) + 0.05 * made(number, seed=4))
    put(space, ids, close)
    build(many)
    asked, vector = ask(many)
    nearest, looks = vectors.nearest, []

    def astray(space: EmbeddingSpace, query: vectors.Vectors, **options: Any) -> vectors.Ranked:
        """On lonely clusters, an index may look for a query in the wrong place."""
        looks.append(query)
        place = -query if np.allclose(query, vector, atol=1e-3) else query
        return vectors.scored(space, query, nearest(space, place, **options).item_ids)

    monkeypatch.setattr(vectors, "nearest", astray)
    answer = answers.run(asked, limit=number)
    assert not answer.is_exact
    assert len(looks) > 1
    assert set(answer.best.item_ids.tolist()) == set(ids)
    assert answer.best.scores.tolist() == sorted(answer.best.scores.tolist(), reverse=True)


def test_a_bad_index_is_built_anew_while_it_answers(many: Dataset) -> None:
    build(many)
    space = space_of(many)
    ids = list(many.items.order_by("pk").values_list("pk", flat=True))
    put(space, ids[:1_000], made(1_000, seed=5))
    indexing.maintain()
    job = indexing.jobs_of(space).first()
    assert indexing.jobs_of(space).count() == 2
    seen: list[bool] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                asked, _ = ask(many)
                seen.append(len(answers.run(asked, limit=20).best.item_ids) == 20)
        finally:
            connections.close_all()

    searcher = threading.Thread(target=search)
    searcher.start()
    jobs.run(job.pk)
    stop.set()
    searcher.join(20)
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert seen
    assert all(seen)
    indexing.maintain()
    assert indexing.jobs_of(space).count() == 2


def test_too_little_memory_is_said_and_searches_stay_exact(many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_SHARE_OF_FREE", 0.0)
    job = build(many)
    assert job.state == Job.State.FAILED
    assert "wants 0.0 GB of memory" in job.message
    assert not indexing.standing(space_of(many)).has_index
    asked, _ = ask(many)
    assert answers.run(asked, limit=10).is_exact
    indexing.maintain()
    assert indexing.jobs_of(space_of(many)).count() == 1  # not again and again


def test_two_million_vectors_are_reckoned_before_they_are_touched() -> None:
    assert 4e9 < indexing.graph_bytes(2_000_000, 768) < 6e9


def test_what_an_interrupted_build_has_left_is_removed(many: Dataset) -> None:
    space = space_of(many)
    with connection.cursor() as cursor:
        name = indexing.index_name(space)
        cursor.execute(
            f"CREATE INDEX {name} ON {vectors.partition_name(space)} USING hnsw ((vector::halfvec({DIMENSION})) halfvec_ip_ops)"
        )
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [name])
    found = indexing.standing(space)
    assert (found.has_index, found.leftovers) == (False, (name,))
    asked, _ = ask(many)
    assert answers.run(asked, limit=10).is_exact
    assert build(many).state == Job.State.SUCCEEDED
    assert indexing.standing(space).leftovers == ()


def test_a_canceled_build_leaves_nothing_in_the_way(many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    job = indexing.start(space_of(many))
    monkeypatch.setattr(indexing, "_POLL_S", 0.0)
    monkeypatch.setattr(indexing, "_done", lambda pid: jobs.cancel(job) or 0)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.CANCELED
    monkeypatch.undo()
    assert not indexing.standing(space_of(many)).has_index
    jobs.resume(job)
    jobs.run(job.pk)
    assert indexing.standing(space_of(many)).has_index


def test_pages_hold_every_item_once_while_labels_change(
    many: Dataset, alice: Any, client_of: Callable[[Any], APIClient]
) -> None:
    build(many)
    client = client_of(alice)
    like = many.items.order_by("pk")[3].pk
    address = f"/api/v1/datasets/{many.pk}/search/"
    seen: list[int] = []
    scores: list[float] = []
    after = None
    while True:
        body = {"like": [like], "limit": 150, "after": after, "explain": True}
        answer = client.post(address, body, format="json").json()
        assert answer["plan"]["way"] == "index"
        assert answer["exact"] is (after is not None)
        seen += [result["item"]["id"] for result in answer["results"]]
        scores += [result["score"] for result in answer["results"]]
        client.post(
            f"/api/v1/datasets/{many.pk}/tags/", {"selection": {"ids": seen[-5:]}, "add": ["seen"]}, format="json"
        )
        after = answer["next"]
        if after is None:
            break
    assert len(seen) == ROWS
    assert set(seen) == set(many.items.values_list("pk", flat=True))
    assert sum(a < b for a, b in itertools.pairwise(scores)) <= 1  # what the first page had missed


@pytest.mark.parametrize(
    "after",
    [
        "x",
        {"place": [1]},
        {"shown": ["a"]},
        {"page": 2},
        {"place": [None, 2]},
        {"place": [0.5, 10**400]},
        {"place": [5, 1]},
        {"place": [0.5, 1.5]},
    ],
)
def test_an_after_that_is_none_is_refused(
    many: Dataset, alice: Any, client_of: Callable[[Any], APIClient], after: Any
) -> None:
    like = many.items.order_by("pk")[3].pk
    answer = client_of(alice).post(
        f"/api/v1/datasets/{many.pk}/search/", {"like": [like], "after": after}, format="json"
    )
    assert answer.status_code == 400
    assert "after" in answer.json()["detail"]


def test_a_space_that_is_deleted_takes_its_build_along(many: Dataset, alice: Any) -> None:
    space = space_of(many)
    job = indexing.start(space)
    other = spaces.create_uploaded(many, "other", DIMENSION)
    spaces.choose_default(other)
    spaces.delete_spaces(many, space.encoder)
    job.refresh_from_db()
    assert job.state == Job.State.CANCELED


def test_a_manager_builds_it_by_hand_and_the_panel_tells(
    many: Dataset, alice: Any, client_of: Callable[[Any], APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, space = client_of(alice), space_of(many)

    def said() -> tuple[bool, bool, bool]:
        spaces = client.get(f"/api/v1/datasets/{many.pk}/spaces/").json()["results"]
        one = next(one for one in spaces if one["id"] == space.pk)
        return one["is_indexed"], one["wants_index"], one["index_recall"] is not None

    assert said() == (False, True, False)
    started = client.post(f"/api/v1/spaces/{space.pk}/index/")
    assert started.status_code == 202
    again = client.post(f"/api/v1/spaces/{space.pk}/index/")
    assert (again.status_code, "already" in again.json()["detail"]) == (409, True)
    jobs.run(started.json()["job"])
    assert said() == (True, False, True)
    monkeypatch.setattr(indexing, "LEAST_ROWS", ROWS + 1)
    refused = client.post(f"/api/v1/spaces/{space.pk}/index/")
    assert (refused.status_code, "no index is needed" in refused.json()["detail"]) == (400, True)


def test_vectors_too_long_for_an_index_are_compared(
    many: Dataset, alice: Any, client_of: Callable[[Any], APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of VGG-16 have 4,096 numbers."""
    monkeypatch.setattr(indexing, "MOST_DIMENSIONS", DIMENSION - 1)
    indexing.maintain()
    assert not Job.objects.filter(kind=Job.Kind.INDEX).exists()
    refused = client_of(alice).post(f"/api/v1/spaces/{space_of(many).pk}/index/")
    assert (refused.status_code, "compared instead" in refused.json()["detail"]) == (400, True)
    asked, _ = ask(many)
    assert "too long" in query_plan(asked)


def query_plan(asked: query.Query) -> str:
    return answers.run(asked, limit=10).plan.why
