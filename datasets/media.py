"""Files: originals and thumbnails, kept in the media storage under the hash of their content.

A name that is made from the content is written once and never changes, so files can be shared between datasets,
cached for ever, and written by a worker that dies half-way without harm.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO
from uuid import uuid4

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage

from .errors import Missing
from .models import Item, QueryImage, StagedFile

_CHUNK_BYTES = 1 << 20
_HASHES_AT_ONCE = 1_000


class FileGone(Missing):
    """The file of an item is no longer where it was imported from."""


class TooLarge(Exception):
    """The stream holds more bytes than it may."""


@dataclass(frozen=True)
class Kept:
    """A file in the media storage."""

    file: str
    sha256: str
    size_bytes: int


def keep(stream: IO[bytes], *, max_bytes: int | None = None) -> Kept:
    """Store what ``stream`` holds; hashed while it is written, one pass. Raises ``TooLarge``."""
    digest = hashlib.sha256()
    size = 0
    folder = Path(settings.DATA_DIR) / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as temporary:
        path = Path(temporary.name)
        try:
            for chunk in _chunks(stream, max_bytes):
                size += len(chunk)
                digest.update(chunk)
                temporary.write(chunk)
        except BaseException:
            path.unlink()
            raise
    name = _file_name(digest.hexdigest())
    if default_storage.exists(name):
        path.unlink()
    else:
        _move_in(path, name)
    return Kept(name, digest.hexdigest(), size)


def digest(stream: IO[bytes], *, max_bytes: int | None = None) -> str:
    """The SHA-256 under which ``keep`` would store it. Raises ``TooLarge``."""
    made = hashlib.sha256()
    for chunk in _chunks(stream, max_bytes):
        made.update(chunk)
    return made.hexdigest()


def _chunks(stream: IO[bytes], max_bytes: int | None) -> Iterator[bytes]:
    size = 0
    while chunk := stream.read(_CHUNK_BYTES):
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise TooLarge(f"more than {max_bytes:,} bytes")
        yield chunk


def open_original(item: Item) -> BinaryIO:
    """The file of an image item. Raises ``FileGone``."""
    try:
        if item.external_path:
            return Path(item.external_path).open("rb")
        return default_storage.open(item.file, "rb").open("rb")  # type: ignore[return-value]
    except OSError as error:
        where = item.external_path or "the media storage"
        raise FileGone(f"{item.key}: its file cannot be read from {where} ({error.strerror}). Put it back.") from error


def original_size(item: Item) -> int:
    try:
        return os.path.getsize(item.external_path) if item.external_path else default_storage.size(item.file)
    except OSError as error:
        raise FileGone(f"{item.key}: its file is gone ({error.strerror}). Put it back.") from error


def open_stored(file: str) -> File[bytes]:
    return default_storage.open(file, "rb")


def keep_thumbnail(sha256: str, jpeg: bytes) -> None:
    name = thumbnail_name(sha256)
    if default_storage.exists(name):
        return
    part = Path(settings.DATA_DIR) / "tmp" / uuid4().hex
    part.write_bytes(jpeg)
    _move_in(part, name)


def open_thumbnail(sha256: str) -> tuple[File[bytes], str]:
    """The small picture of this content, and its type. Raises ``OSError`` when there is none."""
    for name in (thumbnail_name(sha256), *_former_thumbnail_names(sha256)):
        try:
            return open_stored(name), "image/webp" if name.endswith(".webp") else "image/jpeg"
        except FileNotFoundError:
            continue
    raise FileNotFoundError(thumbnail_name(sha256))


def thumbnail_name(sha256: str) -> str:
    # One level of folders: a second one means a new folder for almost every picture of the first 65,536.
    return f"thumbnails/{sha256[:2]}/{sha256}.jpg"


def _former_thumbnail_names(sha256: str) -> tuple[str, str]:
    # As they were made before December 2026.
    path = f"thumbnails/{sha256[:2]}/{sha256[2:4]}/{sha256}"
    return f"{path}.jpg", f"{path}.webp"


def remove_unused(hashes: Iterable[str]) -> int:
    """Delete the originals and thumbnails with these content hashes that nothing refers to any more. How many."""
    removed = 0
    wanted = sorted(set(hashes))
    for start in range(0, len(wanted), _HASHES_AT_ONCE):
        some = wanted[start : start + _HASHES_AT_ONCE]
        for sha256 in set(some) - _in_use(some):
            for name in (_file_name(sha256), thumbnail_name(sha256), *_former_thumbnail_names(sha256)):
                default_storage.delete(name)
            removed += 1
    return removed


def _in_use(hashes: list[str]) -> set[str]:
    opened = Item.objects.filter(sha256__in=hashes).order_by().values_list("sha256", flat=True).distinct()
    used = {sha256 for sha256 in opened if sha256}
    # Not opened yet, or unreadable: their hash is not known, but under it lies the file.
    unopened = Item.objects.filter(sha256=None, file__in=[_file_name(sha256) for sha256 in hashes])
    used |= {Path(file).name for file in unopened.values_list("file", flat=True)}
    for model in (QueryImage, StagedFile):
        used |= set(model.objects.filter(sha256__in=hashes).values_list("sha256", flat=True))
    return used


def _file_name(sha256: str) -> str:
    return f"files/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _move_in(path: Path, name: str) -> None:
    """Give the finished file its name, at once and whole."""
    try:
        target = Path(default_storage.path(name))
    except NotImplementedError:
        # A storage without paths (S3) makes an object visible when it is complete.
        with path.open("rb") as stream:
            default_storage.save(name, File(stream))
        path.unlink()
        return
    path.chmod(0o644)
    try:
        os.replace(path, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
