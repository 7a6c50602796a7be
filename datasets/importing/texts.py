"""What CSV and JSONL have in common: rows with a text become records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

from .base import Options, Record, Refusal

MAX_TEXT_CHARACTERS = 1_000_000
TEXT_COLUMN = "text"
_OWN_COLUMNS = {"text", "label", "labels", "split", "id", "key"}


def record_from_row(row: Mapping[str, Any], *, file: str, number: int, options: Options) -> Record | Refusal:
    """``row`` as a record. Its key is its ``key`` or ``id``; without one, the file's name and row number."""
    key = f"{PurePosixPath(file).name}#{number}"
    for column in ("key", "id"):
        value = row.get(column)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            key = str(value).strip()
            break
    text = row.get(TEXT_COLUMN)
    if problem := _problem(text, key, row):
        return Refusal(key[:200] if key.isprintable() else f"row {number}", f"row {number}: {problem}")
    assert isinstance(text, str)
    return Record(
        key=key,
        text=text,
        labels=_labels(row),
        split=str(row.get("split") or "").strip() or options.split,
        metadata={name: value for name, value in row.items() if name not in _OWN_COLUMNS and value not in (None, "")},
    )


def _problem(text: Any, key: str, row: Mapping[str, Any]) -> str:
    if not isinstance(text, str):
        return "its “text” is missing or no string."
    if not text.strip():
        return "its text is empty."
    if len(text) > MAX_TEXT_CHARACTERS:
        return f"its text has {len(text):,} characters; the limit is {MAX_TEXT_CHARACTERS:,}. Split it up."
    if len(key) > 1024:
        return f"its key has {len(key):,} characters; the limit is 1,024."
    if len(str(row.get("split") or "")) > 64:
        return "its split has more than 64 characters."
    if any(len(label) > 200 for label in _labels(row)):
        return "its label has more than 200 characters."
    strings = list(_strings(dict(row)))
    if any("\x00" in one for one in strings):
        return "it holds a NUL character, which a database cannot keep. Remove it."
    # Bytes that are no UTF-8 were read as lone surrogates (PEP 383); JSON can spell such too.
    if any("\ud800" <= character <= "\udfff" for one in strings for character in one):
        return "it is not valid UTF-8. Save the file as UTF-8 and import it again."
    return ""


def _strings(value: Any) -> Iterator[str]:
    """Every string in a row, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _strings(name)
            yield from _strings(one)


def _labels(row: Mapping[str, Any]) -> tuple[str, ...]:
    several = row.get("labels")
    raw = several if isinstance(several, list) else [row.get("label")]
    labels = [str(one).strip() for one in raw if isinstance(one, str | int | float) and not isinstance(one, bool)]
    return tuple(dict.fromkeys(label for label in labels if label))


def count_lines(stream: IO[bytes]) -> int:
    """Lines with something in them after the last full one count too."""
    lines = 0
    last = b"\n"
    while chunk := stream.read(1 << 20):
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    return lines + (last != b"\n")
