"""An encoder beside the first: added, fetched, filled, made the default, deleted; and what goes wrong on the way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.db import connection, connections, transaction
from PIL import Image

from datasets import creation, importing, jobs
from datasets.errors import Conflict, Refused
from datasets.models import Dataset, Item, Job, JobPhase
from search import answers, coverage, embedding, encoders, pending, preparation, query, spaces, vectors
from search.attempts import Notebook
from search.encoders import EncoderSpec, EncoderUnavailable, Output
from search.encoders.base import Report
from search.models import Embedding, EmbeddingSpace, PendingEmbedding
from tests.fixtures import add_items, jpeg, make_user
from tests.search import tiny_encoders

State = EmbeddingSpace.State
COLOURS, EDGES = Output("colours", 3, frozenset({"image"})), Output("edges", 2, frozenset({"image"}))
WORDS = Output("words", 4, frozenset({"text"}))


class Tiny:
    """A real little encoder: the mean colour of an image, and how it changes from side to side."""

    batch_size = 4
    runtime = "numpy"

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def preprocess(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((8, 8)), dtype=np.float32) / 255 + 0.01

    def encode_batch(self, inputs: list[Any]) -> dict[str, Any]:
        pixels = np.stack(inputs)
        across = np.stack([pixels[:, :, :4].mean((1, 2, 3)), pixels[:, :, 4:].mean((1, 2, 3))], axis=1)
        return {"colours": vectors.normalised(pixels.mean((1, 2))), "edges": vectors.normalised(across)}

    def encode_texts(self, texts: list[str]) -> dict[str, Any]:
        raise encoders.EncoderError("It reads images.")


class Shop:
    """Where the weights of ``tiny`` come from. A test sets what happens while they do."""

    def __init__(self) -> None:
        self.outputs: tuple[Output, ...] = (COLOURS, EDGES, WORDS)
        self.while_fetching: Callable[[Report], None] = lambda report: report(1000, 1000)
        self.fetched = 0
        self.spec = EncoderSpec(
            name="tiny",
            title="Tiny",
            description="Finds pictures of the same colour.",
            modalities=frozenset({"image"}),
            outputs=(),
            license="CC0",
            source="this test",
            load=lambda: Tiny(self.spec),
            image_side=8,
            prepare=self.prepare,
        )

    def prepare(self, report: Report) -> EncoderSpec:
        self.while_fetching(report)
        self.fetched += 1
        return replace(self.spec, outputs=self.outputs)


def register(*specs: EncoderSpec) -> None:
    """As the entry point of an installed package does."""
    encoders._registry().update({spec.name: spec for spec in specs})


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    known = replace(made.spec, name="known", outputs=(COLOURS, EDGES), prepare=None)
    lame = replace(made.spec, name="lame", requires=("no_such_module",))
    mute = replace(made.spec, name="mute", outputs=(WORDS,))
    register(made.spec, known, lame, mute)
    yield made
    for name in ("tiny", "known", "lame", "mute"):
        del encoders._registry()[name]
        encoders._loaded.pop(name, None)


def import_photos(dataset: Dataset, by: Any, number: int, start: int = 0) -> Job:
    files: list[importing.job.Upload] = [(f"{at:03}.jpg", io.BytesIO(jpeg(at))) for at in range(start, start + number)]
    job = importing.start_upload_import(dataset, files, by=by)
    jobs.run(job.pk)
    return job


def of(dataset: Dataset, encoder: str, output: str | None = None) -> EmbeddingSpace:
    found = dataset.spaces.filter(encoder=encoder)
    return (found.filter(output=output) if output is not None else found).order_by("id")[0]


def states(dataset: Dataset, encoder: str) -> set[str]:
    return set(dataset.spaces.filter(encoder=encoder).values_list("state", flat=True))


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'search_embedding'::regclass"
        )
        return {name for (name,) in cursor.fetchall()}


def after(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


@pytest.fixture
def filled(dataset: Dataset, alice: Any, shop: Shop) -> Dataset:
    """Five photos, embedded with the first encoder."""
    import_photos(dataset, alice, 5)
    embedding.embed_pending(dataset.pk)
    return dataset


# Adding --------------------------------------------------------------------------------------------------------------


def test_a_known_encoder_fills_its_spaces_beside_the_first(filled: Dataset, alice: Any) -> None:
    job = preparation.add_spaces(filled, "known", by=alice)
    assert states(filled, "known") == {State.READY}
    jobs.run(job.pk)
    assert embedding.embed_pending(filled.pk) == 5
    assert after(job).state == Job.State.SUCCEEDED
    for space in filled.spaces.all():
        assert Embedding.objects.filter(space_id=space.pk).count() == 5
    assert of(filled, "starter").is_default
    assert JobPhase.objects.get(job=job, name="embed").done == 5


def test_an_encoder_that_is_fetched_has_a_placeholder_meanwhile(filled: Dataset, alice: Any, shop: Shop) -> None:
    seen: list[tuple[str, int, str]] = []

    def while_fetching(report: Report) -> None:
        report(400, 1000)
        space = of(filled, "tiny")
        seen.append((space.output, space.dimension, space.state))
        assert JobPhase.objects.get(job=job, name="prepare").done == 400

    shop.while_fetching = while_fetching
    job = preparation.add_spaces(filled, "tiny", by=alice)
    jobs.run(job.pk)
    assert seen == [("", 0, State.PREPARING)]
    made = filled.spaces.filter(encoder="tiny")
    # An output that images cannot fill has no space.
    assert [(one.output, one.dimension, one.accepts, one.state) for one in made] == [
        ("colours", 3, ["image"], State.READY), ("edges", 2, ["image"], State.READY),
    ]  # fmt: skip
    assert embedding.embed_pending(filled.pk) == 5
    assert after(job).state == Job.State.SUCCEEDED
    assert {coverage.of_spaces([one])[one.pk].embedded for one in made} == {5}


def test_the_job_may_run_again_at_any_time(filled: Dataset, alice: Any, shop: Shop) -> None:
    job = preparation.add_spaces(filled, "tiny", by=alice)
    for _ in range(3):
        preparation.fill_spaces(job_running(job))
    assert shop.fetched == 3
    assert filled.spaces.filter(encoder="tiny").count() == 2
    assert PendingEmbedding.objects.filter(dataset=filled).count() == 5
    assert JobPhase.objects.get(job=job, name="embed").total == 5


def job_running(job: Job) -> Job:
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
    return after(job)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("nothing", "no encoder “nothing”"),
        ("lame", "no_such_module is not installed"),
        ("starter-text", "cannot read images"),
        ("mute", "cannot read images"),
        ("starter", "already"),
    ],
)
def test_what_cannot_serve_is_refused_with_a_sentence(
    dataset: Dataset, alice: Any, shop: Shop, encoder: str, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        preparation.add_spaces(dataset, encoder, by=alice)
    assert not Job.objects.filter(kind=Job.Kind.EMBED).exists()
    assert dataset.spaces.count() == 2


def test_an_encoder_that_fails_fails_its_job_and_nothing_else(filled: Dataset, alice: Any, shop: Shop) -> None:
    def while_fetching(report: Report) -> None:
        raise EncoderUnavailable("The hub has no model “tiny”. Check the name.")

    shop.while_fetching = while_fetching
    job = preparation.add_spaces(filled, "tiny", by=alice)
    jobs.run(job.pk)
    assert (after(job).state, after(job).message) == (Job.State.FAILED, "The hub has no model “tiny”. Check the name.")
    space = of(filled, "tiny")
    assert (space.state, space.problem) == (State.FAILED, "The hub has no model “tiny”. Check the name.")
    assert states(filled, "starter") == {State.READY}
    assert answers.run(query.parse(filled, {"like": [filled.items.all()[0].pk]}), limit=3).embedded == 5

    shop.while_fetching = lambda report: None
    again = preparation.try_again(space, by=alice)
    with pytest.raises(preparation.AtWork, match=f"Job {again.pk}"):
        preparation.try_again(space, by=alice)
    jobs.run(again.pk)
    assert embedding.embed_pending(filled.pk) == 5
    assert after(again).state == Job.State.SUCCEEDED


def test_whatever_an_encoder_throws_is_told(filled: Dataset, alice: Any, shop: Shop) -> None:
    def while_fetching(report: Report) -> None:
        raise ConnectionResetError("the network went away")

    shop.while_fetching = while_fetching
    job = preparation.add_spaces(filled, "tiny", by=alice)
    jobs.run(job.pk)
    assert "the network went away" in after(job).message
    assert of(filled, "tiny").problem == after(job).message


def test_an_encoder_that_makes_nothing_of_images_says_so(filled: Dataset, alice: Any, shop: Shop) -> None:
    shop.outputs = (WORDS,)
    job = preparation.add_spaces(filled, "tiny", by=alice)
    jobs.run(job.pk)
    assert after(job).message == "“tiny” makes no vectors from images. Choose another encoder."


def test_an_encoder_that_breaks_while_embedding_fails_its_job(
    filled: Dataset, alice: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tiny, "encode_batch", lambda self, inputs: {"colours": np.ones((len(inputs), 9))})
    job = preparation.add_spaces(filled, "tiny", by=alice)
    jobs.run(job.pk)
    embedding.embed_pending(filled.pk)
    assert states(filled, "tiny") == {State.FAILED}
    assert after(job).state == Job.State.FAILED
    assert after(job).message == of(filled, "tiny").problem


def test_a_download_can_be_canceled_and_gone_on_with(filled: Dataset, alice: Any, shop: Shop) -> None:
    job = preparation.add_spaces(filled, "tiny", by=alice)

    def while_fetching(report: Report) -> None:
        jobs.cancel(job)
        report(1, 1000)
        raise AssertionError("It was not stopped.")

    shop.while_fetching = while_fetching
    jobs.run(job.pk)
    assert after(job).state == Job.State.CANCELED
    assert states(filled, "tiny") == {State.PREPARING}
    shop.while_fetching = lambda report: None
    jobs.resume(after(job))
    jobs.run(job.pk)
    assert embedding.embed_pending(filled.pk) == 5
    assert after(job).state == Job.State.SUCCEEDED


def test_a_canceled_job_leaves_the_rest_for_another_try(filled: Dataset, alice: Any) -> None:
    job = preparation.add_spaces(filled, "known", by=alice)
    jobs.run(job.pk)
    jobs.cancel(after(job))
    assert embedding.embed_pending(filled.pk) == 0
    jobs.run(preparation.try_again(of(filled, "known"), by=alice).pk)
    assert embedding.embed_pending(filled.pk) == 5


def test_items_that_come_while_it_is_fetched_are_embedded_too(filled: Dataset, alice: Any, shop: Shop) -> None:
    def while_fetching(report: Report) -> None:
        import_photos(filled, alice, 3, start=5)

    shop.while_fetching = while_fetching
    jobs.run(preparation.add_spaces(filled, "tiny", by=alice).pk)
    embedding.embed_pending(filled.pk)
    assert {one.embedded for one in coverage.of_spaces(list(filled.spaces.all())).values()} == {8}
    assert not Job.objects.exclude(state=Job.State.SUCCEEDED).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard")
def test_an_item_between_two_snapshots_is_not_lost(shop: Shop) -> None:
    """Its batch has asked for vectors before the space was ready, and commits after the space asked for every item."""
    alice = make_user("alice")
    dataset = creation.create_dataset(name="between", modality="image", by=alice)
    job = preparation.add_spaces(dataset, "tiny", by=alice)
    asked, may_commit = threading.Event(), threading.Event()

    def batch() -> None:
        try:
            with transaction.atomic():
                item = add_items(dataset, 1)[0]
                pending.enqueue(dataset, job=None, item_ids=[item.pk])
                asked.set()
                may_commit.wait(10)
        finally:
            connections.close_all()

    def fill() -> None:
        try:
            jobs.run(job.pk)
        finally:
            connections.close_all()

    importer, runner = threading.Thread(target=batch), threading.Thread(target=fill)
    importer.start()
    assert asked.wait(10)
    runner.start()
    runner.join(0.5)
    assert runner.is_alive()  # it waits for the batch
    may_commit.set()
    importer.join(10)
    runner.join(10)
    assert set(PendingEmbedding.objects.values_list("encoder", flat=True)) == {"starter", "tiny"}


def test_new_items_are_embedded_in_every_space(filled: Dataset, alice: Any) -> None:
    jobs.run(preparation.add_spaces(filled, "known", by=alice).pk)
    embedding.embed_pending(filled.pk)
    import_photos(filled, alice, 2, start=5)
    assert embedding.embed_pending(filled.pk) == 4  # each for two encoders
    assert {one.embedded for one in coverage.of_spaces(list(filled.spaces.all())).values()} == {7}


def test_a_file_that_two_jobs_wait_for_ends_both(dataset: Dataset, alice: Any, shop: Shop) -> None:
    """It is opened once, or refused once, whichever job's turn it is."""
    files: list[importing.job.Upload] = [("good.jpg", io.BytesIO(jpeg(1))), ("bad.jpg", io.BytesIO(jpeg(2)[:300]))]
    first = importing.start_upload_import(dataset, files, by=alice)
    jobs.run(first.pk)
    second = preparation.add_spaces(dataset, "known", by=alice)
    jobs.run(second.pk)
    while True:
        with transaction.atomic():
            claim = embedding._claim(dataset, 1)  # one row at a time: the jobs meet the same file apart
            if not claim.rows:
                break
            work_on(dataset, claim)
    jobs.settle(first.pk)
    jobs.settle(second.pk)
    assert {after(first).state, after(second).state} == {Job.State.SUCCEEDED}
    assert list(dataset.items.values_list("key", flat=True)) == ["good.jpg"]
    for phase in JobPhase.objects.filter(name__in=["thumbnails", "embed"]):
        assert phase.done == phase.total, phase


