"""The regions in claimed items: where they are, what of them the encoder gets, how they are stored.

A row of the queue asks for all regions of one layer in one item. It is all or nothing: regions, vectors and predictions are
written together or not at all, so an item has regions of a layer exactly when they have their vectors.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from datasets import colours, predictions
from datasets import regions as stored
from datasets.models import Dataset, Region, RegionLayer
from datasets.predictions import Predicted
from datasets.regions import Shape

from . import cutouts, detectors, tiles, vectors
from .detectors import Detection, Detector, DetectorFault, DetectorUnavailable, UnknownDetector, WordDetector
from .encoders.base import Encoder
from .models import EmbeddingSpace, PendingEmbedding

# Of those that fail alone after they failed together: from this many on it is the detector, and not the pictures.
_ALL_FAILED = 4
# Pictures that a detector is given at once.
DETECTOR_BATCH = 8

Look = Callable[[list[Image.Image]], list[list[Detection]]]


class Target(NamedTuple):
    """What a row of the queue asks for: the vector of an item, or those of a layer's regions in it."""

    item_id: int
    encoder: str
    layer_id: int | None = None


@dataclass
class Plan:
    """What the layers want of some claimed items."""

    dataset: Dataset
    layers: dict[int, RegionLayer] = field(default_factory=dict)
    drawn: dict[Target, list[Region]] = field(default_factory=lambda: defaultdict(list))
    shapes: dict[Target, list[Shape]] = field(default_factory=dict)  # known at first, or once its detector has looked
    detections: dict[Target, list[Detection]] = field(default_factory=dict)
    colors: dict[Target, list[bytes]] = field(default_factory=dict)  # of the detections

    def wants(self, target: Target) -> bool:
        """Not when its layer is being removed."""
        return target.layer_id is None or target.layer_id in self.layers

    def least_side(self, target: Target, encoder: Encoder) -> int:
        """Pixels that the short side of the picture must have for ``target``."""
        side = encoder.spec.image_side
        if target.layer_id is None:
            return side
        if target in self.shapes:
            return cutouts.least_side(side, self.shapes[target])
        layer = self.layers[target.layer_id]
        return max(detector(layer).spec.image_side, math.ceil(side / cutouts.SMALLEST_SHARP))

    def inputs(self, target: Target, picture: Image.Image, encoder: Encoder) -> list[Any] | str:
        """The encoder's input for every shape of ``target``, or why it made none of this picture."""
        try:
            if target.layer_id is None:
                return [encoder.preprocess(picture)]
            return [encoder.preprocess(cutouts.cut(picture, shape)) for shape in self.shapes[target]]
        except Exception as error:
            # An encoder may be anybody's code; what it throws at one picture must not stop the others.
            return f"{type(error).__name__}: {error}"

    def has_detector(self) -> bool:
        return any(layer.kind == RegionLayer.Kind.DETECTED for layer in self.layers.values())

    def most_inputs(self) -> int:
        """Inputs that one item may give, the item as a whole included."""
        return 1 + sum(max_regions(layer) for layer in self.layers.values())


def plan(dataset: Dataset, rows: Iterable[PendingEmbedding]) -> Plan:
    """No query unless a layer is among ``rows``; four at most."""
    made = Plan(dataset)
    targets = [Target(row.item_id, row.encoder, row.layer_id) for row in rows if row.layer_id]
    if not targets:
        return made
    layers = RegionLayer.objects.exclude(state=RegionLayer.State.DROPPING)
    made.layers = layers.in_bulk({target.layer_id for target in targets})
    drawn: dict[int, Target] = {}  # a dataset has one layer of them
    for target in targets:
        layer = made.layers.get(target.layer_id or 0)
        if layer is None:
            continue
        if layer.kind == RegionLayer.Kind.TILE:
            made.shapes[target] = tiles.of_layer(layer)
        elif layer.kind == RegionLayer.Kind.DRAWN:
            made.shapes[target] = []
            drawn[target.item_id] = target
    if drawn:
        encoder = next(iter(drawn.values())).encoder
        for region in _without_vector(dataset, encoder, list(drawn)):
            made.drawn[drawn[region.item_id]].append(region)
            made.shapes[drawn[region.item_id]].append(shape_of(region))
    return made


def _without_vector(dataset: Dataset, encoder: str, item_ids: list[int]) -> list[Region]:
    """The drawn regions in these items that lack a vector in any space of ``encoder``."""
    spaces = list(EmbeddingSpace.objects.filter(dataset=dataset, encoder=encoder))
    embedded = vectors.embedded_regions(spaces, item_ids)
    drawn = Region.objects.standing().filter(item__in=item_ids, kind=Region.Kind.DRAWN)
    return list(drawn.exclude(pk__in=embedded).order_by("pk"))


def shape_of(region: Region) -> Shape:
    polygon = tuple((x, y) for x, y in region.polygon) if region.polygon else None
    return Shape(region.x, region.y, region.width, region.height, polygon)


