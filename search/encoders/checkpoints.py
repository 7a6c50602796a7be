"""What the families that read a folder of files have in common: find it, fetch it, find out once what it holds.

What was found out is kept as a *card* under ``DATA_DIR/models``: with it and the converted network, later starts need
neither torch nor the library that the weights were made for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from yaml import YAMLError

from search import weights
from search.weights import Checkpoint

from . import runtime, torchvision_operators
from .base import Array, EncoderError, EncoderSpec, EncoderUnavailable, Output, Report
from .images import ImageInput, ImageNetwork, Input, ProcessorInput, as_image_input

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

log = structlog.get_logger(__name__)

_CARD = "card.json"
TOKENIZER = "tokenizer.json"
# Nothing is fetched, and no code that it brings is run. Left unsaid, transformers asks on the terminal whether it may.
_AS_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# Raised when what is written on a card changes its meaning.
_VERSION = "2"

Describe = Callable[[Path, Path], dict[str, Any]]  # files of the model, folder for what else is to be kept → its card


class Described:
    """A checkpoint on this machine, and what was found out about it."""

    def __init__(self, checkpoint: Checkpoint, family: str, describe: Describe, *, libraries: tuple[str, ...]) -> None:
        """Fetches it where that is needed. Raises ``WeightsUnavailable``, ``EncoderUnavailable``."""
        self.checkpoint = checkpoint
        self.files = weights.fetch(checkpoint)
        self.identity = (
            *(f"{name}-{digest}" for name, digest in _hashes(self.files)),
            *runtime.versions("torch", *libraries),
        )

        def make(folder: Path) -> None:
            torchvision_operators.make_importable()
            (folder / _CARD).write_text(json.dumps(describe(self.files, folder)))

        self._folder = runtime.kept(checkpoint.said, (*self.identity, family, _VERSION), make)
        self.card: dict[str, Any] = json.loads((self._folder / _CARD).read_text())

    @property
    def dimension(self) -> int:
        return int(self.card["dimension"])

    def input(self) -> Input:
        """How its images are prepared."""
        return input_of(self.card["image"], self.files)

    def tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self._folder / TOKENIZER))

    def completed(self, spec: EncoderSpec, output: Output) -> EncoderSpec:
        """``spec`` with what the card says."""
        side = self.input().least_side if "image" in self.card else 0
        return replace(
            spec, outputs=(output,), image_side=side, license=spec.license or self.card["license"] or "not stated"
        )


def _hashes(folder: Path) -> list[tuple[str, str]]:
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and weights.is_read(str(path.relative_to(folder)))
    )
    return [(str(path.relative_to(folder)), runtime.file_hash(path)) for path in files]


def prepare(checkpoint: Checkpoint, describe: Callable[[], EncoderSpec], report: Report) -> EncoderSpec:
    weights.fetch(checkpoint, report)
    return describe()


class ImageOnly:
    """A network of images alone, from a checkpoint. ``build`` makes it of what prepares its images."""

    def __init__(
        self,
        described: Described,
        spec: EncoderSpec,
        build: Callable[[Path, Input], torch.nn.Module],
        runs_in: str | None = None,
    ) -> None:
        self.spec = spec
        self.preprocess = described.input()
        graph = runtime.Graph(
            described.checkpoint.said,
            described.identity,
            build=lambda: build(described.files, self.preprocess),
            example=self.preprocess.example,
        )
        self._network = ImageNetwork(
            runtime.load(graph, runs_in), self.preprocess, dimension=described.dimension, who=spec.title
        )
        self.runtime = self._network.runtime

    @property
    def batch_size(self) -> int:
        return self._network.batch_size

    def encode_batch(self, inputs: list[Any]) -> dict[str, Array]:
        return {self.spec.outputs[0].name: self._network.encode(inputs)}

    def encode_texts(self, texts: list[str]) -> dict[str, Array]:
        raise EncoderError(f"{self.spec.title} reads images, no texts.")


def vectors_in(found: Any, *, named: str) -> int:
    """The dimension of a network's output. Raises ``EncoderUnavailable`` when that is not one vector a row."""
    shape = tuple(found.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise EncoderUnavailable(
            f"{named} gives an output of shape {shape} for two images, not one vector each. Name another model."
        )
    return shape[1]


# Parts of a card -----------------------------------------------------------------------------------------------------


def license_of(files: Path) -> str:
    """What its README states, ``""`` without one."""
    readme = files / "README.md"
    if not readme.is_file():
        return ""
    from huggingface_hub import ModelCard

    try:
        stated = ModelCard.load(readme).data.license
    except (OSError, ValueError, YAMLError) as error:
        # Written by hand, by anybody; what it states is shown, and nothing depends on it.
        log.info("model_card_unreadable", path=str(readme), reason=str(error)[:200])
        return ""
    return stated if isinstance(stated, str) else ""


def image_card(files: Path) -> dict[str, Any] | None:
    """How images are prepared, as a quick way that is the same as the model's own processor; None when there is none."""
    found = as_image_input(processor(files))
    return asdict(found) if found else None


def input_of(card: dict[str, Any] | None, files: Path) -> Input:
    """What ``image_card`` has written."""
    if card is None:
        return ProcessorInput(processor(files))
    said: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in card.items()}
    return ImageInput(**said)