def work_on(dataset: Dataset, claim: Any) -> None:
    with ThreadPoolExecutor(1) as decoders, closing(Notebook()) as notebook:
        embedding._work(dataset, claim, embedding._spaces(dataset), decoders, notebook)


# A dataset that begins with it ---------------------------------------------------------------------------------------


def test_a_dataset_can_begin_with_an_encoder_that_is_to_be_fetched(alice: Any, shop: Shop) -> None:
    dataset = creation.create_dataset(name="later", modality="image", by=alice, encoder="tiny")
    job = Job.objects.get(dataset=dataset, kind=Job.Kind.EMBED)
    placeholder = dataset.spaces.get()
    assert (placeholder.is_default, placeholder.state, job.created_by) == (True, State.PREPARING, alice)
    first = import_photos(dataset, alice, 4)
    embedding.embed_pending(dataset.pk)
    assert not dataset.items.filter(sha256=None).exists()  # thumbnails are made all the same
    assert after(first).state == Job.State.SUCCEEDED
    item = dataset.items.all()[0]
    for asked in ({"like": [item.pk]}, {"text": "red"}):
        with pytest.raises(spaces.SpaceNotReady, match=r"“tiny” is being fetched.*Spaces panel"):
            answers.run(query.parse(dataset, asked), limit=3)
    jobs.run(job.pk)
    assert embedding.embed_pending(dataset.pk) == 4
    assert answers.run(query.parse(dataset, {"like": [item.pk]}), limit=3).embedded == 4
    assert after(job).state == Job.State.SUCCEEDED


