"""Region layers: filled by the worker, right and once; broken ones harm nothing; what is removed is gone."""

from __future__ import annotations

import io
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from django.db.models import F
from PIL import Image

from datasets import creation, filters, importing, jobs, media, regions
from datasets.errors import Refused
from datasets.models import Dataset, Item, Job, PredictedItem, Prediction, PredictionModel, Region, RegionLayer
from datasets.regions import Shape
from search import cost, cutouts, detectors, embedding, encoders, layers, pending, spaces, tiles, vectors
from search.detectors import Detection, DetectorSpec
from search.models import Embedding, EmbeddingAttempt, EmbeddingSpace, PendingEmbedding, RegionEmbedding
from tests.datasets.test_regions import give_label
from tests.fixtures import EVAL, jpeg, make_user
from tests.processes import Worker

YOLOX_FILE = EVAL / "detector" / "yolox_nano_coco80.onnx"
LEFT = Shape(0.0, 0.0, 0.5, 1.0)
RIGHT = Shape(0.5, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def coco() -> list[Path]:
    folder = EVAL / "coco50" / "images"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return sorted(folder.iterdir())


@pytest.fixture
def nano(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a YOLOX-nano with the classes of COCO."""
    if not YOLOX_FILE.exists():
        pytest.skip(f"{YOLOX_FILE} is missing")
    settings.ENCODERS_DIR = tmp_path
    monkeypatch.setattr(detectors, "_loaded", {})
    shutil.copy(YOLOX_FILE, tmp_path / "nano.onnx")
    return "yolox:nano.onnx"


class Halves:
    """Finds a thing in either half of every image, and one that is too unlikely for a region."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.spec = DetectorSpec(
            name="halves",
            title="",
            description="",
            classes=("left", "right"),
            license="",
            source="",
            load=lambda: self,
        )

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        self.seen.append(len(images))
        found = [("left", 0.9, 0.0), ("right", 0.6, 0.5), ("right", 0.1, 0.25)]
        return [[Detection(label, score, x, 0.0, 0.5, 1.0) for label, score, x in found] for _ in images]


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Halves:
    detector = Halves()
    monkeypatch.setattr(detectors, "_registry", lambda: {"halves": detector.spec})
    monkeypatch.setattr(detectors, "_loaded", {})
    return detector


def photos_in(dataset: Dataset, files: list[Path]) -> list[Item]:
    """Items whose whole-image vectors are made."""
    items = Item.objects.bulk_create(Item(dataset=dataset, key=file.name, external_path=str(file)) for file in files)
    pending.enqueue(dataset, job=None)
    embedding.embed_pending(dataset.pk)
    return items


def drawn_photos(tmp_path: Path, number: int) -> list[Path]:
    files = [tmp_path / f"{at:03}.jpg" for at in range(number)]
    for at, file in enumerate(files):
        file.write_bytes(jpeg(at, (200, 150)))
    return files


def fill(dataset: Dataset, by: Any, kind: str, **said: Any) -> RegionLayer:
    """The layer, once the worker has been at it."""
    job = layers.start(layers.describe(dataset, kind, said), by=by)
    work(job)
    return RegionLayer.objects.get(job=job)


def work(job: Job) -> Job:
    jobs.run(job.pk)
    embedding.embed_pending(job.dataset_id)
    job.refresh_from_db()
    return job


def region_vectors(dataset: Dataset) -> dict[str, set[int]]:
    """Output → the regions that have a vector there."""
    return {
        space.output: set(RegionEmbedding.objects.filter(space_id=space.pk).values_list("region_id", flat=True))
        for space in dataset.spaces.all()
    }


def vector_of(region: Region, output: str = "visual") -> np.ndarray[Any, Any]:
    found = RegionEmbedding.objects.get(region_id=region.pk, space__output=output)
    return np.asarray(found.vector, dtype=np.float32)


# Tiles ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scales", "overlap"), [((2, 3), 0.25), ((4,), 0.0), ((8, 2, 5), 0.75)])
def test_tiles_fill_the_image_and_overlap_as_told(scales: tuple[int, ...], overlap: float) -> None:
    found = tiles.grids(scales, overlap)
    assert len(found) == sum(number**2 for number in scales)
    start = 0
    for number in scales:
        grid, start = found[start : start + number**2], start + number**2
        assert (grid[0].x, grid[0].y) == (0, 0)
        assert grid[-1].x + grid[-1].width == pytest.approx(1)
        assert grid[-1].y + grid[-1].height == pytest.approx(1)
        assert grid[0].x + grid[0].width - grid[1].x == pytest.approx(overlap * grid[0].width)


def test_every_photo_gets_its_tiles_with_a_vector_in_every_space(
    dataset: Dataset, alice: Any, coco: list[Path]
) -> None:
    items = photos_in(dataset, coco[:6])
    layer = fill(dataset, alice, "tile")
    assert (layer.state, layer.params) == ("ready", {"scales": [2, 3], "overlap": 0.25})
    for item in items:
        found = Region.objects.filter(item=item, layer=layer, kind="tile").order_by("pk")
        assert [Shape(r.x, r.y, r.width, r.height) for r in found] == tiles.grids([2, 3], 0.25)
    ids = set(Region.objects.values_list("pk", flat=True))
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    assert layer.job is not None
    layer.job.refresh_from_db()
    assert layer.job.state == Job.State.SUCCEEDED
    assert [(phase.name, phase.done, phase.total) for phase in layer.job.phases.all()] == [("regions", 6, 6)]
    # Asking again finds nothing missing.
    assert layers.enqueue(dataset, job=None) == 0


def test_a_tiles_vector_is_that_of_the_tile(dataset: Dataset, alice: Any, coco: list[Path]) -> None:
    item = photos_in(dataset, coco[:1])[0]
    fill(dataset, alice, "tile", scales=[2], overlap=0.0)
    encoder = encoders.get(dataset.encoder)
    picture = Image.open(item.external_path).convert("RGB")
    for region in Region.objects.all():
        shape = Shape(region.x, region.y, region.width, region.height)
        expected = encoder.encode_batch([encoder.preprocess(cutouts.cut(picture, shape))])
        for output, made in expected.items():
            assert float(vector_of(region, output) @ made[0]) > 0.99


def test_new_items_get_their_regions_and_the_import_counts_them(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves
) -> None:
    fill(dataset, alice, "tile", scales=[2])
    fill(dataset, alice, "detected", detector="halves")
    files: list[importing.job.Upload] = [(f"{at}.jpg", io.BytesIO(jpeg(at))) for at in range(5)]
    job = work_import(importing.start_upload_import(dataset, files, by=alice))
    assert job.state == Job.State.SUCCEEDED
    phases = {phase.name: (phase.done, phase.total) for phase in job.phases.all()}
    assert (phases["thumbnails"], phases["embed"], phases["regions"]) == ((5, 5), (5, 5), (10, 10))
    assert Region.objects.filter(kind="tile").count() == 20
    assert Region.objects.filter(kind="detected").count() == 10
    assert Embedding.objects.filter(item__dataset=dataset, space__output="visual").count() == 5


def work_import(job: Job) -> Job:
    jobs.run(job.pk)
    embedding.embed_pending(job.dataset_id)
    job.refresh_from_db()
    return job


def test_a_file_is_opened_once_for_all_that_wants_it(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = Item.objects.bulk_create(
        Item(dataset=dataset, key=file.name, external_path=str(file)) for file in drawn_photos(tmp_path, 9)
    )
    detectors.get("halves")
    opened: list[int] = []
    open_original = media.open_original

    def counted(item: Item) -> Any:
        opened.append(item.pk)
        return open_original(item)

    monkeypatch.setattr(media, "open_original", counted)
    for kind, said in (("tile", {}), ("detected", {"detector": "halves"})):
        jobs.run(layers.start(layers.describe(dataset, kind, said), by=alice).pk)
    pending.enqueue(dataset, job=None)
    assert PendingEmbedding.objects.count() == 27
    embedding.embed_pending(dataset.pk)
    assert sorted(opened) == [item.pk for item in items]
    assert halves.seen == [8, 1]
    assert Region.objects.count() == 9 * (13 + 2)
    assert not PendingEmbedding.objects.exists()


# Detections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starter", "nano"])
def test_detections_are_stored_as_the_detector_gives_them_and_can_be_counted(
    name: str, dataset: Dataset, alice: Any, coco: list[Path], request: pytest.FixtureRequest
) -> None:
    detector = request.getfixturevalue("nano") if name == "nano" else name
    items = photos_in(dataset, coco[:12])
    layer = fill(dataset, alice, "detected", detector=detector, threshold=0.3, most_regions=3)
    images = [Image.open(item.external_path).convert("RGB") for item in items]
    direct = dict(zip((item.pk for item in items), detectors.get(detector).detect(images), strict=True))

    for pk, found in direct.items():
        stored = Prediction.objects.filter(item=pk, model__name=detector).order_by("pk")
        assert [(p.label, p.score, p.x, p.y, p.width, p.height) for p in stored] == [
            (d.label, d.score, d.x, d.y, d.width, d.height) for d in found
        ]
        # Eleven shares of all that is in the box, each rounded to a byte.
        assert all(250 <= np.frombuffer(bytes(p.colors or b""), np.uint8).sum() <= 260 for p in stored)
        likely = [d for d in found if d.score >= 0.3][:3]
        made = [p.region for p in stored if p.region]
        assert [(r.kind, r.layer_id, r.x, r.width) for r in made] == [
            ("detected", layer.pk, d.x, d.width) for d in likely
        ]
    ids = set(Region.objects.values_list("pk", flat=True))
    assert ids
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    assert PredictedItem.objects.count() == 12
    for threshold in (0.1, 0.25, 0.5):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT item_id FROM datasets_prediction JOIN datasets_predictionmodel AS model ON model.id = model_id"
                " WHERE model.dataset_id = %s AND model.name = %s AND label = 'person' AND score >= %s"
                " GROUP BY item_id HAVING count(*) > 2",
                [dataset.pk, detector, threshold],
            )
            counted = {pk for (pk,) in cursor.fetchall()}
        assert counted == {
            pk for pk, found in direct.items() if sum(d.label == "person" and d.score >= threshold for d in found) > 2
        }


def test_the_colours_of_a_box_are_those_inside_it(dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves) -> None:
    file = tmp_path / "flag.png"
    flag = Image.new("RGB", (200, 100), (190, 0, 50))
    flag.paste((0, 103, 165), (100, 0, 200, 100))
    flag.save(file)
    (item,) = photos_in(dataset, [file])
    fill(dataset, alice, "detected", detector="halves", most_regions=0)
    said = {"left": "red", "right": "blue"}
    for label, color in said.items():
        raw = {"objects": {"class": label, "color": {color: ">0.95"}}}
        assert list(filters.parse(dataset, raw).apply(filters.items_of(dataset))) == [item]
        raw = {"objects": {"class": label, "color": "green"}}
        assert not filters.parse(dataset, raw).apply(filters.items_of(dataset)).exists()


def test_a_layer_of_predictions_alone_has_no_regions(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves
) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 3))
    fill(dataset, alice, "detected", detector="halves", most_regions=0)
    assert Prediction.objects.count() == 9
    assert not Region.objects.exists()