def keep_tokenizer(tokenizer: Any, folder: Path, *, named: str) -> None:
    """Raises ``EncoderUnavailable`` for one that works in Python alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        from transformers.convert_slow_tokenizer import convert_slow_tokenizer

        try:
            backend = convert_slow_tokenizer(tokenizer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EncoderUnavailable(
                f"{named} has a tokenizer that works in Python alone, which would be too slow. Name another model, or "
                "save this one with a tokenizer.json."
            ) from error
    backend.save(str(folder / TOKENIZER))


# Through transformers ------------------------------------------------------------------------------------------------


def config(files: Path) -> Any:
    """Raises ``EncoderUnavailable``."""
    from transformers import AutoConfig

    if not (files / "config.json").is_file():
        raise EncoderUnavailable(f"{files} holds no config.json. Copy all files of the model there.")
    return _read("configuration", files, lambda: AutoConfig.from_pretrained(files, **_AS_DATA))


def model_class(files: Path) -> Any:
    """The class that ``AutoModel`` makes of it. Raises ``EncoderUnavailable``."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    said = config(files)
    try:
        found = MODEL_MAPPING[type(said)]
    except KeyError as error:
        raise EncoderUnavailable(
            f"{files} is a {said.model_type}, of which transformers makes no vectors. Name another model."
        ) from error
    return found[0] if isinstance(found, tuple) else found


def is_joint(model: Any) -> bool:
    """Whether a class of transformers, or its object, brings images and texts into one space."""
    return hasattr(model, "get_image_features") and hasattr(model, "get_text_features")


def model(files: Path, *, may_lack: str = "") -> tuple[Any, list[str]]:
    """The network through ``AutoModel`` in float32, and which of its weights the files lack: only such whose names hold
    ``may_lack``. Raises ``EncoderUnavailable``."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    kind = config(files).model_type
    if not any(weights.is_weights(path.name) for path in files.iterdir()):
        raise EncoderUnavailable(f"{files} holds no weights (model.safetensors or pytorch_model.bin). Copy them there.")
    load: Any = AutoModel.from_pretrained
    network, report = _read(
        "weights",
        files,
        lambda: load(
            files,
            **_AS_DATA,
            # Both are asked about below, in one sentence instead of a table.
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        ),
    )
    missing = sorted(report["missing_keys"])
    wrong = [name for name in missing if not may_lack or may_lack not in name]
    wrong += sorted(str(one[0]) for one in report["mismatched_keys"])
    if wrong:
        others = f" and {len(wrong) - 1} others are" if len(wrong) > 1 else " is"
        raise EncoderUnavailable(
            f"The weights in {files} are not those of a {kind}, as its config.json says: {wrong[0]}{others} missing or of "
            "another size. Copy config.json and weights of the same model there."
        )
    return network.eval(), missing


def processor(files: Path) -> Any:
    """What prepares its images. Raises ``EncoderUnavailable``."""
    torchvision_operators.make_importable()
    from transformers import AutoImageProcessor

    return _read("preprocessing", files, lambda: AutoImageProcessor.from_pretrained(files, **_AS_DATA, backend="pil"))


def tokenizer(files: Path) -> Any:
    """Raises ``EncoderUnavailable``."""
    from transformers import AutoTokenizer

    return _read("tokenizer", files, lambda: AutoTokenizer.from_pretrained(files, **_AS_DATA))


def _read(what: str, files: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        # transformers tells of a missing file, a broken one and an unknown architecture by exceptions of many kinds
        # (OSError, ValueError, KeyError, SafetensorError, …).
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderUnavailable(
            f"The {what} in {files} cannot be read ({reason}). Copy all files of the model there again."
        ) from error


def vectors_of(found: Any) -> torch.Tensor:
    """What transformers' feature methods give: a tensor, or an object around it."""
    if hasattr(found, "pooler_output"):
        found = found.pooler_output
    elif isinstance(found, tuple):
        found = found[0]
    tensor: torch.Tensor = found
    return tensor
