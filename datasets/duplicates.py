"""Items whose content occurs more than once in their dataset.

Two texts are the same when nothing but their writing differs: their normalised forms are equal. Two images are the same when
their files are, byte for byte. (What merely looks alike is a matter of vectors.)
"""

from __future__ import annotations

import hashlib
import unicodedata
from enum import StrEnum

from django.db.models import Q
from django.db.models.expressions import RawSQL

from .models import Dataset, Modality


class Which(StrEnum):
    """Which items of those that have the same content are meant."""

    ANY = "any"  # all of them
    EXTRA = "extra"  # all but the first, in the order of import


class _Invisible(dict[int, int | None]):
    """For ``str.translate``: zero-width spaces and joiners, soft hyphens, byte order and direction marks (category Cf), and
    variation selectors are read as nothing. Filled as characters come."""

    def __missing__(self, code: int) -> int | None:
        is_invisible = unicodedata.category(chr(code)) == "Cf" or 0xFE00 <= code <= 0xFE0F
        self[code] = None if is_invisible else code
        return self[code]


_INVISIBLE = _Invisible()


def normalised(text: str) -> str:
    """``text`` as it is compared: Unicode NFKC, case folded, without invisible characters, every run of white space one
    space, none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
        # Folding can take a string out of NFKC: “ŉ” becomes an apostrophe and an n.
        return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
    return " ".join(text.casefold().split())


def text_hash(text: str) -> bytes:
    """16 bytes that two texts share when they are the same."""
    return hashlib.blake2b(normalised(text).encode(), digest_size=16).digest()


# Neighbours in the order of an index, which the scan follows: nothing is sorted, and one statement serves all.
_REPEATED = """
SELECT id, before = content AS is_extra
  FROM (SELECT id, {content} AS content, lag({content}) OVER by_content AS before, lead({content}) OVER by_content AS after
          FROM datasets_item
         WHERE dataset_id = %s AND {content} IS NOT NULL AND {is_of_modality}
        WINDOW by_content AS (ORDER BY {content}, id)) AS item
 WHERE before = content OR after = content
"""

# As the indexes of Item have it, word for word: they are partial.
_CONTENT = {
    Modality.TEXT: {"content": "text_hash", "is_of_modality": "true"},
    Modality.IMAGE: {"content": "sha256", "is_of_modality": "text IS NULL"},
}


def among(dataset: Dataset, which: Which) -> Q:
    """The items of ``dataset`` that are duplicates in it, whatever else is filtered."""
    repeated = _REPEATED.format(**_CONTENT[Modality(dataset.modality)])
    chosen = "WHERE is_extra" if which == Which.EXTRA else ""
    statement = f"SELECT id FROM ({repeated}) AS repeated {chosen}"
    return Q(pk__in=RawSQL(statement, [dataset.pk]))  # noqa: S611  (nothing of it was typed by anybody)