def test_another_threshold_makes_the_regions_anew(dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 4))
    layer = fill(dataset, alice, "detected", detector="halves")
    assert Region.objects.count() == 8
    job = work(layers.change(layer, {"threshold": 0.7}, by=alice))
    assert job.state == Job.State.SUCCEEDED
    assert {(p.name, p.done, p.total) for p in job.phases.all()} == {("removal", 4, 4), ("regions", 4, 4)}
    ids = set(Region.objects.values_list("pk", flat=True))
    assert len(ids) == 4
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    assert Prediction.objects.count() == 12
    layer.refresh_from_db()
    assert (layer.state, layer.params["threshold"]) == ("ready", 0.7)


def test_a_broken_detector_fails_its_layer_and_nothing_else(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(images: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(halves, "detect", fail)
    Item.objects.bulk_create(
        Item(dataset=dataset, key=file.name, external_path=str(file)) for file in drawn_photos(tmp_path, 5)
    )
    pending.enqueue(dataset, job=None)
    layer = fill(dataset, alice, "detected", detector="halves")
    assert layer.state == "failed"
    assert "none of 5 images: out of order" in layer.problem
    assert Embedding.objects.filter(space__output="visual", item__dataset=dataset).count() == 5
    assert not PendingEmbedding.objects.exists()
    assert layer.job is not None
    layer.job.refresh_from_db()
    assert layer.job.state == Job.State.SUCCEEDED
    assert "out of order" in layer.job.errors.get().reason
    monkeypatch.undo()


@pytest.mark.parametrize(
    "wrong",
    [
        Detection("thing", 1.5, 0, 0, 1, 1),
        Detection("thing", 0.9, 0, 0, float("nan"), 1),
        Detection("x", 0.9, 0, 0, 2, 1),
    ],
)
def test_what_a_detector_may_not_say_is_its_items_failure(
    wrong: Detection, dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = halves.detect
    seen: list[Any] = []

    def detect(images: list[Image.Image]) -> Any:
        seen[:] = seen or [images[1]]
        return [[wrong] if image is seen[0] else found for image, found in zip(images, good(images), strict=True)]

    monkeypatch.setattr(halves, "detect", detect)
    items = photos_in(dataset, drawn_photos(tmp_path, 4))
    layer = fill(dataset, alice, "detected", detector="halves")
    failed = PendingEmbedding.objects.get()
    assert (failed.item_id, failed.layer_id) == (items[1].pk, layer.pk)
    assert failed.reason.startswith("halves: ")
    assert layer.state == "ready"
    assert PredictedItem.objects.count() == 3


# Failures, kills -----------------------------------------------------------------------------------------------------


def test_a_poisoned_tile_puts_its_item_aside_and_it_can_be_tried_again(
    dataset: Dataset, alice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = photos_in(dataset, drawn_photos(tmp_path, 5))
    encoder = encoders.get(dataset.encoder)
    good = encoder.encode_batch
    poisoned: list[Any] = []

    def encode_batch(inputs: list[Any]) -> Any:
        poisoned[:] = poisoned or [inputs[1]]
        return {
            output: np.where([[one is poisoned[0]] for one in inputs], np.nan, made)
            for output, made in good(inputs).items()
        }

    monkeypatch.setattr(encoder, "encode_batch", encode_batch)
    layer = fill(dataset, alice, "tile", scales=[2])
    failed = PendingEmbedding.objects.get()
    assert (failed.item_id, failed.layer_id) == (items[0].pk, layer.pk)
    assert "finite" in failed.reason
    assert layer.job is not None
    assert layer.job.errors.get().key == items[0].key
    ids = set(Region.objects.values_list("pk", flat=True))
    assert len(ids) == 16  # all or nothing
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    monkeypatch.setattr(encoder, "encode_batch", good)
    work(layers.change(layer, {}, by=alice))
    assert Region.objects.count() == 20
    assert not PendingEmbedding.objects.exists()


def test_work_that_breaks_off_leaves_nothing_behind(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 4))
    job = layers.start(layers.describe(dataset, "detected", {"detector": "halves"}), by=alice)

    def fail(*args: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(vectors, "write_regions", fail)
        with pytest.raises(MemoryError), transaction.atomic():
            work(job)
    for model in (Region, RegionEmbedding, Prediction, PredictedItem):
        assert not model.objects.exists()
    EmbeddingAttempt.objects.all().delete()
    work(job)
    assert (Region.objects.count(), Prediction.objects.count()) == (8, 12)


def test_a_canceled_job_goes_on_where_it_was(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 4))
    job = layers.start(layers.describe(dataset, "tile", {}), by=alice)
    jobs.run(job.pk)
    jobs.cancel(job)
    assert not PendingEmbedding.objects.exists()
    embedding.embed_pending(dataset.pk)
    assert RegionLayer.objects.get().state == "preparing"
    # An import meanwhile does not take up what somebody has stopped.
    importing.start_upload_import(dataset, [("new.jpg", io.BytesIO(jpeg(99)))], by=alice)
    jobs.run(Job.objects.get(kind="import").pk)
    assert PendingEmbedding.objects.exclude(layer=None).count() == 1
    jobs.resume(Job.objects.get(pk=job.pk))
    assert work(job).state == Job.State.SUCCEEDED
    assert RegionLayer.objects.get().state == "ready"
    assert Region.objects.count() == 5 * 13


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_double_nothing(
    worker: Worker, transactional_db: None, tmp_path: Path
) -> None:
    files = drawn_photos(tmp_path, 20)
    alice = make_user("alice")
    dataset = creation.create_dataset(name="killed", modality="image", by=alice)
    Item.objects.bulk_create(
        Item(dataset=dataset, key=f"{at:04}", external_path=str(files[at % len(files)])) for at in range(200)
    )
    with transaction.atomic():
        pending.enqueue(dataset, job=None)
        for kind, said in (("tile", {"scales": [2]}), ("detected", {"detector": "starter"})):
            layers.start(layers.describe(dataset, kind, said), by=alice)
    moments = random.Random(3)
    for _ in range(3):
        time.sleep(moments.uniform(1.0, 5.0))
        worker.kill()
        worker.restart_if_ended()
        recover()
    end = time.monotonic() + 200
    while RegionLayer.objects.exclude(state="ready").exists() or PendingEmbedding.objects.filter(reason="").exists():
        assert time.monotonic() < end, PendingEmbedding.objects.count()
        recover()
        time.sleep(0.3)
    assert not PendingEmbedding.objects.exists()
    assert Region.objects.filter(kind="tile").count() == 800
    assert PredictedItem.objects.filter(item__dataset=dataset).count() == 200
    ids = sorted(Region.objects.values_list("pk", flat=True))
    for space in dataset.spaces.all():
        embedded = RegionEmbedding.objects.filter(space_id=space.pk).values_list("region_id", flat=True)
        assert sorted(embedded) == ids
        assert Embedding.objects.filter(space_id=space.pk).count() == 200


def recover() -> None:
    """What the scheduler does every so often, at once."""
    Job.objects.filter(state__in=["queued", "running"]).update(updated_at="2020-01-01T00:00Z")
    jobs.recover()
    pending.recover()


# Drawn ---------------------------------------------------------------------------------------------------------------


def test_a_drawn_region_gets_a_vector_and_a_new_one_when_it_is_redrawn(
    dataset: Dataset, alice: Any, coco: list[Path]
) -> None:
    item = photos_in(dataset, coco[:1])[0]
    before = regions.draw(item, LEFT)
    fill(dataset, alice, "drawn")
    first = vector_of(before)
    polygon = regions.draw(item, regions.shape(None, [[0, 0], [0.5, 0], [0.25, 1]]))
    moved = regions.redraw(before, RIGHT)
    assert set(RegionEmbedding.objects.values_list("region_id", flat=True)) == set()  # none is better than an old one
    embedding.embed_pending(dataset.pk)
    ids = {moved.pk, polygon.pk}
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    assert float(first @ vector_of(moved)) < 0.95
    encoder = encoders.get(dataset.encoder)
    picture = Image.open(item.external_path).convert("RGB")
    for region, shape in ((moved, RIGHT), (polygon, regions.shape(None, polygon.polygon))):
        expected = encoder.encode_batch([encoder.preprocess(cutouts.cut(picture, shape))])["visual"][0]
        assert float(vector_of(region) @ expected) > 0.99
    assert float(vector_of(polygon) @ first) < 0.99  # what lies outside of it is not seen
    regions.remove(moved)
    assert region_vectors(dataset)["visual"] == {polygon.pk}
    embedding.embed_pending(dataset.pk)
    assert not PendingEmbedding.objects.exists()


def test_without_a_layer_a_drawn_region_asks_for_nothing(dataset: Dataset, tmp_path: Path) -> None:
    regions.draw(photos_in(dataset, drawn_photos(tmp_path, 1))[0], LEFT)
    assert not PendingEmbedding.objects.exists()


def test_what_is_outside_of_a_polygon_is_grey() -> None:
    picture = Image.new("RGB", (80, 40), "red")
    cut = np.asarray(cutouts.cut(picture, regions.shape(None, [[0, 0], [1, 0], [0, 1]])))
    assert cut.shape[0] == cut.shape[1] >= 80
    top, left = (cut.shape[0] - 40) // 2, (cut.shape[1] - 80) // 2
    assert tuple(cut[top + 2, left + 2]) == (255, 0, 0)
    assert tuple(cut[top + 37, left + 77]) == cutouts.GREY
    assert tuple(cut[2, 2]) == cutouts.GREY


# Cost ----------------------------------------------------------------------------------------------------------------


def test_the_cost_of_tiles_is_what_they_then_take(dataset: Dataset, alice: Any, coco: list[Path]) -> None:
    photos_in(dataset, coco)
    wanted = layers.describe(dataset, "tile", {})
    said = cost.estimate(wanted)
    assert not Region.objects.exists()
    assert not PendingEmbedding.objects.exists()
    assert (said.items, said.regions, said.vectors, said.is_exact) == (50, 650, 1300, True)
    assert said.sampled >= 1
    assert said.seconds is not None
    assert said.seconds > 0
    work(layers.start(wanted, by=alice))
    assert Region.objects.count() == said.regions
    names = [f"search_regionembedding_{space.pk}" for space in dataset.spaces.all()] + ["datasets_region"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", [names])
        size = cursor.fetchone()[0]
    assert 0.8 < said.size_bytes / size < 1.25


def test_the_cost_of_a_detector_is_near_what_it_then_finds(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves
) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 20))
    wanted = layers.describe(dataset, "detected", {"detector": "halves"})
    said = cost.estimate(wanted)
    assert (said.items, said.regions, said.predictions, said.is_exact) == (20, 40, 60, False)
    work(layers.start(wanted, by=alice))
    assert (Region.objects.count(), Prediction.objects.count()) == (40, 60)


def test_nothing_costs_nothing_and_files_that_are_gone_tell_no_time(dataset: Dataset) -> None:
    assert cost.estimate(layers.describe(dataset, "tile", {})).seconds == 0
    Item.objects.create(dataset=dataset, key="gone", external_path="/gone.jpg")
    said = cost.estimate(layers.describe(dataset, "tile", {}))
    assert (said.regions, said.seconds, said.sampled) == (13, None, 0)


# Asking and removing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said", "sentence"),
    [
        ("tile", {"threshold": 0.5}, "takes no threshold"),
        ("tile", {"detector": "starter"}, "has no detector"),
        ("drawn", {"scales": [2]}, "takes no scales"),
        ("detected", {}, "Name the detector"),
        ("detected", {"detector": "nobody"}, "no detector “nobody”"),
        ("detected", {"detector": "starter", "words": ["a cat"]}, "takes no words"),
        ("tile", {"encoder": "minilm"}, "no space of the encoder “minilm”"),
    ],
)
def test_what_does_not_go_together_is_refused(dataset: Dataset, kind: str, said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        layers.describe(dataset, kind, said)


def test_texts_have_no_layers(multi: Dataset) -> None:
    with pytest.raises(Refused, match="only images have regions"):
        layers.describe(multi, "tile", {})


def test_a_layer_is_there_once_and_one_job_at_a_time_is_at_it(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 1))
    job = layers.start(layers.describe(dataset, "tile", {}), by=alice)
    with pytest.raises(layers.LayerExists, match="already"):
        layers.start(layers.describe(dataset, "tile", {"scales": [4]}), by=alice)
    layer = RegionLayer.objects.get()
    with pytest.raises(layers.LayerBusy, match=f"Job {job.pk}"):
        layers.change(layer, {"scales": [4]}, by=alice)
    drop = layers.remove(layer, by=alice)
    job.refresh_from_db()
    assert job.state == Job.State.CANCELED
    with pytest.raises(layers.LayerBusy, match="being removed"):
        layers.remove(layer, by=alice)
    with pytest.raises(layers.LayerExists, match="being removed"):
        layers.start(layers.describe(dataset, "tile", {}), by=alice)
    assert work(drop).state == Job.State.SUCCEEDED
    assert not RegionLayer.objects.exists()


def test_removing_a_layer_frees_all_of_it_and_keeps_what_people_labelled(
    dataset: Dataset, alice: Any, tmp_path: Path, halves: Halves
) -> None:
    items = photos_in(dataset, drawn_photos(tmp_path, 4))
    fill(dataset, alice, "tile", scales=[2])
    found = fill(dataset, alice, "detected", detector="halves")
    labelled = Region.objects.filter(layer=found).order_by("pk")[0]
    give_label(labelled, alice)
    mine = regions.draw(items[0], LEFT)
    work(layers.remove(found, by=alice))
    assert list(RegionLayer.objects.values_list("kind", flat=True)) == ["tile"]
    assert not PredictionModel.objects.exists()
    assert not Prediction.objects.exists()
    assert not PredictedItem.objects.exists()
    tile_ids = set(Region.objects.filter(kind="tile").values_list("pk", flat=True))
    assert set(Region.objects.filter(kind="drawn").values_list("pk", flat=True)) == {labelled.pk, mine.pk}
    assert Region.objects.count() == len(tile_ids) + 2
    assert region_vectors(dataset) == {"visual": tile_ids, "language": tile_ids}
    assert not PendingEmbedding.objects.exists()
    # With a layer of drawn ones, what was left to the people has a vector again.
    fill(dataset, alice, "drawn")
    assert region_vectors(dataset)["visual"] == tile_ids | {labelled.pk, mine.pk}


def test_items_and_datasets_that_go_take_their_region_vectors_along(
    dataset: Dataset, alice: Any, tmp_path: Path
) -> None:
    items = photos_in(dataset, drawn_photos(tmp_path, 3))
    fill(dataset, alice, "tile", scales=[2])
    creation.remove_items(dataset, [items[0].pk])
    ids = set(Region.objects.values_list("pk", flat=True))
    assert len(ids) == 8
    assert region_vectors(dataset) == {"visual": ids, "language": ids}
    names = [f"search_regionembedding_{space.pk}" for space in dataset.spaces.all()]
    spaces.drop_spaces(dataset)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(to_regclass(name)) FROM unnest(%s::text[]) AS name", [names])
        assert cursor.fetchone()[0] == 0


def test_a_space_that_is_gone_fails_its_layers_with_a_sentence(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    photos_in(dataset, drawn_photos(tmp_path, 2))
    jobs.run(layers.start(layers.describe(dataset, "tile", {}), by=alice).pk)
    for space in EmbeddingSpace.objects.filter(dataset=dataset):
        vectors.drop_partition(space)
        space.delete()
    layer = RegionLayer.objects.get()
    assert layer.state == "failed"
    assert "no space of the encoder" in layer.problem
    embedding.embed_pending(dataset.pk)
    assert not PendingEmbedding.objects.exists()
    assert Job.objects.get().state == Job.State.SUCCEEDED


def test_claiming_reads_the_next_rows_from_the_index(dataset: Dataset) -> None:
    items = Item.objects.bulk_create(Item(dataset=dataset, key=str(at), external_path="/gone") for at in range(3000))
    layer = RegionLayer.objects.create(dataset=dataset, kind="tile", encoder=dataset.encoder)
    PendingEmbedding.objects.bulk_create(
        PendingEmbedding(dataset=dataset, item=item, encoder=dataset.encoder, layer=one)
        for item in items
        for one in (layer, None)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE search_pendingembedding")
    waiting = PendingEmbedding.objects.filter(dataset=dataset, reason="", tries=0)
    plan = waiting.order_by("tries", F("layer").asc(nulls_first=True), "item_id")[:64].explain()
    assert "Index Scan using pending_to_claim" in plan, plan
    assert "Sort" not in plan, plan


def test_items_as_a_whole_come_first_and_bring_their_regions_along(dataset: Dataset) -> None:
    items = Item.objects.bulk_create(Item(dataset=dataset, key=str(at), external_path="/gone") for at in range(6))
    layer = RegionLayer.objects.create(
        dataset=dataset, kind="tile", encoder=dataset.encoder, params={"scales": [2], "overlap": 0}
    )
    wanted = [(item, layer) for item in items] + [(item, None) for item in items[3:]]
    PendingEmbedding.objects.bulk_create(
        PendingEmbedding(dataset=dataset, item=item, encoder=dataset.encoder, layer=one) for item, one in wanted
    )
    with transaction.atomic():
        rows = embedding._claim(dataset, 2).rows
    assert {(row.item_id, row.layer_id) for row in rows} == {
        (item.pk, one) for item in items[3:5] for one in (None, layer.pk)
    }
