"""CSV with a header: ``text``, optional ``label``, ``split``, ``id`` or ``key``; other columns become metadata."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO

from ..models import Modality
from .base import Entry, ImportRefused, Options, Record, Refusal
from .texts import MAX_TEXT_CHARACTERS, TEXT_COLUMN, count_lines, record_from_row

# A quoted cell may be a whole document.
csv.field_size_limit(4 * MAX_TEXT_CHARACTERS)


class CsvTexts:
    name = "csv"
    modality = Modality.TEXT
    title = "CSV table"
    extensions: tuple[str, ...] = (".csv", ".tsv")

    def check(self, entry: Entry) -> None:
        with _text_stream(entry) as stream:
            _header(entry, stream)

    def count(self, entries: Iterator[Entry]) -> int:
        total = 0
        for entry in entries:
            with entry.open() as stream:
                total += max(count_lines(stream) - 1, 0)
        return total

    def records(self, entries: Iterator[Entry], options: Options) -> Iterator[Record | Refusal]:
        for entry in entries:
            try:
                yield from _rows(entry, options)
            except (ImportRefused, csv.Error) as error:
                yield Refusal(entry.name, str(error))


def _rows(entry: Entry, options: Options) -> Iterator[Record | Refusal]:
    with _text_stream(entry) as stream:
        header, reader = _header(entry, stream)
        for number, cells in enumerate(reader, start=1):
            if not cells:
                continue
            if len(cells) > len(header):
                yield Refusal(
                    f"{entry.name}#{number}",
                    f"row {number}: it has {len(cells)} cells, the header {len(header)}. Quote cells that hold commas.",
                )
                continue
            row = dict(zip(header, cells, strict=False))
            yield record_from_row(row, file=entry.name, number=number, options=options)


def _header(entry: Entry, stream: IO[str]) -> tuple[list[str], Iterator[list[str]]]:
    delimiter = "\t" if entry.name.lower().endswith(".tsv") else ","
    first_line = stream.readline()
    if delimiter == "," and ";" in first_line and "," not in first_line:
        delimiter = ";"  # what spreadsheets write where the comma is the decimal point
    if not first_line.strip():
        raise ImportRefused(f"{entry.name} is empty. A CSV starts with a header line that has a “text” column.")
    header = [name.strip() for name in next(csv.reader([first_line], delimiter=delimiter))]
    columns = {name.lower(): name for name in header}
    if TEXT_COLUMN not in columns:
        found = ", ".join(header)[:200].encode("utf-8", "replace").decode()
        raise ImportRefused(
            f"{entry.name} has no “text” column (found: {found}). Rename the column that holds the texts."
        )
    own = {"text", "label", "split", "id", "key"}
    header = [name.lower() if name.lower() in own else name for name in header]
    return header, csv.reader(stream, delimiter=delimiter)


def _text_stream(entry: Entry) -> IO[str]:
    stream = entry.open()
    start = stream.read(4)
    stream.seek(0)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(
        stream, encoding=encoding, errors="surrogateescape" if encoding != "utf-16" else "replace", newline=""
    )
