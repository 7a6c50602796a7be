"""Filling the spaces: claim pending items, open each file once, encode, write, all in one transaction a batch.

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
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
from django.db import connection, transaction
from django.db.models import Q

from datasets import creation, jobs, media
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Dataset, Item, Modality, Source

from . import encoders, pending, spaces, vectors
from .attempts import Notebook
from .encoders.base import Array, Encoder, EncoderBroken, EncoderFault, EncoderUnavailable, UnknownEncoder
from .encoders.runtime import cores
from .models import UPLOADED, EmbeddingSpace, PendingEmbedding

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
    return done


def recover() -> None:
    """What a worker that ended has left undone."""
    pending.recover()
    spaces.recover_defaults()


def _open_while_loading(dataset: Dataset, decoders: ThreadPoolExecutor) -> None:
    """Loading an encoder takes a minute the first time. Meanwhile the grid gets its pictures: files are opened for their
    thumbnails and measures, although they will be opened again for their vectors.

    An error while loading (a full disk, say) ends the task before any item is claimed: it is no item's fault, and the task
    is sent again. That an encoder cannot be had at all, the lanes meet again, and tell.
    """
    ready = EmbeddingSpace.objects.filter(dataset=dataset, state=EmbeddingSpace.State.READY)
    ready = ready.exclude(encoder__startswith=UPLOADED)
    names = {name for name in ready.values_list("encoder", flat=True) if not encoders.is_loaded(name)}
    if not names:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="load") as loader, closing(Notebook()) as notebook:
        loading = [loader.submit(encoders.get, name) for name in names]
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
        if not isinstance(one.exception(), EncoderUnavailable | UnknownEncoder):
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
            if not claimed:
                return done
            done += claimed
            per_item = (time.monotonic() - began) / claimed
            size = max(_LEAST_CLAIM, min(_GREATEST_CLAIM, int(_SECONDS_PER_CLAIM / per_item)))
    finally:
        notebook.close()


@dataclass
class _Claim:
    """What one transaction works on."""

    rows: list[PendingEmbedding]
    items: dict[int, Item]
    only_opens: bool = False
    wanted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # encoder → item ids
    opened: dict[int, Opened] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)  # item id → why its content cannot be used
    failed: dict[tuple[int, str], str] = field(default_factory=dict)  # (item id, encoder) → why it gave no vector
    made: dict[int, _Made] = field(default_factory=lambda: defaultdict(_Made))  # space id → what goes into it


@dataclass
class _Made:
    item_ids: list[int] = field(default_factory=list)
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
    inputs: dict[str, Any]  # encoder → its input, or why it made none of this picture


def _embed_claim(dataset: Dataset, size: int, decoders: ThreadPoolExecutor, notebook: Notebook) -> int:
    with transaction.atomic():
        claim = _claim(dataset, size)
        if not claim.rows:
            return 0
        _work(dataset, claim, _spaces(dataset), decoders, notebook)
    for job_id in {row.job_id for row in claim.rows if row.job_id}:
        jobs.settle(job_id)
    return len(claim.rows)


def _work(dataset: Dataset, claim: _Claim, found: Spaces, decoders: ThreadPoolExecutor, notebook: Notebook) -> None:
    """Open, encode, write, and strike off the rows that need nothing more."""
    with notebook.noted(dataset.pk, [row.pk for row in claim.rows]):
        if dataset.modality == Modality.TEXT:
            _encode_texts(claim, found)
        else:
            _encode_images(claim, found, decoders)
        newly_opened = _store_opened(claim)
        _refuse(dataset, claim)
        for space in (space for outputs in found.values() for space in outputs.values()):
            if made := claim.made.get(space.pk):
                vectors.write(space, made.item_ids, np.concatenate(made.batches))
        over = [row for row in claim.rows if not claim.only_opens or row.item_id in claim.refused]
        _close_rows(claim, over)
        for job_id, item_ids in _by_job(over).items():
            jobs.advance(job_id, "embed", done=len(item_ids))
        for job_id, item_ids in _by_job(claim.rows).items():
            jobs.advance(job_id, "thumbnails", done=len(newly_opened.intersection(item_ids)))


def _claim(dataset: Dataset, size: int) -> _Claim:
    """Those that no worker has ended at, in order; when there are none of them, one that a worker has ended at."""
    pending.keep_spaces(dataset.pk)
    waiting = (
        PendingEmbedding.objects.select_for_update(skip_locked=True)
        .filter(dataset=dataset, reason="")
        .order_by("tries", "item_id", "id")
    )
    rows = list(waiting.filter(tries=0)[:size]) or list(waiting[:1])
    items = {item.pk: item for item in Item.objects.filter(pk__in={row.item_id for row in rows})}
    claim = _Claim(rows, items)
    for row in rows:
        if row.encoder != pending.OPEN_ONLY:
            claim.wanted[row.encoder].append(row.item_id)
    return claim


def _claim_unopened(dataset: Dataset) -> _Claim:
    """Those whose file nobody has opened; their rows stay for the encoders."""
    pending.keep_spaces(dataset.pk)
    waiting = PendingEmbedding.objects.select_for_update(skip_locked=True, of=("self",))
    rows = list(
        waiting.filter(dataset=dataset, reason="", tries=0, item__sha256=None, item__text=None)
        .exclude(encoder=pending.OPEN_ONLY)
        .order_by("item_id")[:_FIRST_CLAIM]
    )
    items = {item.pk: item for item in Item.objects.filter(pk__in={row.item_id for row in rows})}
    return _Claim(rows, items, only_opens=True)


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
    for name, ids in claim.wanted.items():
        encoder = _loaded(name)
        for start in range(0, len(ids), _TEXTS_PER_BATCH):
            batch = ids[start : start + _TEXTS_PER_BATCH]
            texts = [claim.items[pk].text or "" for pk in batch]
            _encode(claim, name, batch, texts, encoder.encode_texts, found[name])


def _encode_images(claim: _Claim, found: Spaces, decoders: ThreadPoolExecutor) -> None:
    """Decoder threads run ahead of the encoder by a bounded number of pictures."""
    loaded = {name: _loaded(name) for name in claim.wanted}
    batch_sizes = {name: encoder.batch_size for name, encoder in loaded.items()}
    wanted_by: dict[int, list[str]] = defaultdict(list)
    for name, ids in claim.wanted.items():
        for pk in ids:
            wanted_by[pk].append(name)

    def open_item(pk: int) -> tuple[int, Opened | str]:
        try:
            return pk, _open(claim.items[pk], {name: loaded[name] for name in wanted_by[pk]})
        except (UnreadableImage, media.FileGone) as error:
            return pk, str(error)

    waiting: dict[str, list[int]] = defaultdict(list)

    def encode(name: str) -> None:
        batch, waiting[name] = waiting[name], []
        inputs = [claim.opened[pk].inputs.pop(name) for pk in batch]
        _encode(claim, name, batch, inputs, loaded[name].encode_batch, found[name])

    for pk, result in _ahead(
        decoders, open_item, list(claim.items), ahead=2 * max(batch_sizes.values(), default=cores())
    ):
        if isinstance(result, str):
            claim.refused[pk] = result
            continue
        claim.opened[pk] = result
        for name in list(result.inputs):
            if isinstance(result.inputs[name], str):
                claim.failed[pk, name] = result.inputs.pop(name)
                continue
            waiting[name].append(pk)
            if len(waiting[name]) == batch_sizes[name]:
                encode(name)
    for name in list(waiting):
        if waiting[name]:
            encode(name)


def _ahead(pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: list[A], *, ahead: int) -> Iterator[B]:
    """``map`` with at most ``ahead`` results waiting, so that memory does not grow with the claim."""
    running: deque[Future[B]] = deque()
    for argument in arguments:
        running.append(pool.submit(function, argument))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _open(item: Item, wanted: dict[str, Encoder]) -> Opened:
    """Open the file once: hash, measures, thumbnail (stored), and the input of every encoder that wants it."""
    with media.open_original(item) as stream:
        picture = read_image(
            stream, least_side=max((encoder.spec.image_side for encoder in wanted.values()), default=0)
        )
    if item.sha256 is None:
        media.keep_thumbnail(picture.sha256, picture.thumbnail)
    inputs: dict[str, Any] = {}
    for name, encoder in wanted.items():
        try:
            inputs[name] = encoder.preprocess(picture.pixels)
        except Exception as error:
            # An encoder may be anybody's code; what it throws at one picture must not stop the others.
            inputs[name] = f"{type(error).__name__}: {error}"
    return Opened(
        sha256=picture.sha256,
        size_bytes=picture.size_bytes,
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        brightness=picture.brightness,
        contrast=picture.contrast,
        sharpness=picture.sharpness,
        colors=[round(float(share), 4) for share in picture.colors],
        inputs=inputs,
    )


def _encode(
    claim: _Claim,
    name: str,
    ids: list[int],
    inputs: list[Any],
    encode: Callable[[list[Any]], dict[str, Array]],
    outputs: dict[str, EmbeddingSpace],
) -> None:
    """Encode one batch. When it fails as a whole, each item is tried once more, alone, and only the bad ones fail.

    Raises ``EncoderFault`` when that are all of them.
    """
    result = _try(name, len(ids), inputs, encode, outputs)
    if not isinstance(result, str):
        _keep(claim, ids, result, outputs)
        return
    reasons = {}
    for pk, one in zip(ids, inputs, strict=True):
        alone = _try(name, 1, [one], encode, outputs)
        if isinstance(alone, str):
            reasons[pk] = alone
        else:
            _keep(claim, [pk], alone, outputs)
    if len(reasons) == len(ids) >= _ALL_FAILED:
        raise EncoderFault(name, f"It gave no vector for any of {len(ids)} items: {reasons[ids[0]]}")
    claim.failed.update({(pk, name): reason for pk, reason in reasons.items()})


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


def _keep(claim: _Claim, ids: list[int], checked: dict[str, Array], outputs: dict[str, EmbeddingSpace]) -> None:
    for output, space in outputs.items():
        claim.made[space.pk].item_ids.extend(ids)
        claim.made[space.pk].batches.append(checked[output])


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
        reason = claim.failed.get((row.item_id, row.encoder))
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
