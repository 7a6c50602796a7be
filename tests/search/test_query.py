"""Ranking equals brute force in NumPy on the same vectors, under any filter; queries mean what they say."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import creation, filters, predictions, selection
from datasets.errors import Refused
from datasets.models import Dataset, Item
from datasets.predictions import Predicted
from datasets.regions import Shape
from search import answers, encoders, query, vectors
from search.models import Embedding, EmbeddingSpace
from tests.fixtures import add_items, jpeg

Matrix = npt.NDArray[np.float32]


def space_of(dataset: Dataset, output: str = "visual") -> EmbeddingSpace:
    return EmbeddingSpace.objects.get(dataset=dataset, output=output)


def put(space: EmbeddingSpace, items: list[Item], matrix: Matrix) -> Matrix:
    """Store one vector an item; what the database holds of them, ``(n, dimension)`` in half precision."""
    vectors.write(space, [item.pk for item in items], vectors.normalised(matrix))
    stored = vectors.of_items(space, [item.pk for item in items])
    return np.array([stored[item.pk] for item in items])


def random(number: int, dimension: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(number, dimension)).astype(np.float32)


def brute_force(ids: list[int], stored: Matrix, wanted: Matrix) -> list[tuple[int, float]]:
    scores = stored.astype(np.float64) @ wanted.astype(np.float16).astype(np.float64)
    return [(ids[at], float(scores[at])) for at in np.lexsort((np.array(ids), -scores))]


def test_vectors_come_back_in_half_precision(dataset: Dataset) -> None:
    items = add_items(dataset, 50)
    matrix = vectors.normalised(random(50, 1280))
    stored = put(space_of(dataset), items, matrix)
    assert stored.shape == (50, 1280)
    np.testing.assert_array_equal(stored, matrix.astype(np.float16).astype(np.float32))


def test_writing_again_replaces_and_counts_what_is_different(dataset: Dataset) -> None:
    items = add_items(dataset, 3)
    space = space_of(dataset)
    matrix = vectors.normalised(random(3, 1280))
    ids = [item.pk for item in items]
    assert vectors.write(space, ids, matrix) == 3
    changed = matrix.copy()
    changed[1] = vectors.normalised(random(1, 1280, seed=9))[0]
    assert vectors.write(space, ids, changed) == 1
    assert Embedding.objects.filter(space_id=space.pk).count() == 3


@pytest.mark.parametrize("bad", [np.zeros((1, 1280)), np.full((1, 1280), np.nan), np.ones((1, 1279))])
def test_vectors_that_are_none_are_refused(dataset: Dataset, bad: Any) -> None:
    item = add_items(dataset, 1)[0]
    with pytest.raises(vectors.WrongVectors):
        vectors.write(space_of(dataset), [item.pk], vectors.normalised(bad))


@given(number=st.integers(1, 60), seed=st.integers(0, 1000), train=st.integers(0, 60), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranking_equals_brute_force_under_a_filter(
    alice: Any, number: int, seed: int, train: int, data: st.DataObject
) -> None:
    dataset = creation.create_dataset(name="random", modality="image", by=alice)
    train = min(train, number)
    items = add_items(dataset, train, split="train") + add_items(dataset, number - train, split="test")
    # Coarse values and repeated rows: ties are common, and go by id.
    matrix = np.round(random(number, 1280, seed))
    matrix[:, 0] += 1
    for at in range(1, number, 3):
        matrix[at] = matrix[at - 1]
    stored = put(space_of(dataset), items, matrix)
    example = data.draw(st.integers(0, number - 1), label="example")
    limit = data.draw(st.integers(1, 70), label="limit")
    for split, chosen in (("train", slice(0, train)), (None, slice(None))):
        asked = query.parse(dataset, {"like": [items[example].pk]} | ({"filter": {"split": split}} if split else {}))
        answer = answers.run(asked, limit=limit)
        expected = brute_force([item.pk for item in items[chosen]], stored[chosen], vectors.normalised(stored[example]))
        assert answer.best.item_ids.tolist() == [pk for pk, _ in expected][:limit]
        np.testing.assert_allclose(answer.best.scores, [score for _, score in expected][:limit], atol=2e-6)
        assert (answer.is_exact, answer.embedded, answer.total) == (True, len(expected), len(expected))
        assert sum(answer.histogram.counts) == len(expected)


def test_a_selection_by_score_is_what_the_ranking_shows_above_it(dataset: Dataset) -> None:
    items = add_items(dataset, 80)
    put(space_of(dataset), items, random(80, 1280) + 0.5)
    raw = {"like": [items[0].pk]}
    ranked = answers.run(query.parse(dataset, raw), limit=1000).best
    cut = float(ranked.scores[20])
    meant = selection.parse(dataset, {"query": raw, "min_score": cut}).items
    assert set(meant.values_list("pk", flat=True)) == set(ranked.item_ids[ranked.scores >= np.float32(cut)].tolist())


def test_more_and_less_like_combine_as_documented(dataset: Dataset) -> None:
    items = add_items(dataset, 30)
    stored = put(space_of(dataset), items, random(30, 1280))
    raw = {"like": [items[0].pk, items[1].pk], "unlike": [items[2].pk]}
    ranked = answers.run(query.parse(dataset, raw), limit=1000).best
    wanted = vectors.normalised(2 * stored[:2].mean(axis=0) - stored[2])
    assert ranked.item_ids.tolist() == [pk for pk, _ in brute_force([item.pk for item in items], stored, wanted)]


def test_items_without_a_vector_are_counted_and_not_found(dataset: Dataset) -> None:
    items = add_items(dataset, 10)
    put(space_of(dataset), items[:4], random(4, 1280))
    answer = answers.rank_all(query.parse(dataset, {"like": [items[0].pk]}))
    assert (len(answer.best.item_ids), answer.embedded, answer.total) == (4, 4, 10)
    with pytest.raises(query.ExampleNotReady, match="not embedded yet"):
        answers.run(query.parse(dataset, {"like": [items[9].pk]}), limit=1000)


def test_words_are_searched_in_the_language_space(dataset: Dataset) -> None:
    items = add_items(dataset, 3)
    encoder = encoders.get(dataset.encoder)
    texts = ["a cat on a sofa", "a red racing car", "a bowl of soup"]
    put(space_of(dataset, "language"), items, encoder.encode_texts(texts)["language"])
    ranked = answers.run(query.parse(dataset, {"text": "a kitten"}), limit=1000).best
    assert ranked.item_ids[0] == items[0].pk


def counted(dataset: Dataset, *numbers: int) -> list[Item]:
    """Items with so many dogs each."""
    items = add_items(dataset, len(numbers))
    said = [
        Predicted(item.pk, "dog", 0.9, Shape(0, 0, 0.3, 0.3))
        for item, number in zip(items, numbers, strict=True)
        for _ in range(number)
    ]
    predictions.replace(predictions.model_named(dataset, "eyes", ["dog"]), [item.pk for item in items], said)
    return items


def test_what_is_understood_narrows_and_the_rest_is_compared(dataset: Dataset) -> None:
    items = counted(dataset, 0, 2, 3, 3)
    texts = ["a cat on a sofa", "a beach", "a dog in the snow", "a dog on the beach"]
    put(space_of(dataset, "language"), items, encoders.get(dataset.encoder).encode_texts(texts)["language"])
    answer = answers.run(query.parse(dataset, {"text": "at least 2 dogs on a beach"}), limit=1000)
    assert answer.best.item_ids[0] in (items[1].pk, items[3].pk)
    assert set(answer.best.item_ids.tolist()) == {one.pk for one in items[1:]}
    both = {"text": "at least 2 dogs on a beach", "filter": {"count.dog": "<3"}}
    assert answers.run(query.parse(dataset, both), limit=1000).best.item_ids.tolist() == [items[1].pk]
    literal = answers.run(query.parse(dataset, both | {"literal": True, "filter": {}}), limit=1000)
    assert len(literal.best.item_ids) == 4


def test_where_no_words_are_left_the_filter_answers_alone(dataset: Dataset) -> None:
    items = counted(dataset, 0, 2, 3, 4)  # none of them has a vector
    asked = query.parse(dataset, {"text": "more than two dogs"})
    answer = answers.run(asked, limit=1, min_score=0.5)
    assert (answer.space, answer.total, answer.is_exact) == (None, 2, True)
    assert answer.best.item_ids.tolist() == [items[2].pk]
    assert np.isnan(answer.best.scores).all()
    assert answer.histogram.counts == []
    for cut in (None, 0.9):
        meant = selection.parse(dataset, {"query": {"text": "more than two dogs"}, "min_score": cut}).items
        assert list(meant.order_by("pk")) == items[2:]


def test_words_that_are_only_conditions_need_something_to_be_unlike(dataset: Dataset) -> None:
    items = counted(dataset, 1)
    with pytest.raises(query.InvalidQuery, match="only what to avoid"):
        query.parse(dataset, {"text": "no dog", "unlike": [items[0].pk]})


def test_an_uploaded_picture_finds_itself(dataset: Dataset) -> None:
    items = add_items(dataset, 5)
    encoder = encoders.get(dataset.encoder)
    from datasets.imaging import read_image

    pictures = [read_image(io.BytesIO(jpeg(seed, (300, 240))), least_side=encoder.spec.image_side) for seed in range(5)]
    put(space_of(dataset), items, encoder.encode_batch([encoder.preprocess(one.pixels) for one in pictures])["visual"])
    image = query.keep_image(dataset, io.BytesIO(jpeg(3, (300, 240))))
    ranked = answers.run(query.parse(dataset, {"image": image.sha256}), limit=1).best
    assert ranked.item_ids.tolist() == [items[3].pk]
    assert ranked.scores[0] > 0.999


def test_a_dataset_without_a_language_space_says_so(alice: Any) -> None:
    dataset = creation.create_dataset(name="plain", modality="image", by=alice, encoder="efficientnet-lite0")
    with pytest.raises(Refused, match="words"):
        answers.run(query.parse(dataset, {"text": "a cat"}), limit=1000)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"unlike": [1]},
        {"like": ["x"]},
        {"text": 3},
        {"text": "a", "literal": "yes"},
        {"words": "a"},
        {"text": "a", "filter": {"x": 1}},
    ],
)
def test_what_is_no_query_is_refused_with_a_sentence(dataset: Dataset, raw: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        answers.run(query.parse(dataset, raw), limit=5)
    assert str(refusal.value).endswith(".")


def test_the_exact_scan_never_takes_an_approximate_index(dataset: Dataset) -> None:
    """With one there, ORDER BY distance would take it and lose rows under a filter."""
    space = space_of(dataset)
    items = add_items(dataset, 300, split="train")
    stored = put(space, items, random(300, 1280))
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE INDEX ON search_embedding_{space.pk} USING hnsw ((vector::halfvec(1280)) halfvec_ip_ops)"
        )
        cursor.execute("ANALYZE search_embedding")
        cursor.execute("SET LOCAL enable_seqscan = off")
    chosen = filters.parse(dataset, {"split": "train"}).apply(filters.items_of(dataset))
    ranked = vectors.rank(space, vectors.normalised(stored[7]), chosen, limit=200).best
    expected = brute_force([item.pk for item in items], stored, vectors.normalised(stored[7]))
    assert ranked.item_ids.tolist() == [pk for pk, _ in expected][:200]
