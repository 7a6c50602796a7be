"""JSON lines: one object a line with ``text``, optional ``label`` (or ``labels``), ``split``, ``id``; the rest is metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..models import Modality
from .base import Entry, ImportRefused, Options, Record, Refusal
from .texts import TEXT_COLUMN, count_lines, record_from_row

_MAX_LINE_BYTES = 16 << 20


class JsonlTexts:
    name = "jsonl"
    modality = Modality.TEXT
    title = "JSON lines"
    extensions: tuple[str, ...] = (".jsonl", ".ndjson")

    def check(self, entry: Entry) -> None:
        with entry.open() as stream:
            line = stream.readline(_MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            raise ImportRefused(f"{entry.name} is empty. JSON lines hold one object a line, each with a “text”.")
        try:
            row = _object(line)
        except ValueError as error:
            raise ImportRefused(
                f"{entry.name} does not start with a JSON object on a line of its own: {error}"
            ) from error
        if TEXT_COLUMN not in row:
            raise ImportRefused(
                f"{entry.name} has no “text” (found: {', '.join(row)[:200]}). Rename the field that holds it."
            )

    def count(self, entries: Iterator[Entry]) -> int:
        total = 0
        for entry in entries:
            with entry.open() as stream:
                total += count_lines(stream)
        return total

    def records(self, entries: Iterator[Entry], options: Options) -> Iterator[Record | Refusal]:
        for entry in entries:
            with entry.open() as stream:
                number = 0
                while line := stream.readline(_MAX_LINE_BYTES):
                    number += 1
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if not line.strip():
                        continue
                    try:
                        row = _object(line)
                    except ValueError as error:
                        yield Refusal(f"{entry.name}#{number}", f"line {number}: {error}")
                        continue
                    yield record_from_row(row, file=entry.name, number=number, options=options)


def _object(line: bytes) -> dict[str, Any]:
    """Raises ``ValueError`` with a sentence."""
    try:
        value = json.loads(line.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("it is not valid UTF-8. Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise ValueError("it is JSON, but no object.")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
