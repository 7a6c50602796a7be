"""The log of acts: every change of labels, tags or status is one operation, and any of them can be undone.

Order is what undo leans on. An act first locks its items in id order (so two acts never deadlock) and only then
takes its operation id, so of two operations on one item the one with the greater id came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from . import signals
from .errors import Conflict
from .models import Dataset, Item, Job, Operation, Region


class AlreadyUndone(Conflict):
    """The operation has been undone before; to bring it back, undo the undo."""


@dataclass(frozen=True)
class Applied:
    """What an act did."""

    operation: Operation
    changed: int  # items that are different now
    skipped: int = 0  # items that were left as they are, on request


@dataclass(frozen=True)
class Undone:
    operation: Operation
    reverted: int  # items put back
    kept_because_changed_since: int  # items that somebody changed later: left as they are


def begin(
    dataset: Dataset,
    items: QuerySet[Item],
    *,
    regions: QuerySet[Region] | None = None,
    kind: Operation.Kind,
    by: Any,
    said: dict[str, Any] | None = None,
    detail: dict[str, Any] | None = None,
    job: Job | None = None,
    undoes: Operation | None = None,
) -> Operation:
    """Lock ``items`` in id order, list them in the temporary table ``selected_item``, and open an operation on them.

    To be called inside a transaction, which then makes its changes by joining ``selected_item``. With ``regions``, all of
    which lie in ``items``, a row of it is one of these: its ``region_id``, else NULL, tells it.
    """
    sql, params = items.order_by().values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS selected_item (id bigint NOT NULL, region_id bigint) ON COMMIT DELETE ROWS"
        )
        cursor.execute("DELETE FROM selected_item")
        cursor.execute(
            f"INSERT INTO selected_item SELECT id FROM datasets_item WHERE id IN ({sql}) ORDER BY id FOR NO KEY UPDATE",
            params,
        )
        if regions is not None:
            sql, params = regions.order_by().values("pk").query.sql_with_params()
            cursor.execute("DELETE FROM selected_item")
            # Held, so that no worker that makes them anew deletes one that gets a label here.
            cursor.execute(
                "INSERT INTO selected_item SELECT item_id, id FROM datasets_region"
                f" WHERE removed_at IS NULL AND id IN ({sql}) ORDER BY id FOR KEY SHARE",
                params,
            )
        if cursor.rowcount > 1000:
            # A temporary table has no statistics of its own accord, and the plans below hang on its size.
            cursor.execute("ANALYZE selected_item")
    return Operation.objects.create(
        dataset=dataset,
        kind=kind,
        author=by,
        job=job,
        selection=said or {},
        detail=detail or {},
        undoes=undoes,
    )


def close(operation: Operation) -> int:
    """Count the items that ``operation`` changed, keep the number with it, and return it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT item_id FROM datasets_annotation WHERE operation_id = %(operation)s
                UNION SELECT item_id FROM datasets_annotation WHERE retracted_by_id = %(operation)s
                UNION SELECT item_id FROM datasets_itemchange WHERE operation_id = %(operation)s
            ) AS changed
            """,
            {"operation": operation.pk},
        )
        operation.changed = cursor.fetchone()[0]
    operation.save(update_fields=["changed"])
    return operation.changed


@transaction.atomic
def undo(operation: Operation, *, by: Any) -> Undone:
    """Put back what ``operation`` changed and nobody changed since. Undoing an undo does the act again.

    Raises ``AlreadyUndone``. Set-based: a handful of statements whatever the number of items.
    """
    operation = Operation.objects.select_for_update(of=("self",)).get(pk=operation.pk)
    before = Operation.objects.filter(undoes=operation).first()
    if before is not None:
        raise AlreadyUndone(
            f"Operation {operation.pk} was already undone by operation {before.pk}. To bring it back, undo that one."
        )
    dataset = operation.dataset
    touched = (
        Item.objects.filter(annotations__operation=operation)
        .values("pk")
        .union(
            Item.objects.filter(annotations__retracted_by=operation).values("pk"),
            Item.objects.filter(changes__operation=operation).values("pk"),
        )
    )
    undoing = begin(
        dataset,
        Item.objects.filter(pk__in=touched),
        kind=Operation.Kind.UNDO,
        by=by,
        said={"operation": operation.pk},
        detail={"kind": operation.kind, **operation.detail},
        undoes=operation,
    )
    params: dict[str, Any] = {
        "operation": operation.pk,
        "undoing": undoing.pk,
        "dataset": dataset.pk,
        "single": not dataset.multi_label,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CREATE_CHANGED_SINCE)
        cursor.execute("DELETE FROM changed_since")
        cursor.execute(_FIND_CHANGED_SINCE, params)
        cursor.execute(_RETRACT_WHAT_IT_MADE, params)
        cursor.execute(_RESTORE_WHAT_IT_RETRACTED, params)
        cursor.execute(_BRING_BACK_REGIONS, params)
        cursor.execute(_RESTORE_MARKS, params)
        cursor.execute(_COUNT_KEPT, params)
        kept = cursor.fetchone()[0]
    undone = Undone(undoing, reverted=close(undoing), kept_because_changed_since=kept)
    signals.operation_undone.send(Operation, operation=operation, undoing=undoing)
    return undone


# The places of the selected items that later operations have changed. A place is what one of them can change by itself:
# the label of an item or region (in a multi-label dataset each label there), its status, one tag.
_CREATE_CHANGED_SINCE = """
CREATE TEMP TABLE IF NOT EXISTS changed_since (
    what text NOT NULL, item_id bigint NOT NULL, region_id bigint, label_id bigint, tag text
) ON COMMIT DELETE ROWS
"""

# An act and its undo, both later, cancel out wherever both came, so pressing undo twice goes back two steps. So does an
# undo and the one that brought the act back. Of an act, its undo, the undo of that, … those that are later form a
# chain, and a place has changed when an odd number of one chain came to it.
_FIND_CHANGED_SINCE = """
WITH RECURSIVE later (operation_id, chain) AS (
    SELECT id, id FROM datasets_operation
     WHERE dataset_id = %(dataset)s AND id > %(operation)s AND id <> %(undoing)s
       AND (undoes_id IS NULL OR undoes_id <= %(operation)s)
    UNION ALL
    SELECT undo.id, chain FROM datasets_operation AS undo JOIN later ON undo.undoes_id = later.operation_id
), touched (what, item_id, region_id, label_id, tag, operation_id) AS (
    SELECT 'label', item_id, annotation.region_id, CASE WHEN NOT %(single)s THEN label_id END, NULL, operation_id
      FROM datasets_annotation AS annotation JOIN selected_item ON selected_item.id = item_id
     WHERE operation_id > %(operation)s
    UNION
    SELECT 'label', item_id, annotation.region_id, CASE WHEN NOT %(single)s THEN label_id END, NULL, retracted_by_id
      FROM datasets_annotation AS annotation JOIN selected_item ON selected_item.id = item_id
     WHERE retracted_by_id > %(operation)s
    UNION
    SELECT 'status', item_id, NULL, NULL, NULL, operation_id
      FROM datasets_itemchange JOIN selected_item ON selected_item.id = item_id
     WHERE operation_id > %(operation)s AND status_after IS NOT NULL
    UNION
    SELECT 'tag', item_id, NULL, NULL, tag, operation_id
      FROM datasets_itemchange JOIN selected_item ON selected_item.id = item_id,
           unnest(tags_added || tags_removed) AS tag
     WHERE operation_id > %(operation)s
)
INSERT INTO changed_since
SELECT DISTINCT what, item_id, region_id, label_id, tag FROM touched JOIN later USING (operation_id)
 GROUP BY what, item_id, region_id, label_id, tag, chain HAVING count(*) %% 2 = 1
