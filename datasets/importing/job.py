"""The import job: staged files or a server path → records → items, in batches, each in one transaction.

Idempotent by (dataset, key) and content: what is in already is passed over, so a job can be run again at any moment, after
a killed worker, a cancel, or by importing the same files once more. What ``existing`` says about items that are in with other
content is in ``Existing``; a file that was changed where it lies is taken in anew in any case.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from django.db import connection, transaction
from django.db.models import F, TextChoices
from django.utils import timezone

from .. import classes, jobs, media, signals
from ..errors import Conflict
from ..models import Dataset, Item, Job, Modality, Operation, Source, StagedFile
from . import FORMATS, IMAGE_FOLDER, contents, format_for
from .base import Entry, Format, ImportRefused, Options, Record, Refusal
from .images import Images, look_like_labels, wrapping_folder
from .sources import check_zip, folder_entries, is_zip, zip_entries

_BATCH = 500
# An upload that says more files follow, and then does not send any for this long, is complete as it is.
_UPLOAD_PATIENCE = timedelta(minutes=10)

# Of a job's result. Those “here” are of the origin that is being read, by earlier, killed runs of the job too.
_COUNTS = ("added", "changed", "already_in", "indexed", "added_here", "changed_here")

Upload = tuple[str, IO[bytes]]  # the file's relative path, its content


class Existing(TextChoices):
    """What an import does with an item that is in and whose record brings other content."""

    KEEP = "keep", "leave it as it is, and say so"
    UPDATE = "update", "take in the new content"


class UploadOver(Conflict):
    """Files were to be added to an import that takes no more."""


# Starting ------------------------------------------------------------------------------------------------------------


def start_upload_import(
    dataset: Dataset,
    files: list[Upload],
    *,
    by: Any,
    split: str | None = None,
    format: str | None = None,
    existing: str = Existing.KEEP,
    more: bool = False,
) -> Job:
    """Keep the uploaded files and import them in the background.

    A single archive or table that cannot be read at all is refused right here (``ImportRefused``) and nothing is
    kept; among several files, a bad one is listed in the job and the rest go in.
    """
    if not files:
        raise ImportRefused("No file was sent. Send at least one as “file”.")
    if format:
        format_for(dataset, files[0][0], format)
    if len(files) == 1 and not more:
        _check_upload(dataset, *files[0], format)
    with transaction.atomic():
        job = _create(dataset, by=by, params=_params(split, format, existing) | {"more": more})
        _stage(job, files)
        jobs.enqueue(job)
    return job


def append_upload(job: Job, files: list[Upload], *, more: bool) -> Job:
    """Add files to an upload that said more would follow. Raises ``UploadOver``."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
        if job.is_over or not job.params.get("more"):
            raise UploadOver(f"Import {job.pk} takes no more files ({job.state}). Start a new one.")
        _stage(job, files)
        job.params["more"] = more
        job.save(update_fields=["params", "updated_at"])
        jobs.enqueue(job)
    return job


def start_path_import(
    dataset: Dataset,
    path: Path,
    *,
    by: Any,
    split: str | None = None,
    format: str | None = None,
    existing: str = Existing.KEEP,
) -> Job:
    """Import a folder, zip, CSV or JSONL that lies on this server. Images of a folder are not copied.

    ``path`` must be one that the caller may read (see ``sources.resolve_server_path``). Raises ``ImportRefused``.
    """
    path = Path(path)
    if not path.exists():
        raise ImportRefused(f"There is nothing at {path} on the server.")
    if path.is_file():
        with path.open("rb") as stream:
            _check_upload(dataset, path.name, stream, format)
    elif dataset.modality == Modality.TEXT:
        raise ImportRefused(f"{path} is a folder; “{dataset.name}” holds texts and takes a CSV or JSONL file.")
    elif format:
        format_for(dataset, "folder.jpg", format)
    with transaction.atomic():
        job = _create(dataset, by=by, params=_params(split, format, existing) | {"path": str(path)})
        jobs.enqueue(job)
    return job


def _params(split: str | None, format: str | None, existing: str) -> dict[str, Any]:
    return {"split": split or "", "format": format, "existing": existing}


def _create(dataset: Dataset, *, by: Any, params: dict[str, Any]) -> Job:
    if len(params["split"]) > 64:
        raise ImportRefused("A split's name has at most 64 characters.")
    opens_files = dataset.modality == Modality.IMAGE
    phases = ["scan", "index", "thumbnails", "embed"] if opens_files else ["scan", "index", "embed"]
    return jobs.create(dataset, Job.Kind.IMPORT, by=by, phases=phases, params=params)


