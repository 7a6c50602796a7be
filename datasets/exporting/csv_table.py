"""CSV with a header, UTF-8, one row an annotation."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from .base import COLUMNS, Row

_ROWS_PER_PIECE = 500


class CsvTable:
    name = "csv"
    title = "CSV table"
    content_type = "text/csv; charset=utf-8"
    extension = "csv"

    def write(self, rows: Iterator[Row]) -> Iterator[bytes]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        for number, row in enumerate(rows, start=1):
            writer.writerow([_cell(row[column]) for column in COLUMNS])
            if number % _ROWS_PER_PIECE == 0:
                yield buffer.getvalue().encode()
                buffer.seek(0)
                buffer.truncate()
        yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value
