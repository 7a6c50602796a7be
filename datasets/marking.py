"""Status and tags, on any selection, as one operation that can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from . import operations
from .errors import Refused
from .models import Operation, Status
from .operations import Applied
from .selection import Selection

MAX_TAG_LENGTH = 64


class InvalidMark(Refused):
    """A status that does not exist, or a tag that cannot be one."""


@transaction.atomic
def set_status(selection: Selection, status: str, *, tags: Sequence[str] = (), by: Any) -> Applied:
    """Set the status of every item of ``selection``, and add ``tags`` that say why. Raises ``InvalidMark``."""
    if status not in Status.values:
        raise InvalidMark(f"status is one of {', '.join(Status.values)}, not “{status}”.")
    operation = operations.begin(
        selection.dataset,
        selection.items,
        kind=Operation.Kind.STATUS,
        by=by,
        said=selection.said,
        detail={"status": status} | ({"add": list(tags)} if tags else {}),
    )
    with connection.cursor() as cursor:
        cursor.execute(_MARK, {"operation": operation.pk, "status": status, "add": list(tags), "remove": []})
    return Applied(operation, changed=operations.close(operation))


@transaction.atomic
def change_tags(selection: Selection, *, add: list[str], remove: list[str], by: Any) -> Applied:
    """Add and remove tags on every item of ``selection``. Raises ``InvalidMark``."""
    add, remove = _clean(add), _clean(remove)
    if both := set(add) & set(remove):
        raise InvalidMark(f"The tag “{min(both)}” cannot be added and removed in one act.")
    if not add and not remove:
        raise InvalidMark("Name at least one tag to add or to remove.")
    operation = operations.begin(
        selection.dataset,
        selection.items,
        kind=Operation.Kind.TAG,
        by=by,
        said=selection.said,
        detail={"add": add, "remove": remove},
    )
    with connection.cursor() as cursor:
        cursor.execute(_MARK, {"operation": operation.pk, "status": None, "add": add, "remove": remove})
    return Applied(operation, changed=operations.close(operation))


def _clean(tags: list[str]) -> list[str]:
    cleaned = list(dict.fromkeys(tag.strip() for tag in tags))
    for tag in cleaned:
        if not tag or len(tag) > MAX_TAG_LENGTH or "\x00" in tag:
            raise InvalidMark(f"A tag has 1 to {MAX_TAG_LENGTH} characters; “{tag[:20]}” has {len(tag)}.")
    return cleaned


_MARK = """
WITH wanted AS (
    SELECT item.id, item.status AS status_before, nullif(%(status)s::varchar, item.status) AS status_after,
           ARRAY(SELECT tag FROM unnest(%(add)s::varchar[]) AS tag WHERE tag <> ALL(item.tags)) AS added,
           ARRAY(SELECT tag FROM unnest(%(remove)s::varchar[]) AS tag WHERE tag = ANY(item.tags)) AS removed
      FROM datasets_item AS item JOIN selected_item USING (id)
), changed AS (
    UPDATE datasets_item AS item
       SET status = coalesce(wanted.status_after, item.status),
           tags = ARRAY(SELECT tag FROM unnest(item.tags) AS tag WHERE tag <> ALL(wanted.removed)) || wanted.added
      FROM wanted
     WHERE item.id = wanted.id AND (wanted.status_after IS NOT NULL OR wanted.added || wanted.removed <> '{}')
    RETURNING item.id, wanted.status_before, wanted.status_after, wanted.added, wanted.removed
)
INSERT INTO datasets_itemchange (operation_id, item_id, status_before, status_after, tags_added, tags_removed)
SELECT %(operation)s, id, CASE WHEN status_after IS NOT NULL THEN status_before END, status_after, added, removed FROM changed
"""
