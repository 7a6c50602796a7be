"""Vectors from elsewhere: what is good goes in, what is bad is named, and what comes out can go in again."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from datasets import importing, jobs, marking, selection
from datasets.models import Dataset, Item, Job, StagedFile
from search import embedding, pending, vector_files, vector_upload, vectors
from search.models import Embedding, EmbeddingSpace, PendingEmbedding
from tests.fixtures import add_items, jpeg

Array = npt.NDArray[Any]


@pytest.fixture
def client(client_of: Any, alice: Any) -> Any:
    return client_of(alice)


def directions(number: int, dimension: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((number, dimension)).astype(np.float32)


def parquet(rows: Array | list[Any], **options: Any) -> bytes:
    """A file with ``vector`` and the columns of ``options`` whose value is a list."""
    columns = {name: value for name, value in options.items() if isinstance(value, list)}
    rest = {name: value for name, value in options.items() if not isinstance(value, list)}
    columns = {name: pa.array(column, None if column else pa.string()) for name, column in columns.items()}
    table = pa.table(columns | {"vector": pa.array(list(rows), pa.list_(pa.float32()))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **rest)
    return buffer.getvalue()


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def send(client: Any, dataset: Dataset, file: bytes, ids: tuple[str, bytes] | None = None, **fields: Any) -> Any:
    body = {"file": SimpleUploadedFile("v.npy" if file[:1] == b"\x93" else "v.parquet", file), **fields}
    if ids:
        body["ids"] = SimpleUploadedFile(*ids)
    return client.post(f"/api/v1/datasets/{dataset.pk}/vectors/", body, format="multipart")


def upload(client: Any, dataset: Dataset, *args: Any, **fields: Any) -> tuple[dict[str, Any], EmbeddingSpace]:
    """The job when it is over, as the API tells it, and the space."""
    answer = send(client, dataset, *args, **fields)
    assert answer.status_code == 202, answer.content
    jobs.run(answer.json()["job"])
    space = EmbeddingSpace.objects.get(pk=answer.json()["space"])
    return client.get(f"/api/v1/jobs/{answer.json()['job']}/").json(), space


def stored(space: EmbeddingSpace) -> dict[int, list[float]]:
    rows = Embedding.objects.filter(space=space).values_list("item_id", "vector")
    return dict(rows)


def downloaded(client: Any, space: EmbeddingSpace, query: str = "") -> bytes:
    answer = client.get(f"/api/v1/spaces/{space.pk}/vectors/{query}")
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


# In ------------------------------------------------------------------------------------------------------------------


def test_vectors_make_a_space_that_finds_what_is_similar(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 6)
    rows = directions(6)
    rows[4] = 3 * rows[1]  # of any length: they are compared by direction
    job, space = upload(client, dataset, parquet(rows, key=[item.key for item in items]), name="ours")
    assert (job["state"], job["kind"], job["errors"]) == ("succeeded", "vectors", [])
    assert job["result"] == {"written": 6, "unchanged": 0, "refused": 0, "missing": 0}
    assert (space.encoder, space.dimension, space.accepts, space.is_default) == ("uploaded:ours", 8, [], False)
    assert client.patch(f"/api/v1/spaces/{space.pk}/", {"is_default": True}, format="json").json()["title"] == "ours"
    found = client.post(f"/api/v1/datasets/{dataset.pk}/search/", {"like": [items[1].pk]}, format="json").json()
    assert [one["item"]["id"] for one in found["results"]][:2] == [items[1].pk, items[4].pk]
    assert found["space"]["encoder"] == "uploaded:ours"
    assert not StagedFile.objects.exists()


@pytest.mark.parametrize("precision", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize(
    "ids", ["ids.npy", "keys.npy", "ids.csv", "keys.csv", "keys.txt"], ids=lambda name: name.replace(".", "-")
)
def test_an_array_goes_in_with_a_list_of_its_items(client: Any, dataset: Dataset, ids: str, precision: Any) -> None:
    items = add_items(dataset, 5)[::-1]
    names = [item.pk if ids.startswith("ids") else item.key for item in items]
    lists = {
        "npy": npy(np.array(names)),
        "csv": "\r\n".join(["n," + ids.split(".")[0].rstrip("s"), *(f"0,{n}" for n in names)]).encode(),
        "txt": "\n".join(map(str, names)).encode(),
    }
    rows = directions(5).astype(precision)
    job, space = upload(client, dataset, npy(rows), (ids, lists[ids.split(".")[1]]), name="ours")
    assert (job["state"], job["result"]["written"]) == ("succeeded", 5)
    found = stored(space)
    for item, row in zip(items, rows.astype(np.float64), strict=True):
        np.testing.assert_allclose(found[item.pk], row / np.linalg.norm(row), atol=1e-3)


def test_bad_rows_are_named_and_the_others_go_in(client: Any, dataset: Dataset, foreign: Dataset) -> None:
    items = add_items(dataset, 9)
    theirs = add_items(foreign, 1, split="x")[0]
    Item.objects.filter(pk=theirs.pk).update(key="theirs")
    rows: list[Any] = list(directions(9))
    rows[2] = rows[2][:5]
    rows[3] = np.where(np.arange(8) == 4, np.nan, rows[3])
    rows[4] = np.zeros(8)
    rows[5] = None
    names: list[Any] = [item.key for item in items]
    names[6], names[7], names[8] = "theirs", names[0], None
    job, space = upload(client, dataset, parquet(rows, key=names, row_group_size=4), name="ours")
    assert job["state"] == "succeeded"
    assert {error["key"]: error["reason"] for error in job["errors"]} == {
        "item-0002": "row 3: its vector has 5 values; the others have 8.",
        "item-0003": "row 4: its vector holds a value that is not a finite number.",
        "item-0004": "row 5: its vector has no length, so it has no direction to compare.",
        "item-0005": "row 6: it has no vector.",
        "theirs": "row 7: “signs” has no item with this key.",
        "item-0000": "row 8: row 1 names the same item, and that one counts.",
        "row 9": "it does not say which item it is of.",
    }
    assert job["result"] == {"written": 2, "unchanged": 0, "refused": 7, "missing": 3}
    assert set(stored(space)) == {items[0].pk, items[1].pk}


def test_what_cannot_be_measured_in_single_precision_has_a_direction_all_the_same(
    client: Any, dataset: Dataset
) -> None:
    items = add_items(dataset, 2)
    rows = np.array([[3e200, 4e200], [3e-200, 4e-200]])
    _, space = upload(client, dataset, npy(rows), ("ids.npy", npy(np.array([item.pk for item in items]))), name="ours")
    for vector in stored(space).values():
        assert vector == pytest.approx([0.6, 0.8], abs=1e-3)


def broken_npy(promised: str) -> bytes:
    """A header that promises the shape ``promised``, and few bytes."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {promised}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