def max_regions(layer: RegionLayer) -> int:
    if layer.kind == RegionLayer.Kind.TILE:
        return len(tiles.of_layer(layer))
    return layer.params.get("most_regions", 0) if layer.kind == RegionLayer.Kind.DETECTED else 0


# Detecting -----------------------------------------------------------------------------------------------------------


def detector(layer: RegionLayer) -> Detector | WordDetector:
    """The layer's detector, loaded when it was not. Raises ``DetectorFault``."""
    load = detectors.get_for_words if layer.params["words"] else detectors.get
    try:
        return load(layer.detector)
    except (DetectorUnavailable, UnknownDetector) as error:
        raise DetectorFault(layer.detector, str(error)) from error


def look(layer: RegionLayer, images: list[Image.Image]) -> list[list[Detection] | str]:
    """What is in each image, or why its detector could not look at it. A batch that fails is tried one by one.

    Raises ``DetectorFault`` when all of at least four fail alone.
    """
    found_by: Any = detector(layer)
    words = layer.params["words"]
    detect: Look = partial(found_by.detect_words, words=words) if words else found_by.detect
    together = _try(detect, images)
    if not isinstance(together, str):
        return list(together)
    alone = [_try(detect, [image]) for image in images]
    if len(images) >= _ALL_FAILED and all(isinstance(one, str) for one in alone):
        raise DetectorFault(layer.detector, f"It could look at none of {len(images)} images: {alone[0]}")
    return [one if isinstance(one, str) else one[0] for one in alone]


def _try(detect: Look, images: list[Image.Image]) -> list[list[Detection]] | str:
    try:
        found = detect(images)
        if len(found) != len(images):
            return f"It answered for {len(found)} of {len(images)} images."
        return [[_fit(one) for one in image] for image in found]
    except Exception as error:
        # A detector may be anybody's code; what it throws at one image must not stop the others.
        return str(error) or type(error).__name__


def colors_of(picture: Image.Image, found: Sequence[Detection]) -> list[bytes]:
    """The shares of the colours in each box, by pixels that are sampled, not mixed: red beside green is no brown."""
    return [colours.as_bytes(colours.shares(np.asarray(cutouts.sample(picture, _box(one))))) for one in found]


def _fit(found: Detection) -> Detection:
    """``found``, if it can be stored. Raises ``ValueError``."""
    stored.shape((found.x, found.y, found.width, found.height), None)
    if not 0 <= found.score <= 1:
        raise ValueError(f"It gave “{found.label}” the score {found.score}, which is not in 0..1.")
    return found


def kept(layer: RegionLayer, found: Sequence[Detection]) -> list[Shape]:
    """The boxes that become regions: the first that are likely enough, as many as the layer takes."""
    best = sorted(found, key=lambda one: -one.score)[: layer.params["most_regions"]]
    return [_box(one) for one in best if one.score >= layer.params["threshold"]]


def _box(found: Detection) -> Shape:
    return stored.shape((found.x, found.y, found.width, found.height), None)


# Storing -------------------------------------------------------------------------------------------------------------


def store(plan: Plan, done: Iterable[Target]) -> dict[Target, list[int]]:
    """Write the regions and predictions of what is ``done``, in place of what was there; the ids of the regions, in the
    order of the target's shapes. Their vectors are for the caller to write."""
    ids: dict[Target, list[int]] = {}
    by_layer: dict[int, list[Target]] = defaultdict(list)
    for target in done:
        if target.layer_id is not None and plan.wants(target):
            by_layer[target.layer_id].append(target)
    for layer_id, targets in by_layer.items():
        layer = plan.layers[layer_id]
        if layer.kind == RegionLayer.Kind.DRAWN:
            ids |= {target: [region.pk for region in plan.drawn[target]] for target in targets}
            continue
        items = [target.item_id for target in targets]
        vectors.forget_regions(plan.dataset, items, layer_id=layer_id)
        made = stored.replace(layer, {target.item_id: plan.shapes[target] for target in targets})
        ids |= {target: made[target.item_id] for target in targets}
        if layer.kind == RegionLayer.Kind.DETECTED:
            labels = layer.params["words"] or detector(layer).spec.classes or ()
            model = predictions.model_named(plan.dataset, layer.detector, labels)
            predictions.replace(model, items, _said(plan, targets, made))
    return ids


def _said(plan: Plan, targets: list[Target], made: dict[int, list[int]]) -> Iterable[Predicted]:
    for target in targets:
        best = sorted(zip(plan.detections[target], plan.colors[target], strict=True), key=lambda one: -one[0].score)
        # As many as became regions are the best ones, in that order.
        region_ids: list[int | None] = [*made[target.item_id]]
        region_ids += [None] * (len(best) - len(region_ids))
        for (one, colors), region_id in zip(best, region_ids, strict=True):
            yield Predicted(target.item_id, one.label, one.score, _box(one), region_id, colors)
