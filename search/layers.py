"""The region layers of a dataset: started, changed, filled, removed, and what they would cost.

A layer is filled by the workers that embed whole items, through the same queue (see ``regions`` and ``embedding``); a job
hands the work out and counts it. From then on new items get its regions by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from datasets import jobs, predictions
from datasets import regions as stored
from datasets.errors import Conflict, Refused
from datasets.models import Dataset, Item, Job, Modality, PredictionModel, Region, RegionLayer

from . import detectors, fetching, pending, spaces, tiles, vectors
from .detectors import DetectorUnavailable, UnknownDetector
from .models import EmbeddingSpace, PendingEmbedding

log = structlog.get_logger(__name__)

Kind, State = RegionLayer.Kind, RegionLayer.State

# A detected object becomes a region from this score on; as a prediction it is stored from `detectors.SCORE_FLOOR` on.
THRESHOLD = 0.25
MOST_REGIONS = 20
_ITEMS_PER_BATCH = 2_000

_PARAMS: dict[str, dict[str, Any]] = {
    Kind.TILE: {"scales": list(tiles.SCALES), "overlap": tiles.OVERLAP},
    Kind.DETECTED: {"threshold": THRESHOLD, "most_regions": MOST_REGIONS, "words": []},
    Kind.DRAWN: {},
}


class LayerBusy(Conflict):
    """A job is at the layer, so it cannot be changed now."""


class LayerExists(Conflict):
    """The dataset has that layer already."""


# What is asked for ---------------------------------------------------------------------------------------------------


def describe(dataset: Dataset, kind: str, said: Mapping[str, Any]) -> RegionLayer:
    """The layer that ``said`` asks for, unsaved: detector, encoder and the parameters of its kind, all optional but the
    detector of detected ones. Raises ``Refused`` for what does not go together or cannot be had here."""
    if dataset.modality != Modality.IMAGE:
        raise Refused(f"“{dataset.name}” holds texts; only images have regions.")
    known = _PARAMS[kind]
    if strange := sorted(set(said) - set(known) - {"encoder", "detector"}):
        raise Refused(f"A layer of {Kind(kind).label} takes no {strange[0]}.")
    params = known | {name: said[name] for name in known if said.get(name) is not None}
    layer = RegionLayer(
        dataset=dataset,
        kind=kind,
        detector=said.get("detector") or "",
        encoder=said.get("encoder") or _default_encoder(dataset),
        params=params,
    )
    _check_detector(layer)
    if not spaces_of(layer) and not awaits_encoder(layer):
        raise Refused(_no_space(layer))
    return layer


def _default_encoder(dataset: Dataset) -> str:
    """That of the default space, which may still be fetched; else of another one that takes images."""
    fetched = dataset.spaces.filter(is_default=True, state=EmbeddingSpace.State.PREPARING).first()
    return (fetched or spaces.space_for(dataset, words=False, image=True)).encoder


def _no_space(layer: RegionLayer) -> str:
    return (
        f"“{layer.dataset.name}” has no space of the encoder “{layer.encoder}” that is ready and takes images. Name the "
        "encoder of one of its spaces."
    )


def _check_detector(layer: RegionLayer) -> None:
    if layer.kind != Kind.DETECTED:
        if layer.detector:
            raise Refused(f"A layer of {layer.get_kind_display()} has no detector.")
        return
    if not layer.detector:
        raise Refused("Name the detector whose boxes are to become regions.")
    if reason := detectors.why_unavailable(layer.detector):
        raise Refused(f"The detector “{layer.detector}” cannot be used here. {reason}")
    takes_words = detectors.spec(layer.detector).classes is None
    if takes_words and not layer.params["words"]:
        raise Refused(f"The detector “{layer.detector}” needs words that say what to look for.")
    if not takes_words and layer.params["words"]:
        raise Refused(f"The detector “{layer.detector}” finds its own classes; it takes no words.")


def spaces_of(layer: RegionLayer) -> list[EmbeddingSpace]:
    """Where the vectors of its regions go: every output of its encoder that takes images."""
    ready = EmbeddingSpace.objects.filter(dataset=layer.dataset_id, encoder=layer.encoder, accepts__contains=["image"])
    return list(ready.filter(state=EmbeddingSpace.State.READY))


def awaits_encoder(layer: RegionLayer) -> bool:
    """Its encoder is being fetched: only then it has spaces."""
    preparing = EmbeddingSpace.objects.filter(dataset=layer.dataset_id, state=EmbeddingSpace.State.PREPARING)
    return not spaces_of(layer) and preparing.filter(encoder=layer.encoder).exists()


def lacks_detector(layer: RegionLayer) -> bool:
    """Its detector is to be fetched first. Asks no network."""
    return bool(layer.detector) and not detectors.spec(layer.detector).is_here()


# Acts ----------------------------------------------------------------------------------------------------------------


def start(layer: RegionLayer, *, by: Any) -> Job:
    """Begin to fill a layer that ``describe`` gave. Raises ``LayerExists``."""
    layer.state = _first_state(layer)
    try:
        with transaction.atomic():
            layer.save()
    except IntegrityError as error:
        before = RegionLayer.objects.filter(dataset=layer.dataset, kind=layer.kind, detector=layer.detector).first()
        is_going = before is not None and before.state == State.DROPPING
        raise LayerExists(
            f"“{layer.dataset.name}” has a layer of {layer.get_kind_display()}"
            + (f" “{layer.detector}”" if layer.detector else "")
            + (", which is being removed. Try again when that is done." if is_going else " already. Change that one.")
        ) from error
    return _hand_to_job(layer, "fill", by=by)


@transaction.atomic
def change(layer: RegionLayer, said: Mapping[str, Any], *, by: Any) -> Job:
    """Make the layer anew as ``said``; when that changes nothing, try again what is missing or has failed.

    Raises ``Refused``, and ``LayerBusy`` while a job is at it.
    """
    layer = _held(layer)
    if layer.job and not layer.job.is_over:
        raise LayerBusy(
            f"Job {layer.job.pk} is at this layer. Cancel it, or wait until it is over; then the layer can be changed."
        )
    if said.get("detector", layer.detector) != layer.detector:
        raise Refused("A layer keeps its detector. Add another layer for another one.")
    wanted = describe(
        layer.dataset, layer.kind, {"encoder": layer.encoder, "detector": layer.detector, **layer.params, **said}
    )
    is_same = (wanted.encoder, wanted.params) == (layer.encoder, layer.params)
    layer.encoder, layer.params, layer.state, layer.problem = wanted.encoder, wanted.params, _first_state(wanted), ""
    layer.save()
    return _hand_to_job(layer, "fill" if is_same else "refill", by=by)


@transaction.atomic
def remove(layer: RegionLayer, *, by: Any) -> Job:
    """Remove the layer with its regions and their vectors, and the predictions of its detector.

    Regions that bear labels stay, as drawn ones. Raises ``LayerBusy`` when it is being removed already.
    """
    layer = _held(layer)
    if layer.job and not layer.job.is_over:
        jobs.cancel(layer.job)
    layer.state = State.DROPPING
    layer.save(update_fields=["state"])
    return _hand_to_job(layer, "drop", by=by)


def _held(layer: RegionLayer) -> RegionLayer:
    held = RegionLayer.objects.select_for_update(of=("self",)).select_related("dataset", "job").get(pk=layer.pk)
    if held.state == State.DROPPING and held.job and not held.job.is_over:
        raise LayerBusy(f"This layer is being removed by job {held.job.pk}.")
    return held


def _first_state(layer: RegionLayer) -> RegionLayer.State:
    return State.FETCHING if lacks_detector(layer) or awaits_encoder(layer) else State.PREPARING


@transaction.atomic
def _hand_to_job(layer: RegionLayer, act: str, *, by: Any) -> Job:
    if act != "drop":
        _make_partitions(layer)
    phases = {"fill": [pending.REGIONS], "refill": ["removal", pending.REGIONS], "drop": ["removal"]}[act]
    if layer.state == State.FETCHING:
        phases = [fetching.PHASE, *phases]
    job = jobs.create(layer.dataset, Job.Kind.REGIONS, by=by, phases=phases, params={"layer": layer.pk, "act": act})
    layer.job = job
    layer.save(update_fields=["job"])
    jobs.enqueue(job)
    return job


def _make_partitions(layer: RegionLayer) -> None:
    for space in spaces_of(layer):
        vectors.create_region_partition(space)


# The job -------------------------------------------------------------------------------------------------------------


@jobs.runner(Job.Kind.REGIONS)
def run(job: Job) -> None:
    """May be interrupted and called again at any moment. While the layer's encoder is being fetched by a job of its own,
    it does nothing: ``go_on_with`` hands it out again."""
    layer = RegionLayer.objects.select_related("dataset").filter(pk=job.params["layer"]).first()
    if layer is None or layer.job_id != job.pk:  # removed, or another job's by now
        jobs.hand_out(job)
        return
    if job.params["act"] != "drop" and not _make_ready(job, layer):
        return
    if job.params["act"] != "fill":
        _empty(job, layer)
    with transaction.atomic():
        if job.params["act"] == "drop":
            PredictionModel.objects.filter(dataset=layer.dataset, name=layer.detector).delete()
            layer.delete()
        else:
            job.params["act"] = "fill"  # what is there from here on is new
            job.save(update_fields=["params", "updated_at"])
            failed = PendingEmbedding.objects.filter(layer=layer).exclude(reason="")
            failed.delete()
            enqueue(layer.dataset, job=job, layer=layer)
        jobs.hand_out(job)
    settle(layer.dataset)


def _make_ready(job: Job, layer: RegionLayer) -> bool:
    """Whether the layer can be filled: what it needs is here now. Else it waits for its encoder, or has failed."""
    if layer.state not in (State.FETCHING, State.FAILED):
        return True
    own = RegionLayer.objects.filter(pk=layer.pk, job=job).exclude(state=State.DROPPING)
    own.update(state=State.FETCHING, problem="")
    try:
        if lacks_detector(layer):
            fetching.fetch(job, layer.detector, detectors.prepare, unavailable=DetectorUnavailable)
    except (DetectorUnavailable, UnknownDetector) as error:
        log.error("detector_unusable", dataset=layer.dataset_id, detector=layer.detector, reason=str(error))
        _fail(job, layer, str(error))
        return False
    if awaits_encoder(layer):
        return False
    if not spaces_of(layer):
        _fail(job, layer, _no_space(layer))
        return False
    # Imports that do not see the layer yet are over before it asks for all items; those that come after ask themselves.
    with pending.alone(layer.dataset_id, is_patient=True), transaction.atomic():
        jobs.check_canceled(job)
        _make_partitions(layer)
        own.update(state=State.PREPARING)
    return True


def _fail(job: Job, layer: RegionLayer, problem: str) -> None:
    RegionLayer.objects.filter(pk=layer.pk, job=job).update(state=State.FAILED, problem=problem[:500])
    jobs.fail(job.pk, problem)


def go_on_with(dataset: Dataset, encoder: str) -> None:
    """The encoder is here: the layers that wait for it are filled."""
    for layer in RegionLayer.objects.filter(dataset=dataset, encoder=encoder, state=State.FETCHING):
        if layer.job and not layer.job.is_over:
            jobs.enqueue(layer.job)


def _empty(job: Job, layer: RegionLayer) -> None:
    """In batches, so that no lock is held for long."""
    dataset = layer.dataset
    items = Item.objects.filter(dataset=dataset).order_by("pk")
    model = PredictionModel.objects.filter(dataset=dataset, name=layer.detector).first() if layer.detector else None
    jobs.reset_phase(job, "removal")
    jobs.advance(job.pk, "removal", total=items.count())
    last = 0
    while batch := list(items.filter(pk__gt=last).values_list("pk", flat=True)[:_ITEMS_PER_BATCH]):
        jobs.check_canceled(job)
        with transaction.atomic():
            # Waits for the worker that is at one of them: nothing is written behind our back.
            waiting = PendingEmbedding.objects.filter(layer=layer, item__in=batch)
            others = pending.strike_off(waiting.select_for_update())
            if layer.kind == Kind.DRAWN:
                vectors.forget_regions(dataset, batch, kind=Region.Kind.DRAWN)
            else:
                vectors.forget_regions(dataset, batch, layer_id=layer.pk)
                kept = stored.clear(layer, batch)
                if model is not None:
                    predictions.remove(model, batch)
                if kept:
                    enqueue(dataset, job=None, item_ids=sorted(kept), kind=Kind.DRAWN)
            jobs.advance(job.pk, "removal", done=len(batch))
        for job_id in others:
            jobs.settle(job_id)
        last = batch[-1]


_ENQUEUE = """
WITH wanted AS (
    INSERT INTO search_pendingembedding (dataset_id, item_id, encoder, layer_id, job_id, tries, reason)
    SELECT item.dataset_id, item.id, layer.encoder, layer.id, %(job)s::bigint, 0, ''
      FROM datasets_item AS item
      JOIN datasets_regionlayer AS layer ON layer.dataset_id = item.dataset_id
     WHERE item.dataset_id = %(dataset)s AND item.problem = '' AND item.text IS NULL
       AND layer.state = ANY(%(states)s)
       AND (%(layer)s::bigint IS NULL OR layer.id = %(layer)s)
       AND (%(kind)s::text IS NULL OR layer.kind = %(kind)s)
       AND (%(items)s::bigint[] IS NULL OR item.id = ANY(%(items)s))
       AND CASE layer.kind
           WHEN 'tile' THEN NOT EXISTS (
                SELECT FROM datasets_region AS region WHERE region.item_id = item.id AND region.layer_id = layer.id)
           WHEN 'detected' THEN NOT EXISTS (
                SELECT FROM datasets_predicteditem AS predicted
                  JOIN datasets_predictionmodel AS model ON model.id = predicted.model_id
                 WHERE predicted.item_id = item.id AND model.dataset_id = item.dataset_id AND model.name = layer.detector)
           ELSE EXISTS (
                SELECT FROM datasets_region AS region
                  JOIN search_embeddingspace AS space
                    ON space.dataset_id = item.dataset_id AND space.encoder = layer.encoder AND 'image' = ANY(space.accepts)
                 WHERE region.item_id = item.id AND region.kind = 'drawn' AND region.removed_at IS NULL
                   AND NOT EXISTS (
                        SELECT FROM search_regionembedding AS stored
                         WHERE stored.space_id = space.id AND stored.item_id = item.id AND stored.region_id = region.id))
           END
    ON CONFLICT (item_id, encoder, layer_id) DO NOTHING
    RETURNING item_id
)
SELECT count(*) FROM wanted
"""


def enqueue(
    dataset: Dataset,
    *,
    job: Job | None,
    item_ids: Sequence[int] | None = None,
    layer: RegionLayer | None = None,
    kind: str | None = None,
    states: Sequence[str] = (State.PREPARING, State.READY),
) -> int:
    """Ask for the regions that ``item_ids`` (or all items) lack in ``layer`` (or all layers, or those of ``kind``).

    How many rows of the queue that are: one for an item and a layer. The job's phase of regions grows by as many.
    """
    pending.keep_spaces(dataset.pk)
    with connection.cursor() as cursor:
        cursor.execute(
            _ENQUEUE,
            {
                "dataset": dataset.pk,
                "job": job.pk if job else None,
                "items": list(item_ids) if item_ids is not None else None,
                "layer": layer.pk if layer else None,
                "kind": kind,
                "states": list(states),
            },
        )
        wanted: int = cursor.fetchone()[0]
    if wanted:
        if job is not None:
            jobs.add_phase(job.pk, pending.REGIONS)
            jobs.advance(job.pk, pending.REGIONS, total=wanted)
        transaction.on_commit(lambda: pending.send(dataset.pk))
    return wanted


_ASK_AGAIN = """
INSERT INTO search_pendingembedding (dataset_id, item_id, encoder, layer_id, job_id, tries, reason)
SELECT dataset_id, %(item)s, encoder, id, NULL, 0, ''
  FROM datasets_regionlayer
 WHERE dataset_id = %(dataset)s AND kind = 'drawn' AND state IN ('preparing', 'ready')
    ON CONFLICT (item_id, encoder, layer_id) DO UPDATE SET tries = 0, reason = ''