GOOD = parquet(directions(2), key=["item-0000", "item-0001"])
IDS = ("keys.txt", b"item-0000\nitem-0001\n")


@pytest.mark.parametrize(
    ("file", "ids", "said"),
    [
        (b"a,b\n1,2\n", None, "neither Parquet nor NPY"),
        (b"PK\x03\x04", None, ".npz"),
        (GOOD[: len(GOOD) // 2], None, "not a Parquet file that can be read"),
        (GOOD, IDS, "names its items itself"),
        (parquet(directions(2), name=["a", "b"]), None, "no column “id” (found: name, vector)"),
        (parquet(directions(2), id=["a", "b"]), None, "ids are integers"),
        (parquet([], key=[]), None, "holds no rows"),
        (parquet(directions(2, 5000), key=["a", "b"]), None, "a space takes 1 to 4,000"),
        (parquet(np.zeros((3000, 8000), np.float32), key=["a"] * 3000), None, "looks like a bomb"),
        (npy(directions(2)), None, "Send their ids or keys beside it"),
        (npy(np.array([[1, 2]], dtype=object)), IDS, "Python objects, which are never read"),
        (npy(directions(2)[0]), IDS, "the shape (8,)"),
        (npy(np.arange(4).reshape(2, 2)), IDS, "holds int64"),
        (npy(np.asfortranarray(directions(2))), IDS, "column by column"),
        (npy(directions(3)), IDS, "3 vectors, keys.txt 2 names"),
        (npy(directions(2))[:-4], IDS, "is cut off"),
        (broken_npy("(1000000, 768)"), IDS, "is cut off"),
        (broken_npy("(-1, 8)"), IDS, "is cut off"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", IDS, "not an NPY file that can be read"),
        (npy(directions(2)), ("ids.csv", b"name\na\nb\n"), "no column “id” in its first line"),
        (npy(directions(2)), ("ids.npy", npy(np.array(["a", None], dtype=object))), "Python objects"),
        (npy(directions(2)), ("ids.json", b"[1, 2]"), "Send .npy, .csv or .txt"),
    ],
)
def test_a_file_that_gives_nothing_is_refused_at_once(
    client: Any, dataset: Dataset, file: bytes, ids: tuple[str, bytes] | None, said: str
) -> None:
    add_items(dataset, 2)
    answer = send(client, dataset, file, ids, name="ours")
    assert answer.status_code == 400, answer.content
    assert said in answer.json()["detail"]
    assert not Job.objects.exists()
    assert not StagedFile.objects.exists()
    assert not EmbeddingSpace.objects.filter(encoder__startswith="uploaded:").exists()


def test_a_footer_that_promises_more_than_there_is_is_refused(client: Any, dataset: Dataset) -> None:
    """The data of one file before the footer of a larger one."""
    large = parquet(directions(4000), key=[f"k{i}" for i in range(4000)], compression="none")
    footer = large[-8 - int.from_bytes(large[-8:-4], "little") :]
    answer = send(client, dataset, b"PAR1" + bytes(4) + footer, name="ours")
    assert "promises more than its" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 400, "Say where the vectors go"),
        ({"name": "a", "space": 1}, 400, "Say where the vectors go"),
        ({"name": "a\x07b"}, 400, "characters that can be printed"),
        ({"name": "ours", "by": "hash"}, 400, "by"),
        ({"space": 2**40}, 404, "no space"),
    ],
)
def test_where_they_go_must_be_clear(client: Any, dataset: Dataset, fields: Any, status: int, said: str) -> None:
    answer = send(client, dataset, GOOD, **fields)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.content


