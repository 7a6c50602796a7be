"""Joint image-text encoders through transformers: CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), SigLIP 2
(Tschannen et al. 2025), and whatever else has ``get_image_features`` and ``get_text_features``.

Named ``joint:<hub id, or folder under ENCODERS_DIR>``.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from search import weights

from . import checkpoints, runtime, siglip_texts
from .base import Array, EncoderSpec, EncoderUnavailable, Output
from .checkpoints import Described
from .images import ImageNetwork
from .texts import TextNetwork

if TYPE_CHECKING:
    import torch

PREFIX = "joint:"
OUTPUT = "joint"
_LIBRARIES = ("transformers",)
# Trained on texts padded to their full length, and blind to which tokens are padding.
_SIGLIP = "siglip"


class Joint:
    def __init__(self, name: str, runs_in: str | None = None) -> None:
        self._described = _described(name)
        self._rows = self._described.input()
        self._runs_in = runs_in
        self._lock = threading.Lock()
        self._towers: dict[str, Any] = {}
        self.spec = _completed(name, self._described)
        self.runtime = runs_in or runtime.preferred()

    # A worker needs the one, a search the other: each is read into memory by the first who needs it.

    def _images(self) -> ImageNetwork:
        with self._lock:
            if "images" not in self._towers:
                build = partial(_image_tower, self._described.files, self._rows)
                network = runtime.load(self._graph("images", build, self._rows.example), self._runs_in)
                self._towers["images"] = ImageNetwork(
                    network, self._rows, dimension=self._described.dimension, who=self.spec.title
                )
                self.runtime = network.runtime
            tower: ImageNetwork = self._towers["images"]
            return tower

    def _texts(self) -> TextNetwork:
        with self._lock:
            if "texts" not in self._towers:
                said = self._described.card["text"]
                files, tokens, takes_mask = self._described.files, said["max_tokens"], said["takes_mask"]
                graph = self._graph("texts", partial(_text_tower, files), partial(_example, tokens, takes_mask))
                self._towers["texts"] = TextNetwork(
                    runtime.load(graph, self._runs_in),
                    self._described.tokenizer(),
                    dimension=self._described.dimension,
                    max_tokens=tokens,
                    pad_to=tokens,
                    pad_id=said["pad_id"],
                    pads_left=said["pads_left"],
                    takes_mask=takes_mask,
                    who=self.spec.title,
                )
            tower: TextNetwork = self._towers["texts"]
            return tower

    def _graph(self, tower: str, build: Any, example: Any) -> runtime.Graph:
        identity = (*self._described.identity, tower)
        return runtime.Graph(f"{self._described.checkpoint.said}-{tower}", identity, build, example)

    @property
    def batch_size(self) -> int:
        return self._images().batch_size

    def preprocess(self, image: Image.Image) -> Any:
        return self._rows(image)

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        return {OUTPUT: self._images().encode(inputs)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        return {OUTPUT: self._texts().encode(texts)}


def _describe(files: Path, folder: Path) -> dict[str, Any]:
    import torch

    kind = checkpoints.config(files).model_type
    if not checkpoints.is_joint(checkpoints.model_class(files)):
        raise EncoderUnavailable(
            f"{files} is a {kind}, which does not bring images and texts into one space. Name it “images:…” for images "
            "alone or “sentences:…” for texts alone, or name a CLIP or SigLIP."
        )
    model, _ = checkpoints.model(files)
    tokenizer = checkpoints.tokenizer(files)
    if kind.startswith(_SIGLIP):
        siglip_texts.as_trained(tokenizer).save(str(folder / checkpoints.TOKENIZER))
    else:
        checkpoints.keep_tokenizer(tokenizer, folder, named=str(files))
    positions = getattr(model.config.text_config, "max_position_embeddings", 512)
    tokens = min(int(tokenizer.model_max_length), int(positions))
    takes_mask = not kind.startswith(_SIGLIP)
    image = checkpoints.image_card(files)
    rows = checkpoints.input_of(image, files)
    with torch.inference_mode():
        of_images = _image_tower(files, rows, model)(*rows.example())
        of_texts = _text_tower(files, model)(*_example(tokens, takes_mask))
    if of_images.ndim != 2 or of_images.shape != of_texts.shape:
        raise EncoderUnavailable(
            f"{files} is a {kind}, whose vectors of images {tuple(of_images.shape)} and of texts {tuple(of_texts.shape)} "
            "are not of one space. Name a CLIP or SigLIP."
        )
    return {
        "dimension": of_images.shape[1],
        "image": image,
        "text": {
            "max_tokens": tokens,
            "pad_id": int(tokenizer.pad_token_id or 0),
            "pads_left": tokenizer.padding_side == "left",
            "takes_mask": takes_mask,
        },
        "license": checkpoints.license_of(files),
    }


def _image_tower(files: Path, rows: Any, model: Any = None) -> torch.nn.Module:
    from torch import nn

    class ImageTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model or checkpoints.model(files)[0]

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return checkpoints.vectors_of(self.model.get_image_features(pixel_values=pixels))

    wrapped: torch.nn.Module = rows.in_front_of(ImageTower())
    return wrapped


def _text_tower(files: Path, model: Any = None) -> torch.nn.Module:
    from torch import nn

    class TextTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model or checkpoints.model(files)[0]

        def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return checkpoints.vectors_of(self.model.get_text_features(input_ids=ids, attention_mask=mask))

    return TextTower()


def _example(tokens: int, takes_mask: bool) -> tuple[torch.Tensor, ...]:
    import torch

    ids = torch.arange(2 * tokens).reshape(2, tokens) % 7 + 1
    return (ids, torch.ones_like(ids)) if takes_mask else (ids,)


def _described(name: str) -> Described:
    return Described(weights.find(name.removeprefix(PREFIX)), "joint", _describe, libraries=_LIBRARIES)


def _completed(name: str, described: Described) -> EncoderSpec:
    return described.completed(spec(name), Output(OUTPUT, described.dimension, frozenset({"image", "text"})))


def spec(name: str) -> EncoderSpec:
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return EncoderSpec(
        name=name,
        title=checkpoint.said,
        description="Finds pictures by plain words and by likeness: images and texts share one space.",
        modalities=frozenset({"image", "text"}),
        outputs=(),
        license="",
        source=str(checkpoint),
        load=partial(Joint, name),
        prepare=partial(checkpoints.prepare, checkpoint, lambda: _completed(name, _described(name))),
        is_here=lambda: weights.local(checkpoint) is not None,
        requires=("torch", "transformers"),
    )
