"""Words as they stand in texts: which texts hold them, how that joins with likeness, and where to mark them.

Postgres full text in the configuration ``simple``, which belongs to no language: words are compared whole, whatever their case.
What people type is read as ``websearch_to_tsquery`` reads it: all words, “quoted phrases”, ``or``, and ``-without``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

import numpy as np
from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from datasets.models import Dataset

from .vectors import Ranked


class Mode(enum.StrEnum):
    """How words are looked for in a dataset of texts."""

    HYBRID = "hybrid"  # all that is alike, those that hold the words further ahead
    MEANING = "meaning"  # by likeness alone
    WORDS = "words"  # only texts that hold the words, by likeness


# Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the sum of 1 / (60 + rank) over both orders.
_K = 60
# Of each order so many take part. What is further down adds next to nothing, and ranking reads each text again.
POOL = 1_000

GLIMPSE = 500  # characters of a text that are marked: what a row shows
_MOST_CHARACTERS = 100_000  # of a text that are indexed; as the index (item_by_words) has it, word for word
_WORDS = f"to_tsvector('simple', left(text, {_MOST_CHARACTERS}))"
_ASKED = "websearch_to_tsquery('simple', %s)"


def plain(text: str) -> str:
    """``text`` as an encoder should read it: without quotes and without the words that it is to be without."""
    meant = re.sub(r'(?<!\S)-(?:"[^"]*"?|\S+)', " ", text).replace('"', " ")
    return " ".join(meant.split()) or text


def holding(dataset: Dataset, text: str) -> Q:
    """The items of ``dataset`` whose texts hold the words."""
    sql = f"SELECT id FROM datasets_item WHERE dataset_id = %s AND text IS NOT NULL AND {_WORDS} @@ {_ASKED}"
    return Q(pk__in=RawSQL(sql, [dataset.pk, text]))  # noqa: S611 - the text is ours, what people say are parameters


def by_words(item_ids: Sequence[int], text: str) -> list[int]:
    """``item_ids``, those in which the words stand most often and closest together first. Ties stay in their order."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT given.id FROM unnest(%s::bigint[]) WITH ORDINALITY AS given (id, at)"
            f" JOIN datasets_item AS item ON item.id = given.id"
            f" ORDER BY ts_rank_cd({_WORDS}, {_ASKED}) DESC, at",
            [list(item_ids), text],
        )
        return [pk for (pk,) in cursor.fetchall()]


def fuse(alike: Ranked, holding: Ranked, words: Sequence[int], limit: int | None) -> Ranked:
    """One order of two: ``alike`` by likeness, ``words`` by words, whose scores are in ``holding``. Scores stay cosines,
    so they do not fall from one to the next."""
    is_new = ~np.isin(holding.item_ids, alike.item_ids)
    ids = np.concatenate([alike.item_ids, holding.item_ids[is_new]])
    scores = np.concatenate([alike.scores, holding.scores[is_new]])
    fused = np.zeros(len(ids))
    pool = min(POOL, len(alike.item_ids))
    fused[:pool] = 1 / (_K + 1 + np.arange(pool))
    sorter = np.argsort(ids)
    fused[sorter[np.searchsorted(ids, words, sorter=sorter)]] += 1 / (_K + 1 + np.arange(len(words)))
    order = np.lexsort((ids, -scores, -fused))[:limit]
    return Ranked(ids[order], scores[order])


# Neither occurs in the texts that are marked: they are taken out before.
_FROM, _TO = "\x02", "\x03"


def highlights(item_ids: Sequence[int], text: str) -> dict[int, list[list[int]]]:
    """Where the words stand in the first ``GLIMPSE`` characters of each item's text, as ``[from, to]`` in characters.
    Only items in which they do. One statement."""
    options = f"StartSel={_FROM}, StopSel={_TO}, HighlightAll=true"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, ts_headline('simple', translate(left(text, {GLIMPSE}), %s, '  '), {_ASKED}, %s)"
            " FROM datasets_item WHERE id = ANY(%s) AND text IS NOT NULL",
            [_FROM + _TO, text, options, list(item_ids)],
        )
        found = {pk: _spans(marked) for pk, marked in cursor.fetchall()}
    return {pk: spans for pk, spans in found.items() if spans}


def _spans(marked: str) -> list[list[int]]:
    spans: list[list[int]] = []
    at = 0
    for character in marked:
        if character == _FROM:
            spans.append([at, at])
        elif character == _TO:
            spans[-1][1] = at
        else:
            at += 1
    return spans
