"""Columns in memory: what they hold is what the database says, whoever wrote it and whenever it was committed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import pytest
from django.db import connection, connections, transaction

from datasets import columns, creation, filters, labelling, marking, operations, passing, selection
from datasets.columns import Columns, reading
from datasets.filters import Condition
from datasets.models import Annotation, Dataset, Item, LabelClass, Operation
from tests.fixtures import add_class, add_items, make_user

BLOCK = 1 << reading.BLOCK_BITS


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_kept", type(columns._kept)())


def same(one: Columns, other: Columns) -> None:
    """Whatever the order of labels and tags, and of the names of values."""
    assert one.ids.tolist() == other.ids.tolist()
    for name in ("status", "split"):
        assert valued(getattr(one, name)) == valued(getattr(other, name))
    assert {key: valued(values) for key, values in one.metadata.items()} == {
        key: valued(values) for key, values in other.metadata.items()
    }
    for name in ("brightness", "sharpness", "is_unreadable"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.content.hashes, other.content.hashes)
    tags = [sorted(zip(c.tag_row.tolist(), valued(c.tag), strict=True)) for c in (one, other)]
    assert tags[0] == tags[1]
    labels = [
        sorted(
            zip(
                *(getattr(c.labels, name).tolist() for name in ("row", "label", "source", "author", "day")), strict=True
            )
        )
        for c in (one, other)
    ]
    assert labels[0] == labels[1]


def valued(values: columns.Values) -> list[str]:
    return [values.names[code] for code in values.codes.tolist()]


def anew(dataset: Dataset) -> Columns:
    return reading.read(dataset, reading.metadata_keys(dataset))


def written(dataset: Dataset) -> dict[str, list[Any]]:
    """As the database says it."""
    rows = Item.objects.filter(dataset=dataset).order_by("id")
    return {name: list(rows.values_list(name, flat=True)) for name in ("id", "status", "split")}


@pytest.mark.django_db
def test_they_hold_what_the_database_says(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 6, split="train", tags=["x", "y"], metadata={"camera": "left"}, brightness=0.25)
    Item.objects.filter(pk=items[2].pk).update(split="", tags=[], metadata={}, brightness=None, problem="bad")
    Item.objects.filter(pk=items[5].pk).update(sha256=items[0].sha256)
    cat = add_class(dataset, "cat")
    labelling.apply_label(selection.of_items(dataset, [items[1].pk, items[3].pk]), cat, by=alice)
    marking.set_status(selection.of_items(dataset, [items[4].pk]), "done", by=alice)
    found = columns.of(dataset)
    assert found.ids.tolist() == [item.pk for item in items]
    assert found.status.counts() == {"todo": 5, "done": 1}
    assert found.split.counts() == {"": 1, "train": 5}
    assert found.tag.counts() == {"x": 5, "y": 5}
    assert found.metadata["camera"].counts() == {"": 1, "left": 5}
    assert np.isnan(found.brightness).tolist() == [False, False, True, False, False, False]
    assert found.is_unreadable.tolist() == [False, False, True, False, False, False]
    assert found.labels.row.tolist() == [1, 3]
    assert set(found.labels.label.tolist()) == {cat.pk}
    assert set(found.labels.author.tolist()) == {alice.pk}
    every, extra = found.content.repeated
    assert (np.flatnonzero(every).tolist(), np.flatnonzero(extra).tolist()) == ([0, 5], [5])


@pytest.mark.django_db
def test_a_dataset_without_items_has_empty_ones(dataset: Dataset) -> None:
    found = columns.of(dataset)
    assert (len(found), found.status.counts(), found.rows_of(np.array([3])).tolist()) == (0, {}, [])
    add_items(dataset, 2)
    assert len(columns.of(dataset)) == 2


@pytest.mark.django_db
def test_nothing_of_another_dataset_is_in_them(dataset: Dataset, foreign: Dataset, charlie: Any) -> None:
    """Their items stand in the same blocks."""
    for _ in range(3):
        add_items(dataset, 1, split="mine")
        theirs = add_items(foreign, 1, split="theirs")
    columns.of(dataset)
    labelling.apply_label(selection.of_items(foreign, [theirs[0].pk]), add_class(foreign, "cat"), by=charlie)
    add_items(dataset, 1, split="mine")
    found = columns.of(dataset)
    assert found.split.counts() == {"mine": 4}
    assert not len(found.labels.row)


def test_what_changes_is_seen_and_only_that_is_read_again(
    transactional_db: None, dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_FEW", 10**9)  # never everything
    items = add_items(dataset, 3 * BLOCK // 1000, split="train")  # a few; the blocks of the others are made by hand
    with connection.cursor() as cursor:
        for item in items[1:]:  # ids that are far apart: a block each
            cursor.execute("UPDATE datasets_item SET id = id * %s WHERE id = %s", [BLOCK, item.pk])
    first = columns.of(dataset)
    assert first.ids.tolist() == written(dataset)["id"]
    read: list[list[int] | None] = []
    whole = reading.read

    def watched(dataset: Dataset, keys: Any, blocks: list[int] | None = None) -> Columns:
        read.append(blocks)
        return whole(dataset, keys, blocks)

    monkeypatch.setattr(reading, "read", watched)
    changed = int(first.ids[-1])
    Item.objects.filter(pk=changed).update(split="val")
    assert columns.of(dataset).split.counts() == {"train": len(items) - 1, "val": 1}
    assert read == [[changed >> reading.BLOCK_BITS]]
    labelling.apply_label(selection.of_items(dataset, [int(first.ids[-2])]), add_class(dataset, "cat"), by=alice)
    assert columns.of(dataset).labels.row.tolist() == [len(items) - 2]
    assert len(read) == 1, "The items of a block were read again for a label."
    Item.objects.filter(pk=int(first.ids[-3])).delete()
    same(columns.of(dataset), anew(dataset))


def test_whatever_is_written_they_follow(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty acts by chance, each followed by a look that reads the changed blocks only."""
    monkeypatch.setattr(columns, "_FEW", 10**9)
    monkeypatch.setattr(columns, "_KEYS_KEPT_S", -1.0)
    chance = random.Random(3)
    alice = make_user("alice")
    dataset = creation.create_dataset(name="signs", modality="image", by=alice, multi_label=True)
    classes = [add_class(dataset, name) for name in "ab"]
    add_items(dataset, 12)
    columns.of(dataset)
    done: list[Operation] = []

    def some() -> list[int]:
        ids = list(Item.objects.filter(dataset=dataset).values_list("pk", flat=True))
        return chance.sample(ids, min(len(ids), chance.randint(1, 3)))

    def rows() -> Any:
        return Item.objects.filter(pk__in=some())

    def label(mode: labelling.Mode) -> None:
        chosen = selection.of_items(dataset, some())
        done.append(labelling.apply_label(chosen, chance.choice(classes), by=alice, mode=mode).operation)

    acts: list[Callable[[], Any]] = [
        lambda: Item.objects.create(dataset=dataset, key=f"{chance.random()}", external_path="/x", split="new"),
        lambda: rows().delete(),
        lambda: rows().update(split=chance.choice(["", "train", "val"])),
        lambda: rows().update(tags=chance.choice([[], ["x"], ["x", "y"]])),
        lambda: rows().update(brightness=chance.random(), sharpness=None, problem=chance.choice(["", "bad"])),
        lambda: rows().update(metadata={"camera": chance.choice(["left", "right"])}),
        lambda: rows().update(sha256=chance.choice(["a", "b"]) * 64),
        lambda: done.append(marking.set_status(selection.of_items(dataset, some()), "done", by=alice).operation),
        lambda: label(labelling.Mode.ADD),
        lambda: label(labelling.Mode.REMOVE),
        lambda: operations.undo(done.pop(), by=alice) if done else None,
    ]
    for _ in range(60):
        chance.choice(acts)()
        same(columns.of(dataset), anew(dataset))


