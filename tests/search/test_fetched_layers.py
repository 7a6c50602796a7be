"""Layers whose detector or encoder is not here: fetched in their job, stopped, failed with one sentence, tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rest_framework.test import APIClient

from datasets import jobs
from datasets.models import Dataset, Item, Job, Prediction, Region, RegionLayer
from search import cost, detectors, embedding, encoders, layers, pending, preparation
from search.detectors import Detection, DetectorSpec, DetectorUnavailable
from search.encoders import EncoderUnavailable
from search.encoders.base import Facts
from search.models import Embedding, PendingEmbedding
from search.weights import Report
from tests.search.test_region_layers import drawn_photos, photos_in, work


class Away:
    """A detector that is fetched first; in the meantime ``while_fetching`` is called."""

    def __init__(self) -> None:
        self.is_here = False
        self.while_fetching: Callable[[Report], None] = lambda report: None
        self.spec = DetectorSpec(
            name="away",
            title="A far one",
            description="",
            classes=("thing",),
            license="",
            source="",
            load=self.load,
            fetch=self.fetch,
            is_here=lambda: self.is_here,
            facts=Facts(dimension=0, megabytes=81, cost=1.0),
        )

    def load(self) -> Any:
        assert self.is_here, "Nobody has fetched it."
        return self

    def fetch(self, report: Report) -> None:
        report(1000, 4000)
        self.while_fetching(report)
        self.is_here = True
        report(4000, 4000)

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        return [[Detection("thing", 0.9, 0.0, 0.0, 0.5, 1.0)] for _ in images]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    detector = Away()
    monkeypatch.setattr(detectors, "_registry", lambda: {"away": detector.spec})
    monkeypatch.setattr(detectors, "_loaded", {})
    return detector


@pytest.fixture
def photos(dataset: Dataset, tmp_path: Path) -> list[Item]:
    return photos_in(dataset, drawn_photos(tmp_path, 4))


def start(dataset: Dataset, by: Any, **said: Any) -> Job:
    return layers.start(layers.describe(dataset, "detected", {"detector": "away", **said}), by=by)


def phases(job: Job) -> list[tuple[str, int, int]]:
    return [(phase.name, phase.done, phase.total) for phase in job.phases.all()]


def test_a_detector_is_fetched_before_anything_is_asked_of_it(
    dataset: Dataset, alice: Any, photos: list[Item], away: Away, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def while_fetching(report: Report) -> None:
        # What comes meanwhile waits for no layer whose detector is not here.
        more = Item.objects.create(dataset=dataset, key="more", external_path=photos[0].external_path)
        pending.enqueue(dataset, job=None, item_ids=[more.pk])
        layers.enqueue(dataset, job=None, item_ids=[more.pk])
        seen.append((RegionLayer.objects.get().state, PendingEmbedding.objects.exclude(layer=None).count()))

    away.while_fetching = while_fetching
    job = start(dataset, alice)
    assert RegionLayer.objects.get().state == "fetching"
    assert work(job).state == Job.State.SUCCEEDED
    assert seen == [("fetching", 0)]
    assert phases(job) == [("prepare", 4000, 4000), ("regions", 5, 5)]
    assert RegionLayer.objects.get().state == "ready"
    assert (Region.objects.count(), Prediction.objects.count()) == (5, 5)


def test_what_is_here_has_no_such_phase(dataset: Dataset, alice: Any, photos: list[Item], away: Away) -> None:
    away.is_here = True
    job = start(dataset, alice)
    assert RegionLayer.objects.get().state == "preparing"
    assert phases(work(job)) == [("regions", 4, 4)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DetectorUnavailable("The hub has no model “away”. Check the name."), "The hub has no model “away”. Check the name."),
        (ConnectionResetError("the network went away"), "“away” could not be fetched (ConnectionResetError: the network went away)."),
    ],
)  # fmt: skip
def test_one_that_cannot_be_had_fails_its_layer_and_job_and_can_be_tried_again(
    dataset: Dataset, alice: Any, photos: list[Item], away: Away, error: Exception, said: str
) -> None:
    other = work(layers.start(layers.describe(dataset, "tile", {"scales": [2]}), by=alice))

    def while_fetching(report: Report) -> None:
        raise error

    away.while_fetching = while_fetching
    job = work(start(dataset, alice))
    assert (job.state, job.message) == (Job.State.FAILED, said)
    layer = RegionLayer.objects.get(job=job)
    assert (layer.state, layer.problem) == ("failed", said)
    assert RegionLayer.objects.get(job=other).state == "ready"
    assert Region.objects.count() == 16
    assert Embedding.objects.filter(item__dataset=dataset, space__output="visual").count() == 4
    assert not PendingEmbedding.objects.exists()

    away.while_fetching = lambda report: None
    again = work(layers.change(layer, {}, by=alice))
    assert again.state == Job.State.SUCCEEDED
    layer.refresh_from_db()
    assert (layer.state, layer.problem) == ("ready", "")
    assert Region.objects.filter(kind="detected").count() == 4


def test_a_failed_job_that_is_resumed_tries_again(dataset: Dataset, alice: Any, photos: list[Item], away: Away) -> None:
    def while_fetching(report: Report) -> None:
        raise ConnectionResetError

    away.while_fetching = while_fetching
    job = work(start(dataset, alice))
    away.while_fetching = lambda report: None
    jobs.resume(job)
    assert work(job).state == Job.State.SUCCEEDED
    assert RegionLayer.objects.get().state == "ready"
    assert Region.objects.count() == 4


def test_a_download_can_be_canceled_and_gone_on_with(
    dataset: Dataset, alice: Any, photos: list[Item], away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.fetching._REPORT_EVERY_S", 0.0)
    job = start(dataset, alice)

    def while_fetching(report: Report) -> None:
        jobs.cancel(job)
        report(2000, 4000)
        raise AssertionError("It was not stopped.")

    away.while_fetching = while_fetching
    assert work(job).state == Job.State.CANCELED
    assert RegionLayer.objects.get().state == "fetching"
    away.while_fetching = lambda report: None
    assert work(layers.change(RegionLayer.objects.get(), {}, by=alice)).state == Job.State.SUCCEEDED
    assert Region.objects.count() == 4


def test_a_layer_that_goes_while_its_detector_comes_leaves_nothing(
    dataset: Dataset, alice: Any, photos: list[Item], away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(dataset, alice)

    def while_fetching(report: Report) -> None:
        layers.remove(RegionLayer.objects.get(), by=alice)

    away.while_fetching = while_fetching
    assert work(job).state == Job.State.CANCELED
    work(RegionLayer.objects.get().job)  # type: ignore[arg-type]
    assert not RegionLayer.objects.exists()
    assert not PendingEmbedding.objects.exists()


def test_the_estimate_fetches_nothing(dataset: Dataset, photos: list[Item], away: Away) -> None:
    def while_fetching(report: Report) -> None:
        raise AssertionError("It was fetched.")

    away.while_fetching = while_fetching
    said = cost.estimate(layers.describe(dataset, "detected", {"detector": "away"}))
    assert (said.items, said.megabytes, said.sampled) == (4, 81, 0)
    assert {said.regions, said.predictions, said.vectors, said.size_bytes, said.seconds} == {None}
    away.spec = replace(away.spec, facts=None)
    assert cost.estimate(layers.describe(dataset, "detected", {"detector": "away"})).megabytes is None
    away.is_here = True
    said = cost.estimate(layers.describe(dataset, "detected", {"detector": "away"}))
    assert (said.regions, said.predictions, said.vectors, said.megabytes) == (4, 4, 8, 0)
    assert said.seconds is not None


# An encoder that is being fetched -------------------------------------------------------------------------------------


@pytest.fixture
def far_encoder(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """“far” is the starter under another name, known only when it has been fetched. Errors to be met while fetching."""
    starter = encoders.spec("starter")
    errors: list[Exception] = []

    def prepare(report: Report) -> Any:
        if errors:
            raise errors.pop()
        return replace(starter, name="far")

    facts = Facts(dimension=1280, megabytes=1500, cost=1.0)
    far = replace(starter, name="far", outputs=(), prepare=prepare, is_here=lambda: False, facts=facts)
    registry = {**encoders._registry(), "far": far}
    monkeypatch.setattr(encoders, "_registry", lambda: registry)
    return errors


def default_is_fetched(dataset: Dataset, by: Any) -> Job:
    """``dataset`` with “far” alone, still to be fetched: the job that does."""
    dataset.spaces.all().delete()
    return preparation.add_spaces(dataset, "far", by=by)


def test_a_layer_waits_for_its_encoder(
    dataset: Dataset, alice: Any, tmp_path: Path, far_encoder: list[Exception]
) -> None:
    filling = default_is_fetched(dataset, alice)
    Item.objects.bulk_create(
        Item(dataset=dataset, key=file.name, external_path=str(file)) for file in drawn_photos(tmp_path, 3)
    )
    wanted = layers.describe(dataset, "tile", {"scales": [2]})
    said = cost.estimate(wanted)
    assert (said.regions, said.vectors, said.seconds, said.megabytes) == (12, None, None, 1500)
    job = work(layers.start(wanted, by=alice))
    assert (job.state, RegionLayer.objects.get().state) == (Job.State.RUNNING, "fetching")
    jobs.run(filling.pk)
    assert dataset.spaces.filter(state="ready").count() == 2
    jobs.run(job.pk)
    assert RegionLayer.objects.get().state == "preparing"
    assert PendingEmbedding.objects.filter(layer__isnull=False).count() == 3


def test_a_layer_fails_with_the_encoder_it_waits_for(
    dataset: Dataset, alice: Any, far_encoder: list[Exception]
) -> None:
    filling = default_is_fetched(dataset, alice)
    job = work(layers.start(layers.describe(dataset, "tile", {}), by=alice))
    far_encoder.append(EncoderUnavailable("The hub has no model “far”. Check the name."))
    jobs.run(filling.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.State.FAILED, "The hub has no model “far”. Check the name.")
    assert RegionLayer.objects.get().problem == job.message


# The listing ----------------------------------------------------------------------------------------------------------


def test_detectors_are_offered_with_their_size_and_by_name(
    alice: Any, away: Away, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENCODERS_DIR = tmp_path
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    client = APIClient()
    client.force_authenticate(alice)
    found = {one["name"]: one for one in client.get("/api/v1/detectors/").json()["results"]}
    recommended = found["transformers:PekingU/rtdetr_v2_r18vd"]
    assert {key: recommended[key] for key in ("is_here", "megabytes", "is_recommended", "available")} == {
        "is_here": False, "megabytes": 81, "is_recommended": True, "available": False,
    }  # fmt: skip
    assert "the Hugging Face hub cannot be reached" in recommended["reason"]
    one = client.get("/api/v1/detectors/?name=words:somebody/else").json()["results"]
    assert [(each["name"], each["takes_words"], each["megabytes"]) for each in one] == [
        ("words:somebody/else", True, None)
    ]
    refused = client.get("/api/v1/detectors/?name=nothing")
    assert refused.status_code == 400
    assert "no detector “nothing”" in refused.json()["detail"]


def test_the_worker_is_not_asked_before_the_detector_is_here(
    dataset: Dataset, alice: Any, photos: list[Item], away: Away
) -> None:
    start(dataset, alice)
    assert embedding.embed_pending(dataset.pk) == 0  # it would have loaded what is not here
    assert RegionLayer.objects.get().state == "fetching"
