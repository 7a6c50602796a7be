"""Columns of items and of their labels: plain arrays, and how parts of them are put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Values:
    """For each row one of a few values: ``names[codes[row]]``."""

    codes: Array  # int32
    names: tuple[str, ...]

    def counts(self, rows: Mask | None = None) -> dict[str, int]:
        """Of the values that there are among ``rows``."""
        counted = np.bincount(self.codes if rows is None else self.codes[rows], minlength=len(self.names))
        return {name: int(number) for name, number in zip(self.names, counted, strict=True) if number}

    def among(self, wanted: Collection[str]) -> Mask:
        return np.array([name in wanted for name in self.names], bool)[self.codes]

    def where(self, rows: Array) -> Values:
        """A mask, or positions."""
        return Values(self.codes[rows], self.names)

    def joined(self, other: Values) -> Values:
        names = tuple(dict.fromkeys([*self.names, *other.names]))
        place = {name: code for code, name in enumerate(names)}
        codes = np.array([place[name] for name in other.names], np.int32)[other.codes]
        return Values(np.concatenate([self.codes, codes]), names)


@dataclass(frozen=True)
class Labels:
    """Those that stand, of items as a whole."""

    row: Array  # of its item
    label: Array  # id of the class
    source: Array  # its place in SOURCES
    author: Array  # id of the user, 0: nobody
    day: Array  # since 1970-01-01, UTC

    def where(self, which: Mask) -> Self:
        return type(self)(*(getattr(self, one.name)[which] for one in fields(self)))

    def joined(self, other: Labels) -> Labels:
        return Labels(*(np.concatenate([getattr(self, one.name), getattr(other, one.name)]) for one in fields(self)))


@dataclass(frozen=True)
class Content:
    """What of the items is the same: 8 bytes of the hash of what counts as their content, 0 where there is none."""

    hashes: Array  # int64

    @cached_property
    def repeated(self) -> tuple[Mask, Mask]:
        """The rows whose content occurs more than once; those of them that are not the first with it."""
        every, extra = np.zeros(len(self.hashes), bool), np.zeros(len(self.hashes), bool)
        order = np.argsort(self.hashes, kind="stable")
        order = order[self.hashes[order] != 0]
        same = self.hashes[order][1:] == self.hashes[order][:-1]
        extra[order[1:][same]] = True
        every[order[1:][same]] = every[order[:-1][same]] = True
        return every, extra


@dataclass(frozen=True)
class Columns:
    ids: Array  # (n,) ascending
    status: Values
    split: Values
    brightness: Array  # float64, NaN: not known
    sharpness: Array
    is_unreadable: Mask
    content: Content
    tag_row: Array  # one for each tag of an item
    tag: Values
    metadata: Mapping[str, Values]  # of keys with few values; "" where an item has none
    labels: Labels

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: Array) -> Mask:
        mask = np.zeros(len(self), bool)
        if len(self):
            at = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
            mask[at[self.ids[at] == ids]] = True
        return mask

    def labelled(self, which: Mask | None = None) -> Mask:
        """The rows that have a label (one of ``which``, a mask of the labels)."""
        mask = np.zeros(len(self), bool)
        mask[self.labels.row if which is None else self.labels.row[which]] = True
        return mask

    def tagged(self, names: Collection[str]) -> Mask:
        mask = np.zeros(len(self), bool)
        mask[self.tag_row[self.tag.among(names)]] = True
        return mask

    def where(self, keep: Mask) -> Columns:
        row = np.cumsum(keep) - 1
        tags, labels = keep[self.tag_row], self.labels.where(keep[self.labels.row])
        return Columns(
            self.ids[keep],
            self.status.where(keep),
            self.split.where(keep),
            self.brightness[keep],
            self.sharpness[keep],
            self.is_unreadable[keep],
            Content(self.content.hashes[keep]),
            row[self.tag_row[tags]],
            self.tag.where(tags),
            {key: values.where(keep) for key, values in self.metadata.items()},
            replace(labels, row=row[labels.row]),
        )

    def merged(self, other: Columns) -> Columns:
        """With the rows of ``other``, which has other items and the same metadata keys."""
        ids = np.concatenate([self.ids, other.ids])
        order = np.argsort(ids, kind="stable")  # two runs, each in order
        row = np.empty(len(ids), np.int64)
        row[order] = np.arange(len(ids))

        def rows(name: str) -> Array:
            return np.concatenate([getattr(self, name), getattr(other, name)])[order]

        labels = self.labels.joined(replace(other.labels, row=other.labels.row + len(self)))
        return Columns(
            ids[order],
            self.status.joined(other.status).where(order),
            self.split.joined(other.split).where(order),
            rows("brightness"),
            rows("sharpness"),
            rows("is_unreadable"),
            Content(np.concatenate([self.content.hashes, other.content.hashes])[order]),
            row[np.concatenate([self.tag_row, other.tag_row + len(self)])],
            self.tag.joined(other.tag),
            {key: values.joined(other.metadata[key]).where(order) for key, values in self.metadata.items()},
            replace(labels, row=row[labels.row]),
        )
