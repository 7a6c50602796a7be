"""Pending items: claimed once, embedded once, and a bad one does not keep the others."""

from __future__ import annotations

import io
import random
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from django.db import connection, connections, transaction

from datasets import creation, importing, jobs, media
from datasets.models import Dataset, Item, Job
from search import embedding, encoders, pending, preparation
from search.attempts import Notebook
from search.encoders.base import EncoderError
from search.models import Embedding, EmbeddingAttempt, EmbeddingSpace, PendingEmbedding
from tests.fixtures import jpeg, make_user
from tests.processes import Worker


def indexed(dataset: Dataset, by: Any, number: int) -> Job:
    """An import that has everything but its vectors."""
    files: list[importing.job.Upload] = [(f"{at:03}.jpg", io.BytesIO(jpeg(at))) for at in range(number)]
    job = importing.start_upload_import(dataset, files, by=by)
    jobs.run(job.pk)
    return job


def pending_rows(dataset: Dataset, number: int) -> None:
    """Items to embed that no running worker is told of: the test alone claims them."""
    items = Item.objects.bulk_create(
        Item(dataset=dataset, key=str(at), external_path="/gone.jpg") for at in range(number)
    )
    PendingEmbedding.objects.bulk_create(
        PendingEmbedding(dataset=dataset, item=item, encoder=dataset.encoder) for item in items
    )


def test_every_item_gets_a_vector_in_every_space(dataset: Dataset, alice: Any) -> None:
    job = indexed(dataset, alice, 7)
    assert PendingEmbedding.objects.count() == 7
    assert embedding.embed_pending(dataset.pk) == 7
    assert not PendingEmbedding.objects.exists()
    for space in dataset.spaces.all():
        assert Embedding.objects.filter(space_id=space.pk).count() == 7
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert {(phase.name, phase.done, phase.total) for phase in job.phases.all()} >= {
        ("thumbnails", 7, 7),
        ("embed", 7, 7),
    }