FILTERS: list[dict[str, Any]] = [
    *({"status": one} for one in ("todo", ["done", "excluded"], [])),
    *({key: value} for key in ("split", "not_split") for value in ("train", "none", ["train", "none"], "nowhere")),
    {"not_status": "done"},
    *({key: value} for key in ("tag", "not_tag") for value in ("x", ["x", "y"], "nothing")),
    *({key: value} for key in ("label", "not_label") for value in ("a", ["a", "b"], "unlabeled", ["b", "unlabeled"])),
    *({"unlabeled": value} for value in ("true", False)),
    *({"source": value} for value in ("human", ["import", "model"])),
    *({"annotator": value} for value in ("alice", "nobody")),
    *({"duplicates": value} for value in ("any", "extra")),
    *(
        {key: value}
        for key in ("brightness", "sharpness")
        for value in (">=0.5", "<0.25", "0.1..0.5", [">0.1", "<=0.75"])
    ),
    {"metadata.camera": "left"},
    {"key_contains": "3"},
    {"created_after": "2020-01-01"},
]


@pytest.fixture
def varied(multi: Dataset, alice: Any, bob: Any) -> Dataset:
    chance = random.Random(5)
    items = add_items(multi, 60)
    for item in items:
        item.split = chance.choice(["", "train", "val"])
        item.status = chance.choice(["todo", "done", "excluded"])
        item.tags = chance.choice([[], ["x"], ["y", "x"]])
        item.metadata = chance.choice([{}, {"camera": "left"}, {"camera": "right"}])
        item.brightness = chance.choice([None, 0.1, 0.25, 0.5, 0.75])
        item.sharpness = chance.choice([None, 0.1, 0.25, 0.5, 0.75])
        item.text_hash = chance.choice([b"a" * 16, b"b" * 16, chance.randbytes(16)])
    Item.objects.bulk_update(items, ["split", "status", "tags", "metadata", "brightness", "sharpness", "text_hash"])
    for name, by in (("a", alice), ("b", bob)):
        label = add_class(multi, name)
        labelling.apply_label(
            selection.of_items(multi, chance.sample([item.pk for item in items], 25)),
            label,
            by=by,
            mode=labelling.Mode.ADD,
        )
    Annotation.objects.filter(label__name="b").update(source="import")
    return multi


