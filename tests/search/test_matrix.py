"""The vectors of a space in memory: the same scores and rankings as Postgres gives, whatever was written since."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connection, connections, transaction

from datasets import columns
from datasets.models import Dataset, Item
from search import answers, comparing, indexing, matrix, query, vectors
from search.matrix import Matrix
from search.models import EmbeddingSpace
from tests.fixtures import add_items

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER = 300


@pytest.fixture
def space(dataset: Dataset) -> Iterator[EmbeddingSpace]:
    found = dataset.spaces.get(is_default=True)
    yield found
    matrix.forget(found.pk)


@pytest.fixture
def items(dataset: Dataset, space: EmbeddingSpace) -> list[Item]:
    made = add_items(dataset, NUMBER)
    write(space, made, seed=1)
    Item.objects.filter(pk__in=[item.pk for item in made[::3]]).update(split="train")
    return made


def write(space: EmbeddingSpace, items: list[Item], seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(len(items), space.dimension))
    points[len(points) // 2 :] = points[len(points) // 2 :].round()  # some are the same, or nearly
    vectors.write(space, [item.pk for item in items], vectors.normalised(points + 1e-3))


def held(space: EmbeddingSpace) -> Matrix:
    found = matrix.of(space)
    assert found is not None
    return found


def question(space: EmbeddingSpace, seed: int = 7) -> vectors.Vectors:
    return vectors.normalised(np.random.default_rng(seed).normal(size=space.dimension))


def test_scores_are_those_of_plain_arithmetic() -> None:
    """Of every kind of half-precision number: subnormal, negative, zero, one."""
    random = np.random.default_rng(0)
    stored = random.normal(size=(1_500, 64)).astype(np.float16) * np.float16(0.1)
    stored[0], stored[1], stored[2] = 0, np.float16(6e-8), np.float16(-6e-5)
    stored[3], stored[4] = 1, -1
    asked = random.normal(size=64).astype(np.float32)
    rows = random.permutation(1_500)
    scores = matrix._compared(stored, rows, asked)
    np.testing.assert_allclose(scores, stored[rows].astype(np.float32) @ asked, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("filter", [{}, {"split": "train"}, {"split": "test"}])
@pytest.mark.parametrize("said", [{}, {"min_score": 0.02}, {"limit": 1_000}])
def test_a_ranking_is_that_of_postgres(
    filter: dict[str, Any], said: dict[str, Any], dataset: Dataset, space: EmbeddingSpace, items: list[Item]
) -> None:
    matrix.write(space)
    columns.of(dataset)
    asked = query.parse(dataset, {"like": [items[5].pk], "filter": filter})
    wanted = {"limit": 40, **said}
    vector = question(space)
    assert isinstance(asked.chosen, np.ndarray) == bool(filter)
    ours = comparing.rank(space, vector, asked, **wanted)
    theirs = vectors.rank(space, vector, asked.sent, examples=asked.example_items, **wanted)
    assert ours.best.item_ids.tolist() == theirs.best.item_ids.tolist()
    assert ours.best.scores.tolist() == theirs.best.scores.tolist()
    assert (ours.total, ours.embedded) == (theirs.total, theirs.embedded)
    assert ours.own == pytest.approx(theirs.own, abs=1e-5)
    assert ours.spread.counted_number == theirs.spread.counted_number


def test_pages_have_every_item_once_though_they_are_found_in_two_ways(
    dataset: Dataset, space: EmbeddingSpace, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix.write(space)
    columns.of(dataset)
    asked = query.parse(dataset, {"like": [items[5].pk], "filter": {"split": "train"}})
    whole = comparing.rank_all(space, question(space), asked)
    seen: list[int] = []
    after = None
    for page in range(20):
        with monkeypatch.context() as patched:
            if page % 2:
                patched.setattr(matrix, "of", lambda space: None)
            best = comparing.rank(space, question(space), asked, limit=7, after=after).best
        if not len(best.item_ids):
            break
        seen += best.item_ids.tolist()
        after = (float(best.scores[-1]), int(best.item_ids[-1]))
    assert len(seen) == len(set(seen)) == len(whole.item_ids) == NUMBER // 3


def test_what_was_written_since_is_read_again(dataset: Dataset, space: EmbeddingSpace, items: list[Item]) -> None:
    matrix.write(space)
    former = held(space)
    write(space, items[10:40], seed=2)
    more = add_items(dataset, 20)
    write(space, more, seed=3)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM search_embedding WHERE space_id = %s AND item_id = ANY(%s)",
            [space.pk, [items[0].pk, more[1].pk]],
        )
    now = held(space)
    assert now.ids is former.ids
    ids, rows = now.rows(None)
    truth = vectors.rank_all(space, question(space), None)
    order = np.argsort(truth.item_ids)
    assert ids.tolist() == truth.item_ids[order].tolist()
    np.testing.assert_allclose(now.scores(question(space), rows), truth.scores[order], atol=1e-5)
    some = np.array(sorted(item.pk for item in [*items[5:50], *more]))
    ids, rows = now.rows(some)
    assert ids.tolist() == [pk for pk in some.tolist() if pk != more[1].pk]
    np.testing.assert_allclose(
        now.scores(question(space), rows), truth.scores[order][np.isin(truth.item_ids[order], ids)], atol=1e-5
    )
    assert held(space) is now


def test_what_is_not_committed_is_nobody_elses(space: EmbeddingSpace, items: list[Item]) -> None:
    matrix.write(space)
    with transaction.atomic():
        write(space, items[:5], seed=4)
        # Who has written asks Postgres, which knows what only this transaction sees.
        assert matrix.of(space) is None
        seen: list[Any] = []

        def look() -> None:
            seen.append(matrix.of(space))
            connections.close_all()

        other = threading.Thread(target=look)
        other.start()
        other.join()
        assert len(seen[0].new_ids) == 0
    assert set(held(space).new_ids.tolist()) >= {item.pk for item in items[:5]}


def test_where_much_has_changed_postgres_is_asked_and_the_file_written_anew(
    space: EmbeddingSpace, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "_MOST_CHANGED", 0)
    monkeypatch.setattr(matrix, "_REST_S", -1.0)
    monkeypatch.setattr(indexing, "LEAST_ROWS", 0)
    matrix.write(space)
    held(space)
    write(space, items[:5], seed=5)
    assert matrix.of(space) is None
    for thread in threading.enumerate():
        if thread.name == "matrix":
            thread.join()
    now = held(space)
    assert len(now.new_ids) == 0
    assert now.is_standing.all()


def test_a_file_that_was_cut_short_is_not_read(space: EmbeddingSpace, items: list[Item]) -> None:
    matrix.write(space)
    path = matrix._path(space.pk)
    path.write_bytes(path.read_bytes()[:-2])
    assert matrix.of(space) is None


@pytest.mark.parametrize(("said", "other"), [("snapshot", "9000000:9000000:"), ("made", "2001-01-01T00:00:00+00:00")])
def test_a_file_of_another_database_or_of_a_later_state_is_not_read(
    said: str, other: str, space: EmbeddingSpace, items: list[Item]
) -> None:
    matrix.write(space)
    path = matrix._path(space.pk)
    content = path.read_bytes()
    head = json.loads(content[: matrix._HEADER_BYTES]) | {said: other}
    path.write_bytes(json.dumps(head).encode().ljust(matrix._HEADER_BYTES) + content[matrix._HEADER_BYTES :])
    assert matrix.of(space) is None


def test_a_space_that_memory_would_not_hold_has_none(
    space: EmbeddingSpace, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "_MOST_OF_MEMORY", 0.0)
    assert matrix.write(space) is False
    assert matrix.of(space) is None


def test_the_file_goes_with_its_space(space: EmbeddingSpace, items: list[Item]) -> None:
    matrix.write(space)
    held(space)
    space.delete()
    assert not matrix._path(space.pk).exists()
    assert not matrix.is_held(space)


def test_a_search_says_the_same_with_and_without(dataset: Dataset, space: EmbeddingSpace, items: list[Item]) -> None:
    asked = {"like": [items[9].pk], "unlike": [items[2].pk], "filter": {"split": "train"}}
    before = answers.run(query.parse(dataset, asked), limit=25)
    matrix.write(space)
    columns.of(dataset)
    held(space)
    after = answers.run(query.parse(dataset, asked), limit=25)
    assert after.best.item_ids.tolist() == before.best.item_ids.tolist()
    assert (after.total, after.embedded, after.is_exact) == (before.total, before.embedded, True)


def test_a_file_is_written_once_whoever_asked(
    space: EmbeddingSpace, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two processes at once, here two threads. What a killed one has left goes."""
    matrix.forget(space.pk)
    left = matrix._path(space.pk).with_name("left.part")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    written: list[int] = []
    write_one = matrix.write

    def writes(space: EmbeddingSpace) -> bool:
        written.append(space.pk)
        return write_one(space)

    monkeypatch.setattr(matrix, "write", writes)
    asked_at = time.time()
    threads = [threading.Thread(target=matrix._write_in_thread, args=[space, asked_at]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [space.pk]
    assert not left.exists()
    assert len(held(space).ids) == NUMBER
