"""Getting labels out. ``FORMATS`` lists what can be written; each streams, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Refused
from ..filters import Filter
from ..models import Dataset
from . import rows
from .base import Format
from .csv_table import CsvTable
from .json_lines import JsonLines

FORMATS: dict[str, Format] = {format.name: format for format in (CsvTable(), JsonLines())}


class UnknownFormat(Refused):
    """No exporter has that name."""


def format_named(name: str) -> Format:
    if name not in FORMATS:
        raise UnknownFormat(f"There is no export format “{name}”. Use one of: {', '.join(FORMATS)}.")
    return FORMATS[name]


def export(dataset: Dataset, filter: Filter, format: Format, *, include_excluded: bool = False) -> Iterator[bytes]:
    """The items under ``filter`` with their labels, one row an annotation and one for an item without any.

    Excluded items must not be trained on: they are left out unless asked for, by ``include_excluded`` or by a filter on
    status.
    """
    asked = include_excluded or any(condition.key == "status" for condition in filter.conditions)
    return format.write(rows.of(dataset, filter, with_excluded=asked))
