"""Image files, loose or in folders. With ``folders_are_labels`` this is the ImageFolder layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from ..models import Modality
from .base import Entry, Options, Record, Refusal

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")

# Names that mean a split when a folder at the top is called so, and the split they mean.
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Images:
    name = "images"
    modality = Modality.IMAGE
    title = "Image files"
    extensions: tuple[str, ...] = EXTENSIONS

    def check(self, entry: Entry) -> None:
        """A bad picture among others is listed in the job; nothing is refused beforehand."""

    def count(self, entries: Iterator[Entry]) -> int:
        return sum(1 for _ in entries)

    def records(self, entries: Iterator[Entry], options: Options) -> Iterator[Record | Refusal]:
        for entry in entries:
            path = PurePosixPath(entry.name)
            suffix = path.suffix.lower()
            if suffix and suffix not in EXTENSIONS:
                yield Refusal(
                    entry.name,
                    f"not an image file by its name ({suffix}). Kindred reads JPEG, PNG, WebP, GIF, BMP and TIFF.",
                )
                continue
            if len(entry.name) > 1024:
                yield Refusal(
                    entry.name[:200] + "…", f"its path has {len(entry.name):,} characters; the limit is 1,024."
                )
                continue
            split, label = place(entry.name.removeprefix(options.wrapper))
            yield Record(
                key=entry.name,
                entry=entry,
                labels=(label,) if label and options.folders_are_labels else (),
                split=split or options.split,
            )


def place(name: str) -> tuple[str, str]:
    """The split and label that the folders of ``name`` say: ``train/cat/1.jpg`` → ``("train", "cat")``.

    Nested class folders make a name with slashes (``animal/cat``).
    """
    folders = list(PurePosixPath(name).parts[:-1])
    split = ""
    if folders and folders[0].lower() in SPLIT_FOLDERS:
        split = SPLIT_FOLDERS[folders.pop(0).lower()]
    return split, "/".join(folders)


def wrapping_folder(names: Iterable[str]) -> str:
    """The folder that everything lies in and that is only a wrapper: ``photos/`` when below it there are class or
    split folders, ``""`` otherwise. Zipping a folder puts one there."""
    top: set[str] = set()
    deeper = False
    for name in names:
        parts = PurePosixPath(name).parts
        top.add(parts[0] if len(parts) > 1 else "")
        deeper = deeper or len(parts) > 2
        if len(top) > 1:
            return ""
    only = top.pop() if top else ""
    return only + "/" if only and deeper and only.lower() not in SPLIT_FOLDERS else ""


def look_like_labels(names: Iterable[str]) -> bool:
    """Whether the folders tell classes apart: at least two different ones."""
    labels: set[str] = set()
    for name in names:
        label = place(name)[1]
        if label:
            labels.add(label)
        if len(labels) > 1:
            return True
    return False
