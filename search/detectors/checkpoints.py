"""Checkpoints that transformers reads, from a folder (see ``search.weights``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search import weights
from search.encoders import runtime, torchvision_operators
from search.encoders.base import last_line

from .base import DetectorUnavailable


@dataclass(frozen=True)
class Loaded:
    model: Any
    processor: Any
    device: str


def load(said: str, *, models: str, processors: str, kind: str, types: frozenset[str] | None = None) -> Loaded:
    """The checkpoint through the classes of transformers of these names, on CUDA where that is.

    ``kind`` says what they are for, ``types`` which architectures are meant (``model_type``). Raises
    ``DetectorUnavailable``, ``WeightsUnavailable``.
    """
    files = weights.fetch(weights.find(said))
    torchvision_operators.make_importable()
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    model_class: Any = getattr(transformers, models)
    processor_class: Any = getattr(transformers, processors)
    options = {"trust_remote_code": False, "local_files_only": True}
    config = _read(files, lambda: transformers.AutoConfig.from_pretrained(files, **options), what="configuration")
    known = {one.model_type for one in model_class._model_mapping}
    if config.model_type not in (known & types if types else known):
        raise DetectorUnavailable(
            f"{files} is a {config.model_type}, which transformers has no {kind} for here. "
            "Name a checkpoint that was trained for that."
        )
    model, report = _read(
        files,
        lambda: model_class.from_pretrained(
            files,
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
            f"The weights of {files} are not those of a {config.model_type} for {kind}: {wrong[0]} and "
            f"{len(wrong) - 1} others are missing or of another size. Name a checkpoint that was trained for that, or copy "
            "its files again."
        )
    processor = _read(files, lambda: processor_class.from_pretrained(files, **options), what="preprocessing")
    device = "cuda" if runtime.preferred() == "cuda" else "cpu"
    try:
        return Loaded(model=model.eval().to(device), processor=processor, device=device)
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA; no device, or no memory there
        raise DetectorUnavailable(
            f"The CUDA device cannot take {said} ({last_line(error)}). Free its memory, or set ENCODER_RUNTIME=torch."
        ) from error


def _read(files: Path, read: Any, *, what: str) -> Any:
    try:
        return read()
    except Exception as error:
        # transformers tells of a missing file, a broken one and an unknown architecture by exceptions of many kinds
        # (OSError, ValueError, KeyError, SafetensorError, …).
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DetectorUnavailable(
            f"The {what} of {files} cannot be had ({reason}). Copy all files of the checkpoint there: config.json, "
            "preprocessor_config.json, model.safetensors."
        ) from error
