"""What a region layer would cost: how many regions, how much disk, how long, from a few items looked at here and now."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db.models import QuerySet

from datasets import media
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Item, Region, RegionLayer

from . import detectors, encoders, layers, offers, regions, tiles, vectors
from .encoders.base import Encoder
from .encoders.runtime import cores
from .models import EmbeddingSpace
from .regions import Plan, Target

_SAMPLED = 16
# Somebody waits for the answer.
_LONGEST_SAMPLE_S = 4.0
_INPUTS_AT_ONCE = 32
# Rows of datasets_region and datasets_prediction with their indexes, as they were measured.
_REGION_BYTES, _PREDICTION_BYTES = 160, 240


@dataclass(frozen=True)
class Cost:
    """``regions``, ``predictions`` and with them ``size_bytes`` are exact or, when a detector decides, extrapolated.

    None is what cannot be known before the detector or the encoder is here.
    """

    items: int
    regions: int | None
    is_exact: bool
    predictions: int | None
    vectors: int | None
    size_bytes: int | None
    seconds: float | None  # also None when no item could be tried
    sampled: int
    megabytes: int | None  # to be fetched first; 0 when all is here, None where nobody has said


@dataclass
class _Sample:
    items: int = 0
    regions: int = 0
    predictions: int = 0
    seconds: float = 0.0  # of this machine with nothing else to do


def estimate(layer: RegionLayer) -> Cost:
    """What filling ``layer`` (saved or not) from nothing would cost. Takes some seconds, and fetches nothing: only what is
    here is tried.

    Raises ``DetectorFault``, ``EncoderUnavailable``.
    """
    items = Item.objects.filter(dataset=layer.dataset, text=None, problem="").order_by("pk")
    drawn = Region.objects.standing().filter(kind=Region.Kind.DRAWN, item__in=items)
    if layer.kind == RegionLayer.Kind.DRAWN:
        items = items.filter(pk__in=drawn.values("item"))
    number = items.count()
    is_known, is_detected = not layers.lacks_detector(layer), layer.kind == RegionLayer.Kind.DETECTED
    found_spaces = layers.spaces_of(layer)
    can_try = is_known and bool(found_spaces)
    sample = _sampled(layer, _spread(items, number)) if can_try else _Sample()
    per_item = number / sample.items if sample.items else 0.0
    found: int | None
    if layer.kind == RegionLayer.Kind.TILE:
        found = number * len(tiles.of_layer(layer))
    elif layer.kind == RegionLayer.Kind.DRAWN:
        found = drawn.count()
    else:
        found = round(per_item * sample.regions) if can_try else None
    predictions = round(per_item * sample.predictions) if can_try or not is_detected else None
    is_told = found is not None and predictions is not None and bool(found_spaces)
    return Cost(
        items=number,
        regions=found,
        is_exact=not is_detected,
        predictions=predictions,
        vectors=(found or 0) * len(found_spaces) if is_told else None,
        size_bytes=(found or 0) * _bytes_per_region(layer, found_spaces) + (predictions or 0) * _PREDICTION_BYTES
        if is_told
        else None,
        seconds=round(per_item * sample.seconds, 1) if sample.items or (can_try and not number) else None,
        sampled=sample.items,
        megabytes=_to_fetch(layer),
    )


def _to_fetch(layer: RegionLayer) -> int | None:
    needed: list[int | None] = []
    if layer.detector:
        needed.append(offers.megabytes(detectors.spec(layer.detector)))
    if layers.awaits_encoder(layer):
        needed.append(offers.megabytes(encoders.spec(layer.encoder)))
    return None if None in needed else sum(number or 0 for number in needed)


def _bytes_per_region(layer: RegionLayer, spaces: list[EmbeddingSpace]) -> int:
    # Those that are drawn have their row already.
    own = 0 if layer.kind == RegionLayer.Kind.DRAWN else _REGION_BYTES
    return own + sum(vectors.region_row_bytes(space.dimension) for space in spaces)


def _spread(items: QuerySet[Item], number: int) -> list[Item]:
    """Some of them, from all over: found by their ids, which is quick in a million."""
    if number <= _SAMPLED:
        return list(items)
    first, last = (items.order_by(order).values_list("pk", flat=True)[0] for order in ("pk", "-pk"))
    steps = [first + (last - first) * at // _SAMPLED for at in range(_SAMPLED)]
    found = {item.pk: item for start in steps for item in items.filter(pk__gte=start)[:1]}
    return list(found.values())


def _sampled(layer: RegionLayer, items: list[Item]) -> _Sample:
    """Do for these items what a worker does, and write nothing."""
    sample = _Sample()
    if not items:
        return sample
    encoder = encoders.get(layer.encoder)
    plan = Plan(layer.dataset, layers={layer.pk or 0: layer})
    until: float | None = None
    for item in items:
        try:
            if until is None:
                _try(plan, layer, item, encoder, _Sample())  # what is slow the first time, loading above all
                until = time.monotonic() + _LONGEST_SAMPLE_S
            _try(plan, layer, item, encoder, sample)
        except (UnreadableImage, media.FileGone):
            continue
        if time.monotonic() > until:
            break
    return sample


def _try(plan: Plan, layer: RegionLayer, item: Item, encoder: Encoder, sample: _Sample) -> None:
    target = Target(item.pk, layer.encoder, layer.pk or 0)
    if layer.kind == RegionLayer.Kind.TILE:
        plan.shapes[target] = tiles.of_layer(layer)
    elif layer.kind == RegionLayer.Kind.DRAWN:
        drawn = Region.objects.standing().filter(item=item, kind=Region.Kind.DRAWN)
        plan.shapes[target] = [regions.shape_of(region) for region in drawn]
    began = time.perf_counter()
    with media.open_original(item) as stream:
        picture = read_image(stream, least_side=plan.least_side(target, encoder)).pixels
    opened = time.perf_counter()
    if target not in plan.shapes:
        seen = regions.look(layer, [picture])[0]
        found = [] if isinstance(seen, str) else seen
        sample.predictions += len(found)
        plan.shapes[target] = regions.kept(layer, found)
    looked = time.perf_counter()
    inputs = plan.inputs(target, picture, encoder)
    cut = time.perf_counter()
    if not isinstance(inputs, str):
        for start in range(0, len(inputs), _INPUTS_AT_ONCE):
            encoder.encode_batch(inputs[start : start + _INPUTS_AT_ONCE])
    encoded = time.perf_counter()
    sample.items += 1
    sample.regions += len(plan.shapes[target])
    # A worker opens several files at once, and cuts what is known beforehand while it opens them.
    alone = (looked - opened) + (encoded - cut)
    sample.seconds += alone + ((opened - began) + (cut - looked)) / cores()
    if layer.kind == RegionLayer.Kind.DETECTED:
        del plan.shapes[target]
