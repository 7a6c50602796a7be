"""What a kind of finding is, and what it is given to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from django.db import connection

from datasets import packed
from datasets.errors import Refused
from datasets.models import Dataset, LabelClass

from .. import graph
from ..graph import Graph, Progress, Rows
from ..models import EmbeddingSpace

T = TypeVar("T")
Array = npt.NDArray[Any]

# Beyond so many robust standard deviations a value is unusual (Iglewicz & Hoaglin 1993).
UNUSUAL = 3.5
# Items that speak for a finding, at most.
MOST_RELATED = 8


class NothingToFind(Refused):
    """The dataset lacks what this kind looks at; the message says what."""


@dataclass(frozen=True)
class Found:
    item: int
    score: float  # 0..1, above a half is beyond what is usual; the greater, the sooner it is to be looked at
    reason: str  # a sentence
    because: tuple[Any, ...]  # what speaks for it: when this changes, a finding that was dismissed comes back
    related: Sequence[int] = ()  # items, the most telling first
    subject: str = ""  # which one of its kind, where an item can have several
    suggested: int | None = None  # a class
    confidence: float | None = None  # of the suggested class
    group: str = ""

    @property
    def evidence(self) -> bytes:
        return hashlib.blake2b(repr(self.because).encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Kind:
    """A kind of finding: one file, with a function that finds all of it in a dataset."""

    name: str
    title: str  # in the words of the page
    description: str
    find: Callable[[Material], list[Found]]  # raises ``NothingToFind``


@dataclass(eq=False)
class Material:
    """A dataset, read once for all kinds. Of its items those that nobody has excluded and that could be read.

    Arrays of items are in the order of ``ids``; those of ``rows`` and ``graph`` in that of the vectors, which ``row_item`` maps.
    """

    dataset: Dataset
    progress: Progress = field(default=lambda done, total: None)
    _made: dict[Any, Any] = field(default_factory=dict)

    def once(self, make: Callable[[Material], T]) -> T:
        """What ``make`` makes of this, made once for all kinds."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    # Items --------------------------------------------------------------------------------------------------------

    @cached_property
    def _items(self) -> dict[str, Array]:
        columns = {"id": "i8", "content": "i8", "width": "i4", "height": "i4", "size": "i8", "length": "i4"}
        measures = {"brightness": "f8", "contrast": "f8", "sharpness": "f8"}
        found = packed.fetch(_ITEMS, [self.dataset.pk], columns | measures)
        order = np.argsort(found["id"])
        return {name: values[order] for name, values in found.items()}

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        return self._items["id"]

    @property
    def content(self) -> npt.NDArray[np.int64]:
        """Equal for equal content, and 0 where it is not known yet."""
        return self._items["content"]

    def measured(self, name: str) -> Array:
        """Width, height, size in bytes, length of the text: 0 where there is none; brightness, contrast, sharpness: NaN."""
        return self._items[name]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each item that has exactly one label, -1 of the others."""
        found = packed.fetch(_LABELS, [self.dataset.pk], {"id": "i8", "label": "i8"})
        labels = np.full(len(self.ids), -1, dtype=np.int64)
        at = self._places(found["id"])
        labels[at[at >= 0]] = found["label"][at >= 0]
        return labels

    @cached_property
    def splits(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """The split of each item as a place in the list of names, whose first is none."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT split FROM datasets_item WHERE dataset_id = %s", [self.dataset.pk])
            names = ["", *sorted(name for (name,) in cursor.fetchall() if name)]
        found = packed.fetch(
            "SELECT id, array_position(%s::text[], split::text) - 1 FROM datasets_item WHERE dataset_id = %s",
            [names, self.dataset.pk],
            {"id": "i8", "split": "i4"},
        )
        splits = np.zeros(len(self.ids), dtype=np.int64)
        at = self._places(found["id"])
        splits[at[at >= 0]] = found["split"][at >= 0]
        return splits, names

    def _places(self, ids: Array) -> npt.NDArray[np.int64]:
        """Where ``ids`` stand among the items; -1: not there."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)

    # Vectors ------------------------------------------------------------------------------------------------------

    @cached_property
    def space(self) -> EmbeddingSpace:
        found = EmbeddingSpace.objects.filter(dataset=self.dataset, is_default=True).first()
        if found is None or found.is_placeholder or found.state != EmbeddingSpace.State.READY:
            raise NothingToFind(
                "The dataset has no vectors yet: its encoder is still being made ready, or cannot be used."
            )
        return found

    @cached_property
    def rows(self) -> Rows:
        rows = graph.read_rows(self.space, lambda done, total: self.progress(0, total))
        if not len(rows.ids):
            raise NothingToFind("No item has a vector yet. Wait until the dataset is embedded, then look again.")
        return rows

    @cached_property
    def graph(self) -> Graph:
        return graph.refreshed(self.space, self.rows, self.progress)

    @cached_property
    def row_item(self) -> npt.NDArray[np.int64]:
        """The place among the items of what each row is of; -1 for what is excluded."""
        return self._places(self.rows.ids)

    @cached_property
    def row_labels(self) -> npt.NDArray[np.int64]:
        """The class of each row, -1 without one."""
        return np.where(self.row_item >= 0, self.labels[np.maximum(self.row_item, 0)] if len(self.ids) else -1, -1)

    # Names, for reasons -------------------------------------------------------------------------------------------

    @cached_property
    def class_names(self) -> dict[int, str]:
        return dict(LabelClass.objects.filter(dataset=self.dataset).values_list("pk", "name"))

    def keys(self, ids: Sequence[int]) -> dict[int, str]:
        """The names of items, as short as a reason can hold. One query."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, key FROM datasets_item WHERE id = ANY(%s)", [[int(one) for one in ids]])
            return {pk: key if len(key) <= 80 else f"…{key[-79:]}" for pk, key in cursor.fetchall()}


_ITEMS = """
SELECT id,
       coalesce(('x' || encode(substr(text_hash, 1, 8), 'hex'))::bit(64)::bigint,
                ('x' || left(sha256, 16))::bit(64)::bigint, 0),
       coalesce(width, 0), coalesce(height, 0), coalesce(size_bytes, 0), coalesce(length(text), 0),
       coalesce(brightness, 'NaN'), coalesce(contrast, 'NaN'), coalesce(sharpness, 'NaN')
  FROM datasets_item WHERE dataset_id = %s AND status <> 'excluded' AND problem = ''
"""

_LABELS = """
SELECT item_id, min(label_id) FROM datasets_annotation AS annotation JOIN datasets_item AS item ON item.id = item_id
 WHERE dataset_id = %s AND region_id IS NULL AND retracted_by_id IS NULL GROUP BY item_id HAVING count(*) = 1
"""


def unusual(values: Array, *, least_spread: float = 1e-6) -> Array:
    """How many robust standard deviations (1.4826 × the median absolute one) above the median each is; where fewer than three are
    known or all are the same, 0. NaN stays below everything."""
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return np.zeros(len(values))
    middle = np.median(known)
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), least_spread)
    return np.nan_to_num((values - middle) / spread, nan=-np.inf)


def as_score(deviation: Array) -> Array:
    """0..1, a half at the threshold ``UNUSUAL``."""
    deviation = np.clip(deviation, 0, 1e9)
    return deviation / (deviation + UNUSUAL)