"""


def redrawing(item: Item, region: Region | None) -> None:
    """A person is drawing, redrawing or removing a region of ``item``: its vector goes, and a new one is asked for.

    Waits for a worker that is at the item's drawn regions. It has read where they were: were the row left as it is, the worker
    would strike it off, and what changes now would never be seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ASK_AGAIN, {"item": item.pk, "dataset": item.dataset_id})
        is_asked_for = cursor.rowcount > 0
    if region is not None:
        vectors.forget_region(region)
    if is_asked_for:
        transaction.on_commit(lambda: pending.send(item.dataset_id))


# States --------------------------------------------------------------------------------------------------------------


def filled(dataset: Dataset) -> QuerySet[RegionLayer]:
    """Those that items get regions of."""
    return RegionLayer.objects.filter(dataset=dataset, state__in=[State.PREPARING, State.READY])


def settle(dataset: Dataset) -> None:
    """What was prepared and has nothing waiting any more is ready."""
    preparing = RegionLayer.objects.filter(
        dataset=dataset,
        state=State.PREPARING,
        job__handed_out=True,
        job__state__in=[Job.State.RUNNING, Job.State.SUCCEEDED],
    )
    for layer in preparing:
        if not PendingEmbedding.objects.filter(layer=layer, reason="").exists():
            RegionLayer.objects.filter(pk=layer.pk, state=State.PREPARING).update(state=State.READY)


