"""Looking for findings in the background, and what people say to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from datasets import jobs, labelling, operations, selection
from datasets.errors import Refused
from datasets.models import Dataset, Item, Job
from search.findings import KINDS, Found, Material, UnknownKind, deciding, storing
from search.findings import job as looking
from search.findings.deciding import Changed, Decided, Verdict
from search.models import Finding
from tests.fixtures import add_class, add_items, labels_of


@pytest.fixture
def item(dataset: Dataset) -> Item:
    return add_items(dataset, 1)[0]


@pytest.fixture
def finding(dataset: Dataset, item: Item, alice: Any) -> Finding:
    """A cat that looks like a dog."""
    cat, dog = add_class(dataset, "cat"), add_class(dataset, "dog")
    labelling.apply_label(selection.of_items(dataset, [item.pk]), cat, by=alice)
    storing.store(dataset, "label_error", [Found(item.pk, 0.9, "It is a dog.", (), suggested=dog.pk, confidence=0.8)])
    return Finding.objects.get()


# The job -------------------------------------------------------------------------------------------------------------


def test_a_job_tells_how_many_it_found_and_what_it_could_not_look_at(dataset: Dataset, alice: Any) -> None:
    made = add_items(dataset, 3)
    Item.objects.filter(pk__in=[made[0].pk, made[1].pk]).update(sha256="ab" * 32)
    job = looking.start(dataset, by=alice)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED, job.message
    assert job.result["kinds"]["duplicate"] == {"open": 1, "note": ""}
    assert "vector yet" in job.result["kinds"]["outlier"]["note"]
    assert Finding.objects.get().item_id == made[1].pk


def test_the_api_tells_what_a_job_found(dataset: Dataset, vera: Any, alice: Any, client_of: Any) -> None:
    job = looking.start(dataset, ["duplicate"], by=alice)
    jobs.run(job.pk)
    told = client_of(vera).get(f"/api/v1/jobs/{job.pk}/").json()
    assert told["result"]["kinds"]["duplicate"]["note"] == "The dataset has no items to compare."


def test_only_the_chosen_kinds_are_looked_for(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 2)
    job = looking.start(dataset, ["duplicate"], by=alice)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert list(job.result["kinds"]) == ["duplicate"]


def test_one_job_looks_at_a_time(dataset: Dataset, alice: Any) -> None:
    looking.start(dataset, by=alice)
    with pytest.raises(looking.AtWork, match="looking already"):
        looking.start(dataset, by=alice)


def test_an_unknown_kind_is_refused_by_name(dataset: Dataset, alice: Any) -> None:
    with pytest.raises(UnknownKind, match="“ugly”"):
        looking.start(dataset, ["ugly"], by=alice)


def test_a_resumed_job_goes_on_with_the_kinds_that_are_left(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_items(dataset, 2)
    job = looking.start(dataset, ["label_error", "duplicate"], by=alice)
    seen: list[str] = []

    def look(material: Material, name: str) -> dict[str, Any]:
        if name in seen:
            raise AssertionError(f"{name} was done")
        seen.append(name)
        if name == "label_error":
            jobs.cancel(job)
        return {"open": 0, "note": ""}

    monkeypatch.setattr(looking, "_look", look)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, seen) == (Job.State.CANCELED, ["label_error"])
    jobs.resume(job)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, seen) == (Job.State.SUCCEEDED, ["label_error", "duplicate"])


def test_a_kind_that_breaks_fails_the_job_and_keeps_what_was_found(
    dataset: Dataset, item: Item, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(material: Material) -> list[Found]:
        raise ZeroDivisionError("broken")

    storing.store(dataset, "quality", [Found(item.pk, 0.7, "It is dark.", ())])
    monkeypatch.setitem(KINDS, "quality", replace(KINDS["quality"], find=breaks))
    job = looking.start(dataset, ["quality"], by=alice)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, "broken" in job.message) == (Job.State.FAILED, True)
    assert Finding.objects.filter(kind="quality").exists()


# Decisions -----------------------------------------------------------------------------------------------------------


def test_a_confirmed_label_is_given_and_can_be_undone(dataset: Dataset, finding: Finding, item: Item, bob: Any) -> None:
    decision = deciding.decide(finding, Verdict("confirmed", finding.suggested_label), by=bob)
    assert labels_of(dataset) == {item.pk: {"dog"}}
    assert (decision.finding.state, decision.finding.decided_by) == ("confirmed", bob)
    assert decision.operation is not None
    operations.undo(decision.operation, by=bob)
    assert labels_of(dataset) == {item.pk: {"cat"}}


def test_a_dismissed_finding_changes_no_label(dataset: Dataset, finding: Finding, item: Item, bob: Any) -> None:
    decision = deciding.decide(finding, Verdict("dismissed"), by=bob)
    assert decision.operation is not None
    assert (decision.operation.kind, decision.operation.changed) == ("review", 0)
    assert labels_of(dataset) == {item.pk: {"cat"}}


def test_an_item_that_was_labelled_meanwhile_is_refused_with_the_reason(
    dataset: Dataset, finding: Finding, item: Item, bob: Any
) -> None:
    labelling.apply_label(selection.of_items(dataset, [item.pk]), add_class(dataset, "cow"), by=bob)
    for state in ("confirmed", "dismissed"):
        with pytest.raises(Changed, match="“cow” by now"):
            deciding.decide(finding, Verdict(state), by=bob)
    assert labels_of(dataset) == {item.pk: {"cow"}}


def test_what_somebody_has_decided_is_not_decided_again(finding: Finding, bob: Any, rita: Any) -> None:
    deciding.decide(finding, Verdict("dismissed"), by=bob)
    with pytest.raises(Decided, match="bob has dismissed"):
        deciding.decide(finding, Verdict("confirmed"), by=rita)
    deciding.decide(finding, Verdict("dismissed"), by=rita)  # the same says nothing new
    deciding.decide(finding, Verdict("open"), by=rita)
    assert deciding.decide(finding, Verdict("confirmed"), by=rita).finding.decided_by == rita


def test_a_label_goes_with_confirmed_only(finding: Finding, bob: Any) -> None:
    with pytest.raises(Refused, match="confirmed only"):
        deciding.decide(finding, Verdict("dismissed", finding.suggested_label), by=bob)