def _check_upload(dataset: Dataset, name: str, stream: IO[bytes], format: str | None) -> None:
    if is_zip(name):
        if dataset.modality == Modality.TEXT:
            raise ImportRefused(f"{name}: “{dataset.name}” holds texts and takes a CSV or JSONL file, not a zip.")
        check_zip(name, stream)
    else:
        chosen = format_for(dataset, name, format)
        suffix = PurePosixPath(name).suffix.lower()
        if chosen.modality == Modality.IMAGE and any(suffix in f.extensions for f in FORMATS.values() if f != chosen):
            raise ImportRefused(
                f"{name} is a table; “{dataset.name}” holds images and takes image files or a zip of them."
            )
        chosen.check(Entry(name, lambda: cast(IO[bytes], _Unclosed(stream))))
    stream.seek(0)


class _Unclosed:
    """Lets a reader close what it was lent, without closing it for the lender."""

    def __init__(self, stream: IO[bytes]) -> None:
        stream.seek(0)
        self._stream = stream

    closed = False

    def close(self) -> None:
        pass

    def __enter__(self) -> _Unclosed:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _stage(job: Job, files: list[Upload]) -> None:
    for raw_name, stream in files:
        name = raw_name.replace("\\", "/").lstrip("/")
        problem = ""
        if ".." in PurePosixPath(name).parts or "\x00" in name or not name:
            problem = "its name points outside the upload. Rename it and upload it again."
        elif len(name) > 1024:
            problem = f"its path has {len(name):,} characters; the limit is 1,024."
        if problem:
            jobs.refuse(job.pk, name[:200].replace("\x00", "") or "a file without a name", problem)
            continue
        kept = media.keep(stream)
        StagedFile.objects.update_or_create(
            job=job,
            name=name,
            defaults={"file": kept.file, "sha256": kept.sha256, "size_bytes": kept.size_bytes},
        )


# Running -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Origin:
    """Entries of one origin: loose staged files, one archive, one folder, one table."""

    format: Format
    entries: Callable[[], Iterator[Entry | Refusal]]  # fresh each time: they are walked to count and to read
    staged: tuple[int, ...] = ()  # staged files that are done with when this origin is
    hashes: tuple[str, ...] = ()  # of their contents, which nobody may need then


@jobs.runner(Job.Kind.IMPORT)
def run_import(job: Job) -> None:
    signals.job_resumed.send(Job, dataset=job.dataset, job=job)
    job.result = dict.fromkeys(_COUNTS, 0) | job.result
    if path := job.params.get("path"):
        if not job.result.get("path_done"):
            _import_path(job, Path(path))
            job.result["path_done"] = True
            job.save(update_fields=["result", "updated_at"])
        jobs.hand_out(job)
        return
    while True:
        while staged := list(job.staged_files.all()):
            _import_staged(job, staged)
        # Whoever appends holds the row: after this, either its files are seen or it sees that it is too late.
        with transaction.atomic():
            fresh = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
            if job.staged_files.exists():
                continue
            if fresh.params.get("more") and timezone.now() - _last_upload(fresh) < _UPLOAD_PATIENCE:
                return  # the next upload, or recovery, brings us back
            fresh.params["more"] = False
            fresh.handed_out = True
            fresh.save(update_fields=["params", "handed_out", "updated_at"])
            return


def _last_upload(job: Job) -> Any:
    index = job.phases.filter(name="index").first()
    return (index and index.updated_at) or job.created_at


def _import_staged(job: Job, staged: list[StagedFile]) -> None:
    """All loose images together, then each archive and table by itself."""
    dataset = job.dataset
    loose = [one for one in staged if dataset.modality == Modality.IMAGE and not is_zip(one.name)]
    if loose:
        entries = [_staged_entry(one) for one in loose]
        origin = _Origin(
            FORMATS[Images.name],
            lambda: iter(entries),
            staged=tuple(one.pk for one in loose),
            hashes=tuple(one.sha256 for one in loose),
        )
        _import_origin(job, origin)
    for one in staged:
        if one in loose:
            continue
        with ExitStack() as stack:
            try:
                origin = _open_file(dataset, _staged_entry(one), job.params.get("format"), stack)
            except ImportRefused as error:
                jobs.refuse(job.pk, one.name, str(error))
            else:
                _import_origin(job, replace(origin, staged=(one.pk,)))
        StagedFile.objects.filter(pk=one.pk).delete()
        media.remove_unused([one.sha256])


def _staged_entry(staged: StagedFile) -> Entry:
    return Entry(staged.name, lambda: media.open_stored(staged.file), stored_file=staged.file)