def test_a_search_says_that_the_default_has_failed(alice: Any, shop: Shop) -> None:
    def while_fetching(report: Report) -> None:
        raise EncoderUnavailable("The hub has no such model.")

    shop.while_fetching = while_fetching
    dataset = creation.create_dataset(name="never", modality="image", by=alice, encoder="tiny")
    import_photos(dataset, alice, 2)
    jobs.run(Job.objects.get(kind=Job.Kind.EMBED).pk)
    embedding.embed_pending(dataset.pk)
    with pytest.raises(spaces.SpaceNotReady, match=r"has failed: The hub has no such model\..*try again"):
        answers.run(query.parse(dataset, {"like": [dataset.items.all()[0].pk]}), limit=3)
    # Another encoder helps, and the failed one can go.
    jobs.run(preparation.add_spaces(dataset, "known", by=alice, becomes_default=True).pk)
    embedding.embed_pending(dataset.pk)
    dataset.refresh_from_db()
    assert dataset.encoder == "known"
    spaces.delete_spaces(dataset, "tiny")
    assert answers.run(query.parse(dataset, {"like": [dataset.items.all()[0].pk]}), limit=3).embedded == 2


def test_an_encoder_that_is_not_installed_is_refused_for_a_new_dataset(alice: Any, shop: Shop) -> None:
    with pytest.raises(Refused, match="no_such_module"):
        creation.create_dataset(name="lame", modality="image", by=alice, encoder="lame")
    assert not Dataset.objects.exists()


