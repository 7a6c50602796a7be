"""Kinds of findings: each finds what it should, in images and texts, and says plainly when there is nothing to look at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from datasets import labelling, selection
from datasets.duplicates import text_hash
from datasets.models import Dataset, Item, LabelClass
from search import findings, vectors
from search.findings import Found, Material, NothingToFind, storing
from search.models import EmbeddingSpace, Finding
from tests.fixtures import add_class, add_items


def clusters(space: EmbeddingSpace, sizes: Sequence[int], spread: float = 0.015) -> vectors.Vectors:
    """Points around as many centres as there are sizes."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(len(sizes), space.dimension)) / np.sqrt(space.dimension)
    points = np.repeat(centers, sizes, axis=0)
    return vectors.normalised(points + spread * random.normal(size=points.shape))


@pytest.fixture
def space(dataset: Dataset) -> EmbeddingSpace:
    return dataset.spaces.get(is_default=True)


@pytest.fixture
def items(dataset: Dataset, space: EmbeddingSpace, alice: Any) -> list[Item]:
    """Forty cats and forty dogs, with vectors and labels."""
    made = add_items(dataset, 80)
    vectors.write(space, [item.pk for item in made], clusters(space, [40, 40]))
    for name, members in (("cat", made[:40]), ("dog", made[40:])):
        give(dataset, members, add_class(dataset, name), alice)
    return made


def give(dataset: Dataset, items: Sequence[Item], label: LabelClass, by: Any) -> None:
    labelling.apply_label(selection.of_items(dataset, [item.pk for item in items]), label, by=by)


def place(space: EmbeddingSpace, item: Item, at: Any) -> None:
    vectors.write(space, [item.pk], vectors.normalised(at)[None])


def found(dataset: Dataset, kind: str) -> list[Found]:
    return findings.KINDS[kind].find(Material(dataset))


def ids(findings: Sequence[Found], subject: str | None = None) -> set[int]:
    return {one.item for one in findings if subject is None or one.subject == subject}


# Outliers ------------------------------------------------------------------------------------------------------------


def test_what_is_far_from_everything_is_an_outlier(dataset: Dataset, space: EmbeddingSpace, items: list[Item]) -> None:
    place(space, items[7], np.random.default_rng(9).normal(size=space.dimension))
    outliers = found(dataset, "outlier")
    worst = max((one for one in outliers if not one.subject), key=lambda one: one.score)
    assert worst.item == items[7].pk
    assert 0.5 < worst.score <= 1
    assert "Unlike everything" in worst.reason
    assert worst.related
    assert worst.item not in worst.related


def test_what_lies_among_another_class_is_far_from_its_own(
    dataset: Dataset, space: EmbeddingSpace, items: list[Item], alice: Any
) -> None:
    give(dataset, [items[3]], LabelClass.objects.get(dataset=dataset, name="dog"), alice)
    outliers = [one for one in found(dataset, "outlier") if one.subject == "class"]
    assert outliers[0].item == items[3].pk
    assert "“dog”" in outliers[0].reason
    assert items[3].pk not in ids(found(dataset, "outlier"), "")


def test_excluded_items_are_no_findings(dataset: Dataset, space: EmbeddingSpace, items: list[Item]) -> None:
    place(space, items[7], np.random.default_rng(9).normal(size=space.dimension))
    Item.objects.filter(pk=items[7].pk).update(status="excluded")
    assert items[7].pk not in ids(found(dataset, "outlier"))


# Label errors --------------------------------------------------------------------------------------------------------


def test_a_wrong_label_is_found_with_the_right_one(dataset: Dataset, items: list[Item], alice: Any) -> None:
    dog = LabelClass.objects.get(dataset=dataset, name="dog")
    cat = LabelClass.objects.get(dataset=dataset, name="cat")
    give(dataset, items[:3], dog, alice)
    errors = found(dataset, "label_error")
    assert ids(errors) == {item.pk for item in items[:3]}
    for one in errors:
        assert one.suggested == cat.pk
        assert one.confidence is not None
        assert one.confidence > 0.5
        assert "Labelled “dog”, but looks like “cat”" in one.reason
        assert set(one.related) <= {item.pk for item in items}


def test_labels_that_are_right_are_no_findings(dataset: Dataset, items: list[Item]) -> None:
    assert found(dataset, "label_error") == []


def test_a_class_of_few_is_left_alone(dataset: Dataset, items: list[Item], alice: Any) -> None:
    give(dataset, items[:2], add_class(dataset, "rare"), alice)
    assert not ids(found(dataset, "label_error")) & {items[0].pk, items[1].pk}