def _import_path(job: Job, path: Path) -> None:
    with ExitStack() as stack:
        if path.is_dir():
            origin = _Origin(FORMATS[Images.name], lambda: folder_entries(path))
        else:
            entry = Entry(path.name, lambda: path.open("rb"), external_path=str(path))
            try:
                origin = _open_file(job.dataset, entry, job.params.get("format"), stack)
            except (ImportRefused, OSError) as error:
                raise ImportRefused(f"{path.name}: {error}") from error
        _import_origin(job, origin)


def _open_file(dataset: Dataset, entry: Entry, wanted: str | None, stack: ExitStack) -> _Origin:
    """What ``entry`` holds. Raises ``ImportRefused``."""
    if is_zip(entry.name) and dataset.modality == Modality.IMAGE:
        stream = stack.enter_context(entry.open())
        check_zip(entry.name, stream)
        stream.seek(0)
        archive = stack.enter_context(zipfile.ZipFile(stream))
        return _Origin(FORMATS[Images.name], lambda: zip_entries(archive))
    format = format_for(dataset, entry.name, wanted)
    format.check(entry)
    return _Origin(format, lambda: iter([entry]))


def _import_origin(job: Job, origin: _Origin) -> None:
    done_before = job.result["indexed"]
    count = origin.format.count(_entries_only(origin.entries()))
    for phase in ("scan", "index"):
        # A job that runs again counts this origin afresh.
        job.phases.filter(name=phase).update(done=done_before, total=done_before)
    jobs.advance(job.pk, "scan", done=count, total=count)
    jobs.advance(job.pk, "index", total=count)
    known = added = changed = seen = 0
    for batch in _batches(_records(job, origin)):
        jobs.check_canceled(job)
        written = _write(job, batch)
        seen += len(batch)
        added += written.added
        changed += written.changed
        known += written.known
    # Counted once more exactly: a table's lines are no more than a guess at its rows.
    job.phases.filter(name__in=["scan", "index"]).update(done=done_before + seen, total=done_before + seen)
    job.result["indexed"] = done_before + seen
    # What an earlier, killed run of this same origin had put in is not "already in".
    by_earlier_runs = job.result["added_here"] - added + job.result["changed_here"] - changed
    job.result["already_in"] += max(known - by_earlier_runs, 0)
    job.result["added_here"] = job.result["changed_here"] = 0
    with transaction.atomic():
        job.save(update_fields=["result", "updated_at"])
        StagedFile.objects.filter(pk__in=origin.staged).delete()
    media.remove_unused(origin.hashes)


def _entries_only(entries: Iterator[Entry | Refusal]) -> Iterator[Entry]:
    return (entry for entry in entries if isinstance(entry, Entry))


def _records(job: Job, origin: _Origin) -> Iterator[Record | Refusal]:
    options = Options(split=job.params.get("split", ""))
    if origin.format.modality == Modality.IMAGE:
        wrapper = wrapping_folder(entry.name for entry in _entries_only(origin.entries()))
        names = (entry.name.removeprefix(wrapper) for entry in _entries_only(origin.entries()))
        wanted = job.params.get("format")
        options = replace(
            options,
            wrapper=wrapper,
            folders_are_labels=wanted == IMAGE_FOLDER or (wanted is None and look_like_labels(names)),
        )
    refused: list[Refusal] = []

    def readable() -> Iterator[Entry]:
        for entry in origin.entries():
            if isinstance(entry, Refusal):
                refused.append(entry)
            else:
                yield entry

    for record in origin.format.records(readable(), options):
        while refused:
            yield refused.pop(0)
        yield record
    yield from refused


def _batches(records: Iterator[Record | Refusal]) -> Iterator[list[Record | Refusal]]:
    """No key is twice in one: the second record of a key meets the item that the first has made."""
    batch: list[Record | Refusal] = []
    keys: set[str] = set()
    for one in records:
        if len(batch) == _BATCH or (isinstance(one, Record) and one.key in keys):
            yield batch
            batch, keys = [], set()
        batch.append(one)
        if isinstance(one, Record):
            keys.add(one.key)
    if batch:
        yield batch


# Writing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    added: int
    changed: int
    known: int


