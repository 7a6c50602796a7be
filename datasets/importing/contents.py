"""What an item holds and what a record of its key brings: told apart, and taken in anew.

Only the content changes. Labels, tags, status and split are what people said about the item, and stay.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from .. import duplicates, imaging, media, predictions, signals
from ..models import Dataset, Item, Job
from .base import Record, Refusal

# The clocks of a file server and of the database may differ by this much.
_CLOCKS = timedelta(minutes=5)
_HELD = ("pk", "key", "file", "external_path", "sha256", "size_bytes", "problem", "created_at")


@dataclass(frozen=True)
class Stored:
    """A record with the stored file of its content (``""`` for texts and files that stay where they are)."""

    record: Record
    file: str


def held(dataset: Dataset, keys: Sequence[str]) -> dict[str, Item]:
    """The items of these keys that are in, with what tells their content."""
    return {item.key: item for item in Item.objects.filter(dataset=dataset, key__in=keys).only(*_HELD)}


def store(records: Sequence[Record]) -> tuple[list[Stored], list[Refusal]]:
    """Keep the files of ``records`` that are not to stay where they are."""
    stored: list[Stored] = []
    refusals: list[Refusal] = []
    for record in records:
        entry = record.entry
        if entry is None or entry.external_path:
            stored.append(Stored(record, ""))
        elif entry.stored_file:
            stored.append(Stored(record, entry.stored_file))
        else:
            try:
                with entry.open() as stream:
                    stored.append(Stored(record, media.keep(stream, max_bytes=entry.max_bytes).file))
            except _UNPACKING as error:
                refusals.append(Refusal(record.key, _why_not_unpacked(error)))
    return stored, refusals


# Telling apart -------------------------------------------------------------------------------------------------------


def is_in_place(item: Item, record: Record) -> bool:
    """The record is of the very file that the item is read from: there is no other content that could be kept."""
    return bool(item.external_path) and record.entry is not None and record.entry.external_path == item.external_path


def differs(item: Item, record: Record) -> bool | Refusal:
    """Whether ``record`` brings other content than ``item`` holds, or why that cannot be told."""
    if record.text is not None:
        return _hash_of_text(record.text) != item.sha256
    assert record.entry is not None
    if is_in_place(item, record):
        return _has_changed(item)
    if record.entry.stored_file:
        return Path(record.entry.stored_file).name != _hash_of(item)
    try:
        with record.entry.open() as stream:
            return media.digest(stream, max_bytes=record.entry.max_bytes) != _hash_of(item)
    except _UNPACKING as error:
        return Refusal(record.key, _why_not_unpacked(error))
    except OSError as error:
        return Refusal(record.key, f"it cannot be read ({error.strerror}).")


def _has_changed(item: Item) -> bool | Refusal:
    """Whether the file of ``item`` is another one than when it was opened. Read only where its inode has changed since."""
    if item.problem:
        return True  # it may have been mended or put back
    if item.sha256 is None:
        return False  # whoever opens it first finds what is there then
    try:
        found = Path(item.external_path).stat()
        if found.st_size != item.size_bytes:
            return True
        if found.st_ctime < (item.created_at - _CLOCKS).timestamp():
            return False
        return _hash_of_file(item.external_path) != item.sha256
    except OSError as error:
        return Refusal(item.key, f"it cannot be read ({error.strerror}).")


def _hash_of(item: Item) -> str | None:
    """``None`` when its file is gone."""
    if item.sha256:
        return item.sha256
    if item.file:
        return Path(item.file).name
    try:
        return _hash_of_file(item.external_path)
    except OSError:
        return None


def _hash_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_of_file(path: str) -> str:
    with Path(path).open("rb") as stream:
        return media.digest(stream)


# Taking in -----------------------------------------------------------------------------------------------------------


def problem_of(changed: Stored) -> Refusal | None:
    """Looked at before the old content goes: an item must not lose what it held to a file that cannot be used."""
    record = changed.record
    if record.entry is None:
        return None
    try:
        with media.open_stored(changed.file) if changed.file else record.entry.open() as stream:
            imaging.read_image(stream)
    except (imaging.UnreadableImage, OSError) as error:
        if changed.file:
            media.remove_unused([Path(changed.file).name])
        why = str(error) if isinstance(error, imaging.UnreadableImage) else f"it cannot be read ({error.strerror})."
        return Refusal(record.key, f"{why} The item keeps what was found in it before.")
    return None


_REPLACE = """
UPDATE datasets_item AS item
   SET text = incoming.text, text_hash = incoming.text_hash, file = incoming.file, external_path = incoming.external_path,
       metadata = item.metadata || incoming.metadata::jsonb, sha256 = incoming.sha256, size_bytes = incoming.size_bytes,
       content_type = '', width = NULL, height = NULL, brightness = NULL, contrast = NULL, sharpness = NULL, colors = NULL,
       problem = ''
  FROM unnest(%(id)s::bigint[], %(text)s::text[], %(file)s::text[], %(external_path)s::text[], %(metadata)s::text[],
              %(sha256)s::text[], %(size_bytes)s::bigint[], %(text_hash)s::bytea[])
    AS incoming (id, text, file, external_path, metadata, sha256, size_bytes, text_hash)
 WHERE item.id = incoming.id
"""


def replace(dataset: Dataset, job: Job, changed: Sequence[tuple[Item, Stored]]) -> None:
    """Let the items hold what their records bring. All that was found in the old content goes: measures, vectors, regions
    that nobody drew or labelled, predictions; ``job`` counts the work of finding it anew. In a transaction."""
    if not changed:
        return
    ids = [item.pk for item, _ in changed]
    signals.content_changing.send(Dataset, dataset=dataset, job=job, item_ids=ids)
    predictions.forget_items(ids)
    with connection.cursor() as cursor:
        cursor.execute(_REPLACE, {"id": ids, **columns([stored for _, stored in changed])})
    replaced = {Path(item.file).name for item, _ in changed if item.file}
    transaction.on_commit(lambda: media.remove_unused(replaced))


def columns(stored: Sequence[Stored]) -> dict[str, list[Any]]:
    """What goes into the item rows, column by column. Texts are complete at once; images wait until they are opened."""
    records = [one.record for one in stored]
    texts = [record.text for record in records]
    return {
        "text": texts,
        "file": [one.file for one in stored],
        "external_path": [record.entry.external_path if record.entry else "" for record in records],
        "metadata": [json.dumps(record.metadata, ensure_ascii=False) for record in records],
        "sha256": [_hash_of_text(text) if text is not None else None for text in texts],
        "text_hash": [duplicates.text_hash(text) if text is not None else None for text in texts],
        "size_bytes": [len(text.encode()) if text is not None else None for text in texts],
    }


# Unpacking -----------------------------------------------------------------------------------------------------------

_UNPACKING = (media.TooLarge, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def _why_not_unpacked(error: Exception) -> str:
    if isinstance(error, media.TooLarge):
        return "it unpacks to more than the archive states: that looks like a zip bomb."
    return f"it cannot be unpacked ({error}). Zip it again."
