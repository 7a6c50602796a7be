"""Which items a worker ended at. An item that takes its worker down (a decoder that crashes, memory that runs out) would
be claimed again for ever, and keep all the others waiting.

Before a claim is worked on, its rows are noted through a second connection, so that the note stays when the worker goes.
A note whose worker is gone counts one try for each of its rows. Rows with a try are claimed last and one at a time, so
that the guilty one ends its worker alone; after two such ends it is put aside with a reason.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .detectors import DetectorFault
from .encoders.base import EncoderFault
from .models import EmbeddingAttempt, PendingEmbedding

_ATTEMPT_LOCKS = 0x4B46
# Once among others, twice alone.
_QUARANTINED_AFTER = 3


class Notebook:
    """The second connection of one worker thread."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper = connection.copy()

    @contextmanager
    def noted(self, dataset_id: int, pending_ids: list[int]) -> Iterator[None]:
        """Around the work on claimed rows, inside its transaction."""
        token = random.randrange(2**31)
        with connection.cursor() as cursor:
            # Held until the transaction ends: whoever can take it knows that this worker is gone.
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_ATTEMPT_LOCKS, token])
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO search_embeddingattempt (token, dataset_id, pending_ids, reason, started_at)"
                " VALUES (%s, %s, %s, '', now())",
                [token, dataset_id, pending_ids],
            )
        try:
            yield
        except (DatabaseError, EncoderFault, DetectorFault):
            self._forget(token)  # not the items' fault
            raise
        except Exception as error:
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE search_embeddingattempt SET reason = %s WHERE token = %s",
                    [f"{type(error).__name__}: {error}"[:500], token],
                )
            raise
        # In the transaction of the work: both hold or neither.
        EmbeddingAttempt.objects.filter(token=token).delete()

    def _forget(self, token: int) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("DELETE FROM search_embeddingattempt WHERE token = %s", [token])

    def close(self) -> None:
        self._connection.close()


@transaction.atomic
def settle(dataset_id: int) -> list[PendingEmbedding]:
    """Count a try for everything that a worker ended at. Those put aside for good, with their reason."""
    quarantined: list[PendingEmbedding] = []
    for attempt in EmbeddingAttempt.objects.filter(dataset_id=dataset_id).select_for_update(skip_locked=True):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_ATTEMPT_LOCKS, attempt.token])
            if not cursor.fetchone()[0]:
                continue  # its worker is at it
        rows = PendingEmbedding.objects.filter(pk__in=attempt.pending_ids, reason="").select_related("item")
        for row in rows.select_for_update(of=("self",), skip_locked=True):
            row.tries += 1
            if row.tries >= _QUARANTINED_AFTER and len(attempt.pending_ids) == 1:
                row.reason = attempt.reason or "Its worker ended while reading it, twice: out of memory, or a crash."
                quarantined.append(row)
            row.save(update_fields=["tries", "reason"])
        attempt.delete()
    return quarantined