def _write(job: Job, batch: list[Record | Refusal]) -> _Written:
    """One batch in one transaction: items, their labels, what is to be embedded, the counts."""
    dataset = job.dataset
    refusals = [one for one in batch if isinstance(one, Refusal)]
    records = {one.key: one for one in batch if isinstance(one, Record)}
    held = contents.held(dataset, list(records))
    fresh, unkeepable = contents.store([record for key, record in records.items() if key not in held])
    changed, unchangeable = _changed(job, held, records)
    refusals += unkeepable + unchangeable
    with transaction.atomic():
        contents.replace(dataset, job, changed)
        ids = _insert_items(dataset, fresh)
        _insert_labels(job, {ids[one.record.key]: one.record.labels for one in fresh if one.record.key in ids})
        for refusal in refusals:
            jobs.refuse(job.pk, refusal.key, refusal.reason)
        signals.items_added.send(Dataset, dataset=dataset, job=job, item_ids=list(ids.values()))
        for name, number in (("added", len(ids)), ("changed", len(changed))):
            job.result[name] += number
            job.result[f"{name}_here"] += number
        job.save(update_fields=["result", "updated_at"])
        jobs.advance(job.pk, "index", done=len(batch))
    known = len(held) - len(changed) - len(unchangeable) + len(fresh) - len(ids)
    return _Written(added=len(ids), changed=len(changed), known=known)


def _changed(
    job: Job, held: dict[str, Item], records: dict[str, Record]
) -> tuple[list[tuple[Item, contents.Stored]], list[Refusal]]:
    """The items that are to take in other content, with that; and those that cannot, or are not to."""
    changed: list[tuple[Item, contents.Stored]] = []
    refusals: list[Refusal] = []
    for key, item in held.items():
        record = records[key]
        is_other = contents.differs(item, record)
        if isinstance(is_other, Refusal):
            refusals.append(is_other)
        elif is_other and not (contents.is_in_place(item, record) or job.params.get("existing") == Existing.UPDATE):
            refusals.append(Refusal(key, _KEPT))
        elif is_other:
            stored, unkeepable = contents.store([record])
            refusals += unkeepable
            for one in stored:
                if problem := contents.problem_of(one):
                    refusals.append(problem)
                else:
                    changed.append((item, one))
    return sorted(changed, key=lambda pair: pair[0].pk), refusals


_KEPT = (
    "an item of this key is in with other content, and was left as it is. If it is the same thing, changed, import again "
    "and choose to update items; if it is another thing, give it another name."
)

_INSERT_ITEMS = """
INSERT INTO datasets_item (dataset_id, key, text, file, external_path, split, metadata, sha256, size_bytes,
                           text_hash, status, tags, created_at, content_type, problem)
SELECT %(dataset)s, key, text, file, external_path, split, metadata::jsonb, sha256, size_bytes,
       text_hash, 'todo', '{}', now(), '', ''
  FROM unnest(%(key)s::text[], %(text)s::text[], %(file)s::text[], %(external_path)s::text[], %(split)s::text[],
              %(metadata)s::text[], %(sha256)s::text[], %(size_bytes)s::bigint[], %(text_hash)s::bytea[])
    AS incoming (key, text, file, external_path, split, metadata, sha256, size_bytes, text_hash)
ON CONFLICT (dataset_id, key) DO NOTHING
RETURNING key, id
"""


def _insert_items(dataset: Dataset, fresh: list[contents.Stored]) -> dict[str, int]:
    """The new rows' ids by key."""
    if not fresh:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_ITEMS,
            {
                "dataset": dataset.pk,
                "key": [one.record.key for one in fresh],
                "split": [one.record.split for one in fresh],
                **contents.columns(fresh),
            },
        )
        return dict(cursor.fetchall())


_INSERT_LABELS = """
INSERT INTO datasets_annotation (item_id, label_id, source, author_id, operation_id, created_at)
SELECT item, label, %(source)s, %(author)s, %(operation)s, now()
  FROM unnest(%(items)s::bigint[], %(labels)s::bigint[]) AS given (item, label)
ON CONFLICT DO NOTHING
"""


def _insert_labels(job: Job, labels: dict[int, tuple[str, ...]]) -> None:
    labels = {item: names for item, names in labels.items() if names}
    if not labels:
        return
    if not job.dataset.multi_label:
        labels = {item: names[:1] for item, names in labels.items()}
    ids = classes.ensure_classes(job.dataset, [name for names in labels.values() for name in names])
    operation, _ = Operation.objects.get_or_create(
        job=job, defaults={"dataset": job.dataset, "kind": Operation.Kind.IMPORT, "author": job.created_by}
    )
    pairs = [(item, ids[name]) for item, names in labels.items() for name in names]
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_LABELS,
            {
                "source": Source.IMPORT,
                "author": job.created_by_id,
                "operation": operation.pk,
                "items": [item for item, _ in pairs],
                "labels": [label for _, label in pairs],
            },
        )
    Operation.objects.filter(pk=operation.pk).update(changed=F("changed") + len(labels))
