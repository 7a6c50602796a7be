"""What a score is worth: the rule on made distributions, and what searches say by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datasets.models import Dataset, Item
from search import answers, calibration, encoders, ordinary, query, vectors
from search.calibration import Ordinary
from search.models import EmbeddingSpace
from search.scores import BINS, Spread
from tests.fixtures import add_items

Scores = npt.NDArray[np.float64]


def normal(number: int, middle: float = 0.2, spread: float = 0.05, seed: int = 0) -> Scores:
    return np.random.default_rng(seed).normal(middle, spread, number)


WORDS = Ordinary.of_words(normal(200 * 400, seed=9).reshape(200, 400))
NEIGHBOURS = Ordinary.of_neighbours(normal(200, 0.7, 0.05, seed=3))
CLUSTER = normal(40, 0.75, 0.02, seed=1)


@pytest.mark.parametrize("kind", [WORDS, NEIGHBOURS])
def test_of_unrelated_scores_none_stands_out(kind: Ordinary) -> None:
    found = calibration.judge(Spread.of(normal(500, spread=0.04)), kind)
    assert (found.stands_out, found.suggested) == (False, None)
    assert found.best is not None
    assert found.bar is not None
    assert found.best < found.bar
    assert f"the best score is {found.best:.2f}" in found.verdict


@pytest.mark.parametrize("kind", [WORDS, NEIGHBOURS])
def test_a_group_above_the_others_stands_out_and_the_cut_lies_between(kind: Ordinary) -> None:
    found = calibration.judge(Spread.of(np.concatenate([normal(500), CLUSTER])), kind)
    assert (found.stands_out, found.verdict) == (True, "")
    assert found.suggested is not None
    assert normal(500).max() < found.suggested < CLUSTER.min()


def test_of_unrelated_words_the_stated_share_is_let_through() -> None:
    reached = normal(400 * 200, seed=5).reshape(400, 200).max(axis=1)
    assert np.mean(reached >= (WORDS.bar or 0)) == pytest.approx(calibration.LET_THROUGH, abs=0.05)


def test_of_ordinary_queries_the_stated_share_is_turned_away() -> None:
    assert np.mean(normal(5_000, 0.7, 0.05, seed=8) < (NEIGHBOURS.bar or 0)) == pytest.approx(
        calibration.TURNED_AWAY, abs=0.02
    )


def test_where_every_word_finds_something_no_more_is_asked_than_items_have_with_their_best() -> None:
    scores = normal(50_000, seed=4).reshape(500, 100)
    scores[np.arange(500), np.arange(500) % 100] = 0.6
    scores[:10, 0] = 0.9
    scores[np.arange(100) * 5, np.arange(100)] = 0.95
    scores[100:, :] = np.minimum(scores[100:, :], 0.6)
    found = Ordinary.of_words(scores)
    assert found.bar is not None
    assert found.bar < np.quantile(scores.max(axis=0), 1 - calibration.LET_THROUGH)


def test_equal_scores_are_all_meant_or_none() -> None:
    same = Spread.of(np.full(50, 0.9))
    found = calibration.judge(same, Ordinary.of_neighbours(np.full(50, 0.9)))
    assert found.stands_out
    assert found.suggested is not None
    assert found.suggested <= 0.9
    assert calibration.judge(same, Ordinary.of_neighbours(np.full(50, 0.95))).stands_out is False


def test_a_single_item_may_stand_out() -> None:
    found = calibration.judge(Spread.of(np.array([0.8])), WORDS)
    assert (found.stands_out, found.suggested) == (True, 0.8)
    assert calibration.judge(Spread.of(np.array([0.15])), WORDS).stands_out is False


def test_of_few_neighbours_nothing_is_concluded() -> None:
    found = calibration.judge(Spread.of(normal(10)), Ordinary.of_neighbours(normal(10)))
    assert (found.stands_out, found.suggested, found.verdict) == (None, None, "")


def test_where_nothing_was_compared_nothing_is_said() -> None:
    assert calibration.judge(Spread.of(np.empty(0)), WORDS) == calibration.UNKNOWN
    assert Ordinary.of_words(np.empty((0, 5))).bar is None


def test_the_best_that_the_index_finds_counts_where_the_sample_lacks_it() -> None:
    sampled = Spread.of(normal(500, spread=0.03), standing_for=1_000_000)
    assert calibration.judge(sampled, WORDS).stands_out is False
    found = calibration.judge(sampled, WORDS, best=0.8)
    assert (found.stands_out, found.best) == (True, 0.8)
    assert found.suggested == pytest.approx(0.5, abs=0.01)


# The counts that it comes of ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 5, 1_000])
def test_shares_are_those_of_the_scores(number: int) -> None:
    scores = normal(number)
    spread = Spread.of(scores)
    part = 1 / BINS * (scores.max() - scores.min()) + 1e-12
    for score in scores[:20]:
        lower = (scores < score).sum()
        assert (scores < score - part).sum() <= round(spread.lower(np.array([score]))[0] * number) <= lower
    assert spread.middle == pytest.approx(np.sort(scores)[(number - 1) // 2], abs=part)
    assert spread.best == pytest.approx(scores.max())


def test_what_is_left_out_is_no_longer_the_best() -> None:
    spread = Spread.of(np.array([0.1, 0.2, 0.5, 1.0])).without(np.array([1.0]))
    assert spread.counted_number == 3
    assert spread.best == pytest.approx(0.5, abs=0.9 / BINS + 1e-9)


# Searches -------------------------------------------------------------------------------------------------------------


def space_of(dataset: Dataset, output: str) -> EmbeddingSpace:
    return EmbeddingSpace.objects.get(dataset=dataset, output=output)


@pytest.fixture
def clusters(dataset: Dataset) -> list[Item]:
    """Two hundred items in four groups; what is alike in a group has a cosine of some .9."""
    items = add_items(dataset, 200)
    random = np.random.default_rng(0)
    centres = vectors.normalised(random.normal(size=(4, 1280)))
    made = centres[np.arange(200) % 4] + 0.33 * vectors.normalised(random.normal(size=(200, 1280)))
    vectors.write(space_of(dataset, "visual"), [item.pk for item in items], vectors.normalised(made))
    return items


@pytest.mark.parametrize("way", ["page", "all"])
def test_the_group_of_an_example_stands_out_and_the_cut_takes_it(
    dataset: Dataset, clusters: list[Item], way: str
) -> None:
    asked = query.parse(dataset, {"like": [clusters[0].pk]})
    answer = answers.run(asked, limit=20) if way == "page" else answers.rank_all(asked)
    found = answer.calibration
    assert found.stands_out
    assert found.suggested is not None
    assert found.best is not None
    assert found.best < 0.99  # not the example
    chosen = answers.selected(asked, found.suggested)
    assert {item.pk for item in clusters[::4]} == set(chosen.values_list("pk", flat=True))


def test_an_example_whose_like_is_filtered_out_finds_nothing(dataset: Dataset, clusters: list[Item]) -> None:
    Item.objects.filter(pk__in=[item.pk for item in clusters[::4]]).update(split="train")
    Item.objects.filter(pk__in=[item.pk for item in clusters[1::4]]).update(split="test")
    asked = query.parse(dataset, {"like": [clusters[0].pk], "filter": {"split": "test"}})
    found = answers.run(asked, limit=20).calibration
    assert (found.stands_out, found.suggested) == (False, None)
    assert "nearest neighbour" in found.verdict
    again = answers.run(query.parse(dataset, {"like": [clusters[0].pk], "filter": {"split": "train"}}), limit=20)
    assert again.calibration.stands_out


def test_pages_agree_on_places_and_verdict(dataset: Dataset, clusters: list[Item]) -> None:
    asked = query.parse(dataset, {"like": [clusters[0].pk]})
    whole = answers.rank_all(asked)
    percentiles: list[float | None] = []
    after = None
    while True:
        page = answers.run(asked, limit=60, after=after)
        assert page.calibration == whole.calibration
        percentiles += page.percentiles
        if page.next is None:
            break
        after = answers.parse_after(page.next)
    assert percentiles == whole.percentiles
    expected = 100 * (199 - np.arange(200)) / 200
    np.testing.assert_allclose(np.array(percentiles, dtype=float), expected, atol=1.5)
    assert percentiles[0] == 99.5


@pytest.mark.parametrize(("words", "stands_out"), [("a sailing boat", True), ("the stock market", False)])
def test_words_are_told_from_words_about_nothing_here(dataset: Dataset, words: str, stands_out: bool) -> None:
    items = add_items(dataset, 40)
    told = ["a boat with white sails on the sea", "a concrete wall", "a bicycle against a tree", "an empty street"]
    made = encoders.get(dataset.encoder).encode_texts(told)["language"][np.arange(40) % 4]
    made = made + 0.3 * vectors.normalised(np.random.default_rng(2).normal(size=made.shape))
    vectors.write(space_of(dataset, "language"), [item.pk for item in items], vectors.normalised(made))
    found = answers.run(query.parse(dataset, {"text": words}), limit=10).calibration
    assert found.stands_out is stands_out
    assert bool(found.verdict) is not stands_out


def test_one_item_is_not_told_from_its_neighbours(dataset: Dataset) -> None:
    items = add_items(dataset, 1)
    vectors.write(space_of(dataset, "visual"), [items[0].pk], vectors.normalised(np.ones((1, 1280))))
    answer = answers.run(query.parse(dataset, {"like": [items[0].pk]}), limit=10)
    assert answer.calibration == calibration.UNKNOWN
    assert answer.percentiles == [0.0]


def test_identical_items_all_stand_out(dataset: Dataset) -> None:
    items = add_items(dataset, 30)
    vectors.write(space_of(dataset, "visual"), [item.pk for item in items], vectors.normalised(np.ones((30, 1280))))
    asked = query.parse(dataset, {"like": [items[0].pk]})
    found = answers.run(asked, limit=10).calibration
    assert found.stands_out
    assert answers.selected(asked, found.suggested).count() == 30


def test_a_filter_alone_is_not_judged(dataset: Dataset, clusters: list[Item]) -> None:
    answer = answers._listed(query.parse(dataset, {"like": [clusters[0].pk]}), 5)
    assert answer.calibration == calibration.UNKNOWN
    assert answer.percentiles == [None] * 5


def test_a_space_that_has_grown_is_looked_at_again(dataset: Dataset, clusters: list[Item], monkeypatch: Any) -> None:
    space = space_of(dataset, "visual")
    first = ordinary.of(space, 200, "")
    assert ordinary.of(space, 205, "") is first
    assert ordinary.of(space, 260, "") is not first