def test_a_model_of_a_family_is_named_searched_in_words_and_by_example(
    alice: Any, settings: LazySettings, tmp_path: Path
) -> None:
    """A checkpoint in a folder, as somebody copies it to a machine without a network."""
    settings.ENCODERS_DIR = tmp_path
    tiny_encoders.clip(tmp_path / "model")
    dataset = creation.create_dataset(name="own model", modality="image", by=alice, encoder="joint:model")
    assert dataset.spaces.get().is_placeholder
    import_photos(dataset, alice, 3)
    jobs.run(Job.objects.get(kind=Job.Kind.EMBED).pk)
    embedding.embed_pending(dataset.pk)
    space = dataset.spaces.get()
    assert (space.output, space.dimension, space.accepts) == ("joint", 24, ["image", "text"])
    for asked in ({"like": [dataset.items.all()[0].pk]}, {"text": "a red car"}):
        assert answers.run(query.parse(dataset, asked), limit=3).embedded == 3


def test_a_model_that_is_nowhere_fails_with_a_sentence(alice: Any, settings: LazySettings, tmp_path: Path) -> None:
    settings.ENCODERS_DIR = tmp_path
    dataset = creation.create_dataset(name="no model", modality="image", by=alice, encoder="joint:model")
    job = Job.objects.get(kind=Job.Kind.EMBED)
    jobs.run(job.pk)
    assert (after(job).state, dataset.spaces.get().state) == (Job.State.FAILED, State.FAILED)
    assert after(job).message == dataset.spaces.get().problem
    assert after(job).message.endswith(".")