def test_a_name_is_given_once_and_the_space_takes_more(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 3)
    rows = directions(3)
    _, space = upload(client, dataset, parquet(rows[:2], key=[items[0].key, items[1].key]), name="ours")
    again = send(client, dataset, GOOD, name="ours")
    assert (again.status_code, f"space={space.pk}" in again.json()["detail"]) == (409, True)
    both = parquet(np.stack([rows[0], rows[2]]), key=[items[0].key, items[2].key])
    job, _ = upload(client, dataset, both, space=space.pk)
    assert job["result"] == {"written": 1, "unchanged": 1, "refused": 0, "missing": 1}
    other = send(client, dataset, parquet(directions(1, 5), key=["item-0000"]), space=space.pk)
    assert "have 5 values; space" in other.json()["detail"]


def test_ids_are_of_one_installation_so_a_key_counts_more(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 2)
    keys = [items[1].key, items[0].key]
    rows = directions(2)
    _, space = upload(client, dataset, parquet(rows, id=[item.pk for item in items], key=keys), name="ours")
    np.testing.assert_allclose(stored(space)[items[1].pk], rows[0] / np.linalg.norm(rows[0]), atol=1e-3)


def test_a_canceled_upload_goes_on_after_the_last_row(
    client: Any, dataset: Dataset, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = add_items(dataset, 10)
    monkeypatch.setattr(vector_files, "_BYTES_PER_BATCH", 3 * 8 * 8)
    file = parquet(directions(10), key=[item.key for item in items[:9]] + ["nobody"], row_group_size=4)
    job = Job.objects.get(pk=send(client, dataset, file, name="ours").json()["job"])
    write = vector_upload._write
    batches: list[int] = []

    def write_and_cancel(*args: Any) -> None:
        batches.append(len(args[2].values))
        write(*args)
        if len(batches) == 2:
            jobs.cancel(job)

    monkeypatch.setattr(vector_upload, "_write", write_and_cancel)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result["rows"], Embedding.objects.count()) == (
        Job.State.CANCELED,
        sum(batches),
        sum(batches),
    )
    jobs.resume(job)
    jobs.run(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert sum(batches) == 10
    assert (job.result["written"], job.result["refused"], job.result["missing"]) == (9, 1, 1)
    assert not StagedFile.objects.exists()


def test_no_encoder_is_asked_for_a_space_of_uploaded_vectors(client: Any, dataset: Dataset) -> None:
    items = add_items(dataset, 2)
    _, space = upload(client, dataset, parquet(directions(1), key=[items[0].key]), name="ours")
    pending.enqueue(dataset, job=None)
    assert set(PendingEmbedding.objects.values_list("encoder", flat=True)) == {dataset.encoder}
    refused = client.post(f"/api/v1/spaces/{space.pk}/retry/")
    assert (refused.status_code, refused.json()["detail"][:37]) == (400, "These vectors were computed elsewhere")
    told = client.get(f"/api/v1/datasets/{dataset.pk}/").json()["spaces"]
    assert {one["encoder"]: one["embedded"] for one in told} == {dataset.encoder: 0, "uploaded:ours": 1}


def test_words_and_pictures_cannot_be_compared_with_uploaded_vectors(client: Any, dataset: Dataset) -> None:
    add_items(dataset, 2)
    _, space = upload(client, dataset, GOOD, name="ours")
    for other in dataset.spaces.exclude(pk=space.pk):
        vectors.drop_partition(other)
        other.delete()
    address = f"/api/v1/datasets/{dataset.pk}/search/"
    for body in ({"text": "a cat"}, {"image": SimpleUploadedFile("a.jpg", jpeg())}):
        answer = client.post(address, body, format="multipart")
        assert answer.status_code == 409, answer.content
        assert "computed elsewhere" in answer.json()["detail"]


# Into the space of an encoder -----------------------------------------------------------------------------------------


def embed_keys(dataset: Dataset, by: Any, number: int) -> tuple[Job, list[str]]:
    names = [f"{at}.jpg" for at in range(number)]
    files: list[importing.job.Upload] = [(name, io.BytesIO(jpeg(at))) for at, name in enumerate(names)]
    job = importing.start_upload_import(dataset, files, by=by)
    jobs.run(job.pk)
    return job, names


def test_uploaded_vectors_replace_an_encoders_and_spare_it_the_work(client: Any, dataset: Dataset, alice: Any) -> None:
    job, keys = embed_keys(dataset, alice, 3)
    made = {}
    for space in dataset.spaces.all():
        assert PendingEmbedding.objects.exclude(encoder=pending.OPEN_ONLY).count() == 3
        rows = directions(2, space.dimension)
        told, _ = upload(client, dataset, parquet(rows, key=keys[:2]), space=space.pk)
        assert told["result"]["written"] == 2
        made[space.pk] = stored(space)
    waiting = dict(PendingEmbedding.objects.values_list("item__key", "encoder"))
    assert waiting == {keys[0]: "", keys[1]: "", keys[2]: dataset.encoder}  # two are to be opened only
    embedding.embed_pending(dataset.pk)
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert dataset.items.filter(sha256=None).count() == 0
    for space in dataset.spaces.all():
        now = stored(space)
        assert len(now) == 3
        assert {pk: now[pk] for pk in made[space.pk]} == made[space.pk]


def test_an_import_of_texts_is_over_when_its_vectors_were_sent(client: Any, multi: Dataset, alice: Any) -> None:
    table = io.BytesIO(b"id,text\na,one\nb,two\n")
    job = importing.start_upload_import(multi, [("t.csv", table)], by=alice)
    jobs.run(job.pk)
    space = multi.spaces.get()
    upload(client, multi, parquet(directions(2, space.dimension), key=["a", "b"]), space=space.pk)
    job.refresh_from_db()
    assert (job.state, PendingEmbedding.objects.count()) == (Job.State.SUCCEEDED, 0)


# Out -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_what_was_downloaded_goes_in_again_bit_for_bit(client: Any, dataset: Dataset, precision: str) -> None:
    items = add_items(dataset, 40)
    _, space = upload(client, dataset, parquet(directions(40, 300), key=[item.key for item in items]), name="ours")
    file = downloaded(client, space, f"?precision={precision}")
    table = pq.read_table(io.BytesIO(file))
    assert table.schema.field("vector").type == pa.list_(pa.float16() if precision == "float16" else pa.float32(), 300)
    assert table.column("id").to_pylist() == [item.pk for item in items]
    assert table.column("key").to_pylist() == [item.key for item in items]
    _, copy = upload(client, dataset, file, name="copy")
    assert stored(copy) == stored(space)
    job, _ = upload(client, dataset, file, space=space.pk)
    assert job["result"] == {"written": 0, "unchanged": 40, "refused": 0, "missing": 0}


def test_a_download_keeps_to_its_filter_and_leaves_excluded_items_out(
    client: Any, dataset: Dataset, alice: Any
) -> None:
    items = add_items(dataset, 3, split="train") + add_items(dataset, 2, split="test")
    _, space = upload(client, dataset, parquet(directions(5), key=[item.key for item in items]), name="ours/1")
    marking.set_status(selection.of_items(dataset, [items[0].pk]), "excluded", by=alice)

    def keys(query: str) -> list[str]:
        return pq.read_table(io.BytesIO(downloaded(client, space, query))).column("key").to_pylist()

    assert keys("?split=train") == [items[1].key, items[2].key]
    assert len(keys("?include_excluded=1")) == 5
    assert keys("?status=excluded") == [items[0].key]
    assert keys("?split=none") == []
    answer = client.get(f"/api/v1/spaces/{space.pk}/vectors/?precision=float8")
    assert answer.status_code == 400
    name = client.get(f"/api/v1/spaces/{space.pk}/vectors/").headers["Content-Disposition"]
    assert name == "attachment; filename*=UTF-8''signs-uploaded-ours-1-vectors.parquet"
