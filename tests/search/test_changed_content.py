"""Items whose file or text is another one by now: taken in when that was asked for, embedded anew in every space and layer,
never halfway, and nothing that people did is lost."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from datasets import creation, importing, jobs, media, predictions, regions
from datasets.importing import Existing
from datasets.models import Annotation, Dataset, Item, Job, PredictedItem, Prediction, Region
from datasets.predictions import Predicted
from datasets.regions import Shape
from search import embedding, pending, vectors
from search.models import Embedding, PendingEmbedding, RegionEmbedding
from tests.datasets.test_importing import reasons, run, upload, zipped
from tests.datasets.test_regions import give_label
from tests.fixtures import jpeg, labels_of, make_user
from tests.processes import Worker
from tests.search.test_region_layers import fill

DRAWN = Shape(0.1, 0.1, 0.5, 0.5)


def update(dataset: Dataset, by: Any, files: dict[str, bytes]) -> Job:
    return upload(dataset, by, files, existing=Existing.UPDATE)


def vectors_of(dataset: Dataset, key: str) -> dict[str, Any]:
    item = dataset.items.get(key=key)
    return {space.output: vectors.of_items(space, [item.pk]).get(item.pk) for space in dataset.spaces.all()}


def assert_as_if_new(dataset: Dataset, key: str, data: bytes, by: Any) -> None:
    """What is known of the item is what is known of one that has held ``data`` from the beginning."""
    fresh = creation.create_dataset(name="fresh", modality=dataset.modality, by=by)
    name = "one.jpg" if dataset.modality == "image" else "one.jsonl"
    upload(fresh, by, {name: data})
    fields = ("text", "text_hash", "sha256", "size_bytes", "content_type", "width", "height", "brightness", "contrast",
              "sharpness", "colors", "problem")  # fmt: skip
    [expected] = fresh.items.values(*fields)
    assert dataset.items.values(*fields).get(key=key) == expected
    made, wanted = vectors_of(dataset, key), vectors_of(fresh, fresh.items.get().key)
    for output, vector in wanted.items():
        assert vector is not None
        assert float(made[output] @ vector) > 0.999, output


def test_other_content_is_left_out_and_listed_unless_it_is_asked_for(dataset: Dataset, alice: Any) -> None:
    upload(dataset, alice, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    before = (list(dataset.items.values()), vectors_of(dataset, "a.jpg")["visual"].tolist())
    job = upload(dataset, alice, {"a.jpg": jpeg(9), "b.jpg": jpeg(2), "c.jpg": jpeg(3)})
    assert job.state == Job.State.SUCCEEDED
    assert {name: job.result[name] for name in ("added", "changed", "already_in")} == {
        "added": 1, "changed": 0, "already_in": 1,
    }  # fmt: skip
    assert list(reasons(job)) == ["a.jpg"]
    assert "was left as it is" in reasons(job)["a.jpg"]
    assert (
        list(dataset.items.exclude(key="c.jpg").values()),
        vectors_of(dataset, "a.jpg")["visual"].tolist(),
    ) == before
    assert not stored(jpeg(9))


def stored(data: bytes) -> bool:
    """Whether the media storage has a file of this content."""
    try:
        media.open_stored(media._file_name(media.digest(io.BytesIO(data)))).close()
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_changed_image_is_taken_in_with_everything_made_anew(
    dataset: Dataset, alice: Any, is_zip: bool, django_capture_on_commit_callbacks: Any
) -> None:
    def files(*seeds: int) -> dict[str, bytes]:
        made = {f"cat/{at}.jpg": jpeg(seed, (120, 90 + seed)) for at, seed in enumerate(seeds)}
        made["dog/0.jpg"] = jpeg(50)
        return {"set.zip": zipped(made)} if is_zip else made

    with django_capture_on_commit_callbacks(execute=True):
        upload(dataset, alice, files(1, 2, 3))
    items = {item.key: item for item in dataset.items.all()}
    labels = labels_of(dataset)
    Item.objects.filter(key="cat/1.jpg").update(tags=["seen"], status="done", split="val")
    others = {key: vectors_of(dataset, key)["visual"].tolist() for key in ("cat/0.jpg", "cat/2.jpg")}
    with django_capture_on_commit_callbacks(execute=True):
        job = update(dataset, alice, files(1, 7, 3))
    assert (job.state, reasons(job)) == (Job.State.SUCCEEDED, {})
    assert (job.result["added"], job.result["changed"], job.result["already_in"]) == (0, 1, 3)
    assert {phase.name: (phase.done, phase.total) for phase in job.phases.all()} == {
        "scan": (4, 4), "index": (4, 4), "thumbnails": (1, 1), "embed": (1, 1),
    }  # fmt: skip
    assert {item.key: item.pk for item in dataset.items.all()} == {key: item.pk for key, item in items.items()}
    changed = dataset.items.get(key="cat/1.jpg")
    assert (changed.tags, changed.status, changed.split, labels_of(dataset)) == (["seen"], "done", "val", labels)
    assert_as_if_new(dataset, "cat/1.jpg", jpeg(7, (120, 97)), alice)
    assert {key: vectors_of(dataset, key)["visual"].tolist() for key in others} == others
    # The file that nothing holds any more is gone, with its thumbnail.
    assert stored(jpeg(7, (120, 97)))
    assert not stored(jpeg(2, (120, 92)))
    with pytest.raises(FileNotFoundError):
        media.open_thumbnail(str(items["cat/1.jpg"].sha256))
    again = update(dataset, alice, files(1, 7, 3))
    assert (again.result["changed"], again.result["already_in"]) == (0, 4)
    assert not PendingEmbedding.objects.exists()


def test_two_items_can_change_places(dataset: Dataset, alice: Any, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        upload(dataset, alice, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    first, second = vectors_of(dataset, "a.jpg")["visual"], vectors_of(dataset, "b.jpg")["visual"]
    with django_capture_on_commit_callbacks(execute=True):
        update(dataset, alice, {"a.jpg": jpeg(2), "b.jpg": jpeg(1)})
    assert float(vectors_of(dataset, "a.jpg")["visual"] @ second) > 0.999
    assert float(vectors_of(dataset, "b.jpg")["visual"] @ first) > 0.999


def test_a_file_changed_where_it_lies_is_taken_in_without_asking(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    for at in range(3):
        (tmp_path / f"{at}.jpg").write_bytes(jpeg(at))
    run(importing.start_path_import(dataset, tmp_path, by=alice))
    # As large as before, and with an older date: only its bytes tell.
    old, new = (tmp_path / "1.jpg").read_bytes(), jpeg(8)
    size = max(len(old), len(new))
    (tmp_path / "1.jpg").write_bytes(old.ljust(size, b"\0"))
    run(importing.start_path_import(dataset, tmp_path, by=alice))
    (tmp_path / "1.jpg").write_bytes(new.ljust(size, b"\0"))
    os.utime(tmp_path / "1.jpg", (0, 0))
    job = run(importing.start_path_import(dataset, tmp_path, by=alice))
    assert (job.result["changed"], job.result["already_in"], reasons(job)) == (1, 2, {})
    assert_as_if_new(dataset, "1.jpg", new.ljust(size, b"\0"), alice)
    (tmp_path / "2.jpg").unlink()
    job = run(importing.start_path_import(dataset, tmp_path, by=alice))
    assert (job.result["changed"], job.result["already_in"], dataset.items.count()) == (0, 2, 3)


def test_a_changed_text_is_taken_in(multi: Dataset, alice: Any) -> None:
    def lines(*rows: dict[str, Any]) -> bytes:
        return "\n".join(json.dumps(row) for row in rows).encode()

    upload(multi, alice, {"q.jsonl": lines(
        {"id": "1", "text": "Where is the harbour?", "label": "place", "source": "a"},
        {"id": "2", "text": "Who was the first king?", "year": 3},
    )})  # fmt: skip
    labels = labels_of(multi)
    changed = {"id": "1", "text": "How do I bake bread at home?", "label": "food", "year": 4}
    job = update(multi, alice, {"q.jsonl": lines(changed, {"id": "2", "text": "Who was the first king?"})})
    assert (job.state, job.result["changed"], job.result["already_in"]) == (Job.State.SUCCEEDED, 1, 1)
    item = multi.items.get(key="1")
    assert item.metadata == {"source": "a", "year": 4}
    assert labels_of(multi) == labels
    assert_as_if_new(multi, "1", lines({"text": "How do I bake bread at home?"}), alice)


def test_a_key_twice_in_a_table_is_told(multi: Dataset, alice: Any) -> None:
    rows = b'{"id": "1", "text": "one"}\n{"id": "1", "text": "one"}\n{"id": "1", "text": "another one"}\n'
    job = upload(multi, alice, {"q.jsonl": rows})
    assert (job.result["added"], job.result["already_in"], list(reasons(job))) == (1, 1, ["1"])
    assert multi.items.get().text == "one"


def test_an_unreadable_new_file_leaves_the_item_what_it_held(dataset: Dataset, alice: Any) -> None:
    upload(dataset, alice, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    before = vectors_of(dataset, "a.jpg")["visual"].tolist()
    cut = jpeg(9)[:300]
    job = update(dataset, alice, {"a.jpg": cut, "b.jpg": jpeg(3)})
    assert (job.result["changed"], list(reasons(job))) == (1, ["a.jpg"])
    assert reasons(job)["a.jpg"].endswith("The item keeps what was found in it before.")
    item = dataset.items.get(key="a.jpg")
    assert (item.sha256, item.problem) == (media.digest(io.BytesIO(jpeg(1))), "")
    assert vectors_of(dataset, "a.jpg")["visual"].tolist() == before
    assert stored(jpeg(1))
    assert not stored(cut)


def test_an_unreadable_item_is_mended(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1)[:300])
    (tmp_path / "b.jpg").write_bytes(jpeg(2))
    item = Item.objects.create(
        dataset=dataset, key="a.jpg", external_path=str(tmp_path / "a.jpg"), problem="it is cut off."
    )
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    run(importing.start_path_import(dataset, tmp_path, by=alice))
    assert_as_if_new(dataset, "a.jpg", jpeg(1), alice)
    assert dataset.items.get(key="a.jpg").pk == item.pk


def test_regions_are_made_anew_and_those_of_people_stay(dataset: Dataset, alice: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1, (200, 150)))
    run(importing.start_path_import(dataset, tmp_path, by=alice))
    fill(dataset, alice, "tile", scales=[2], overlap=0.0)
    fill(dataset, alice, "drawn")
    item = dataset.items.get()
    drawn = regions.draw(item, DRAWN)
    labelled = Region.objects.filter(item=item, kind="tile").first()
    assert labelled is not None
    give_label(labelled, alice)
    model = predictions.model_named(dataset, "somebody's")
    predictions.replace(model, [item.pk], [Predicted(item.pk, "cat", 0.9, region_id=labelled.pk)])
    embedding.embed_pending(dataset.pk)
    tiles_before = set(Region.objects.filter(kind="tile").values_list("pk", flat=True))
    before = {vector.region_id: vector.vector for vector in region_vectors(dataset)}
    (tmp_path / "a.jpg").write_bytes(jpeg(2, (200, 150)))
    job = run(importing.start_path_import(dataset, tmp_path, by=alice))
    assert {phase.name: (phase.done, phase.total) for phase in job.phases.all()}["regions"] == (2, 2)
    tiles = set(Region.objects.filter(kind="tile").values_list("pk", flat=True))
    assert len(tiles) == 4
    assert not tiles & tiles_before
    assert set(Region.objects.filter(kind="drawn").values_list("pk", flat=True)) == {drawn.pk, labelled.pk}
    assert Annotation.objects.standing().filter(region=labelled).count() == 1
    after = {vector.region_id: vector.vector for vector in region_vectors(dataset)}
    assert set(after) == {*tiles, drawn.pk, labelled.pk}
    assert after[drawn.pk] != before[drawn.pk]
    assert not Prediction.objects.exists()
    assert not PredictedItem.objects.exists()


def region_vectors(dataset: Dataset) -> list[RegionEmbedding]:
    space = dataset.spaces.get(output="visual")
    return list(RegionEmbedding.objects.filter(space_id=space.pk))


def test_what_another_job_waits_for_is_not_waited_for_twice(dataset: Dataset, alice: Any, unheard: None) -> None:
    first = importing.start_upload_import(dataset, [("a.jpg", io.BytesIO(jpeg(1)))], by=alice)
    jobs.run(first.pk)
    # A failure of the old content is no failure of the new one.
    other = dataset.encoder + "-other"
    PendingEmbedding.objects.create(dataset=dataset, item=dataset.items.get(), encoder=other, reason="too dark")
    second = update(dataset, alice, {"a.jpg": jpeg(2)})
    first.refresh_from_db()
    assert (second.state, second.result["changed"]) == (Job.State.SUCCEEDED, 1)
    jobs.settle(first.pk)
    first.refresh_from_db()
    assert first.state == Job.State.SUCCEEDED
    assert not PendingEmbedding.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_has_read_the_old_content_cannot_have_the_last_word(tmp_path: Path, unheard: None) -> None:
    """The import waits for it, and what it wrote goes."""
    alice = make_user("alice")
    dataset = creation.create_dataset(name="race", modality="image", by=alice)
    job = importing.start_upload_import(dataset, [("a.jpg", io.BytesIO(jpeg(1)))], by=alice)
    jobs.run(job.pk)
    opened, may_write = threading.Event(), threading.Event()
    encode = embedding._encode

    def slow(*args: Any) -> None:
        encode(*args)
        opened.set()
        may_write.wait(10)

    def work() -> None:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(embedding, "_encode", slow)
                embedding.embed_pending(dataset.pk)
        finally:
            connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    assert opened.wait(30)
    second = importing.start_upload_import(
        dataset, [("a.jpg", io.BytesIO(jpeg(2)))], by=alice, existing=Existing.UPDATE
    )

    def change() -> None:
        try:
            jobs.run(second.pk)
        finally:
            connections.close_all()

    importer = threading.Thread(target=change)
    importer.start()
    time.sleep(0.5)
    assert importer.is_alive()
    may_write.set()
    worker.join(30)
    importer.join(30)
    embedding.embed_pending(dataset.pk)
    assert_as_if_new(dataset, "a.jpg", jpeg(2), alice)
    for one in (job, second):
        one.refresh_from_db()
        assert one.state == Job.State.SUCCEEDED


@pytest.mark.slow
def test_kills_in_the_middle_of_an_update_lose_and_double_nothing(worker: Worker, transactional_db: None) -> None:
    alice = make_user("alice")
    dataset = creation.create_dataset(name="big", modality="image", by=alice)

    def wait(job: Job, kills: int = 0) -> Job:
        end = time.monotonic() + 240
        killed = 0
        while not (job.is_over and not PendingEmbedding.objects.exists()):
            assert time.monotonic() < end, (job.state, list(job.phases.values_list("name", "done", "total")))
            time.sleep(0.15)
            if killed < kills and (job.result.get("changed") or killed == 0):
                worker.kill()
                worker.restart_if_ended()
                killed += 1
                Job.objects.filter(pk=job.pk).update(updated_at="2020-01-01T00:00Z")
                jobs.recover()
                pending.recover()
            job.refresh_from_db()
        assert killed == kills
        return job

    def archive(shift: int) -> io.BytesIO:
        return io.BytesIO(
            zipped({f"{at % 5}/{at:04}.jpg": jpeg(at + shift * (at % 2), (120, 90)) for at in range(1200)})
        )

    wait(importing.start_upload_import(dataset, [("big.zip", archive(0))], by=alice))
    assert dataset.items.count() == 1200
    labels = labels_of(dataset)
    job = importing.start_upload_import(dataset, [("big.zip", archive(5000))], by=alice, existing=Existing.UPDATE)
    wait(job, kills=3)
    assert (job.state, job.errors.count()) == (Job.State.SUCCEEDED, 0)
    assert (job.result["changed"], job.result["already_in"]) == (600, 600)
    assert labels_of(dataset) == labels
    expected = {
        f"{at % 5}/{at:04}.jpg": media.digest(io.BytesIO(jpeg(at + 5000 * (at % 2), (120, 90)))) for at in range(1200)
    }
    assert dict(dataset.items.values_list("key", "sha256")) == expected
    for space in dataset.spaces.all():
        assert Embedding.objects.filter(space_id=space.pk).count() == 1200
    assert len({tuple(v) for v in Embedding.objects.filter(
        space_id=dataset.spaces.get(output="visual").pk).values_list("vector", flat=True)}) > 1190  # fmt: skip
