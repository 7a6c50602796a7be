"""Findings in the database: what a look found is written beside what was there, and what people decided stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from datasets.models import Dataset

from .base import Found


@transaction.atomic
def store(dataset: Dataset, kind: str, found: Sequence[Found]) -> int:
    """Make ``found`` the findings of ``kind``; how many items have an open one now.

    What is not found any more goes, unless somebody has decided on it. What somebody has decided stays decided as long as its
    evidence is the same. Three statements and a COPY, whatever the number.
    """
    ranked = sorted(found, key=lambda one: (-one.score, one.item, one.subject))
    with connection.cursor() as cursor:
        # Two looks at once would each delete what the other has found.
        cursor.execute("SELECT id FROM datasets_dataset WHERE id = %s FOR NO KEY UPDATE", [dataset.pk])
        cursor.execute(_INCOMING)
        cursor.execute("DELETE FROM incoming_finding")
        with cursor.copy("COPY incoming_finding FROM STDIN") as copy:
            for rank, one in enumerate(ranked, start=1):
                copy.write_row(
                    (
                        one.item,
                        one.subject,
                        min(max(one.score, 0.0), 1.0),
                        rank,
                        one.reason[:500].replace("\x00", ""),
                        [int(other) for other in one.related],
                        one.suggested,
                        one.confidence,
                        one.group,
                        one.evidence,
                    )
                )
        params: dict[str, Any] = {"dataset": dataset.pk, "kind": kind}
        cursor.execute(_DELETE_WHAT_IS_GONE, params)
        cursor.execute(_WRITE, params)
        cursor.execute(
            "SELECT count(DISTINCT item_id) FROM search_finding WHERE dataset_id = %(dataset)s AND kind = %(kind)s AND state = 'open'",
            params,
        )
        return int(cursor.fetchone()[0])


_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming_finding (
    item_id bigint NOT NULL, subject text NOT NULL, score float8 NOT NULL, rank integer NOT NULL, reason text NOT NULL,
    related bigint[] NOT NULL, suggested_id bigint, confidence float8, "group" text NOT NULL, evidence bytea NOT NULL
) ON COMMIT DELETE ROWS
"""

_DELETE_WHAT_IS_GONE = """
DELETE FROM search_finding AS finding
 WHERE dataset_id = %(dataset)s AND kind = %(kind)s AND state = 'open'
   AND NOT EXISTS (SELECT FROM incoming_finding AS new WHERE new.item_id = finding.item_id AND new.subject = finding.subject)
"""

# Items and classes may have gone since they were read. The labels are those of now: who decides is told when they change later.
_WRITE = """
INSERT INTO search_finding AS stored
       (dataset_id, kind, item_id, subject, score, rank, reason, related, suggested_label_id, confidence, label_ids, "group",
        evidence, state, decided_state, created_at)
SELECT %(dataset)s, %(kind)s, new.item_id, new.subject, new.score, new.rank, new.reason, new.related, label.id,
       CASE WHEN label.id IS NOT NULL THEN new.confidence END,
       ARRAY(SELECT label_id FROM datasets_annotation AS annotation
              WHERE annotation.item_id = new.item_id AND region_id IS NULL AND retracted_by_id IS NULL ORDER BY label_id),
       new."group", new.evidence, 'open', '', now()
  FROM incoming_finding AS new
  JOIN datasets_item AS item ON item.id = new.item_id AND item.dataset_id = %(dataset)s
  LEFT JOIN datasets_labelclass AS label ON label.id = new.suggested_id
 ORDER BY new.rank
ON CONFLICT (dataset_id, kind, item_id, subject) DO UPDATE
   SET score = EXCLUDED.score, rank = EXCLUDED.rank, reason = EXCLUDED.reason, related = EXCLUDED.related,
       suggested_label_id = EXCLUDED.suggested_label_id, confidence = EXCLUDED.confidence, label_ids = EXCLUDED.label_ids,
       "group" = EXCLUDED."group", evidence = EXCLUDED.evidence,
       state = CASE WHEN stored.evidence = EXCLUDED.evidence THEN stored.state ELSE 'open' END,
       decided_by_id = CASE WHEN stored.evidence = EXCLUDED.evidence THEN stored.decided_by_id END,
       decided_at = CASE WHEN stored.evidence = EXCLUDED.evidence THEN stored.decided_at END,
       operation_id = CASE WHEN stored.evidence = EXCLUDED.evidence THEN stored.operation_id END,
       decided_state = CASE WHEN stored.evidence = EXCLUDED.evidence THEN stored.decided_state ELSE '' END
"""
