"""Filling the spaces: claim pending items, open each file once, encode, write, all in one transaction a batch.

A row of the queue is an item as a whole, or all regions of one layer in it (see ``regions``); the rows of an item are
claimed together.

A batch's claims are row locks (``FOR UPDATE SKIP LOCKED``): several workers share the work without overlap, and when a
worker is killed its transaction rolls back, so the items are pending again and nothing is half written.

A worker has two lanes, each with claims of its own, over one pool of decoder threads and one encoder: while one lane
writes, the other encodes, and files are opened meanwhile.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import structlog
from django.db import connection, transaction
from django.db.models import F, Q
from PIL import Image

from datasets import creation, jobs, media
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, RegionLayer, Source

from . import detectors, encoders, layers, pending, regions, spaces, vectors
from .attempts import Notebook
from .detectors import DetectorFault
from .encoders.base import Array, Encoder, EncoderBroken, EncoderFault, EncoderUnavailable, UnknownEncoder
from .encoders.runtime import cores
from .models import UPLOADED, EmbeddingSpace, PendingEmbedding
from .regions import Plan, Target

log = structlog.get_logger(__name__)

_LANES = 2
# A claim lives as long as its transaction: long enough to keep the encoder busy, short enough that progress moves and a
# kill costs little.
_SECONDS_PER_CLAIM = 2.0
_LEAST_CLAIM, _FIRST_CLAIM, _GREATEST_CLAIM = 16, 64, 2048
_TEXTS_PER_BATCH = 512
_LOOK_AGAIN_S = 0.2
# An encoder that fails for this many items, and for each of them alone, is broken; fewer may be bad items.
_ALL_FAILED = 4

A = TypeVar("A")
B = TypeVar("B")


def embed_pending(dataset_id: int) -> int:
    """Work through the pending items of the dataset until none can be claimed; how many were done."""
    dataset = Dataset.objects.filter(pk=dataset_id, deleted_at=None).first()
    if dataset is None:
        return 0
    with (
        pending.AtIt(dataset.pk),
        ThreadPoolExecutor(cores(), thread_name_prefix="decode") as decoders,
        ThreadPoolExecutor(_LANES - 1, thread_name_prefix="lane") as lanes,
    ):
        pending.set_aside(dataset)
        _open_while_loading(dataset, decoders)
        others = [lanes.submit(_lane_of_its_own, dataset, decoders) for _ in range(_LANES - 1)]
        done = _lane(dataset, decoders) + sum(other.result() for other in others)
    spaces.switch_defaults(dataset)
    layers.settle(dataset)
    return done


def recover() -> None:
    """What a worker that ended has left undone."""
    pending.recover()
    spaces.recover_defaults()


def _open_while_loading(dataset: Dataset, decoders: ThreadPoolExecutor) -> None:
    """Loading an encoder or a detector takes a minute the first time. Meanwhile the grid gets its pictures: files are opened for their
    thumbnails and measures, although they will be opened again for their vectors.

    An error while loading (a full disk, say) ends the task before any item is claimed: it is no item's fault, and the task
    is sent again. That an encoder cannot be had at all, the lanes meet again, and tell.
    """
    ready = EmbeddingSpace.objects.filter(dataset=dataset, state=EmbeddingSpace.State.READY)
    ready = ready.exclude(encoder__startswith=UPLOADED)
    to_load: list[Callable[[], object]] = [
        partial(encoders.get, name)
        for name in set(ready.values_list("encoder", flat=True))
        if not encoders.is_loaded(name)
    ]
    to_load += [
        partial(regions.detector, layer)
        for layer in layers.filled(dataset).filter(kind=RegionLayer.Kind.DETECTED)
        if not detectors.is_loaded(layer.detector)
    ]
    if not to_load:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="load") as loader, closing(Notebook()) as notebook:
        loading = [loader.submit(load) for load in to_load]
        while not all(one.done() for one in loading):
            with transaction.atomic():
                claim = _claim_unopened(dataset)
                if claim.rows:
                    _work(dataset, claim, {}, decoders, notebook)
            for job_id in {row.job_id for row in claim.rows if row.job_id}:
                jobs.settle(job_id)
            if not claim.rows:
                wait(loading, _LOOK_AGAIN_S)
    for one in loading:
        if not isinstance(one.exception(), EncoderUnavailable | UnknownEncoder | DetectorFault):
            one.result()


def _lane_of_its_own(dataset: Dataset, decoders: ThreadPoolExecutor) -> int:
    try:
        return _lane(dataset, decoders)
    finally:
        connection.close()  # this thread's


def _lane(dataset: Dataset, decoders: ThreadPoolExecutor) -> int:
    notebook = Notebook()
    done = 0
    size = _FIRST_CLAIM
    try:
        while True:
            began = time.monotonic()
            try:
                claimed = _embed_claim(dataset, size, decoders, notebook)
            except EncoderFault as error:
                log.error("encoder_unusable", dataset=dataset.pk, encoder=error.encoder, reason=str(error))
                pending.give_up(dataset, error.encoder, str(error))
                continue
            except DetectorFault as error:
                log.error("detector_unusable", dataset=dataset.pk, detector=error.detector, reason=str(error))
                layers.give_up(dataset, error.detector, str(error))
                continue
            if claimed is None:
                return done
            done += len(claimed.rows)
            per_item = (time.monotonic() - began) / len(claimed.items)
            size = max(_LEAST_CLAIM, min(_GREATEST_CLAIM, int(_SECONDS_PER_CLAIM / per_item)))
    finally:
        notebook.close()


@dataclass
class _Claim:
    """What one transaction works on."""

    rows: list[PendingEmbedding]
    items: dict[int, Item]
    plan: Plan
    only_opens: bool = False
    targets: list[Target] = field(default_factory=list)  # what the encoders are to make
    opened: dict[int, Opened] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)  # item id → why its content cannot be used
    failed: dict[Target, str] = field(default_factory=dict)  # why it gave no vector
    made: dict[int, _Made] = field(default_factory=lambda: defaultdict(_Made))  # space id → what goes into it


class _Part(NamedTuple):
    """What one vector is of."""

    target: Target
    position: int = 0  # among the target's regions


@dataclass
class _Made:
    parts: list[_Part] = field(default_factory=list)
    batches: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Opened:
    """What is kept of an image file once it has been opened."""

    sha256: str
    size_bytes: int
    content_type: str
    width: int
    height: int
    brightness: float
    contrast: float
    sharpness: float
    colors: list[float]


def _embed_claim(dataset: Dataset, size: int, decoders: ThreadPoolExecutor, notebook: Notebook) -> _Claim | None:
    with transaction.atomic():
        claim = _claim(dataset, size)
        if not claim.rows:
            return None
        _work(dataset, claim, _spaces(dataset), decoders, notebook)
    for job_id in {row.job_id for row in claim.rows if row.job_id}:
        jobs.settle(job_id)
    return claim


def _work(dataset: Dataset, claim: _Claim, found: Spaces, decoders: ThreadPoolExecutor, notebook: Notebook) -> None:
    """Open, encode, write, and strike off the rows that need nothing more."""
    with notebook.noted(dataset.pk, [row.pk for row in claim.rows]):
        if dataset.modality == Modality.TEXT:
            _encode_texts(claim, found)
        else:
            _encode_images(claim, found, decoders)
        newly_opened = _store_opened(claim)
        _refuse(dataset, claim)
        _write(claim, found)
        over = [row for row in claim.rows if not claim.only_opens or row.item_id in claim.refused]
        _close_rows(claim, over)
        for phase in (pending.WHOLE, pending.REGIONS):
            for job_id, item_ids in _by_job([row for row in over if pending.phase_of(row) == phase]).items():
                jobs.advance(job_id, phase, done=len(item_ids))
        for job_id, item_ids in _by_job(claim.rows).items():
            jobs.advance(job_id, "thumbnails", done=len(newly_opened.intersection(item_ids)))


def _claim(dataset: Dataset, size: int) -> _Claim:
    """Those that no worker has ended at, items as a whole first, and with them what else is wanted of the same items.

    When there are none of them, one that a worker has ended at.
    """
    pending.keep_spaces(dataset.pk)
    waiting = (
        PendingEmbedding.objects.select_for_update(skip_locked=True)
        .filter(dataset=dataset, reason="")
        .order_by("tries", F("layer").asc(nulls_first=True), "item_id")
    )
    rows = list(waiting.filter(tries=0)[:size])
    if rows:
        items, ids = {row.item_id for row in rows}, [row.pk for row in rows]
        rows += waiting.filter(tries=0, item__in=items).exclude(pk__in=ids)
    else:
        rows = list(waiting[:1])
    plan = regions.plan(dataset, rows)
    targets = [Target(row.item_id, row.encoder, row.layer_id) for row in rows if row.encoder != pending.OPEN_ONLY]
    return _Claim(rows, _items(rows), plan, targets=[target for target in targets if plan.wants(target)])


def _items(rows: list[PendingEmbedding]) -> dict[int, Item]:
    return {item.pk: item for item in Item.objects.filter(pk__in={row.item_id for row in rows}).order_by("pk")}


def _claim_unopened(dataset: Dataset) -> _Claim:
    """Those whose file nobody has opened; their rows stay for the encoders."""
    pending.keep_spaces(dataset.pk)
    waiting = PendingEmbedding.objects.select_for_update(skip_locked=True, of=("self",))
    rows = list(
        waiting.filter(dataset=dataset, reason="", tries=0, item__sha256=None, item__text=None)
        .exclude(encoder=pending.OPEN_ONLY)
        .order_by("item_id")[:_FIRST_CLAIM]
    )
    return _Claim(rows, _items(rows), Plan(dataset), only_opens=True)


Spaces = dict[str, dict[str, EmbeddingSpace]]  # encoder → output → space


def _spaces(dataset: Dataset) -> Spaces:
    found: Spaces = defaultdict(dict)
    for space in EmbeddingSpace.objects.filter(dataset=dataset):
        found[space.encoder][space.output] = space
    return found


def _loaded(name: str) -> Encoder:
    try:
        return encoders.get(name)
    except (EncoderUnavailable, UnknownEncoder) as error:
        raise EncoderFault(name, str(error)) from error


def _encode_texts(claim: _Claim, found: Spaces) -> None:
    by_encoder: dict[str, list[_Part]] = defaultdict(list)
    for target in claim.targets:
        by_encoder[target.encoder].append(_Part(target))
    for name, parts in by_encoder.items():
        encoder = _loaded(name)
        for start in range(0, len(parts), _TEXTS_PER_BATCH):
            batch = parts[start : start + _TEXTS_PER_BATCH]
            texts = [claim.items[part.target.item_id].text or "" for part in batch]
            _encode(claim, name, batch, texts, encoder.encode_texts, found[name])


class _Seen(NamedTuple):
    """An opened file and what was made of it for those who want it."""

    opened: Opened
    inputs: dict[Target, list[Any] | str]
    picture: Image.Image | None  # for the detectors


def _encode_images(claim: _Claim, found: Spaces, decoders: ThreadPoolExecutor) -> None:
    """Decoder threads run ahead of the encoder by a bounded number of pictures."""
    plan = claim.plan
    _check_spaces(claim, found)
    loaded = {name: _loaded(name) for name in {target.encoder for target in claim.targets}}
    batch_sizes = {name: encoder.batch_size for name, encoder in loaded.items()}
    wanted_of: dict[int, list[Target]] = defaultdict(list)
    for target in claim.targets:
        wanted_of[target.item_id].append(target)

    def open_item(pk: int) -> tuple[int, _Seen | str]:
        try:
            return pk, _open(claim.items[pk], wanted_of[pk], plan, loaded)
        except (UnreadableImage, media.FileGone) as error:
            return pk, str(error)

    waiting: dict[str, list[tuple[_Part, Any]]] = defaultdict(list)
    to_look: dict[int, list[tuple[Target, Image.Image]]] = defaultdict(list)  # layer → what its detector is to look at

    def take(target: Target, inputs: list[Any] | str) -> None:
        if isinstance(inputs, str):
            claim.failed[target] = inputs
            return
        name = target.encoder
        waiting[name] += [(_Part(target, at), one) for at, one in enumerate(inputs)]
        while len(waiting[name]) >= batch_sizes[name]:
            encode(name)

    def encode(name: str) -> None:
        batch, waiting[name] = waiting[name][: batch_sizes[name]], waiting[name][batch_sizes[name] :]
        parts, inputs = [part for part, _ in batch], [one for _, one in batch]
        _encode(claim, name, parts, inputs, loaded[name].encode_batch, found[name])

    def look(layer_id: int) -> None:
        batch = to_look.pop(layer_id)
        layer = plan.layers[layer_id]
        for (target, picture), seen in zip(batch, regions.look(layer, [one for _, one in batch]), strict=True):
            if isinstance(seen, str):
                claim.failed[target] = f"{layer.detector}: {seen}"
                continue
            plan.detections[target] = seen
            plan.colors[target] = regions.colors_of(picture, seen)
            plan.shapes[target] = regions.kept(layer, seen)
            take(target, plan.inputs(target, picture, loaded[target.encoder]))

    for pk, result in _ahead(decoders, open_item, list(claim.items), ahead=_pictures_ahead(plan, batch_sizes)):
        if isinstance(result, str):
            claim.refused[pk] = result
            continue
        claim.opened[pk] = result.opened
        for target, inputs in result.inputs.items():
            take(target, inputs)
        if result.picture is not None:
            for target in wanted_of[pk]:
                if target.layer_id is not None and target not in plan.shapes:
                    to_look[target.layer_id].append((target, result.picture))
                    if len(to_look[target.layer_id]) == regions.DETECTOR_BATCH:
                        look(target.layer_id)
    for layer_id in list(to_look):
        look(layer_id)
    for name in list(waiting):
        if waiting[name]:
            encode(name)


def _check_spaces(claim: _Claim, found: Spaces) -> None:
    """Raises ``EncoderFault`` when a layer's vectors have no place any more."""
    for target in claim.targets:
        if target.layer_id is not None and not found.get(target.encoder):
            raise EncoderFault(
                target.encoder,
                f"The dataset has no space of the encoder “{target.encoder}” any more. Choose another for its regions.",
            )


