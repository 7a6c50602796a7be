"""Encoders side by side on a sample, by the API, in processes of their own: a bad one stops nobody, a cancel ends it, and none
outlives who asked for it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from datasets import importing, jobs, labelling, selection
from datasets.errors import Refused
from datasets.models import Dataset, Item, Job
from search import comparison, encoders, fetching, trials
from search.encoders import EncoderSpec, EncoderUnavailable
from search.fetching import Fetching
from tests.fixtures import add_class, add_items, jpeg
from tests.processes import Worker, database_url_of_tests

_WITHIN_S = 60

_OWN = """
import os, time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class Bright:
    dimension = 3
    accepts = {"image", "text"}

    def preprocess(self, image):
        return np.asarray(image.resize((8, 8)), dtype=np.float32)

    def encode_images(self, inputs):
        return np.stack(inputs).mean(axis=(1, 2)) + 1

    def encode_texts(self, texts):
        return np.array([[len(text) + 1, text.count("a") + 1, 1] for text in texts])


class Leaving(Bright):
    def encode_images(self, inputs):
        os._exit(0)


class Failing(Bright):
    def encode_images(self, inputs):
        raise ValueError("too dark to see anything")


class Fussy(Bright):
    def encode_images(self, inputs):
        if len(inputs) > 1:
            raise ValueError("one at a time, please")
        return super().encode_images(inputs)


class Held(Bright):
    \"\"\"Says which process it is in, and waits until somebody lets it go.\"\"\"

    def encode_images(self, inputs):
        (HERE / "held.pid").write_text(str(os.getpid()))
        while not (HERE / "go").exists():
            time.sleep(0.05)
        return super().encode_images(inputs)
