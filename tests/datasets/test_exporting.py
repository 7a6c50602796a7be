"""What leaves: every label with who gave it and when, and nothing that must not be trained on."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from datasets import exporting, filters, labelling, marking, selection
from datasets.models import Dataset
from tests.fixtures import add_class, add_items


def csv_rows(dataset: Dataset, words: dict[str, Any] | None = None, **options: Any) -> list[dict[str, str]]:
    table = b"".join(exporting.export(dataset, filters.parse(dataset, words), exporting.format_named("csv"), **options))
    return list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline="")))


def json_rows(dataset: Dataset) -> list[dict[str, Any]]:
    lines = b"".join(exporting.export(dataset, filters.parse(dataset, None), exporting.format_named("jsonl")))
    return [json.loads(line) for line in lines.splitlines()]


def label(dataset: Dataset, items: list[Any], name: str, by: Any) -> None:
    chosen = selection.of_items(dataset, [item.pk for item in items])
    found = dataset.classes.filter(name=name).first() or add_class(dataset, name)
    labelling.apply_label(chosen, found, by=by)


def test_each_label_says_who_gave_it_and_when(dataset: Dataset, alice: Any, bob: Any) -> None:
    items = add_items(dataset, 3, split="train", metadata={"camera": "left"})
    label(dataset, items[:1], "cat", alice)
    label(dataset, items[1:2], "dog", bob)
    for rows in (csv_rows(dataset), json_rows(dataset)):
        by_key = {row["key"]: row for row in rows}
        assert [by_key[item.key]["label"] or None for item in items] == ["cat", "dog", None]
        assert [by_key[item.key]["author"] or None for item in items] == ["alice", "bob", None]
        assert by_key[items[0].key]["source"] == "human"
        assert by_key[items[0].key]["labeled_at"].startswith("20")
        assert "confidence" in by_key[items[0].key]


def test_an_item_of_several_labels_has_a_row_for_each(multi: Dataset, alice: Any) -> None:
    item = add_items(multi, 1)[0]
    for name in ("a", "b"):
        chosen = selection.of_items(multi, [item.pk])
        labelling.apply_label(chosen, add_class(multi, name), by=alice, mode=labelling.Mode.ADD)
    assert sorted(row["label"] for row in csv_rows(multi)) == ["a", "b"]


def test_excluded_items_stay_unless_they_are_asked_for(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 3)
    marking.set_status(selection.of_items(dataset, [items[0].pk]), "excluded", by=alice)
    assert len(csv_rows(dataset)) == 2
    assert len(csv_rows(dataset, include_excluded=True)) == 3
    assert [row["key"] for row in csv_rows(dataset, {"status": "excluded"})] == [items[0].key]


def test_the_filter_applies(dataset: Dataset, alice: Any) -> None:
    train, _ = add_items(dataset, 2, split="train"), add_items(dataset, 3, split="test")
    label(dataset, train[:1], "cat", alice)
    assert len(csv_rows(dataset, {"split": "train"})) == 2
    assert [row["key"] for row in csv_rows(dataset, {"label": "cat"})] == [train[0].key]


@pytest.mark.parametrize("text", ["a,b", 'say "x"', "two\nlines", "größe 日本", "trailing "])
def test_texts_come_out_as_they_went_in(multi: Dataset, text: str) -> None:
    item = add_items(multi, 1)[0]
    item.text = text
    item.save(update_fields=["text"])
    assert csv_rows(multi)[0]["text"] == text
    assert json_rows(multi)[0]["text"] == text
