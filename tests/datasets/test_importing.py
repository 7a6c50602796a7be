"""Imports: what goes in, what is refused with which sentence, and that doing it again changes nothing."""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import creation, importing, jobs
from datasets.importing import base, csv_texts, jsonl_texts, sources
from datasets.models import Dataset, Item, Job, LabelClass
from search import embedding, pending
from search.models import Embedding, PendingEmbedding
from tests.fixtures import jpeg, labels_of
from tests.processes import Worker


def upload(dataset: Dataset, by: Any, files: dict[str, bytes], **options: Any) -> Job:
    """Import ``files`` here and now, without a worker."""
    job = importing.start_upload_import(
        dataset, [(name, io.BytesIO(data)) for name, data in files.items()], by=by, **options
    )
    return run(job)


def run(job: Job) -> Job:
    jobs.run(job.pk)
    embedding.embed_pending(job.dataset_id)
    job.refresh_from_db()
    return job


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def reasons(job: Job) -> dict[str, str]:
    return dict(job.errors.values_list("key", "reason"))


def keys(dataset: Dataset) -> list[str]:
    return sorted(dataset.items.values_list("key", flat=True))


# Images


def test_folders_of_a_zip_are_labels_and_splits(dataset: Dataset, alice: Any) -> None:
    files = {"set/train/cat/1.jpg": jpeg(1), "set/train/dog/2.jpg": jpeg(2), "set/test/cat/3.jpg": jpeg(3)}
    job = upload(dataset, alice, {"set.zip": zipped(files)})
    assert (job.state, reasons(job)) == (Job.State.SUCCEEDED, {})
    by_key = {item.key.removeprefix("set/"): item for item in dataset.items.all()}
    named = labels_of(dataset)
    assert {key: (item.split, named[item.pk]) for key, item in by_key.items()} == {
        "train/cat/1.jpg": ("train", {"cat"}),
        "train/dog/2.jpg": ("train", {"dog"}),
        "test/cat/3.jpg": ("test", {"cat"}),
    }


