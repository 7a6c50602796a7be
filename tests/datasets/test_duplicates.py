"""The same content twice: what counts as the same, and the filter that finds it wherever filters are."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from datasets import creation, filters, importing, jobs, labelling, marking, selection, statistics
from datasets.duplicates import normalised, text_hash
from datasets.models import Dataset, Item
from tests.fixtures import add_class, add_items


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my card?", "  where is\t my\n\ncard? "),
        ("STRASSE", "Straße"),
        ("ﬁne", "fine"),
        ("Ａ１", "a1"),
        ("e\u0301t\u00e9", "\u00e9te\u0301"),
        ("soft\u00adhyphen\u200b", "\ufeffsofthyphen"),
        ("a\u00a0b\u3000c", "A B C"),
        ("ŉ", "ʼn"),
        ("\u2764\ufe0f", "\u2764"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
def test_texts_that_differ_in_their_writing_only_are_the_same(one: str, other: str) -> None:
    assert text_hash(one) == text_hash(other)


@pytest.mark.parametrize(
    ("one", "other"), [("card", "cards"), ("a b", "ab"), ("résumé", "resume"), ("card?", "card"), ("日本", "日本語")]
)
def test_other_words_are_other_texts(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


@given(st.text())
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert normalised(f" \u200b{text}\n") == normalised(text)


def texts(dataset: Dataset, by: Any, *rows: str) -> list[Item]:
    table = io.BytesIO("\n".join(["text", *(f'"{row}"' for row in rows)]).encode())
    jobs.run(importing.start_upload_import(dataset, [("t.csv", table)], by=by).pk)
    return list(dataset.items.order_by("pk"))


def found(dataset: Dataset, **words: Any) -> list[int]:
    return list(
        filters.parse(dataset, words).apply(filters.items_of(dataset)).order_by("pk").values_list("pk", flat=True)
    )


def test_a_text_dataset_tells_what_occurs_more_than_once(multi: Dataset, alice: Any) -> None:
    ids = [item.pk for item in texts(multi, alice, "One", "two", "ONE ", "three", " one", "Two")]
    assert found(multi, duplicates="any") == [ids[0], ids[1], ids[2], ids[4], ids[5]]
    assert found(multi, duplicates="extra") == [ids[2], ids[4], ids[5]]
    assert found(multi, duplicates="extra", text_contains="two") == [ids[5]]


def test_images_are_the_same_when_their_files_are(dataset: Dataset, multi: Dataset, alice: Any) -> None:
    items = add_items(dataset, 3)
    Item.objects.filter(pk=items[2].pk).update(sha256=items[0].sha256)
    Item.objects.filter(pk=items[1].pk).update(sha256=None)
    other = creation.create_dataset(name="other", modality="image", by=alice)
    add_items(other, 1)  # the same content in another dataset is no duplicate
    assert found(dataset, duplicates="any") == [items[0].pk, items[2].pk]
    assert found(dataset, duplicates="extra") == [items[2].pk]
    assert found(other, duplicates="any") == []


def test_the_filter_works_wherever_filters_do(client_of: Any, multi: Dataset, alice: Any) -> None:
    ids = [item.pk for item in texts(multi, alice, "one", "two", "One", "three")]
    client, address = client_of(alice), f"/api/v1/datasets/{multi.pk}"
    listed = client.get(f"{address}/items/?duplicates=any&order=-key").json()["results"]
    assert sorted(item["id"] for item in listed) == [ids[0], ids[2]]
    assert client.get(f"{address}/ids/?duplicates=extra").headers["X-Count"] == "1"
    chosen = {"selection": {"filter": {"duplicates": "extra"}}}
    assert client.post(f"{address}/selection/", chosen, format="json").json()["count"] == 1
    changed = client.post(f"{address}/status/", chosen | {"status": "excluded"}, format="json").json()["changed"]
    assert changed == 1
    assert Item.objects.get(pk=ids[2]).status == "excluded"
    exported = b"".join(client.get(f"{address}/export/?duplicates=any").streaming_content).decode()
    assert [line.split(",")[0] for line in exported.splitlines()[1:]] == [str(ids[0])]
    answer = client.get(f"{address}/items/?duplicates=all")
    assert (answer.status_code, answer.json()["detail"]) == (400, "duplicates is one of any, extra, not “all”.")
    body = {"query": {"like": [ids[0]], "filter": {"duplicates": "any"}}}
    assert client.post(f"{address}/search/", body["query"], format="json").status_code == 409  # not embedded yet


def test_the_rail_counts_duplicates_under_the_other_filters(multi: Dataset, alice: Any) -> None:
    items = texts(multi, alice, "one", "two", "One", "three", "ONE")
    marking.set_status(selection.of_items(multi, [items[4].pk]), "done", by=alice)
    label = add_class(multi, "number")
    labelling.apply_label(selection.of_items(multi, [items[0].pk, items[2].pk]), label, by=alice)

    def counted(**words: Any) -> dict[str, Any]:
        return statistics.statistics(multi, filters.parse(multi, words))

    assert counted()["duplicates"] == {"any": 3, "extra": 2}
    assert counted(status="done")["duplicates"] == {"any": 1, "extra": 1}
    assert counted(status="excluded")["duplicates"] == {"any": 0, "extra": 0}
    under = counted(duplicates="extra")
    assert (under["total"], under["duplicates"]) == (2, {"any": 3, "extra": 2})
    assert (under["labels"][0]["count"], under["status"]["done"]) == (1, 1)
    assert counted(duplicates="any")["total"] == 3


def test_the_migration_fills_what_was_there_before(multi: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    migration = importlib.import_module("datasets.migrations.0004_fill_text_hash")
    monkeypatch.setattr(migration, "_BATCH", 3)
    items = add_items(multi, 8)
    Item.objects.filter(pk=items[4].pk).update(text=" A  TEXT ")
    assert found(multi, duplicates="any") == []
    with connection.schema_editor() as editor:
        migration.fill(apps, editor)
        migration.fill(apps, editor)
    assert found(multi, duplicates="extra") == [item.pk for item in items[1:]]


@pytest.mark.parametrize(("modality", "index"), [("text", "item_by_text"), ("image", "item_by_file")])
def test_duplicates_are_read_from_an_index_in_its_order(alice: Any, modality: str, index: str) -> None:
    dataset = creation.create_dataset(name="many", modality=modality, by=alice)
    add_items(dataset, 50)
    if modality == "text":
        for item in dataset.items.all():
            Item.objects.filter(pk=item.pk).update(text_hash=text_hash(str(item.pk)))
    with connection.cursor() as cursor:
        # With few rows the planner reads and sorts them all; at a million it does not need to be told.
        for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        sql, params = filters.parse(dataset, {"duplicates": "any"}).apply(
            filters.items_of(dataset)
        ).order_by().values("pk").query.sql_with_params()  # fmt: skip
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert f"Index Only Scan using {index}" in plan
    assert "Sort" not in plan.split("WindowAgg")[1]
