"""Where entries come from: zip archives and folders, both treated as hostile."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from django.conf import settings

from .base import Entry, ImportRefused, Refusal

# A picture does not deflate to a thousandth; what does is made to fill the disk.
MAX_COMPRESSION_RATIO = 200
MAX_ENTRY_BYTES = 2 << 30
MAX_ARCHIVE_BYTES = 200 << 30
_RATIO_MATTERS_ABOVE_BYTES = 10 << 20

# What systems leave in folders without anybody's wish.
_CLUTTER = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}


def is_clutter(name: str) -> bool:
    return any(part.lower() in _CLUTTER or part.startswith("._") for part in name.split("/"))


def is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def check_zip(name: str, stream: IO[bytes]) -> None:
    """Raise ``ImportRefused`` when ``stream`` is no zip that can be read."""
    stream.seek(0, os.SEEK_END)
    if stream.tell() == 0:
        raise ImportRefused(f"{name} is empty (0 bytes). Choose the zip again; it may still have been downloading.")
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and not is_clutter(info.filename)]
            if not members:
                raise ImportRefused(f"{name} holds no files.")
            size = sum(info.file_size for info in members)
            if size > MAX_ARCHIVE_BYTES:
                raise ImportRefused(
                    f"{name} would unpack to {size:,} bytes; the limit is {MAX_ARCHIVE_BYTES:,}. Split it up."
                )
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        raise ImportRefused(f"{name} is not a zip archive that can be read ({error}). Make it again.") from error


def zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry | Refusal]:
    """The members, each bounded to the size that the archive states. Nothing is ever written under a member's name."""
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if info.is_dir() or is_clutter(name):
            continue
        if problem := _member_problem(name, info):
            yield Refusal(name, problem)
        else:
            yield Entry(name, _opener(archive, info), max_bytes=info.file_size)


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo):  # type: ignore[no-untyped-def]
    return lambda: archive.open(info)


def _member_problem(name: str, info: zipfile.ZipInfo) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or (len(name) > 1 and name[1] == ":"):
        return "its name points outside the archive. Rename it and zip again."
    if "\x00" in name:
        return "its name holds a NUL character. Rename it and zip again."
    if info.flag_bits & 0x1:
        return "it is encrypted. Zip it again without a password."
    if is_zip(name):
        return "a zip inside a zip is not unpacked. Import it by itself."
    if info.file_size > MAX_ENTRY_BYTES:
        return f"it would unpack to {info.file_size:,} bytes; the limit for one file is {MAX_ENTRY_BYTES:,}."
    suspicious = info.file_size > _RATIO_MATTERS_ABOVE_BYTES
    if suspicious and info.file_size > MAX_COMPRESSION_RATIO * max(info.compress_size, 1):
        return (
            f"it would unpack to {info.file_size:,} bytes from {info.compress_size:,}: that looks like a zip bomb. "
            "If it is a real picture, import it without zipping."
        )
    return ""


def folder_entries(root: Path) -> Iterator[Entry | Refusal]:
    """Every file under ``root``, folder by folder in name order, without reading any."""
    real_root = root.resolve()
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not is_clutter(name))
        for file in sorted(files):
            if is_clutter(file):
                continue
            path = Path(folder) / file
            name = path.relative_to(root).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError:
                printable = name.encode("utf-8", "replace").decode()
                yield Refusal(printable, "its name is not valid UTF-8. Rename it and import again.")
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(real_root):
                yield Refusal(name, "it is a link that leads out of the imported folder. Copy the file there instead.")
                continue
            yield Entry(name, _path_opener(path), external_path=str(path.resolve()))


def _path_opener(path: Path):  # type: ignore[no-untyped-def]
    return lambda: path.open("rb")


def resolve_server_path(raw: str) -> Path:
    """The file or folder ``raw``, which must lie under one of ``IMPORT_ROOTS``. Raises ``ImportRefused``."""
    roots = [Path(root).resolve() for root in settings.IMPORT_ROOTS]
    if not roots:
        raise ImportRefused(
            "Importing from the server's disk is off: set IMPORT_ROOTS to the folders that may be read, then start again."
        )
    if not raw or "\x00" in raw:
        raise ImportRefused("Give the path of a folder, zip, CSV or JSONL file on the server.")
    candidates = [Path(raw)] if Path(raw).is_absolute() else [root / raw for root in roots]
    allowed = [path.resolve() for path in candidates]
    allowed = [path for path in allowed if any(path.is_relative_to(root) for root in roots)]
    if not allowed:
        raise ImportRefused(
            f"{raw} is not under a folder that may be imported from (IMPORT_ROOTS). Ask who runs the server."
        )
    for path in allowed:
        if path.exists():
            return path
    raise ImportRefused(f"There is nothing at {raw} on the server.")