# Duplicates and leaks ------------------------------------------------------------------------------------------------


def test_equal_files_are_duplicates_without_vectors(dataset: Dataset) -> None:
    made = add_items(dataset, 3)
    Item.objects.filter(pk__in=[made[0].pk, made[2].pk]).update(sha256="ab" * 32)
    duplicates = found(dataset, "duplicate")
    assert ids(duplicates) == {made[2].pk}
    assert duplicates[0].related == [made[0].pk]
    assert duplicates[0].reason == f"The same as {made[0].key}. Keep that one."


def test_near_duplicates_are_grouped_and_the_largest_is_kept(
    dataset: Dataset, space: EmbeddingSpace, items: list[Item]
) -> None:
    base = clusters(space, [1], spread=0)[0]
    for at in (4, 5, 6):
        place(space, items[at], base + 1e-4 * at)
    Item.objects.filter(pk=items[5].pk).update(width=640, height=480)
    Item.objects.filter(pk__in=[items[4].pk, items[6].pk]).update(width=64, height=48)
    duplicates = found(dataset, "duplicate")
    assert ids(duplicates) == {items[4].pk, items[6].pk}
    assert {one.group for one in duplicates} == {f"keep {items[5].pk}"}
    assert all(one.related[0] == items[5].pk and "Nearly the same" in one.reason for one in duplicates)


def test_texts_that_differ_in_writing_only_are_duplicates(multi: Dataset) -> None:
    for at, text in enumerate(("Where is it?", "where  IS it?", "Another one")):
        Item.objects.create(dataset=multi, key=f"t{at}", text=text, text_hash=text_hash(text), sha256=f"{at:064}")
    duplicates = found(multi, "duplicate")
    assert [Item.objects.get(pk=one.item).key for one in duplicates] == ["t1"]


def test_a_duplicate_in_another_split_is_a_leak(dataset: Dataset) -> None:
    made = add_items(dataset, 4, split="train")
    Item.objects.filter(pk__in=[made[0].pk, made[3].pk]).update(sha256="ab" * 32)
    Item.objects.filter(pk=made[3].pk).update(split="test")
    leaks = found(dataset, "leak")
    assert ids(leaks) == {made[3].pk}
    assert leaks[0].reason == f"Is in “test”, and the same as {made[0].key} in “train”."


# Quality -------------------------------------------------------------------------------------------------------------


def test_bad_pictures_are_found_each_with_its_reason(dataset: Dataset) -> None:
    usual: dict[str, Any] = {"brightness": 0.5, "contrast": 0.4, "sharpness": 0.6, "width": 640, "height": 480}
    made = add_items(dataset, 30, **usual)
    bad: dict[str, dict[str, float]] = {
        "dark": {"brightness": 0.02},
        "bright": {"brightness": 0.99},
        "flat": {"contrast": 0.01},
        "blurry": {"sharpness": 0.05},
        "tiny": {"width": 20, "height": 15},
        "aspect": {"width": 4000, "height": 200},
    }
    for item, changes in zip(made, bad.values(), strict=False):
        Item.objects.filter(pk=item.pk).update(**changes)
    quality = found(dataset, "quality")
    assert {one.subject: one.item for one in quality} == {
        subject: item.pk for subject, item in zip(bad, made, strict=False)
    }
    assert len(quality) == len(bad)
    assert all(0.5 < one.score <= 1 for one in quality)


def test_texts_that_say_nothing_are_found(multi: Dataset) -> None:
    for at, text in enumerate(["How do I change my card?"] * 20 + ["?"]):
        Item.objects.create(dataset=multi, key=f"t{at}", text=text, sha256=f"{at:064}")
    assert [one.subject for one in found(multi, "quality")] == ["short"]


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(findings.KINDS))
@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_items_are_no_failure(kind: str, number: int, dataset: Dataset, space: EmbeddingSpace) -> None:
    made = add_items(dataset, number)
    if made:
        vectors.write(space, [item.pk for item in made], clusters(space, [number]))
    with suppress(NothingToFind):
        assert found(dataset, kind) == []


@pytest.mark.parametrize("kind", list(findings.KINDS))
def test_items_that_are_all_the_same_are_no_failure(
    kind: str, dataset: Dataset, space: EmbeddingSpace, alice: Any
) -> None:
    made = add_items(dataset, 40, brightness=0.5, contrast=0.5, sharpness=0.5, width=9, height=9)
    vectors.write(space, [item.pk for item in made], np.repeat(clusters(space, [1]), 40, axis=0))
    give(dataset, made[:20], add_class(dataset, "cat"), alice)
    give(dataset, made[20:], add_class(dataset, "dog"), alice)
    said: list[Found] = []
    with suppress(NothingToFind):
        said = found(dataset, kind)
    if kind == "duplicate":
        assert len({one.group for one in said}) == 1
        assert len(said) == 39
    if kind == "outlier":
        assert said == []


