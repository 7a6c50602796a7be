"""Checkpoints that transformers reads: a folder under ``ENCODERS_DIR``, else an id of the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.encoders import torchvision_operators

from . import own_files
from .base import DetectorUnavailable

# An owner and a name, or a name alone; neither begins with a dot or a dash.
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is."""

    said: str  # as the person named it
    place: str  # what transformers is given
    is_folder: bool


@dataclass(frozen=True)
class Loaded:
    model: Any
    processor: Any
    device: str


def source(said: str) -> Source:
    """Raises ``DetectorUnavailable`` for what is neither a folder under ``ENCODERS_DIR`` nor an id of the hub."""
    path = own_files.inside(said)
    if path.is_dir():
        return Source(said=said, place=str(path), is_folder=True)
    # transformers would take a folder of that name in the working directory, whatever lies there.
    if not _HUB_ID.fullmatch(said) or ".." in said or Path(said).exists():
        raise DetectorUnavailable(
            f"“{said}” is neither a folder under {own_files.folder()} nor an id of the Hugging Face hub. "
            "Put the folder there, or name a model as owner/name."
        )
    return Source(said=said, place=said, is_folder=False)


def load(said: str, *, models: str, processors: str, kind: str, types: frozenset[str] | None = None) -> Loaded:
    """The checkpoint through the classes of transformers of these names, on CUDA where that is.

    ``kind`` says what they are for, ``types`` which architectures are meant (``model_type``). Raises
    ``DetectorUnavailable``.
    """
    at = source(said)
    torchvision_operators.make_importable()
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    model_class: Any = getattr(transformers, models)
    processor_class: Any = getattr(transformers, processors)
    options = {"trust_remote_code": False, "local_files_only": at.is_folder}
    config = _read(at, lambda: transformers.AutoConfig.from_pretrained(at.place, **options), what="configuration")
    known = {one.model_type for one in model_class._model_mapping}
    if config.model_type not in (known & types if types else known):
        raise DetectorUnavailable(
            f"{_named(at)} is a {config.model_type}, which transformers has no {kind} for here. "
            "Name a checkpoint that was trained for that."
        )
    model, report = _read(
        at,
        lambda: model_class.from_pretrained(
            at.place,
            config=config,
            # Both are asked about below, in one sentence instead of a table.
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            **options,
        ),
        what="weights",
    )
    wrong = sorted({*report["missing_keys"], *(str(one[0]) for one in report["mismatched_keys"])})
    if wrong:
        raise DetectorUnavailable(
            f"The weights of {_named(at)} are not those of a {config.model_type} for {kind}: {wrong[0]} and "
            f"{len(wrong) - 1} others are missing or of another size. Name a checkpoint that was trained for that, or copy "
            "its files again."
        )
    processor = _read(at, lambda: processor_class.from_pretrained(at.place, **options), what="preprocessing")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Loaded(model=model.eval().to(device), processor=processor, device=device)


def _read(at: Source, read: Any, *, what: str) -> Any:
    try:
        return read()
    except Exception as error:
        # transformers tells of a missing file, a broken one, an unknown architecture and no network by exceptions of
        # many kinds (OSError, ValueError, KeyError, SafetensorError, …).
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if at.is_folder:
            advice = "Copy all files of the checkpoint there: config.json, preprocessor_config.json, model.safetensors."
        elif _is_offline():
            advice = f"HF_HUB_OFFLINE is set: copy the checkpoint into {own_files.folder() / at.said}, or unset it."
        else:
            advice = (
                "Check the name and the network (and HF_TOKEN for a model that asks for one), or copy the checkpoint "
                f"into {own_files.folder() / at.said}."
            )
        raise DetectorUnavailable(f"The {what} of {_named(at)} cannot be had ({reason}). {advice}") from error


def _is_offline() -> bool:
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


def _named(at: Source) -> str:
    return at.place if at.is_folder else f"{at.said} on the Hugging Face hub"
