"""Words as they stand in texts, beside what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import connection
from rest_framework.test import APIClient

from datasets import selection
from datasets.errors import Refused
from datasets.models import Dataset, Item
from search import answers, counts, fulltext, query, vectors
from search.vectors import Ranked
from tests.fixtures import add_items

pytestmark = pytest.mark.django_db

TEXTS = [
    "My card was stolen on the train",
    "error XK-4711 when I pay by card",
    "Bitte geben Sie den Code XK-4711 ein",
    "what is the exchange rate",
    "the train was late",
    "بطاقتي ضاعت",
]


@pytest.fixture
def items(multi: Dataset) -> list[Item]:
    """Vectors so that likeness to any words goes by the order of the texts, or nearly."""
    made = add_items(multi, len(TEXTS))
    for item, text in zip(made, TEXTS, strict=True):
        item.text = text
        item.save()
    space = multi.spaces.get()
    words = query.compile(query.parse(multi, {"text": "anything"}))[1]
    other = np.random.default_rng(0).normal(size=words.shape)
    matrix = np.array([words + at * 0.01 * other for at in range(len(TEXTS))])
    vectors.write(space, [item.pk for item in made], vectors.normalised(matrix))
    return made


def found(dataset: Dataset, text: str, mode: str) -> list[str]:
    ranked = answers.run(query.parse(dataset, {"text": text, "mode": mode}), limit=1000).best
    texts = dict(dataset.items.values_list("pk", "text"))
    return [texts[pk] or "" for pk in ranked.item_ids.tolist()]


@pytest.mark.parametrize(
    ("text", "holding"),
    [
        ("card", [0, 1]),
        ("CARD train", [0]),
        ('"the train"', [0, 4]),
        ("train -card", [4]),
        ("xk-4711", [1, 2]),
        ("rate or late", [3, 4]),
        ("بطاقتي", [5]),
        ("car", []),
        ("'; DROP TABLE x; -- %s", []),
    ],
)
def test_only_texts_that_hold_the_words(multi: Dataset, items: list[Item], text: str, holding: list[int]) -> None:
    assert sorted(found(multi, text, "words")) == sorted(TEXTS[at] for at in holding)
    meant = selection.parse(multi, {"query": {"text": text, "mode": "words"}})
    assert set(meant.items.values_list("text", flat=True)) == {TEXTS[at] for at in holding}


def test_together_nothing_is_lost_and_what_holds_the_words_comes_first(multi: Dataset, items: list[Item]) -> None:
    assert set(found(multi, "xk-4711", "hybrid")) == set(TEXTS)
    assert set(found(multi, "xk-4711", "hybrid")[:2]) == set(TEXTS[1:3])
    answer = answers.run(query.parse(multi, {"text": "xk-4711"}), limit=1)
    assert (answer.matched, len(answer.best.item_ids), answer.total) == (2, 1, 6)


def test_a_page_of_both_is_the_beginning_of_all(multi: Dataset, items: list[Item]) -> None:
    asked = query.parse(multi, {"text": "card"})
    every = answers.run(asked, limit=1000).best
    for limit in range(1, 7):
        page = answers.run(asked, limit=limit).best
        assert page.item_ids.tolist() == every.item_ids.tolist()[:limit]


def test_a_cut_and_a_selection_go_by_likeness(multi: Dataset, items: list[Item]) -> None:
    asked = {"text": "card"}
    every = answers.run(query.parse(multi, asked), limit=1000).best
    cut = float(np.sort(every.scores)[3])
    above = set(every.item_ids[every.scores >= cut].tolist())
    page = answers.run(query.parse(multi, asked), limit=10, min_score=cut).best
    assert set(page.item_ids.tolist()) == above
    meant = selection.parse(multi, {"query": asked, "min_score": cut}).items
    assert set(meant.values_list("pk", flat=True)) == above


def test_a_count_of_words_is_that_of_the_texts_that_hold_them(multi: Dataset, items: list[Item]) -> None:
    for mode, number in (("words", 2), ("hybrid", 6), ("meaning", 6)):
        counted = counts.count(multi, {"text": "card", "mode": mode}, unlabeled=True)
        assert (counted.count, counted.total) == (number, number)


def test_ranks_are_fused_as_the_paper_says() -> None:
    alike = Ranked(np.array([10, 11, 12, 13]), np.array([0.9, 0.8, 0.7, 0.6], np.float32))
    holding = Ranked(np.array([12, 14]), np.array([0.7, 0.1], np.float32))
    fused = fulltext.fuse(alike, holding, [14, 12], None)
    # 12: 1/63 + 1/62; 14 and 10: 1/61, the more alike first; 11: 1/62; 13: 1/64.
    assert fused.item_ids.tolist() == [12, 10, 14, 11, 13]
    np.testing.assert_allclose(fused.scores, [0.7, 0.9, 0.1, 0.8, 0.6])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('"lost card" -stolen', "lost card"),
        ('-"by train" card', "card"),
        ("-card", "-card"),
        ("well-known", "well-known"),
    ],
)
def test_what_an_encoder_reads(text: str, meant: str) -> None:
    assert fulltext.plain(text) == meant


def test_words_are_marked_where_they_stand(
    multi: Dataset, items: list[Item], client_of: Callable[[Any], APIClient], vera: Any
) -> None:
    body = {"text": "card train", "mode": "words"}
    answer = client_of(vera).post(f"/api/v1/datasets/{multi.pk}/search/", body, format="json").json()
    (result,) = answer["results"]
    assert [result["item"]["text"][start:end] for start, end in result["highlights"]] == ["card", "train"]
    assert answer["matched"] == 1
    plain = client_of(vera).post(f"/api/v1/datasets/{multi.pk}/search/", body | {"mode": "meaning"}, format="json")
    assert (plain.json()["matched"], plain.json()["results"][0]["highlights"]) == (None, [])


def test_marks_count_characters_whatever_stands_in_the_text(multi: Dataset) -> None:
    item = add_items(multi, 1)[0]
    item.text = "😀 \x02a\x03 <b>Größe</b>\n" + "größe " * 200
    item.save()
    spans = fulltext.highlights([item.pk], "größe")[item.pk]
    assert {item.text[start:end].lower() for start, end in spans} <= {"größe", "gr", "grö", "größ", "g"}
    assert item.text[slice(*spans[0])] == "Größe"
    assert spans[-1][1] <= fulltext.GLIMPSE


@pytest.mark.parametrize("mode", ["words", "hybrid"])
def test_images_hold_no_words(dataset: Dataset, mode: str) -> None:
    with pytest.raises(Refused, match="its only mode is meaning"):
        query.parse(dataset, {"text": "a cat", "mode": mode})


def test_what_is_no_mode_is_refused(multi: Dataset) -> None:
    with pytest.raises(Refused, match="mode is one of hybrid, meaning, words"):
        query.parse(multi, {"text": "card", "mode": "magic"})


def test_words_are_looked_up_in_their_index(multi: Dataset, items: list[Item]) -> None:
    """As in a dataset that is most of the table: the few items of this one are found quicker by their dataset."""
    statement, params = Item.objects.filter(fulltext.holding(multi, "card")).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + statement.replace("dataset_id = %s AND text", "%s > 0 AND text"), params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Bitmap Index Scan on item_by_words" in plan
