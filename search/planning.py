"""How a query is answered: by comparing every vector under the filter, or through the space's approximate index.

Chosen by what either would take, estimated from a sample. The index is never trusted with how many there are: an answer with
fewer items than were asked for is made again, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from . import indexing, matrix, samples
from .models import EmbeddingSpace
from .samples import Sample
from .vectors import Chosen

# Milliseconds for one row, measured with 512 dimensions on two cores; only their ratio matters.
_MS_PER_COMPARED = 0.004  # found by the filter, its vector fetched by Postgres and compared
_MS_IN_MEMORY = 0.00035  # the same where the space's vectors are in memory
_MS_PER_VISITED = 0.015  # fetched in the order of the index
# Under a filter, so many times more are fetched than must be for enough to pass: the farther the index has to look, the less surely
# it finds the best of what passes.
_OVER_FETCH = 12
# With less than this part of what should pass of those fetched, the query's neighbours do not: it takes a look farther out.
_ENOUGH, _FARTHER = 0.6, 3


@dataclass(frozen=True)
class Plan:
    uses_index: bool
    why: str  # for people
    rows: int  # about, in the space
    share: float = 1.0  # of the space that passes the filter, estimated
    exact_ms: float = 0.0  # to compare all that passes, estimated
    number: int = 0  # to fetch through the index
    enough: int = 0  # of them must pass, else it is to look farther
    ef_search: int = 0
    sample: Sample | None = None
    passing: Any = None  # which of the sample pass the filter

    def farther(self) -> Plan | None:
        """When too few of those fetched have passed; ``None`` when comparing all that pass takes no longer."""
        number = _FARTHER * self.number
        if number * _MS_PER_VISITED > self.exact_ms:
            return None
        return replace(self, number=number)

    @property
    def said(self) -> dict[str, Any]:
        return {
            "way": "index" if self.uses_index else "exact",
            "why": self.why,
            "rows": self.rows,
            "estimated_share": round(self.share, 5),
            "estimated_passing": round(self.share * self.rows),
            "fetched": self.number or None,
            "ef_search": self.ef_search or None,
        }


def choose(space: EmbeddingSpace, items: Chosen | None, *, limit: int) -> Plan:
    """``items`` are those under the filter, ``None`` when there is no filter."""
    found = indexing.standing_lately(space)
    rows = found.rows
    if not found.has_index:
        reason = (
            f"the space holds about {rows:,} vectors, and an index is built from {indexing.LEAST_ROWS:,} on"
            if rows < indexing.LEAST_ROWS
            else f"vectors of {space.dimension:,} numbers are too long for an index"
            if space.dimension > indexing.MOST_DIMENSIONS
            else "the space has no index yet"
        )
        return Plan(False, f"Every vector is compared: {reason}.", rows)
    sample = samples.of(space, rows)
    if items is None:
        ef_search = min(indexing.MOST_EF_SEARCH, max(space.ef_search, 2 * limit))
        return Plan(True, "There is no filter.", rows, number=limit, ef_search=ef_search, sample=sample)
    passing = sample.passing(items)
    share = float(passing.mean()) if len(passing) else 0.0
    exact_ms = share * rows * (_MS_IN_MEMORY if matrix.is_held(space) else _MS_PER_COMPARED)
    number = math.ceil(_OVER_FETCH * limit / max(share, 1e-6))
    index_ms = number * _MS_PER_VISITED
    uses_index = index_ms < exact_ms
    why = (
        f"About {share:.1%} of {rows:,} pass the filter: comparing them would take some {exact_ms:,.0f} ms, the index "
        f"some {index_ms:,.0f} ms."
    )
    return Plan(
        uses_index,
        why,
        rows,
        share,
        exact_ms,
        number=number if uses_index else 0,
        enough=math.ceil(_ENOUGH * _OVER_FETCH * limit),
        ef_search=min(indexing.MOST_EF_SEARCH, max(space.ef_search, 2 * limit)) if uses_index else 0,
        sample=sample,
        passing=passing,
    )