def test_a_poisoned_item_is_named_and_the_others_are_done(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = indexed(dataset, alice, 6)
    encoder = encoders.get(dataset.encoder)
    good = encoder.encode_batch
    poisoned: list[Any] = []

    def encode_batch(inputs: list[Any]) -> Any:
        poisoned[:] = poisoned or [inputs[0]]
        return {
            output: np.where([[one is poisoned[0]] for one in inputs], np.nan, made)
            for output, made in good(inputs).items()
        }

    monkeypatch.setattr(encoder, "encode_batch", encode_batch)
    embedding.embed_pending(dataset.pk)
    left = PendingEmbedding.objects.get()
    assert "finite" in left.reason
    assert Embedding.objects.filter(item__dataset=dataset).values("item").distinct().count() == 5
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert job.errors.get().key == left.item.key


def test_an_encoder_that_always_fails_leaves_reasons_not_a_loop(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(dataset, alice, 2)

    def fail(inputs: Any) -> Any:
        raise EncoderError("out of order")

    monkeypatch.setattr(encoders.get(dataset.encoder), "encode_batch", fail)
    embedding.embed_pending(dataset.pk)
    assert [row.reason for row in PendingEmbedding.objects.all()] == ["out of order"] * 2
    assert embedding.embed_pending(dataset.pk) == 0


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_claim_the_same_item() -> None:
    dataset = creation.create_dataset(name="shared", modality="image", by=make_user("alice"))
    pending_rows(dataset, 20)
    claimed: list[set[int]] = []
    both = threading.Barrier(2)

    def claim() -> None:
        try:
            with transaction.atomic():
                rows = embedding._claim(dataset, 12).rows
                claimed.append({row.item_id for row in rows})
                both.wait(10)  # both hold their claims at once
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(claimed) == 2
    assert not claimed[0] & claimed[1]
    assert len(claimed[0] | claimed[1]) == 20


@pytest.mark.django_db(transaction=True)
def test_a_claim_whose_connection_is_lost_is_free_again() -> None:
    dataset = creation.create_dataset(name="lost", modality="image", by=make_user("alice"))
    pending_rows(dataset, 3)
    found = connection.settings_dict
    with closing(psycopg.connect(host=found["HOST"], user=found["USER"], dbname=found["NAME"])) as lost:
        assert len(lost.execute("SELECT id FROM search_pendingembedding FOR UPDATE SKIP LOCKED").fetchall()) == 3
        with transaction.atomic():
            assert embedding._claim(dataset, 10).rows == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [lost.info.backend_pid])
        with transaction.atomic():
            assert len(embedding._claim(dataset, 10).rows) == 3


def test_a_canceled_job_withdraws_what_nobody_began(dataset: Dataset, alice: Any) -> None:
    job = indexed(dataset, alice, 4)
    jobs.cancel(job)
    assert not PendingEmbedding.objects.exists()
    jobs.resume(Job.objects.get(pk=job.pk))
    jobs.run(job.pk)
    assert PendingEmbedding.objects.count() == 4


def test_an_encoder_that_fails_for_everything_fails_its_spaces(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = indexed(dataset, alice, 5)
    good = encoders.get(dataset.encoder).encode_batch

    def flat(inputs: Any) -> Any:
        return {output: made[:, :7] for output, made in good(inputs).items()}

    monkeypatch.setattr(encoders.get(dataset.encoder), "encode_batch", flat)
    embedding.embed_pending(dataset.pk)
    assert {space.state for space in dataset.spaces.all()} == {EmbeddingSpace.State.FAILED}
    assert ", 7); this space takes (" in dataset.spaces.all()[0].problem
    assert not PendingEmbedding.objects.exists()
    assert all(item.state == "ready" for item in dataset.items.all())  # opened all the same: the grid has its pictures
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert job.errors.get().key == dataset.encoder
    assert {(phase.name, phase.done, phase.total) for phase in job.phases.all()} >= {
        ("thumbnails", 5, 5),
        ("embed", 5, 5),
    }


def test_an_encoder_that_throws_what_it_likes_at_one_item_gives_the_others(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(dataset, alice, 5)
    encoder = encoders.get(dataset.encoder)
    good = encoder.preprocess
    seen: list[Any] = []

    def preprocess(image: Any) -> Any:
        seen.append(image)
        if len(seen) == 3:
            raise ZeroDivisionError("of somebody's making")
        return good(image)

    monkeypatch.setattr(encoder, "preprocess", preprocess)
    embedding.embed_pending(dataset.pk)
    assert PendingEmbedding.objects.get().reason == "ZeroDivisionError: of somebody's making"
    assert Embedding.objects.filter(item__dataset=dataset).values("item").distinct().count() == 4


@pytest.mark.django_db(transaction=True)
def test_what_ends_its_worker_is_tried_alone_and_then_put_aside() -> None:
    """A worker that is killed leaves the note of what it was at, and no lock."""
    dataset = creation.create_dataset(name="deadly", modality="image", by=make_user("alice"))
    pending_rows(dataset, 6)
    deadly = PendingEmbedding.objects.order_by("item_id")[2].item_id
    sizes = []
    for _ in range(20):
        pending.set_aside(dataset)
        with transaction.atomic():
            rows = embedding._claim(dataset, 100).rows
        if not rows:
            break
        sizes.append(len(rows))
        if deadly in {row.item_id for row in rows}:
            EmbeddingAttempt.objects.create(
                token=len(sizes), dataset_id=dataset.pk, pending_ids=[row.pk for row in rows]
            )
        else:
            PendingEmbedding.objects.filter(pk__in=[row.pk for row in rows]).delete()
    left = PendingEmbedding.objects.get()
    assert left.item_id == deadly
    assert "twice" in left.reason
    assert sizes == [6, 1, 1, 1, 1, 1, 1, 1]  # all, then each alone, the deadly one twice
    assert not EmbeddingAttempt.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_a_living_worker_is_at_counts_no_try() -> None:
    dataset = creation.create_dataset(name="alive", modality="image", by=make_user("alice"))
    pending_rows(dataset, 3)
    checked = threading.Event()
    noted = threading.Event()

    def work() -> None:
        notebook = Notebook()
        try:
            with transaction.atomic():
                rows = embedding._claim(dataset, 3).rows
                with notebook.noted(dataset.pk, [row.pk for row in rows]):
                    noted.set()
                    checked.wait(10)
        finally:
            notebook.close()
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert noted.wait(10)
    pending.set_aside(dataset)
    assert EmbeddingAttempt.objects.count() == 1
    checked.set()
    thread.join(10)
    assert not EmbeddingAttempt.objects.exists()
    assert set(PendingEmbedding.objects.values_list("tries", flat=True)) == {0}


def test_pictures_are_there_before_the_encoder_is(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder is loaded only once all thumbnails are made: the grid does not wait for it."""
    job = indexed(dataset, alice, 5)
    ready = encoders.get(dataset.encoder)
    kept: list[str] = []
    all_kept = threading.Event()
    keep = media.keep_thumbnail

    def keep_thumbnail(sha256: str, jpeg: bytes) -> None:
        keep(sha256, jpeg)
        kept.append(sha256)
        if len(kept) == 5:
            all_kept.set()

    def get(name: str) -> Any:
        assert all_kept.wait(20)
        return ready

    monkeypatch.setattr(media, "keep_thumbnail", keep_thumbnail)
    monkeypatch.setattr(encoders, "is_loaded", lambda name: False)
    monkeypatch.setattr(encoders, "get", get)
    assert embedding.embed_pending(dataset.pk) == 5
    assert len(kept) == 5  # made once, though each file was opened twice
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert {(phase.name, phase.done, phase.total) for phase in job.phases.all()} >= {
        ("thumbnails", 5, 5),
        ("embed", 5, 5),
    }


def test_an_error_while_loading_is_no_items_fault(
    dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(dataset, alice, 3)

    def get(name: str) -> Any:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(encoders, "is_loaded", lambda name: False)
        patch.setattr(encoders, "get", get)
        with pytest.raises(OSError, match="No space left"):
            embedding.embed_pending(dataset.pk)
    assert [row.tries for row in PendingEmbedding.objects.all()] == [0, 0, 0]
    assert not EmbeddingAttempt.objects.filter(dataset_id=dataset.pk).exists()
    assert embedding.embed_pending(dataset.pk) == 3


def test_a_failed_space_can_try_again(dataset: Dataset, alice: Any) -> None:
    indexed(dataset, alice, 3)
    pending.give_up(dataset, dataset.encoder, "out of order")
    embedding.embed_pending(dataset.pk)
    space = dataset.spaces.all()[0]
    assert (space.state, space.problem) == (EmbeddingSpace.State.FAILED, "out of order")
    jobs.run(preparation.try_again(space, by=alice).pk)
    assert embedding.embed_pending(dataset.pk) == 3
    space.refresh_from_db()
    assert (space.state, space.problem) == (EmbeddingSpace.State.READY, "")
    assert Embedding.objects.filter(space_id=space.pk).count() == 3


@pytest.mark.slow
def test_ten_kills_at_random_moments_lose_and_double_nothing(
    worker: Worker, transactional_db: None, tmp_path: Path
) -> None:
    files = [tmp_path / f"{at}.jpg" for at in range(20)]
    for at, file in enumerate(files):
        file.write_bytes(jpeg(at, (200, 150)))
    dataset = creation.create_dataset(name="killed", modality="image", by=make_user("alice"))
    Item.objects.bulk_create(
        Item(dataset=dataset, key=f"{at:04}", external_path=str(files[at % len(files)])) for at in range(1500)
    )
    pending.enqueue(dataset, job=None)
    moments = random.Random(10)
    for _ in range(10):
        time.sleep(moments.uniform(0.1, 2.0))
        worker.kill()
        worker.restart_if_ended()
        pending.recover()  # what the scheduler does every so often, at once
    end = time.monotonic() + 120
    while PendingEmbedding.objects.filter(reason="").exists():
        assert time.monotonic() < end, PendingEmbedding.objects.count()
        pending.recover()
        time.sleep(0.2)
    assert not PendingEmbedding.objects.exists()  # none was put aside: no item is to blame
    for space in dataset.spaces.all():
        ids = list(Embedding.objects.filter(space_id=space.pk).values_list("item_id", flat=True))
        assert len(ids) == len(set(ids)) == 1500
    assert not Item.objects.filter(dataset=dataset, sha256=None).exists()
