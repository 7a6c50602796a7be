"""JSON lines, one object an annotation, the same columns as the CSV but with real types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .base import Row

_ROWS_PER_PIECE = 500


class JsonLines:
    name = "jsonl"
    title = "JSON lines"
    content_type = "application/x-ndjson"
    extension = "jsonl"

    def write(self, rows: Iterator[Row]) -> Iterator[bytes]:
        lines: list[str] = []
        for row in rows:
            lines.append(json.dumps(row, ensure_ascii=False, default=_plain))
            if len(lines) == _ROWS_PER_PIECE:
                yield ("\n".join(lines) + "\n").encode()
                lines.clear()
        if lines:
            yield ("\n".join(lines) + "\n").encode()


def _plain(value: Any) -> str:
    """Times are the one type here that JSON has no word for."""
    return str(value.isoformat())
