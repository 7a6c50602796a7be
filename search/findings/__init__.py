"""What is wrong with a dataset: one file a kind of finding, and this list of them. Another kind is a file with a ``KIND``, listed
here."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.errors import Refused

from . import conflict, duplicate, label_error, leak, outlier, quality
from .base import Found, Kind, Material, NothingToFind

__all__ = ["KINDS", "Found", "Kind", "Material", "NothingToFind", "UnknownKind", "chosen"]

# In the order in which a person looks at them, which is that of the work too.
KINDS: dict[str, Kind] = {
    module.KIND.name: module.KIND for module in (label_error, conflict, outlier, duplicate, leak, quality)
}


class UnknownKind(Refused):
    """There is no such kind of finding."""


def chosen(names: Sequence[str]) -> list[str]:
    """``names`` without repetition, in the order of ``KINDS``; all when there are none. Raises ``UnknownKind``."""
    for name in names:
        if name not in KINDS:
            raise UnknownKind(f"There is no kind of finding “{name[:80]}”. Use {', '.join(KINDS)}.")
    return [name for name in KINDS if name in names or not names]