def test_several_uploaded_files_keep_their_paths(dataset: Dataset, alice: Any) -> None:
    job = upload(dataset, alice, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    assert job.state == Job.State.SUCCEEDED
    assert keys(dataset) == ["a.jpg", "b.jpg"]
    for item in dataset.items.all():
        assert (item.width, item.height, item.content_type, item.state) == (96, 64, "image/jpeg", "ready")
        assert item.brightness is not None


def test_one_good_and_three_bad_images(dataset: Dataset, alice: Any) -> None:
    bad = {"cut.jpg": jpeg(2)[:300], "page.png": b"<!doctype html><p>gone</p>", "empty.webp": b""}
    job = upload(dataset, alice, {"mixed.zip": zipped({"good.jpg": jpeg(1), **bad})})
    assert job.state == Job.State.SUCCEEDED
    assert keys(dataset) == ["good.jpg"]
    assert set(reasons(job)) == set(bad)
    assert "0 bytes" in reasons(job)["empty.webp"]
    assert "HTML" in reasons(job)["page.png"]


def test_an_empty_zip_is_refused_at_once(dataset: Dataset, alice: Any) -> None:
    with pytest.raises(base.ImportRefused, match=r"nothing\.zip"):
        importing.start_upload_import(dataset, [("nothing.zip", io.BytesIO(b""))], by=alice)
    assert not Job.objects.filter(dataset=dataset).exists()


def test_names_that_lead_out_and_bombs_are_refused_and_the_rest_goes_in(dataset: Dataset, alice: Any) -> None:
    files = {"../../etc/evil.jpg": jpeg(1), "/root.jpg": jpeg(2), "C:\\windows.jpg": jpeg(3), "in.jpg": jpeg(4)}
    job = upload(dataset, alice, {"slip.zip": zipped({**files, "bomb.jpg": b"\0" * (200 * 2**20)})})
    assert keys(dataset) == ["in.jpg"]
    found = reasons(job)
    assert "bomb" in found.pop("bomb.jpg")
    assert len(found) == 3
    assert all("points outside" in reason for reason in found.values())


def test_importing_again_adds_nothing_twice(dataset: Dataset, alice: Any) -> None:
    archive = zipped({"cat/1.jpg": jpeg(1), "dog/2.jpg": jpeg(2)})
    upload(dataset, alice, {"set.zip": archive})
    before = (keys(dataset), labels_of(dataset), Embedding.objects.filter(item__dataset=dataset).count())
    job = upload(dataset, alice, {"set.zip": archive})
    assert (keys(dataset), labels_of(dataset), Embedding.objects.filter(item__dataset=dataset).count()) == before
    assert (job.result["added"], job.result["already_in"]) == (0, 2)


def test_a_server_folder_is_read_where_it_lies(dataset: Dataset, alice: Any, tmp_path: Path, settings: Any) -> None:
    settings.IMPORT_ROOTS = [tmp_path.resolve()]
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(jpeg(len(name)))
    job = run(importing.start_path_import(dataset, sources.resolve_server_path(str(tmp_path / "set")), by=alice))
    assert job.state == Job.State.SUCCEEDED
    assert {item.external_path for item in dataset.items.all()} == {
        str((tmp_path / "set" / name).resolve()) for name in ("cat/1.jpg", "dog/2.jpg")
    }
    assert not dataset.items.exclude(file="").exists()


def test_a_path_outside_of_the_roots_is_refused(tmp_path: Path, settings: Any) -> None:
    settings.IMPORT_ROOTS = [(tmp_path / "allowed").resolve()]
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link").symlink_to("/etc")
    for path in ("/etc", str(tmp_path), str(tmp_path / "allowed" / ".."), str(tmp_path / "allowed" / "link")):
        with pytest.raises(base.ImportRefused):
            sources.resolve_server_path(path)


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_no_name_of_a_zip_leads_out(name: str) -> None:
    for hostile in (name, f"../{name}", f"/{name}", f"a/../../{name}", f"..\\{name}"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo(hostile), b"x")
        for found in sources.zip_entries(zipfile.ZipFile(buffer)):
            if isinstance(found, base.Entry):
                assert (Path("/root") / found.name).resolve().is_relative_to("/root")


# Texts


@pytest.fixture
def questions(alice: Any) -> Dataset:
    return creation.create_dataset(name="questions", modality="text", by=alice)


def test_a_csv_gives_texts_labels_splits_and_metadata(questions: Dataset, alice: Any) -> None:
    table = 'id,text,label,split,channel\n1,Größe?,size,train,chat\n2,"two\nlines",,test,mail\n'
    job = upload(questions, alice, {"q.csv": table.encode()})
    assert (job.state, reasons(job)) == (Job.State.SUCCEEDED, {})
    one, two = questions.items.order_by("key")
    assert (one.text, one.split, one.metadata, labels_of(questions)[one.pk]) == (
        "Größe?",
        "train",
        {"channel": "chat"},
        {"size"},
    )
    assert (two.text, two.split, labels_of(questions)[two.pk]) == ("two\nlines", "test", set())


def test_jsonl_keeps_the_types_of_metadata(questions: Dataset, alice: Any) -> None:
    lines: list[dict[str, Any]] = [
        {"key": "a", "text": "one", "label": "x", "n": 3},
        {"key": "b", "text": "two", "tags": ["p"]},
    ]
    upload(questions, alice, {"q.jsonl": "\n".join(map(json.dumps, lines)).encode()})
    assert {item.key: item.metadata for item in questions.items.all()} == {"a": {"n": 3}, "b": {"tags": ["p"]}}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.csv", b"sentence,label\nhello,a\n", "text"),
        ("q.csv", b"", "empty"),
        ("q.jsonl", b"not json\n", "JSON"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_at_once(
    questions: Dataset, alice: Any, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(base.ImportRefused, match=said):
        importing.start_upload_import(questions, [(name, io.BytesIO(content))], by=alice)
    assert not Job.objects.filter(dataset=questions).exists()


def test_a_row_in_another_encoding_is_refused_and_the_rest_goes_in(questions: Dataset, alice: Any) -> None:
    job = upload(questions, alice, {"q.csv": b"key,text\na,plain\nb,gr\xfcn\n"})
    assert keys(questions) == ["a"]
    assert ["UTF-8" in reason for reason in reasons(job).values()] == [True]


def test_bad_rows_are_listed_and_the_rest_goes_in(questions: Dataset, alice: Any) -> None:
    rows = b'{"text": "good", "key": "g"}\n{"label": "x"}\n{"text": "   "}\n{broken\n{"text": "also", "key": "h"}\n'
    job = upload(questions, alice, {"q.jsonl": rows})
    assert keys(questions) == ["g", "h"]
    assert len(reasons(job)) == 3


def test_a_backslash_is_a_character_like_any(questions: Dataset, alice: Any) -> None:
    rows = (
        '{"text": "\\\\u0000 is how C ends a string", "path": "C:\\\\x00"}\n{"text": "a \\u0000 NUL", "key": "bad"}\n'
    )
    job = upload(questions, alice, {"q.jsonl": rows.encode()})
    assert questions.items.get().text == "\\u0000 is how C ends a string"
    assert list(reasons(job)) == ["bad"]


_words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    str.strip
)
_rows = st.lists(st.fixed_dictionaries({"text": _words, "label": _words, "split": _words, "where": _words}), max_size=8)


@given(rows=_rows)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_csv_writer_wrote_is_what_comes_out(rows: list[dict[str, str]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["text", "label", "split", "where"])
    writer.writeheader()
    writer.writerows(rows)
    content = buffer.getvalue().encode()
    entry = base.Entry("q.csv", lambda: io.BytesIO(content))
    _check_rows(csv_texts.CsvTexts().records(iter([entry]), base.Options()), rows)


@given(rows=_rows)
@settings(max_examples=60, deadline=None)
def test_what_a_json_writer_wrote_is_what_comes_out(rows: list[dict[str, str]]) -> None:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    entry = base.Entry("q.jsonl", lambda: io.BytesIO(content))
    _check_rows(jsonl_texts.JsonlTexts().records(iter([entry]), base.Options()), rows)


def _check_rows(found: Any, rows: list[dict[str, str]]) -> None:
    for record, row in zip(found, rows, strict=True):
        assert isinstance(record, base.Record), record
        assert record.text == row["text"]
        assert record.labels == (row["label"].strip(),)
        assert record.split == row["split"].strip()
        assert record.metadata == {"where": row["where"]}


# Jobs


def test_a_canceled_import_stops_and_can_be_resumed(dataset: Dataset, alice: Any) -> None:
    files: list[importing.job.Upload] = [(f"{number}.jpg", io.BytesIO(jpeg(number))) for number in range(4)]
    job = importing.start_upload_import(dataset, files, by=alice)
    jobs.cancel(job)
    assert run(job).state == Job.State.CANCELED
    assert keys(dataset) == []
    jobs.resume(job)
    assert run(job).state == Job.State.SUCCEEDED
    assert len(keys(dataset)) == 4


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(worker: Worker, transactional_db: None) -> None:
    from tests.fixtures import make_user

    alice = make_user("alice")
    dataset = creation.create_dataset(name="big", modality="image", by=alice)
    content = zipped({f"{number % 5}/{number:03}.jpg": jpeg(number, (200, 150)) for number in range(150)})
    archive = SimpleUploadedFile("big.zip", content)
    job = importing.start_upload_import(dataset, [("big.zip", archive)], by=alice)
    kills = 0
    end = time.monotonic() + 240
    while not (job.is_over and not PendingEmbedding.objects.exists()):
        assert time.monotonic() < end, (job.state, list(job.phases.values_list("name", "done", "total")))
        embedded = Embedding.objects.filter(item__dataset=dataset).count()
        if kills < 2 and embedded > 60 * kills:
            worker.kill()
            worker.restart_if_ended()
            kills += 1
            # What the scheduler does every so often, at once.
            Job.objects.filter(pk=job.pk).update(updated_at="2020-01-01T00:00Z")
            jobs.recover()
            pending.recover()
        time.sleep(0.1)
        job.refresh_from_db()
    assert kills == 2
    assert (job.state, job.errors.count()) == (Job.State.SUCCEEDED, 0)
    assert Item.objects.filter(dataset=dataset).count() == 150
    assert LabelClass.objects.filter(dataset=dataset).count() == 5
    assert all(len(names) == 1 for names in labels_of(dataset).values())
    for space in dataset.spaces.all():
        assert Embedding.objects.filter(space_id=space.pk).count() == 150
