"""The review queue: who is given what, decisions that are operations, and what they say of what is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from datasets import labelling, operations, selection
from datasets.errors import Refused
from datasets.models import Annotation, Dataset, Item, LabelClass, Operation, Status
from search import vectors
from search.findings import deciding, evidence, groups, progress, queueing, storing
from search.findings.base import Found
from search.findings.deciding import Verdict
from search.models import Finding
from tests.fixtures import add_items


@pytest.fixture
def items(dataset: Dataset) -> list[Item]:
    return add_items(dataset, 12)


@pytest.fixture
def cat(dataset: Dataset) -> LabelClass:
    return dataset.classes.create(name="cat")


@pytest.fixture
def dog(dataset: Dataset) -> LabelClass:
    return dataset.classes.create(name="dog")


@pytest.fixture
def mistakes(dataset: Dataset, items: list[Item], cat: LabelClass, dog: LabelClass, alice: Any) -> list[Finding]:
    """Six items labelled cat that look like a dog, the first the surest."""
    labelling.apply_label(selection.of_items(dataset, [item.pk for item in items[:6]]), cat, by=alice)
    found = [
        Found(
            item.pk,
            0.9 - 0.05 * at,
            "It looks like a dog.",
            because=(at,),
            suggested=dog.pk,
            confidence=0.9,
            group=f"{cat.pk}>{dog.pk}",
        )
        for at, item in enumerate(items[:6])
    ]
    storing.store(dataset, "label_error", found)
    return list(Finding.objects.order_by("rank"))


def label_of(item: int) -> str:
    return Annotation.objects.standing().get(item=item, region=None).label.name


# Who is given what ---------------------------------------------------------------------------------------------------


def test_two_people_are_never_given_the_same_item(
    dataset: Dataset, mistakes: list[Finding], bob: Any, rita: Any
) -> None:
    ours = queueing.claim(dataset, "label_error", by=bob, number=2)
    theirs = queueing.claim(dataset, "label_error", by=rita, number=3)
    assert [one.pk for one in ours] == [one.pk for one in mistakes[:2]]
    assert [one.pk for one in theirs] == [one.pk for one in mistakes[2:5]]
    assert queueing.waiting(dataset, "label_error", by=bob) == (6, 3)
    # Asked again, one keeps what one has.
    assert queueing.claim(dataset, "label_error", by=bob, number=2) == ours


def test_an_item_is_held_in_every_kind(dataset: Dataset, mistakes: list[Finding], bob: Any, rita: Any) -> None:
    storing.store(dataset, "outlier", [Found(mistakes[0].item_id, 0.9, "Far.", because=(1,))])
    queueing.claim(dataset, "label_error", by=bob, number=1)
    assert queueing.claim(dataset, "outlier", by=rita, number=1) == []
    assert len(queueing.claim(dataset, "outlier", by=bob, number=1)) == 1


def test_what_is_held_comes_back_when_it_is_released_or_old(
    dataset: Dataset, mistakes: list[Finding], bob: Any, rita: Any
) -> None:
    queueing.claim(dataset, "label_error", by=bob, number=6)
    assert queueing.claim(dataset, "label_error", by=rita, number=6) == []
    queueing.release(dataset, by=bob)
    assert len(queueing.claim(dataset, "label_error", by=rita, number=6)) == 6
    Finding.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert len(queueing.claim(dataset, "label_error", by=bob, number=6)) == 6


def test_the_queue_goes_on_behind_what_was_skipped(dataset: Dataset, mistakes: list[Finding], bob: Any) -> None:
    behind = queueing.claim(dataset, "label_error", by=bob, number=10, after=(mistakes[1].rank, mistakes[1].pk))
    assert [one.pk for one in behind] == [one.pk for one in mistakes[2:]]


# Decisions -----------------------------------------------------------------------------------------------------------


def test_every_decision_is_undone_with_its_operation_and_brought_back(
    dataset: Dataset, mistakes: list[Finding], dog: LabelClass, bob: Any
) -> None:
    verdicts = [
        Verdict("confirmed", label=dog),
        Verdict("dismissed"),
        Verdict("confirmed", excludes=True),
        Verdict("confirmed", is_duplicate=True),
        Verdict("confirmed"),
    ]
    done = [deciding.decide(one, said, by=bob).operation for one, said in zip(mistakes, verdicts, strict=False)]
    assert all(done)
    assert label_of(mistakes[0].item_id) == "dog"
    assert label_of(mistakes[1].item_id) == "cat"
    duplicate = Item.objects.get(pk=mistakes[3].item_id)
    assert (duplicate.status, duplicate.tags) == (Status.EXCLUDED, ["duplicate"])
    undos = [operations.undo(one, by=bob).operation for one in done if one]
    assert set(Finding.objects.values_list("state", flat=True)) == {"open"}
    assert label_of(mistakes[0].item_id) == "cat"
    duplicate.refresh_from_db()
    assert (duplicate.status, duplicate.tags) == (Status.TODO, [])
    for one in undos:
        operations.undo(one, by=bob)
    states = dict(Finding.objects.values_list("pk", "state"))
    assert [states[one.pk] for one in mistakes] == [said.state for said in verdicts] + ["open"]
    assert label_of(mistakes[0].item_id) == "dog"


def test_an_undo_opens_nothing_whose_item_was_labelled_since(
    dataset: Dataset, mistakes: list[Finding], dog: LabelClass, bob: Any, rita: Any
) -> None:
    done = deciding.decide(mistakes[0], Verdict("confirmed", label=dog), by=bob).operation
    bird = dataset.classes.create(name="bird")
    labelling.apply_label(selection.of_items(dataset, [mistakes[0].item_id]), bird, by=rita)
    assert done is not None
    assert operations.undo(done, by=bob).kept_because_changed_since == 1
    assert Finding.objects.get(pk=mistakes[0].pk).state == "confirmed"
    assert label_of(mistakes[0].item_id) == "bird"


def test_a_mistake_is_decided_on_together_without_what_changed_meanwhile(
    dataset: Dataset, mistakes: list[Finding], dog: LabelClass, bob: Any, rita: Any
) -> None:
    deciding.decide(mistakes[0], Verdict("dismissed"), by=rita)
    labelling.apply_label(selection.of_items(dataset, [mistakes[1].item_id]), dog, by=rita)
    done = deciding.decide_all(dataset, [one.pk for one in mistakes], Verdict("confirmed", label=dog), by=bob)
    assert (done.decided, done.left) == (4, 2)
    assert done.operation is not None
    assert done.operation.changed == 4
    assert Finding.objects.filter(state="confirmed", operation=done.operation).count() == 4
    operations.undo(done.operation, by=bob)
    assert Finding.objects.filter(state="open").count() == 5


def test_findings_of_another_dataset_are_not_decided(
    dataset: Dataset, foreign: Dataset, mistakes: list[Finding], bob: Any
) -> None:
    done = deciding.decide_all(foreign, [one.pk for one in mistakes], Verdict("dismissed"), by=bob)
    assert (done.decided, done.operation) == (0, None)
    assert Finding.objects.filter(state="open").count() == 6


@pytest.mark.parametrize("said", [{"state": "dismissed", "excludes": True}, {"state": "open", "is_duplicate": True}])
def test_what_sets_an_item_right_goes_with_confirmed_only(said: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="state confirmed only"):
        Verdict(**said)


def test_the_log_says_what_was_decided(dataset: Dataset, mistakes: list[Finding], bob: Any) -> None:
    deciding.decide_all(dataset, [one.pk for one in mistakes[:3]], Verdict("dismissed"), by=bob)
    operation = Operation.objects.first()
    assert operation is not None
    assert operations.describe(operation) == "dismissed 3 findings"


# Groups, evidence, progress ------------------------------------------------------------------------------------------


def test_mistakes_that_are_alike_are_named(dataset: Dataset, mistakes: list[Finding], items: list[Item]) -> None:
    (one,) = groups.of_kind(dataset, "label_error")
    assert (one.title, one.open) == ("cat given, dog meant", 6)
    storing.store(
        dataset,
        "duplicate",
        [Found(item.pk, 0.9, "Alike.", because=(1,), group=f"keep {items[0].pk}") for item in items[1:3]],
    )
    (one,) = groups.of_kind(dataset, "duplicate")
    assert (one.title, one.open) == (f"alike: {items[0].key}", 2)


def test_typical_members_are_the_nearest_to_the_mean_of_their_class(
    dataset: Dataset, items: list[Item], cat: LabelClass, alice: Any
) -> None:
    space = dataset.spaces.get(is_default=True)
    points = np.random.default_rng(1).normal(size=(len(items), space.dimension))
    vectors.write(space, [item.pk for item in items], vectors.normalised(points))
    labelling.apply_label(selection.of_items(dataset, [item.pk for item in items[:10]]), cat, by=alice)
    known = vectors.of_items(space, [item.pk for item in items[:10]])
    mean = np.mean(list(known.values()), axis=0)
    wanted = sorted(known, key=lambda pk: -float(known[pk] @ mean))[: evidence.TYPICAL]
    assert evidence.typical(space, cat) == wanted


def test_without_decisions_nothing_is_said_of_what_is_left() -> None:
    none = progress.of_decisions(np.array([0.9] * 9), np.array([True] * 9), np.array([0.5] * 3))
    assert (none.errors_left, none.stop_below, none.is_enough) == (None, None, False)
    assert none.precision == 1.0
    assert none.interval is not None
    assert none.interval[0] == pytest.approx(0.664, abs=1e-3)  # (0.025) ** (1 / 9)


def test_what_is_left_is_estimated_from_decisions() -> None:
    """Of 400 findings the first 100 are right, then ever fewer. Decided from the best on, the estimate comes near the truth, and
    the queue says to stop where little is left."""
    random = np.random.default_rng(0)
    scores = np.linspace(1.0, 0.5, 400)
    is_right = random.random(400) < np.clip((scores - 0.7) / 0.2, 0, 1)
    seen = {
        number: progress.of_decisions(scores[:number], is_right[:number], scores[number:]) for number in (50, 200, 320)
    }
    assert seen[50].errors_left is not None
    assert seen[50].errors_left > is_right[50:].sum()  # rather too many than too few
    assert not seen[50].is_enough
    assert not seen[200].is_enough
    left = seen[320].errors_left
    assert left is not None
    assert abs(left - is_right[320:].sum()) < 3
    assert seen[320].is_enough


# API -----------------------------------------------------------------------------------------------------------------


def test_the_queue_by_the_api(
    dataset: Dataset, mistakes: list[Finding], dog: LabelClass, bob: Any, rita: Any, client_of: Any
) -> None:
    path = f"/api/v1/datasets/{dataset.pk}/review/"
    ours, theirs = client_of(bob), client_of(rita)
    claimed = ours.post(f"{path}claim/", {"kind": "label_error", "number": 2}, format="json").json()
    assert [one["id"] for one in claimed["results"]] == [one.pk for one in mistakes[:2]]
    assert theirs.post(f"{path}claim/", {"kind": "label_error"}, format="json").json()["held"] == 2
    first = claimed["results"][0]
    done = ours.post(f"/api/v1/findings/{first['id']}/", {"state": "confirmed", "label": dog.pk}, format="json").json()
    assert done["state"] == "confirmed"
    evidence_ = ours.get(f"/api/v1/findings/{first['id']}/evidence/").json()
    assert [one["label"] for one in evidence_["classes"]] == ["dog", "cat"]
    body = {"ids": [one.pk for one in mistakes[1:]], "state": "dismissed"}
    assert ours.post(f"{path}decide/", body, format="json").json() == {
        "operation": Operation.objects.first().pk,  # type: ignore[union-attr]
        "decided": 5,
        "left": 0,
    }
    told = ours.get(path, {"kind": "label_error"}).json()
    assert told["today"] == {"fixed": 1, "excluded": 0, "confirmed": 0, "kept": 5}
    assert (told["progress"]["open"], told["progress"]["confirmed"], told["progress"]["dismissed"]) == (0, 1, 5)
    assert ours.post(f"{path}release/").status_code == 204


def test_strangers_and_viewers_get_nothing_from_the_queue(
    dataset: Dataset, mistakes: list[Finding], vera: Any, charlie: Any, client_of: Any
) -> None:
    path = f"/api/v1/datasets/{dataset.pk}/review/"
    claim, decide = {"kind": "label_error"}, {"ids": [mistakes[0].pk], "state": "dismissed"}
    for name, body in (("claim/", claim), ("decide/", decide), ("release/", {})):
        assert client_of(charlie).post(path + name, body, format="json").status_code == 404
        assert client_of(vera).post(path + name, body, format="json").status_code == 403
    assert client_of(charlie).get(path).status_code == 404
    assert client_of(charlie).get(f"/api/v1/findings/{mistakes[0].pk}/evidence/").status_code == 404
    assert client_of(vera).get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("claim/", {"kind": "ghost"}, "no kind of finding"),
        ("claim/", {"kind": "label_error", "after": [1]}, "after"),
        ("claim/", {"kind": "label_error", "number": 0}, "number"),
        ("decide/", {"ids": [], "state": "dismissed"}, "ids"),
        ("decide/", {"ids": [1], "state": "open"}, "undo"),
        ("decide/", {"ids": [1], "state": "confirmed", "label": "ghost"}, "ghost"),
    ],
)
def test_what_the_queue_cannot_do_is_said(
    name: str, body: dict[str, Any], words: str, dataset: Dataset, bob: Any, client_of: Any
) -> None:
    answer = client_of(bob).post(f"/api/v1/datasets/{dataset.pk}/review/{name}", body, format="json")
    assert answer.status_code == 400
    assert words in answer.content.decode()