@pytest.mark.django_db
@pytest.mark.parametrize("said", FILTERS, ids=str)
def test_a_condition_means_the_same_on_columns_as_in_sql(varied: Dataset, said: dict[str, Any]) -> None:
    found = columns.of(varied)
    for condition in filters.parse(varied, said).conditions:
        assert isinstance(condition, Condition)
        expected = set(filters.Filter((condition,)).apply(filters.items_of(varied)).values_list("pk", flat=True))
        assert set(found.ids[passing.mask(varied, found, condition)].tolist()) == expected


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[psycopg.Connection[Any]]:
    """Another connection, whose transaction is open until it commits."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        yield other


def test_what_begins_earlier_and_commits_later_is_seen(elsewhere: psycopg.Connection[Any]) -> None:
    """Its number in the log is smaller than one that was read already."""
    dataset = creation.create_dataset(name="signs", modality="image", by=make_user("alice"))
    items = add_items(dataset, 3, split="train")
    assert columns.of(dataset).split.counts() == {"train": 3}
    elsewhere.execute("UPDATE datasets_item SET split = 'late' WHERE id = %s", [items[0].pk])
    Item.objects.filter(pk=items[1].pk).update(split="early")
    assert columns.of(dataset).split.counts() == {"train": 2, "early": 1}
    elsewhere.commit()
    assert columns.of(dataset).split.counts() == {"train": 1, "early": 1, "late": 1}


def test_what_is_rolled_back_was_never_there(elsewhere: psycopg.Connection[Any]) -> None:
    dataset = creation.create_dataset(name="signs", modality="image", by=make_user("alice"))
    items = add_items(dataset, 2, split="train")
    columns.of(dataset)
    elsewhere.execute("UPDATE datasets_item SET split = 'late' WHERE id = %s", [items[0].pk])
    elsewhere.rollback()
    assert columns.of(dataset).split.counts() == {"train": 2}
    with suppress(ZeroDivisionError), transaction.atomic():
        Item.objects.filter(pk=items[1].pk).update(split="never")
        assert columns.of(dataset).split.counts() == {"train": 1, "never": 1}
        raise ZeroDivisionError
    same(columns.of(dataset), anew(dataset))


def test_many_may_ask_at_once_while_labels_come(transactional_db: None) -> None:
    alice = make_user("alice")
    dataset = creation.create_dataset(name="signs", modality="image", by=alice)
    items, label = add_items(dataset, 40), add_class(dataset, "cat")
    seen: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            before = 0
            while not stop.is_set():
                now = len(columns.of(dataset).labels.row)
                assert now >= before
                before = now
            seen.append(before)
        finally:
            connections.close_all()

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for one in askers:
        one.start()
    for item in items:
        labelling.apply_label(selection.of_items(dataset, [item.pk]), label, by=alice)
    assert len(columns.of(dataset).labels.row) == len(items)
    stop.set()
    for one in askers:
        one.join(20)
    assert len(seen) == 3
    assert LabelClass.objects.filter(dataset=dataset).count() == 1


def test_old_changes_are_forgotten_and_nothing_is_missed(
    transactional_db: None, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_TOLD_S", -1)
    add_items(dataset, 2, split="train")
    columns.of(dataset)
    columns.forget_old_changes()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM datasets_changedblock")
        assert cursor.fetchone() == (0,)
    # What is kept is older than what is told: all is read.
    add_items(dataset, 1, split="val")
    columns.forget_old_changes()
    monkeypatch.setattr(columns, "_KEPT_S", -1.0)
    assert columns.of(dataset).split.counts() == {"train": 2, "val": 1}
