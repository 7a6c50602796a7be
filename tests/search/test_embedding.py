"""Pending items: claimed once, embedded once, and a bad one does not keep the others."""

from __future__ import annotations

import io
import itertools
import threading
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction

from datasets import creation, importing, jobs
from datasets.models import Dataset, Item, Job
from search import embedding, encoders
from search.encoders.base import EncoderError
from search.models import Embedding, PendingEmbedding
from tests.fixtures import jpeg, make_user


def indexed(dataset: Dataset, by: Any, number: int) -> Job:
    """An import that has everything but its vectors."""
    files: list[importing.job.Upload] = [(f"{at:03}.jpg", io.BytesIO(jpeg(at))) for at in range(number)]
    job = importing.start_upload_import(dataset, files, by=by)
    jobs.run(job.pk)
    return job


def pending(dataset: Dataset, number: int) -> None:
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
    poisoned = encoder.preprocess
    calls = itertools.count()

    def preprocess(image: Any) -> Any:
        result = poisoned(image)
        return result * float("nan") if next(calls) == 2 else result

    monkeypatch.setattr(encoder, "preprocess", preprocess)
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
    pending(dataset, 20)
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
    pending(dataset, 3)
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