"""


@pytest.fixture
def own() -> Iterator[Path]:
    """Encoders of somebody's own, ``python:own.…``; the folder that they are in."""
    folder = Path(settings.ENCODERS_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(_OWN)
    yield folder
    for name in ("own.py", "held.pid", "go"):
        (folder / name).unlink(missing_ok=True)


@pytest.fixture
def photos(dataset: Dataset, alice: Any) -> Dataset:
    job = importing.start_upload_import(dataset, [(f"{at}.jpg", io.BytesIO(jpeg(at))) for at in range(24)], by=alice)
    jobs.run(job.pk)
    return dataset


@pytest.fixture
def shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a trial read the database of the test."""
    monkeypatch.setenv("DATABASE_URL", database_url_of_tests())
    monkeypatch.setenv("SECRET_KEY", settings.SECRET_KEY)


def within(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + _WITHIN_S
    while not is_so() and time.monotonic() < until:
        time.sleep(0.05)
    return is_so()


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard", "shared_database")
def test_encoders_are_compared_and_a_bad_one_leaves_its_reason(
    photos: Dataset, alice: Any, client_of: Any, own: Path
) -> None:
    items = list(photos.items.all())
    Item.objects.filter(pk=items[0].pk).update(file="gone.jpg")
    labelling.apply_label(
        selection.of_items(photos, [one.pk for one in items[:9]]), add_class(photos, "stop"), by=alice
    )
    labelling.apply_label(
        selection.of_items(photos, [one.pk for one in items[9:12]]), add_class(photos, "go"), by=alice
    )
    names = ["starter", "somebody/nothing", "python:own.Leaving", "python:own.Failing", "python:own.Fussy"]
    address = f"/api/v1/datasets/{photos.pk}/encoder-comparisons/"
    answer = client_of(alice).post(address, {"encoders": names, "sample": 20}, format="json")
    assert answer.status_code == 202
    job = answer.json()["job"]
    queued = client_of(alice).get(address).json()["results"][0]
    assert (queued["state"], queued["total"], queued["result"]) == ("queued", 5, None)

    jobs.run(job)
    found = client_of(alice).get(address).json()["results"][0]
    assert (found["job"], found["state"], found["message"]) == (job, "succeeded", "")
    assert (found["phase"], found["done"], found["total"]) == ("compare", 5, 5)
    assert (found["encoders"], found["sample"], found["author"]) == (names, 20, "alice")
    result = found["result"]
    assert (result["items"], result["sampled"], result["labeled"], result["classes"]) == (24, 20, 12, 2)
    assert not result["is_told_by_labels"]
    measured = {(one["encoder"], one["output"]): one for one in result["measured"]}
    assert [*measured][:2] == [("starter", "visual"), ("starter", "language")]
    starter, fussy = measured["starter", "visual"], result["measured"][2]
    assert fussy["encoder"] == "python:own.Fussy"
    assert (starter["sampled"], starter["failed"], fussy["failed"]) == (19, 1, 1)
    assert 0 <= starter["knn_accuracy"] <= 1
    assert -1 <= starter["separation"] <= 1
    assert starter["disk_bytes"] == 24 * (2 * 1280 + 64)
    assert starter["hours"] == pytest.approx(24 / starter["per_second"] / 3600)
    assert starter["memory_bytes"] > 50e6
    assert 0 <= starter["others_share"] <= 1
    reasons = {one["encoder"]: one["reason"] for one in result["problems"]}
    assert [*reasons] == names[1:4]
    assert "ended its process (exit status 0)" in reasons["python:own.Leaving"]
    assert reasons["python:own.Failing"] == "It made no vector of any item: too dark to see anything"
    assert [(one["one"], one["other"]) for one in result["overlap"]] == [("starter", "python:own.Fussy")]
    assert 0 < result["overlap"][0]["share"] < 1
    assert client_of(alice).get(f"/api/v1/jobs/{job}/").json()["error_count"] == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard", "shared_database")
def test_texts_are_compared_by_the_command(multi: Dataset, own: Path) -> None:
    for at, item in enumerate(add_items(multi, 30)):
        Item.objects.filter(pk=item.pk).update(text="a" * (at + 1))
    out = StringIO()
    call_command("encoders", compare=["python:own.Bright", "python:own.Fussy"], dataset=multi.pk, sample=25, stdout=out)
    said = out.getvalue()
    assert "25 of 30 items of “questions”, 0 of them labelled" in said
    assert said.count("python:own.Bright") == said.count("python:own.Fussy") == 2  # its row, and that of its overlap
    assert said.count("100%") == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_the_end_of_its_worker_end_the_process_of_a_trial(
    worker: Worker, photos: Dataset, alice: Any, client_of: Any, own: Path
) -> None:
    def held() -> psutil.Process:
        assert within(lambda: (own / "held.pid").exists() and (own / "held.pid").read_text() != "")
        found = psutil.Process(int((own / "held.pid").read_text()))
        (own / "held.pid").unlink()
        return found

    canceled = comparison.start(photos, ["python:own.Held"], sample=20, by=alice)
    at_it = held()
    waiting = comparison.start(photos, ["python:own.Held"], sample=20, by=alice)
    client_of(alice).post(f"/api/v1/jobs/{canceled.pk}/cancel/")
    at_it.wait(_WITHIN_S)
    assert state_of(canceled) == "canceled"

    # The next has had its turn; the worker is killed, as by the kernel, and another takes it over.
    at_it = held()
    assert state_of(waiting) == "running"
    for process in psutil.Process(worker.popen.pid).children():
        process.kill()
    worker.popen.kill()
    worker.popen.wait()
    at_it.wait(_WITHIN_S)
    (own / "go").touch()
    worker.restart_if_ended()
    Job.objects.update(updated_at="2000-01-01T00:00Z")
    jobs.recover()
    assert within(lambda: state_of(waiting) == "succeeded")
    assert [one["sampled"] for one in Job.objects.get(pk=waiting.pk).result["measured"]] == [20]


@pytest.mark.django_db(transaction=True)
def test_one_comparison_runs_at_a_time(dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(jobs, "_send", sent.append)
    monkeypatch.setitem(jobs._RUNNERS, Job.Kind.COMPARISON, jobs.hand_out)
    first, second = (
        jobs.create(dataset, Job.Kind.COMPARISON, by=alice, phases=["compare"], params={}) for _ in range(2)
    )
    with connection.copy().cursor() as other:  # another worker's
        other.execute("SELECT pg_advisory_lock(%s, %s)", [jobs._KIND_LOCKS, jobs._number_of(Job.Kind.COMPARISON)])
        jobs.run(first.pk)
        assert state_of(first) == "queued"
        other.connection.close()
    jobs.run(first.pk)
    assert state_of(first) == "succeeded"
    assert sent == [second.pk]


def test_what_is_fetched_adds_up_and_a_cancel_stops_it(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(name: str, report: Callable[[int, int], None]) -> EncoderSpec:
        report(60, 100)
        if name == "cut off":
            raise EncoderUnavailable("The network is gone.")
        report(100, 100)
        return encoders.spec("starter")

    monkeypatch.setattr(fetching, "_REPORT_EVERY_S", 0.0)
    job = jobs.create(dataset, Job.Kind.COMPARISON, by=alice, phases=["prepare"], params={})
    Job.objects.filter(pk=job.pk).update(state="running")
    at_it = Fetching(job)
    at_it.fetch("whole", prepare, unavailable=EncoderUnavailable)
    with pytest.raises(EncoderUnavailable):
        at_it.fetch("cut off", prepare, unavailable=EncoderUnavailable)
    assert job.phases.values_list("done", "total").get() == (160, 200)
    at_it.complete()
    assert job.phases.values_list("done", "total").get() == (160, 160)
    jobs.cancel(job)
    with pytest.raises(jobs.Canceled):
        at_it.fetch("whole", prepare, unavailable=EncoderUnavailable)


def test_what_cannot_be_compared_is_refused(photos: Dataset, multi: Dataset) -> None:
    for names, sample, says in (
        (["starter", "starter"], 100, "different encoders"),
        ([], 100, "different encoders"),
        (["nothing"], 100, "There is no encoder"),
        (["uploaded:faces"], 100, "“faces” were computed elsewhere"),
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


@pytest.mark.usefixtures("shared_database")
def test_a_trial_is_stopped_by_who_asked_for_it(db: None) -> None:
    before = psutil.Process().children()
    begun: list[psutil.Process] = []

    def stop() -> None:
        begun.extend(one for one in psutil.Process().children() if one not in before)
        raise jobs.Canceled

    with pytest.raises(jobs.Canceled):
        trials.run("starter", [], stop)
    assert len(begun) == 1
    assert not begun[0].is_running()
    with pytest.raises(EncoderUnavailable, match="Describe the encoder there"):
        trials.run("own:nothing", [])