def give_up(dataset: Dataset, detector: str, problem: str) -> None:
    """The detector cannot be used: its layer has failed, and nothing waits for it any more."""
    with transaction.atomic():
        failed = filled(dataset).filter(detector=detector)
        waiting = PendingEmbedding.objects.filter(dataset=dataset, layer__detector=detector, reason="")
        dropped = pending.strike_off(waiting.select_for_update(skip_locked=True, of=("self",)))
        failed.update(state=State.FAILED, problem=problem[:500])
        for job_id in dropped:
            jobs.refuse(job_id, detector, problem)
    for job_id in dropped:
        jobs.settle(job_id)


def space_gone(space: EmbeddingSpace) -> None:
    """A space was dropped: layers whose encoder has no other one have failed."""
    if not EmbeddingSpace.objects.filter(dataset=space.dataset_id, encoder=space.encoder).exists():
        layers = RegionLayer.objects.filter(dataset=space.dataset_id, encoder=space.encoder)
        layers.exclude(state=State.DROPPING).update(
            state=State.FAILED,
            problem=f"The dataset has no space of the encoder “{space.encoder}” any more. Choose another for its regions.",
        )


def begin_anew(dataset: Dataset, item_ids: Sequence[int]) -> None:
    """The content of these items changes: what was found in the old one goes, but for what people drew or labelled."""
    vectors.forget_regions(dataset, item_ids)
    for layer in RegionLayer.objects.filter(dataset=dataset).exclude(kind=Kind.DRAWN):
        stored.clear(layer, item_ids)


def forget_items(dataset: Dataset, item_ids: Sequence[int]) -> None:
    """Delete the vectors of the regions of items that go."""
    vectors.forget_regions(dataset, item_ids)
