"""The review queue: open findings one after another, for several people at once.

Who looks at a finding holds its item for some minutes: nobody else is given a finding of that item meanwhile.
"""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction

from datasets.models import Dataset

from ..models import Finding
from . import chosen

HELD_S = 300
# One to look at and the next ones, whose pictures are fetched meanwhile.
MOST_CLAIMED = 10


@transaction.atomic
def claim(
    dataset: Dataset, kind: str, *, by: Any, number: int, group: str = "", after: tuple[int, int] = (0, 0)
) -> list[Finding]:
    """The next ``number`` open findings of ``kind`` (and ``group``) behind the rank and id ``after``, best first; ``by`` holds their
    items from now on, and what they held before no more. Raises ``UnknownKind``."""
    chosen([kind])
    params: dict[str, Any] = {
        "dataset": dataset.pk,
        "kind": kind,
        "group": group,
        "user": by.pk,
        "rank": after[0],
        "id": after[1],
        "number": min(number, MOST_CLAIMED),
        "seconds": HELD_S,
    }
    with connection.cursor() as cursor:
        # Two who claim at once would get two findings of one item.
        cursor.execute("SELECT id FROM datasets_dataset WHERE id = %s FOR NO KEY UPDATE", [dataset.pk])
        cursor.execute(_RELEASE, params)
        cursor.execute(_CLAIM, params)
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(
        Finding.objects.filter(pk__in=ids).select_related("suggested_label", "decided_by").order_by("rank", "pk")
    )


def release(dataset: Dataset, *, by: Any) -> None:
    """``by`` looks at nothing any more."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"dataset": dataset.pk, "user": by.pk})


def waiting(dataset: Dataset, kind: str, *, by: Any, group: str = "") -> tuple[int, int]:
    """How many findings are open, and how many of these others hold."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"dataset": dataset.pk, "kind": kind, "group": group, "user": by.pk})
        is_open, held = cursor.fetchone()
    return int(is_open), int(held)


_RELEASE = """
UPDATE search_finding SET held_by_id = NULL, held_until = NULL WHERE dataset_id = %(dataset)s AND held_by_id = %(user)s
"""

_HELD_BY_OTHERS = """
EXISTS (SELECT FROM search_finding AS other
         WHERE other.item_id = finding.item_id AND other.held_by_id <> %(user)s AND other.held_until > now())
"""

_OPEN = """
dataset_id = %(dataset)s AND state = 'open' AND kind = %(kind)s AND (%(group)s = '' OR "group" = %(group)s)
"""

_CLAIM = f"""
UPDATE search_finding SET held_by_id = %(user)s, held_until = now() + make_interval(secs => %(seconds)s)
 WHERE id IN (SELECT id FROM search_finding AS finding
               WHERE {_OPEN} AND (rank, id) > (%(rank)s, %(id)s) AND NOT {_HELD_BY_OTHERS}
               ORDER BY rank, id LIMIT %(number)s)
RETURNING id
"""

_WAITING = f"""
SELECT count(*), count(*) FILTER (WHERE {_HELD_BY_OTHERS}) FROM search_finding AS finding WHERE {_OPEN}
"""
