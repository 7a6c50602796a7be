"""Object detection through transformers: YOLOS, DETR and its kin, RT-DETR, RT-DETR v2, D-FINE, by hub id or folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from search import weights

from . import boxes, checkpoints
from .base import SCORE_FLOOR, Detection, DetectorError, DetectorSpec

PREFIX = "transformers:"

_BATCH = 8
# Numbers that COCO left out have this name in DETR's list of classes.
_NO_CLASS = "N/A"


class TransformersBoxes:
    def __init__(self, name: str) -> None:
        self._loaded = checkpoints.load(
            name.removeprefix(PREFIX),
            models="AutoModelForObjectDetection",
            processors="AutoImageProcessor",
            kind="object detection",
        )
        self._labels: dict[int, str] = {int(i): str(label) for i, label in self._loaded.model.config.id2label.items()}
        classes = tuple(dict.fromkeys(label for label in self._labels.values() if label != _NO_CLASS))
        self.spec = replace(spec(name), classes=classes)

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        import torch

        found: list[list[Detection]] = [[] for _ in images]
        try:
            with torch.inference_mode():
                for rows, inputs in batches(self._loaded.processor, images):
                    outputs = self._loaded.model(**{key: one.to(self._loaded.device) for key, one in inputs.items()})
                    sizes = [(images[row].height, images[row].width) for row in rows]
                    results = self._loaded.processor.post_process_object_detection(
                        outputs, threshold=SCORE_FLOOR, target_sizes=sizes
                    )
                    for row, result in zip(rows, results, strict=True):
                        found[row] = self._detections(images[row], result)
        except (RuntimeError, ValueError) as error:  # also torch.OutOfMemoryError
            raise DetectorError(f"{self.spec.title} could not look at the images ({error}).") from error
        return found

    def _detections(self, image: Image.Image, result: Any) -> list[Detection]:
        labels = [self._labels.get(int(number), _NO_CLASS) for number in result["labels"].tolist()]
        named = [row for row, label in enumerate(labels) if label != _NO_CLASS]
        return boxes.detections(
            relative(result["boxes"], image)[named],
            result["scores"].float().cpu().numpy()[named],
            [labels[row] for row in named],
        )


def batches(processor: Any, images: list[Image.Image], **text: Any) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Rows of ``images`` that can be looked at together, and the model's inputs for them.

    Only images that the processor makes equally large: padding shifts the boxes of models without a mask (YOLOS).
    """
    import torch

    alike: dict[Any, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for row, image in enumerate(images):
        prepared = dict(processor(images=image, return_tensors="pt", **text))
        alike[tuple(prepared["pixel_values"].shape)].append((row, prepared))
    for group in alike.values():
        for start in range(0, len(group), _BATCH):
            part = group[start : start + _BATCH]
            yield [row for row, _ in part], {key: torch.cat([one[key] for _, one in part]) for key in part[0][1]}


def relative(found: Any, image: Image.Image) -> boxes.Boxes:
    """A tensor of boxes in pixels of the image as ``(n, 4)``, relative to its size."""
    pixels = found.float().cpu().numpy().reshape(-1, 4)
    return np.asarray(pixels / np.array([image.width, image.height] * 2), dtype=np.float64)


def spec(name: str) -> DetectorSpec:
    """``transformers:<hub id, or folder under ENCODERS_DIR>``. Raises ``WeightsUnavailable`` for what can be neither."""
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return DetectorSpec(
        name=name,
        title=checkpoint.said,
        description="Finds objects of the classes that the checkpoint was trained on, through transformers.",
        classes=(),
        license="see the model's own page",
        source=str(checkpoint),
        load=partial(TransformersBoxes, name),
        image_side=800,
        requires=("torch", "transformers"),
        fetch=partial(weights.fetch, checkpoint),
        is_here=lambda: weights.local(checkpoint) is not None,
    )