"""

_CHANGED_SINCE = """
EXISTS (
    SELECT FROM changed_since AS since
     WHERE what = 'label' AND since.item_id = touched.item_id AND since.region_id IS NOT DISTINCT FROM touched.region_id
       AND (%(single)s OR since.label_id = touched.label_id)
)
"""

_RETRACT_WHAT_IT_MADE = f"""
UPDATE datasets_annotation AS standing SET retracted_by_id = %(undoing)s
  FROM datasets_annotation AS touched
 WHERE touched.operation_id = %(operation)s
   AND standing.item_id = touched.item_id AND standing.region_id IS NOT DISTINCT FROM touched.region_id
   AND standing.label_id = touched.label_id AND standing.retracted_by_id IS NULL
   AND NOT {_CHANGED_SINCE}
"""

_RESTORE_WHAT_IT_RETRACTED = f"""
INSERT INTO datasets_annotation
       (item_id, region_id, label_id, source, author_id, confidence, operation_id, created_at)
SELECT touched.item_id, touched.region_id, touched.label_id, touched.source, touched.author_id, touched.confidence,
       %(undoing)s, touched.created_at
  FROM datasets_annotation AS touched
 WHERE touched.retracted_by_id = %(operation)s AND NOT {_CHANGED_SINCE}
ON CONFLICT DO NOTHING
"""

# One that somebody removed when it bore no label any more: no label stands on what nobody sees.
_BRING_BACK_REGIONS = """
UPDATE datasets_region AS region SET removed_at = NULL
  FROM datasets_annotation AS annotation
 WHERE annotation.operation_id = %(undoing)s AND annotation.region_id = region.id AND region.removed_at IS NOT NULL
