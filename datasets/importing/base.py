"""What a format is: a way to read records out of what was uploaded or lies in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from ..errors import Refused
from ..models import Modality


class ImportRefused(Refused):
    """What was handed over cannot be imported at all."""


@dataclass(frozen=True)
class Entry:
    """One file on offer: loose, a member of a zip, or on the server's disk."""

    name: str  # relative path with forward slashes
    open: Callable[[], IO[bytes]]
    external_path: str = ""  # where it lies, when it is to stay there
    stored_file: str = ""  # its name in the media storage, when it is there already
    max_bytes: int | None = None  # more than this cannot be true


@dataclass(frozen=True)
class Record:
    """One item to be."""

    key: str
    text: str | None = None
    entry: Entry | None = None
    labels: tuple[str, ...] = ()
    split: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Something that cannot become an item, and why."""

    key: str
    reason: str


class Format(Protocol):
    """One file of this folder each; the registry in ``__init__`` lists them."""

    name: str
    modality: Modality
    title: str
    extensions: tuple[str, ...]

    def check(self, entry: Entry) -> None:
        """Raise ``ImportRefused`` when nothing of ``entry`` could be imported. Reads its beginning only."""

    def count(self, entries: Iterator[Entry]) -> int:
        """About how many records there are. May read everything once."""

    def records(self, entries: Iterator[Entry], options: Options) -> Iterator[Record | Refusal]:
        """Read all of it, in constant memory; what is bad comes as a ``Refusal`` in its place."""


@dataclass(frozen=True)
class Options:
    split: str = ""  # for records that do not say theirs
    folders_are_labels: bool = False
    wrapper: str = ""  # a folder around everything that says nothing: not part of a label
