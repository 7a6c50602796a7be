"""Detection by words through transformers: OWL-ViT, OWLv2, Grounding DINO, by hub id or folder."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from search import weights

from . import boxes, checkpoints
from .base import SCORE_FLOOR, Detection, DetectorError, DetectorSpec
from .transformers_boxes import batches, relative

PREFIX = "words:"

_OWL = frozenset({"owlvit", "owlv2"})
_GROUNDING = frozenset({"grounding-dino", "mm-grounding-dino"})
# These models were not trained to say each object once as strictly as DETR was.
_OVERLAP = 0.6


class TransformersWords:
    def __init__(self, name: str) -> None:
        self.spec = spec(name)
        self._loaded = checkpoints.load(
            name.removeprefix(PREFIX),
            models="AutoModelForZeroShotObjectDetection",
            processors="AutoProcessor",
            kind="detection by words",
            types=_OWL | _GROUNDING,
        )
        is_owl = self._loaded.model.config.model_type in _OWL
        self._look = self._look_with_owl if is_owl else self._look_with_grounding

    def detect_words(self, images: list[Image.Image], words: list[str]) -> list[list[Detection]]:
        import torch

        if not words or not all(word.strip() for word in words):
            raise DetectorError("No words say what to look for, or one of them is empty.")
        try:
            with torch.inference_mode():
                return self._look(images, words)
        except (RuntimeError, ValueError, IndexError) as error:  # also torch.OutOfMemoryError
            raise DetectorError(f"{self.spec.title} could not look at the images ({error}).") from error

    def _look_with_owl(self, images: list[Image.Image], words: list[str]) -> list[list[Detection]]:
        found: list[list[Detection]] = [[] for _ in images]
        processor, model = self._loaded.processor, self._loaded.model
        # The same texts for every image: `batches` puts them behind one another, as the model wants them.
        for rows, inputs in batches(processor, images, text=[words], truncation=True):
            outputs = model(**{key: one.to(self._loaded.device) for key, one in inputs.items()})
            results = processor.post_process_grounded_object_detection(
                outputs,
                threshold=SCORE_FLOOR,
                target_sizes=[(images[row].height, images[row].width) for row in rows],
            )
            for row, result in zip(rows, results, strict=True):
                in_image = relative(result["boxes"], images[row])
                found[row] = _best(in_image, _array(result["scores"]), result["labels"].cpu().numpy(), words)
        return found

    def _look_with_grounding(self, images: list[Image.Image], words: list[str]) -> list[list[Detection]]:
        """The score of a word is that of its likeliest token, as in the authors' code; a box has its best word.

        The library's own post-processing joins the tokens above a threshold, whichever words they are of: its labels
        are often none of ``words``.
        """
        import torch

        found: list[list[Detection]] = [[] for _ in images]
        processor, model = self._loaded.processor, self._loaded.model
        # A full stop ends a word here, so it cannot be within one.
        text = [[word.replace(".", " ").strip().lower() or "?" for word in words]]
        for rows, inputs in batches(processor, images, text=text):
            spans = _spans(inputs["input_ids"][0].tolist(), processor.tokenizer)
            if len(spans) != len(words) or spans[-1].stop >= model.config.max_text_len:
                raise DetectorError(f"{self.spec.title} cannot take so many or so long words at once. Give fewer.")
            outputs = model(**{key: one.to(self._loaded.device) for key, one in inputs.items()})
            tokens = torch.sigmoid(outputs.logits.float())
            of_words = torch.stack([tokens[:, :, span.start : span.stop].amax(dim=2) for span in spans], dim=2)
            scores, best = of_words.max(dim=2)
            centres, sizes = outputs.pred_boxes.float().split(2, dim=2)
            corners = _array(torch.cat([centres - sizes / 2, centres + sizes / 2], dim=2))
            for index, row in enumerate(rows):
                found[row] = _best(corners[index], _array(scores[index]), best[index].cpu().numpy(), words)
        return found


def _spans(token_ids: list[int], tokenizer: Any) -> list[range]:
    """Where the words are in “[CLS] a cat . a dog . [SEP]”."""
    stop = tokenizer.convert_tokens_to_ids(".")
    spans, start = [], 1
    for index, token in enumerate(token_ids):
        if token == stop:
            spans.append(range(start, index))
            start = index + 1
    return [span for span in spans if span]


def _best(in_image: boxes.Boxes, scores: Any, classes: Any, words: list[str]) -> list[Detection]:
    likely = np.flatnonzero(scores >= SCORE_FLOOR)
    kept = likely[boxes.suppress(in_image[likely], scores[likely], classes[likely], overlap=_OVERLAP)]
    return boxes.detections(in_image[kept], scores[kept], [words[number] for number in classes[kept]])


def _array(tensor: Any) -> Any:
    return tensor.float().cpu().numpy()


def spec(name: str) -> DetectorSpec:
    """``words:<hub id, or folder under ENCODERS_DIR>``. Raises ``WeightsUnavailable`` for what can be neither."""
    checkpoint = weights.find(name.removeprefix(PREFIX))
    return DetectorSpec(
        name=name,
        title=checkpoint.said,
        description="Finds what you name in words, through transformers.",
        classes=None,
        license="see the model's own page",
        source=str(checkpoint),
        load=partial(TransformersWords, name),
        image_side=960,
        requires=("torch", "transformers"),
        fetch=partial(weights.fetch, checkpoint),
        is_here=lambda: weights.local(checkpoint) is not None,
    )
