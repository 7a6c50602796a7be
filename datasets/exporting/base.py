"""What an export format is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

# The columns of a row, in order.
COLUMNS = (
    "id", "key", "text", "split", "status", "tags", "label", "source", "author", "confidence", "labeled_at", "operation",
    "width", "height", "metadata",
)  # fmt: skip

Row = dict[str, Any]


class Format(Protocol):
    """One file of this folder each; the registry in ``__init__`` lists them."""

    name: str
    title: str
    content_type: str
    extension: str

    def write(self, rows: Iterator[Row]) -> Iterator[bytes]:
        """The file, piece by piece. Never holds more than a few rows."""