"""

_STATUS_CHANGED_SINCE = """
EXISTS (SELECT FROM changed_since AS since WHERE what = 'status' AND since.item_id = touched.item_id)
"""

_TAGS_CHANGED_SINCE = """
EXISTS (
    SELECT FROM changed_since AS since
     WHERE what = 'tag' AND since.item_id = touched.item_id AND since.tag = ANY(touched.tags_added || touched.tags_removed)
)
"""

_RESTORE_MARKS = f"""
WITH wanted AS (
    SELECT item_id, status_after, CASE WHEN status_after IS NOT NULL AND NOT {_STATUS_CHANGED_SINCE} THEN status_before END AS status,
           CASE WHEN {_TAGS_CHANGED_SINCE} THEN '{{}}' ELSE tags_added END AS added,
           CASE WHEN {_TAGS_CHANGED_SINCE} THEN '{{}}' ELSE tags_removed END AS removed
      FROM datasets_itemchange AS touched WHERE operation_id = %(operation)s
), changed AS (
    UPDATE datasets_item AS item
       SET status = coalesce(wanted.status, item.status),
           tags = ARRAY(SELECT tag FROM unnest(item.tags) AS tag WHERE tag <> ALL(wanted.added)) || wanted.removed
      FROM wanted
     WHERE item.id = wanted.item_id AND (wanted.status IS NOT NULL OR wanted.added || wanted.removed <> '{{}}')
    RETURNING item.id, wanted.status, wanted.status_after, wanted.added, wanted.removed
)
INSERT INTO datasets_itemchange (operation_id, item_id, status_before, status_after, tags_added, tags_removed)
SELECT %(undoing)s, id, CASE WHEN status IS NOT NULL THEN status_after END, status, removed, added FROM changed
"""

_COUNT_KEPT = f"""
SELECT count(*) FROM (
    SELECT item_id FROM datasets_annotation AS touched
     WHERE (operation_id = %(operation)s OR retracted_by_id = %(operation)s) AND {_CHANGED_SINCE}
    UNION
    SELECT item_id FROM datasets_itemchange AS touched
     WHERE operation_id = %(operation)s
       AND (status_after IS NOT NULL AND {_STATUS_CHANGED_SINCE} OR {_TAGS_CHANGED_SINCE})
) AS kept
"""


def describe(operation: Operation) -> str:
    """The act in a few words: “stop sign on 24 items”."""
    number = f"{operation.changed:,} item" + ("" if operation.changed == 1 else "s")
    detail = operation.detail
    if detail.get("regions"):
        number = f"regions of {number}"
    kind = operation.kind
    if Operation.Kind.REVIEW in (kind, detail.get("kind")):
        # Nothing of the items themselves was changed.
        return ("undid " if kind == Operation.Kind.UNDO else "") + _describe(Operation.Kind.REVIEW, detail)
    if kind == Operation.Kind.UNDO:
        return f"undid {_describe(detail.get('kind', ''), detail)} on {number}"
    return f"{_describe(kind, detail)} on {number}"


def _describe(kind: str, detail: dict[str, Any]) -> str:
    if kind == Operation.Kind.LABEL:
        return str(detail.get("label", "label"))
    if kind == Operation.Kind.UNLABEL:
        return f"removed {detail.get('label') or 'labels'}"
    if kind == Operation.Kind.TAG:
        added = [f"+{tag}" for tag in detail.get("add", [])]
        removed = [f"−{tag}" for tag in detail.get("remove", [])]
        return "tag " + ", ".join(added + removed)
    if kind == Operation.Kind.STATUS:
        return " ".join([str(detail.get("status", "status")), *(f"+{tag}" for tag in detail.get("add", []))])
    if kind == Operation.Kind.IMPORT:
        return "imported labels"
    if kind == Operation.Kind.REVIEW:
        number = detail.get("findings", 0)
        return f"{detail.get('state', 'decided')} {number:,} finding" + ("" if number == 1 else "s")
    return "undo"