# The default ---------------------------------------------------------------------------------------------------------


def test_the_default_moves_to_a_complete_space_only(filled: Dataset, alice: Any) -> None:
    jobs.run(preparation.add_spaces(filled, "known", by=alice).pk)
    space = of(filled, "known", "edges")
    with pytest.raises(spaces.Incomplete, match=r"0 of 5 items; 5 are missing"):
        spaces.choose_default(space)
    spaces.choose_default(space, when_complete=True)
    assert of(filled, "starter").is_default
    embedding.embed_pending(filled.pk)  # switches when it is done
    space.refresh_from_db()
    filled.refresh_from_db()
    assert (space.is_default, space.becomes_default, filled.encoder) == (True, False, "known")
    spaces.choose_default(of(filled, "starter", "visual"))
    filled.refresh_from_db()
    assert filled.encoder == "starter"
    assert filled.spaces.filter(is_default=True).count() == 1


def test_what_failed_for_good_does_not_keep_the_default_from_moving(
    filled: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Tiny.preprocess
    seen: list[Any] = []

    def preprocess(self: Tiny, image: Image.Image) -> Any:
        seen.append(image)
        if len(seen) == 1:
            raise ZeroDivisionError("of its own")
        return good(self, image)

    monkeypatch.setattr(Tiny, "preprocess", preprocess)
    job = preparation.add_spaces(filled, "known", by=alice, becomes_default=True)
    jobs.run(job.pk)
    embedding.embed_pending(filled.pk)
    space = of(filled, "known")
    found = coverage.of_spaces([space])[space.pk]
    assert (found.embedded, found.total, found.failed, found.pending) == (4, 5, 1, 0)
    assert found.size_bytes > 0
    assert [row.reason for row in pending.failures(space)] == ["ZeroDivisionError: of its own"]
    assert space.is_default

    again = preparation.try_again(space, by=alice)
    jobs.run(again.pk)
    assert embedding.embed_pending(filled.pk) == 1
    assert after(again).state == Job.State.SUCCEEDED
    assert coverage.of_spaces([space])[space.pk].embedded == 5


def test_a_space_takes_over_although_no_worker_was_needed(dataset: Dataset, alice: Any, shop: Shop) -> None:
    jobs.run(preparation.add_spaces(dataset, "tiny", by=alice, becomes_default=True).pk)
    assert of(dataset, "tiny").is_default


def test_what_a_worker_had_no_time_to_switch_is_switched_later(filled: Dataset, alice: Any) -> None:
    jobs.run(preparation.add_spaces(filled, "known", by=alice).pk)
    embedding.embed_pending(filled.pk)
    filled.spaces.filter(encoder="known", output="colours").update(becomes_default=True)
    embedding.recover()
    assert of(filled, "known").is_default


def test_the_last_wish_counts(filled: Dataset, alice: Any) -> None:
    jobs.run(preparation.add_spaces(filled, "known", by=alice, becomes_default=True).pk)
    spaces.choose_default(of(filled, "known", "edges"), when_complete=True)
    assert [one.output for one in filled.spaces.filter(becomes_default=True)] == ["edges"]
    spaces.give_up_default(of(filled, "known", "edges"))
    embedding.embed_pending(filled.pk)
    assert of(filled, "starter").is_default


# Deleting ------------------------------------------------------------------------------------------------------------


def test_the_default_and_the_only_encoder_stay(filled: Dataset, alice: Any) -> None:
    with pytest.raises(Conflict, match="the only encoder"):
        spaces.delete_spaces(filled, "starter")
    jobs.run(preparation.add_spaces(filled, "known", by=alice).pk)
    with pytest.raises(Conflict, match="Make another space the default first"):
        spaces.delete_spaces(filled, "starter")
    assert filled.spaces.count() == 4


def test_an_encoder_goes_with_all_that_is_its(filled: Dataset, alice: Any) -> None:
    before = partitions()
    job = preparation.add_spaces(filled, "known", by=alice)
    jobs.run(job.pk)
    assert len(partitions() - before) == 2
    spaces.delete_spaces(filled, "known")
    assert partitions() == before
    assert after(job).state == Job.State.CANCELED
    assert not PendingEmbedding.objects.exists()
    assert embedding.embed_pending(filled.pk) == 0
    jobs.resume(after(job))
    jobs.run(job.pk)
    assert after(job).state == Job.State.FAILED
    assert "was deleted" in after(job).message
    jobs.run(preparation.add_spaces(filled, "known", by=alice).pk)  # and can come again
    assert embedding.embed_pending(filled.pk) == 5


def test_an_import_ends_although_an_encoder_it_waits_for_goes(dataset: Dataset, alice: Any, shop: Shop) -> None:
    jobs.run(preparation.add_spaces(dataset, "known", by=alice).pk)
    job = import_photos(dataset, alice, 3)
    assert JobPhase.objects.get(job=job, name="embed").total == 6
    spaces.delete_spaces(dataset, "known")
    assert embedding.embed_pending(dataset.pk) == 3
    assert after(job).state == Job.State.SUCCEEDED
    assert {(phase.done, phase.total) for phase in job.phases.filter(name__in=["embed", "thumbnails"])} == {(3, 3)}


def test_files_are_still_opened_when_the_encoder_that_would_have_goes(alice: Any, shop: Shop) -> None:
    dataset = creation.create_dataset(name="left", modality="image", by=alice, encoder="tiny")
    preparation.add_spaces(dataset, "known", by=alice)
    job = import_photos(dataset, alice, 2)
    spaces.delete_spaces(dataset, "known")
    embedding.embed_pending(dataset.pk)
    assert not dataset.items.filter(sha256=None).exists()
    assert after(job).state == Job.State.SUCCEEDED


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard")
def test_deleting_waits_for_a_claim_and_brings_no_vector_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is in the middle of a claim while its encoder is deleted."""
    alice = make_user("alice")
    dataset = creation.create_dataset(name="in the middle", modality="image", by=alice)
    import_photos(dataset, alice, 6)
    embedding.embed_pending(dataset.pk)
    job = preparation.add_spaces(dataset, "known", by=alice)
    jobs.run(job.pk)
    dropped = [f"search_embedding_{pk}" for pk in dataset.spaces.filter(encoder="known").values_list("pk", flat=True)]
    encoding, may_go_on = threading.Event(), threading.Event()
    good = Tiny.encode_batch

    def encode_batch(self: Tiny, inputs: list[Any]) -> Any:
        encoding.set()
        assert may_go_on.wait(10)
        return good(self, inputs)

    monkeypatch.setattr(Tiny, "encode_batch", encode_batch)
    outcome: dict[str, Any] = {}

    def run(name: str, function: Callable[[], Any]) -> threading.Thread:
        def target() -> None:
            try:
                outcome[name] = function()
            except Exception as error:
                outcome[name] = error
            finally:
                connections.close_all()

        thread = threading.Thread(target=target)
        thread.start()
        return thread

    worker = run("worker", lambda: embedding.embed_pending(dataset.pk))
    assert encoding.wait(10)
    deleter = run("deleter", lambda: spaces.delete_spaces(dataset, "known"))
    deleter.join(0.5)
    assert deleter.is_alive()  # it waits for the claim
    may_go_on.set()
    worker.join(20)
    deleter.join(20)
    assert isinstance(outcome["worker"], int), outcome["worker"]
    assert outcome["deleter"] is None, outcome["deleter"]
    assert after(job).state == Job.State.CANCELED
    assert not set(dropped) & partitions()
    assert not PendingEmbedding.objects.exists()
    assert not EmbeddingSpace.objects.filter(dataset=dataset, encoder="known").exists()
    assert Embedding.objects.filter(space_id__in=[int(name.rsplit("_", 1)[1]) for name in dropped]).count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard")
def test_who_waits_too_long_is_told_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = make_user("alice")
    dataset = creation.create_dataset(name="busy", modality="image", by=alice)
    preparation.add_spaces(dataset, "known", by=alice)
    monkeypatch.setattr(pending, "_PATIENCE_S", 0.2)
    claimed, may_end = threading.Event(), threading.Event()

    def claim() -> None:
        try:
            with transaction.atomic():
                pending.keep_spaces(dataset.pk)
                claimed.set()
                may_end.wait(10)
        finally:
            connections.close_all()

    thread = threading.Thread(target=claim)
    thread.start()
    assert claimed.wait(10)
    with pytest.raises(pending.Busy, match="Try again"):
        spaces.delete_spaces(dataset, "known")
    may_end.set()
    thread.join(10)
    spaces.delete_spaces(dataset, "known")
    assert states(dataset, "known") == set()


# Counting ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unheard")
def test_counts_are_read_from_indexes_alone() -> None:
    dataset = creation.create_dataset(name="many", modality="image", by=make_user("alice"))
    items = add_items(dataset, 3000)
    space = dataset.spaces.all()[0]
    vectors.write(space, [item.pk for item in items], vectors.normalised(np.ones((3000, space.dimension))))
    PendingEmbedding.objects.bulk_create(
        PendingEmbedding(dataset=dataset, item=item, encoder="later", reason="" if item.pk % 3 else "bad")
        for item in items
    )
    parameters = {"spaces": [space.pk], "datasets": [dataset.pk]}
    with connection.cursor() as cursor:
        for table in ("search_embedding", "search_pendingembedding", "datasets_item"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        for statement in (coverage._VECTORS, coverage._WAITING, coverage._ITEMS):
            cursor.execute("EXPLAIN " + statement, parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index Only Scan" in plan, plan
            assert "Seq Scan" not in plan, plan
    assert Item.objects.filter(dataset=dataset).count() == 3000
