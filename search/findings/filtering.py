"""Items by their findings: the filter ``finding``, and its counts."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from datasets.errors import Refused
from datasets.models import Dataset, Item

from ..models import Finding
from . import KINDS, chosen

ANY = "any"  # kind, or state


def among(dataset: Dataset, kinds: Sequence[str], state: str = "") -> Q:
    """The items with a finding of one of ``kinds`` (of any when none is named) in ``state`` (open unless told). Raises
    ``Refused``."""
    names = [] if ANY in kinds else list(kinds)
    statement = "SELECT item_id FROM search_finding WHERE dataset_id = %s AND kind = ANY(%s) AND state = ANY(%s)"
    params = [dataset.pk, chosen(names), states(state or Finding.State.OPEN)]
    return Q(pk__in=RawSQL(statement, params))  # noqa: S611 - the text is ours, what people say are parameters


def states(state: str) -> list[str]:
    if state == ANY:
        return list(Finding.State.values)
    if state not in Finding.State.values:
        raise Refused(f"The state of a finding is one of {', '.join(Finding.State.values)} or any, not “{state[:80]}”.")
    return [state]


def counts(dataset: Dataset, items: QuerySet[Item] | None = None) -> dict[str, int]:
    """How many of ``items`` (of all) have an open finding of each kind, and of any. One statement."""
    where, params = "", ()
    if items is not None:
        sql, params = items.order_by().values("pk").query.sql_with_params()
        where = f" AND item_id IN ({sql})"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT kind, count(DISTINCT item_id) FROM search_finding WHERE dataset_id = %s AND state = 'open'"
            f"{where} GROUP BY GROUPING SETS ((kind), ())",
            [dataset.pk, *params],
        )
        found = dict(cursor.fetchall())
    return {ANY: found.get(None, 0)} | {name: found.get(name, 0) for name in KINDS}