@pytest.mark.parametrize(
    ("kind", "words"), [("label_error", "vector yet"), ("outlier", "vector yet"), ("leak", "two splits")]
)
def test_what_lacks_is_said(kind: str, words: str, dataset: Dataset) -> None:
    add_items(dataset, 5)
    with pytest.raises(NothingToFind, match=words):
        found(dataset, kind)


def test_one_class_says_that_two_are_needed(dataset: Dataset, space: EmbeddingSpace, alice: Any) -> None:
    made = add_items(dataset, 20)
    vectors.write(space, [item.pk for item in made], clusters(space, [20]))
    give(dataset, made, add_class(dataset, "cat"), alice)
    with pytest.raises(NothingToFind, match="two classes"):
        found(dataset, "label_error")


def test_a_space_that_is_half_built_is_looked_at_as_far_as_it_is(
    dataset: Dataset, space: EmbeddingSpace, items: list[Item]
) -> None:
    add_items(dataset, 50)
    place(space, items[7], np.random.default_rng(9).normal(size=space.dimension))
    assert items[7].pk in ids(found(dataset, "outlier"))


def test_an_encoder_that_is_not_ready_is_said(dataset: Dataset, space: EmbeddingSpace) -> None:
    EmbeddingSpace.objects.filter(pk=space.pk).update(state="failed")
    with pytest.raises(NothingToFind, match="no vectors yet"):
        found(dataset, "outlier")


# Keeping -------------------------------------------------------------------------------------------------------------


def one(item: Item, because: str = "it", score: float = 0.7, **others: Any) -> Found:
    return Found(item.pk, score, "It is odd.", because=(because,), **others)


def states(dataset: Dataset) -> dict[int, str]:
    return dict(Finding.objects.filter(dataset=dataset).values_list("item_id", "state"))


def decide(item: Item, state: str) -> None:
    Finding.objects.filter(item=item).update(state=state)


def test_findings_are_ranked_best_first(dataset: Dataset) -> None:
    made = add_items(dataset, 3)
    storing.store(dataset, "outlier", [one(made[0], score=0.6), one(made[1], score=0.9), one(made[2], score=0.7)])
    ranked = Finding.objects.filter(dataset=dataset).order_by("rank").values_list("item_id", "rank")
    assert list(ranked) == [(made[1].pk, 1), (made[2].pk, 2), (made[0].pk, 3)]


def test_what_is_not_found_again_goes_unless_it_was_decided(dataset: Dataset) -> None:
    made = add_items(dataset, 3)
    storing.store(dataset, "outlier", [one(item) for item in made])
    decide(made[1], "dismissed")
    assert storing.store(dataset, "outlier", [one(made[0])]) == 1
    assert states(dataset) == {made[0].pk: "open", made[1].pk: "dismissed"}


@pytest.mark.parametrize("state", ["dismissed", "confirmed"])
def test_a_decision_stands_while_its_evidence_does(state: str, dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    storing.store(dataset, "outlier", [one(item)])
    decide(item, state)
    storing.store(dataset, "outlier", [one(item, score=0.9)])
    assert states(dataset) == {item.pk: state}
    storing.store(dataset, "outlier", [one(item, because="something else")])
    assert states(dataset) == {item.pk: "open"}


def test_kinds_do_not_touch_each_other(dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    storing.store(dataset, "outlier", [one(item)])
    storing.store(dataset, "duplicate", [])
    assert states(dataset) == {item.pk: "open"}


def test_what_has_gone_meanwhile_is_left_out(dataset: Dataset, foreign: Dataset) -> None:
    item, other = add_items(dataset, 1)[0], add_items(foreign, 1)[0]
    label = add_class(dataset, "cat")
    label_id = label.pk
    label.delete()
    storing.store(dataset, "label_error", [one(item, suggested=label_id, confidence=0.9), one(other)])
    stored = Finding.objects.get()
    assert (stored.item_id, stored.suggested_label_id, stored.confidence) == (item.pk, None, None)


def test_findings_go_with_their_dataset(dataset: Dataset) -> None:
    storing.store(dataset, "outlier", [one(item) for item in add_items(dataset, 2)])
    dataset.delete()
    assert not Finding.objects.exists()
