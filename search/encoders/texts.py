"""Texts to vectors: tokens in batches of like length; a text that is too long in overlapping chunks, whose vectors are
averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Array, unit
from .runtime import Network

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Neighbouring chunks share this part of their tokens, so that no sentence is only ever seen cut.
_OVERLAP = 1 / 8
# A book has thousands of chunks; so many, spread evenly over it, tell what it is about.
MAX_CHUNKS = 64
# Token counts are padded up to a multiple of this: OpenVINO prepares itself for every new shape.
_PAD_TO = 8
# A batch has room for so many tokens a row; with longer texts it has fewer rows.
_TOKENS_PER_ROW = 64


class TextNetwork:
    """A network of texts with its tokenizer.

    ``network`` takes ``(n, tokens)`` int64 ids and, when ``takes_mask``, their mask; its output ``(n, dimension)`` is
    the first one. ``pad_to`` fixes the number of tokens, for networks that were trained so; ``pads_left`` says
    on which side.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        dimension: int,
        max_tokens: int,
        who: str,
        takes_mask: bool = True,
        pad_id: int = 0,
        pad_to: int | None = None,
        pads_left: bool = False,
    ) -> None:
        self.runtime = network.runtime
        self.dimension = dimension
        self._network = network
        self._tokenizer = tokenizer
        self._who = who
        self._takes_mask = takes_mask
        self._pad_id = pad_id
        self._pad_to = pad_to
        self._pads_left = pads_left
        self._max_tokens = max_tokens
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, stride=int(max_tokens * _OVERLAP))

    def encode(self, texts: Sequence[str]) -> Array:
        """``(len(texts), dimension)``, L2-normalised.

        A text of several chunks has the mean of their unit vectors, each weighted by its number of tokens.
        """
        chunks: list[list[int]] = []
        owners: list[int] = []
        for owner, encoding in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            for chunk in _spread([encoding, *encoding.overflowing]):
                chunks.append(chunk.ids)
                owners.append(owner)
        vectors = self._encode_chunks(chunks)
        if len(chunks) == len(texts):
            return vectors
        weights = np.fromiter(map(len, chunks), dtype=np.float32)[:, None]
        pooled = np.zeros((len(texts), self.dimension), dtype=np.float32)
        np.add.at(pooled, owners, vectors * weights)
        return unit(pooled, who=self._who)

    def _encode_chunks(self, chunks: list[list[int]]) -> Array:
        result = np.empty((len(chunks), self.dimension), dtype=np.float32)
        order = np.argsort([len(chunk) for chunk in chunks], kind="stable")
        most_rows = self._network.most_rows
        start = 0
        while start < len(order):
            # Sorted by length, so the last row of a batch is its longest: long texts come in smaller batches.
            size = min(most_rows, len(order) - start)
            longest = len(chunks[order[start + size - 1]])
            size = max(1, min(size, most_rows * _TOKENS_PER_ROW // max(longest, 1)))
            rows = order[start : start + size]
            result[rows] = self._network(*self._inputs([chunks[row] for row in rows]))[0]
            start += size
        return unit(result, who=self._who)

    def _inputs(self, chunks: list[list[int]]) -> tuple[np.ndarray[Any, Any], ...]:
        longest = max(map(len, chunks), default=1)
        length = self._pad_to or min(self._max_tokens, -(-max(longest, 1) // _PAD_TO) * _PAD_TO)
        ids = np.full((len(chunks), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(chunks), length), dtype=np.int64)
        for row, chunk in enumerate(chunks):
            tokens = slice(length - len(chunk), length) if self._pads_left else slice(0, len(chunk))
            ids[row, tokens] = chunk
            mask[row, tokens] = 1
        return (ids, mask) if self._takes_mask else (ids,)


def _spread(chunks: list[Any]) -> list[Any]:
    if len(chunks) <= MAX_CHUNKS:
        return chunks
    return [chunks[round(at)] for at in np.linspace(0, len(chunks) - 1, MAX_CHUNKS)]