def _pictures_ahead(plan: Plan, batch_sizes: dict[str, int]) -> int:
    """Four batches' worth of inputs, and no more pictures than the threads that open them where those are kept whole."""
    if plan.has_detector():
        return 2 * cores()
    inputs = 4 * max(batch_sizes.values(), default=cores())
    return max(2 * cores(), -(-inputs // plan.most_inputs())) if plan.layers else inputs


def _ahead(pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: list[A], *, ahead: int) -> Iterator[B]:
    """``map`` with at most ``ahead`` results waiting, so that memory does not grow with the claim.

    Half of them are waited for together: a thread that is woken for every single one takes time from those that work.
    """
    left = deque(arguments)
    running: list[Future[B]] = []
    while left or running:
        while left and len(running) < ahead:
            running.append(pool.submit(function, left.popleft()))
        done, running = running[: -(-ahead // 2)], running[-(-ahead // 2) :]
        wait(done)
        for one in done:
            yield one.result()


def _open(item: Item, wanted: list[Target], plan: Plan, loaded: dict[str, Encoder]) -> _Seen:
    """Open the file once: hash, measures, thumbnail (stored), and the inputs of every encoder that wants it."""
    with media.open_original(item) as stream:
        picture = read_image(
            stream,
            least_side=max((plan.least_side(target, loaded[target.encoder]) for target in wanted), default=0),
        )
    if item.sha256 is None:
        media.keep_thumbnail(picture.sha256, picture.thumbnail)
    known = [target for target in wanted if target.layer_id is None or target in plan.shapes]
    opened = Opened(
        sha256=picture.sha256,
        size_bytes=picture.size_bytes,
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        brightness=picture.brightness,
        contrast=picture.contrast,
        sharpness=picture.sharpness,
        colors=[round(float(share), 4) for share in picture.colors],
    )
    inputs = {target: plan.inputs(target, picture.pixels, loaded[target.encoder]) for target in known}
    return _Seen(opened, inputs, picture.pixels if len(known) < len(wanted) else None)


def _encode(
    claim: _Claim,
    name: str,
    parts: list[_Part],
    inputs: list[Any],
    encode: Callable[[list[Any]], dict[str, Array]],
    outputs: dict[str, EmbeddingSpace],
) -> None:
    """Encode one batch. When it fails as a whole, each input is tried once more, alone, and only the bad ones fail.

    Raises ``EncoderFault`` when that are all of them, from several items.
    """
    result = _try(name, len(parts), inputs, encode, outputs)
    if not isinstance(result, str):
        _keep(claim, parts, result, outputs)
        return
    reasons = {}
    for part, one in zip(parts, inputs, strict=True):
        alone = _try(name, 1, [one], encode, outputs)
        if isinstance(alone, str):
            reasons[part] = alone
        else:
            _keep(claim, [part], alone, outputs)
    if len(reasons) == len(parts) and len({part.target.item_id for part in parts}) >= _ALL_FAILED:
        raise EncoderFault(name, f"It gave no vector for any of {len(parts)} items: {reasons[parts[0]]}")
    claim.failed.update({part.target: reason for part, reason in reasons.items()})


def _try(
    name: str,
    number: int,
    inputs: list[Any],
    encode: Callable[[list[Any]], dict[str, Array]],
    outputs: dict[str, EmbeddingSpace],
) -> dict[str, Array] | str:
    """The vectors of a batch, fit to be stored, or why there are none. Raises ``EncoderFault``."""
    try:
        made = encode(inputs)
        checked = {output: vectors.normalised(made[output]) for output in outputs}
    except EncoderBroken as error:
        raise EncoderFault(name, str(error)) from error
    except KeyError as error:
        raise EncoderFault(name, f"It made no output {error}, which it declares.") from error
    except Exception as error:
        # An encoder may be anybody's code; what it throws at one item must not stop the others.
        return str(error) or type(error).__name__
    for output, space in outputs.items():
        if checked[output].shape != (number, space.dimension):
            raise EncoderFault(
                name,
                f"Of {number} items it made “{output}” vectors of shape {checked[output].shape}; this space takes "
                f"({number}, {space.dimension}). Delete the space and add it again.",
            )
    return checked


def _keep(claim: _Claim, parts: list[_Part], checked: dict[str, Array], outputs: dict[str, EmbeddingSpace]) -> None:
    for output, space in outputs.items():
        claim.made[space.pk].parts.extend(parts)
        claim.made[space.pk].batches.append(checked[output])


def _write(claim: _Claim, found: Spaces) -> None:
    """The regions and predictions of the layers, and all vectors."""
    region_ids = regions.store(
        claim.plan,
        [target for target in claim.targets if target not in claim.failed and target.item_id not in claim.refused],
    )
    for space in (space for outputs in found.values() for space in outputs.values()):
        made = claim.made.get(space.pk)
        if made is None:
            continue
        vectors_made = np.concatenate(made.batches)
        whole = [at for at, (target, _) in enumerate(made.parts) if target.layer_id is None]
        if whole:
            vectors.write(space, [made.parts[at].target.item_id for at in whole], vectors_made[whole])
        # A region goes in when all of its layer's in the item do.
        in_layers = [at for at, (target, _) in enumerate(made.parts) if target in region_ids]
        if in_layers:
            parts = [made.parts[at] for at in in_layers]
            vectors.write_regions(
                space,
                [region_ids[target][position] for target, position in parts],
                [target.item_id for target, _ in parts],
                vectors_made[in_layers],
            )


_STORE_OPENED = """
UPDATE datasets_item AS item
   SET sha256 = opened.sha256, size_bytes = opened.size_bytes, content_type = opened.content_type,
       width = opened.width, height = opened.height, brightness = opened.brightness, contrast = opened.contrast,
       sharpness = opened.sharpness, colors = opened.colors::float8[]
  FROM unnest(%(id)s::bigint[], %(sha256)s::text[], %(size_bytes)s::bigint[], %(content_type)s::text[],
              %(width)s::int[], %(height)s::int[], %(brightness)s::float8[], %(contrast)s::float8[],
              %(sharpness)s::float8[], %(colors)s::text[])
    AS opened (id, sha256, size_bytes, content_type, width, height, brightness, contrast, sharpness, colors)
 WHERE item.id = opened.id AND item.sha256 IS NULL
RETURNING item.id
"""


def _store_opened(claim: _Claim) -> set[int]:
    """Fill in what opening them has found. The items for which that is new."""
    new = {pk: opened for pk, opened in claim.opened.items() if claim.items[pk].sha256 is None}
    if not new:
        return set(claim.refused)
    fields = ("sha256", "size_bytes", "content_type", "width", "height", "brightness", "contrast", "sharpness")
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in new.values()] for name in fields}
    # Postgres arrays of arrays are matrices, which unnest flattens: each row's shares travel as one array literal.
    columns["colors"] = ["{" + ",".join(map(str, one.colors)) + "}" for one in new.values()]
    with connection.cursor() as cursor:
        cursor.execute(_STORE_OPENED, {"id": list(new), **columns})
        return {pk for (pk,) in cursor.fetchall()} | set(claim.refused)


def _refuse(dataset: Dataset, claim: _Claim) -> None:
    """List what could not be opened in its job. Its row goes, unless somebody has already worked on it: then it stays
    and says what is wrong."""
    if not claim.refused:
        return
    by_item = {row.item_id: row.job_id for row in claim.rows}
    worked_on = set(
        Item.objects.filter(pk__in=claim.refused)
        .filter(Q(annotations__source=Source.HUMAN) | Q(changes__isnull=False) | Q(sha256__isnull=False))
        .values_list("pk", flat=True)
    )
    for pk, reason in claim.refused.items():
        if job_id := by_item.get(pk):
            jobs.refuse(job_id, claim.items[pk].key, reason)
        if pk in worked_on:
            Item.objects.filter(pk=pk).update(problem=reason[:500])
    gone = [pk for pk in claim.refused if pk not in worked_on]
    pending.forget(gone, but=[row.pk for row in claim.rows])
    hashes = [Path(claim.items[pk].file).name for pk in gone if claim.items[pk].file]
    creation.remove_items(dataset, gone)
    transaction.on_commit(lambda: media.remove_unused(hashes))


def _close_rows(claim: _Claim, rows: list[PendingEmbedding]) -> None:
    """Done with: deleted. Without a vector: kept with the reason, and listed in the job."""
    done = []
    for row in rows:
        reason = claim.failed.get(Target(row.item_id, row.encoder, row.layer_id))
        if reason is None:
            done.append(row.pk)
        else:
            PendingEmbedding.objects.filter(pk=row.pk).update(reason=reason[:500])
            if row.job_id:
                jobs.refuse(row.job_id, claim.items[row.item_id].key, f"no vector from {row.encoder}: {reason}")
    PendingEmbedding.objects.filter(pk__in=done).delete()


def _by_job(rows: list[PendingEmbedding]) -> dict[int, list[int]]:
    """Job → item of each of its rows: an item is there once for every encoder."""
    by_job: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row.job_id:
            by_job[row.job_id].append(row.item_id)
    return by_job
