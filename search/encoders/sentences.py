"""Text-only encoders through sentence-transformers (Reimers & Gurevych 2019): MiniLM, MPNet, E5, BGE, GTE and so on.

Named ``sentences:<hub id, or folder under ENCODERS_DIR>``. What it says of pooling, length and a default prompt holds.
Long texts are read in chunks (see ``texts``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from search import weights

from . import checkpoints, runtime
from .base import Array, EncoderError, EncoderSpec, EncoderUnavailable, Output
from .checkpoints import Described
from .texts import TextNetwork

if TYPE_CHECKING:
    import torch

PREFIX = "sentences:"
OUTPUT = "text"
# Some checkpoints state no length, or one that no memory holds.
_MOST_TOKENS = 8192


class Sentences:
    batch_size = 1

    def __init__(self, name: str, runs_in: str | None = None) -> None:
        described = _described(name)
        self.spec = _completed(name, described)
        self._prompt = described.card["prompt"]
        graph = runtime.Graph(
            described.checkpoint.said,
            described.identity,
            build=partial(_network, described.files),
            example=partial(_example, 6),
            others=lambda: (_example(11), _example(3)),
        )
        self._network = TextNetwork(
            runtime.load(graph, runs_in),
            described.tokenizer(),
            dimension=described.dimension,
            max_tokens=described.card["max_tokens"],
            pad_id=described.card["pad_id"],
            pads_left=described.card["pads_left"],
            who=self.spec.title,
        )
        self.runtime = self._network.runtime

    def preprocess(self, image: Image.Image) -> Any:
        raise EncoderError(f"{self.spec.title} reads texts, no images.")

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        raise EncoderError(f"{self.spec.title} reads texts, no images.")

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {OUTPUT: self._network.encode([self._prompt + text for text in texts])}


def _model(files: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(str(files), device="cpu", local_files_only=True, trust_remote_code=False).eval()
    except Exception as error:
        # A missing file, a broken one, a module that is not installed: exceptions of many kinds.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderUnavailable(
            f"sentence-transformers cannot read {files} ({reason}). Copy all files of the model there again."
        ) from error


def _network(files: Path) -> torch.nn.Module:
    from torch import nn

    model = _model(files)

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model: Any = nn.Sequential(*model.children())

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = self.model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]
            return embedding

    return Embedding()


def _example(tokens: int) -> tuple[torch.Tensor, ...]:
    import torch

    ids = torch.arange(2 * tokens).reshape(2, tokens) % 7 + 1
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 :] = 0
    return ids, mask


def _describe(files: Path, folder: Path) -> dict[str, Any]:
    import torch

    model = _model(files)
    first = next(iter(model.children()))
    if getattr(getattr(first, "auto_model", None), "main_input_name", "") != "input_ids":
        raise EncoderUnavailable(
            f"{files} begins with a {type(first).__name__}, which is no transformer of texts. Name a model that is one; "
            "a CLIP is named “joint:…”."
        )
    if not (files / "modules.json").is_file() or (files / "model.safetensors").is_file():
        # sentence-transformers itself loads what fits, and leaves the rest to chance.
        checkpoints.model(files, may_lack="pooler.")
    checkpoints.keep_tokenizer(model.tokenizer, folder, named=str(files))
    network: Any = _network(files)
    with torch.inference_mode():
        found = network(*_example(6))
    stated = int(model.max_seq_length or _MOST_TOKENS)
    return {
        "dimension": checkpoints.vectors_in(found, named=str(files)),
        "max_tokens": min(stated, _MOST_TOKENS),
        "pad_id": int(model.tokenizer.pad_token_id or 0),
        "pads_left": model.tokenizer.padding_side == "left",
        "prompt": (model.prompts or {}).get(model.default_prompt_name or "", "") or "",
        "license": checkpoints.license_of(files),
    }


def _described(name: str) -> Described:
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return Described(checkpoint, "sentences", _describe, libraries=("sentence-transformers", "transformers"))


def _completed(name: str, described: Described) -> EncoderSpec:
    return described.completed(spec(name), Output(OUTPUT, described.dimension, frozenset({"text"})))


def spec(name: str) -> EncoderSpec:
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return EncoderSpec(
        name=name,
        title=checkpoint.said,
        description="Finds texts that mean the same, in the languages that the model was trained on.",
        modalities=frozenset({"text"}),
        outputs=(),
        license="",
        source=str(checkpoint),
        load=partial(Sentences, name),
        prepare=partial(checkpoints.prepare, checkpoint, lambda: _completed(name, _described(name))),
        is_here=lambda: weights.local(checkpoint) is not None,
        requires=("torch", "sentence_transformers"),
    )
