"""Encoders side by side on a sample: the figures are those of their definitions, and a bad encoder stops nobody."""

from __future__ import annotations

import io
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from datasets import importing, jobs
from datasets.errors import Refused
from datasets.models import Dataset, Item
from search import comparison
from search.comparison import knn_accuracy, nearest, overlap, separation
from tests.fixtures import jpeg
from tests.processes import database_url_of_tests


def clusters(spread: float, number: int = 20) -> tuple[Any, Any]:
    """Three bunches of unit vectors, the more apart the less they are spread."""
    generator = np.random.default_rng(4)
    labels = np.repeat([7, 8, 9], number)
    vectors = np.eye(6, dtype=np.float32)[labels - 7] + generator.normal(0, spread, (3 * number, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_accuracy_counts_who_has_the_label_of_its_neighbours() -> None:
    vectors, labels = clusters(0.01)
    assert knn_accuracy(vectors, labels) == 1
    wrong = labels.copy()
    wrong[0] = 8
    assert knn_accuracy(vectors, wrong) == pytest.approx(59 / 60)
    assert knn_accuracy(vectors, np.where(np.arange(60) < 40, labels, -1)) == 1  # the unlabelled are left out
    assert knn_accuracy(vectors, np.full(60, -1)) is None
    assert knn_accuracy(vectors, np.full(60, 3)) is None


def test_separation_is_the_silhouette() -> None:
    """As its definition says, item by item."""
    vectors, labels = clusters(0.4, number=7)
    vectors = np.vstack([vectors, [[0, 0, 0, 0, 0, 1]]]).astype(np.float32)
    labels = np.append(labels, 11)  # alone in its class: counts 0
    distance = 1 - vectors @ vectors.T
    each = []
    for row in range(len(labels)):
        same = (labels == labels[row]) & (np.arange(len(labels)) != row)
        if not same.any():
            each.append(0.0)
            continue
        own = distance[row, same].mean()
        other = min(distance[row, labels == one].mean() for one in set(labels) - {labels[row]})
        each.append((other - own) / max(own, other))
    assert separation(vectors, labels) == pytest.approx(np.mean(each), abs=1e-5)
    assert separation(vectors, np.full(len(labels), 1)) is None
    tight, apart = clusters(0.01)
    found = separation(tight, apart)
    assert found is not None
    assert found > 0.95


def test_overlap_is_the_share_of_common_neighbours() -> None:
    vectors, _ = clusters(0.3)
    places = np.arange(60)
    one = nearest(vectors, places, 60, 10)
    assert overlap(one, one) == 1
    assert overlap(one, nearest(vectors[::-1].copy(), places[::-1].copy(), 60, 10)) == 1
    other = nearest(np.random.default_rng(1).permutation(vectors), places, 60, 10)
    assert 0.05 < overlap(one, other) < 0.4
    some = nearest(vectors[:30], places[:30], 60, 10)
    assert (some[30:] == -1).all()
    assert overlap(some, one) == overlap(one, some)


@pytest.fixture
def photos(dataset: Dataset, alice: Any) -> Dataset:
    job = importing.start_upload_import(dataset, [(f"{at}.jpg", io.BytesIO(jpeg(at))) for at in range(24)], by=alice)
    jobs.run(job.pk)
    return dataset


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard")
def test_encoders_are_compared_on_a_dataset(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes read the database of the test: what is in is committed."""
    monkeypatch.setenv("DATABASE_URL", database_url_of_tests())
    monkeypatch.setenv("SECRET_KEY", settings.SECRET_KEY)
    Item.objects.filter(pk=photos.items.first().pk).update(file="gone.jpg")  # type: ignore[union-attr]
    done: list[int] = []
    result = comparison.compare(photos, ["starter", "somebody/nothing"], sample=20, report=done.append)
    assert done == [1, 2]
    assert (result.items, result.sampled, result.labeled) == (24, 20, 0)
    found = {(one.encoder, one.output): one for one in result.measured}
    assert not result.problems[:-1]
    assert sorted(found) == [("starter", "language"), ("starter", "visual")]
    starter = found["starter", "visual"]
    assert starter.sampled + starter.failed == 20
    assert starter.knn_accuracy is None
    assert starter.disk_bytes == 24 * (2 * 1280 + 64)
    assert starter.hours == pytest.approx(24 / starter.per_second / 3600)
    assert starter.memory_bytes > 50e6
    assert [one["encoder"] for one in result.problems] == ["somebody/nothing"]
    shares = {(one["one"], one["other"]): one["share"] for one in result.overlap}
    assert 0 < shares["starter / visual", "starter / language"] < 1


def test_what_cannot_be_compared_is_refused(photos: Dataset, multi: Dataset) -> None:
    for names, sample, says in (
        (["starter", "starter"], 100, "different encoders"),
        ([], 100, "different encoders"),
        (["nothing"], 100, "There is no encoder"),
        (["starter-text"], 100, "cannot read images"),
        (["starter"], 5, "A sample has 20 to"),
    ):
        with pytest.raises(Refused, match=says):
            comparison.check(photos, names, sample)
    with pytest.raises(Refused, match="Import some first"):
        comparison.check(multi, ["starter-text"], 100)


def test_the_command_wants_a_dataset(photos: Dataset) -> None:
    with pytest.raises(CommandError, match=f"{photos.pk} \\(signs\\)"):
        call_command("encoders", compare=["starter"], stdout=StringIO())
    with pytest.raises(CommandError, match="There is no encoder"):
        call_command("encoders", compare=["nothing"], dataset=photos.pk, stdout=StringIO())


def test_a_process_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    (tmp_path / "ask.json").write_text('{"encoder": "own:nothing", "ids": []}')
    assert comparison.embed_sample(tmp_path) == 3
    assert "Describe the encoder there" in (tmp_path / "problem.txt").read_text()
