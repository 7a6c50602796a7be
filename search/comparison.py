"""Which encoder suits this dataset? A sample of it is embedded with each, and measured side by side.

- *k-NN accuracy*: the share of labelled sample items whose label most of their five nearest neighbours among the others
  have (leave-one-out; Cover & Hart 1967).
- *Separation*: the mean silhouette of the labels in cosine distance (Rousseeuw 1987), from -1 to 1.
- *Overlap*: the mean share of an item's ten nearest neighbours that two encoders have in common. Where nothing is
  labelled, it tells whether the choice matters at all.

Each encoder runs in a process of its own: its memory can be told, is given back, and what ends it ends nothing else.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from django.conf import settings
from django.db import connections

from datasets import media
from datasets.errors import Refused
from datasets.imaging import UnreadableImage, read_image
from datasets.models import Annotation, Dataset, Item, Modality

from . import encoders
from .encoders import EncoderError, EncoderUnavailable, UnknownEncoder
from .encoders.base import Array
from .encoders.runtime import cores

SAMPLE = 500
LEAST_SAMPLE, GREATEST_SAMPLE = 20, 5_000
MOST_ENCODERS = 8
NEIGHBOURS, OVERLAP_NEIGHBOURS = 5, 10
# Loading, converting and embedding some hundred items on a slow machine.
_LONGEST_S = 3600
_FAILED = 3
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
# A stored vector's row besides its values: the ids, the headers of row and value, its share of the index.
_BYTES_PER_ROW = 64

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """One output of one encoder on the sample."""

    encoder: str
    title: str
    output: str
    dimension: int
    license: str
    runtime: str
    sampled: int  # items that have a vector
    failed: int
    knn_accuracy: float | None  # None without labels
    separation: float | None
    per_second: float  # items, their files opened and their vectors made
    hours: float  # for the whole dataset
    memory_bytes: int  # what the process grew by, its greatest moment
    disk_bytes: int  # vectors of the whole dataset


@dataclass(frozen=True)
class Comparison:
    items: int  # of the dataset
    sampled: int
    labeled: int  # of the sample
    measured: list[Measured]
    problems: list[dict[str, str]]  # encoder, reason
    overlap: list[dict[str, Any]] = field(default_factory=list)  # one, other, share

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check(dataset: Dataset, names: Sequence[str], sample: int) -> None:
    """Raises ``Refused`` for a comparison that cannot be made."""
    if not 1 <= len(set(names)) == len(names) <= MOST_ENCODERS:
        raise Refused(f"Name one to {MOST_ENCODERS} different encoders to compare.")
    if not LEAST_SAMPLE <= sample <= GREATEST_SAMPLE:
        raise Refused(f"A sample has {LEAST_SAMPLE} to {GREATEST_SAMPLE:,} items, not {sample:,}.")
    for name in names:
        try:
            spec = encoders.spec(name)
        except UnknownEncoder as error:
            raise Refused(str(error)) from error
        if dataset.modality not in spec.modalities:
            raise Refused(f"The encoder “{name}” cannot read {dataset.modality}s. Leave it out.")
    if not _candidates(dataset).exists():
        raise Refused(f"“{dataset.name}” holds no item that could be embedded yet. Import some first.")


def compare(
    dataset: Dataset, names: Sequence[str], *, sample: int = SAMPLE, report: Callable[[int], None] = lambda done: None
) -> Comparison:
    """``report`` is told how many encoders are done, and may raise to stop it. Raises ``Refused``."""
    check(dataset, names, sample)
    ids, labels = _sample(dataset, sample)
    total = _candidates(dataset).count()
    measured: list[Measured] = []
    problems: list[dict[str, str]] = []
    neighbours: dict[str, npt.NDArray[np.int64]] = {}
    for number, name in enumerate(names):
        try:
            made = _in_a_process(name, ids)
        except EncoderUnavailable as error:
            problems.append({"encoder": name, "reason": str(error)})
            report(number + 1)
            continue
        for output in made.outputs:
            vectors, rows = made.vectors[output["name"]], made.rows
            label = f"{name} / {output['name']}"
            neighbours[label] = nearest(vectors, rows, len(ids), OVERLAP_NEIGHBOURS)
            measured.append(
                Measured(
                    encoder=name,
                    title=made.title,
                    output=output["name"],
                    dimension=output["dimension"],
                    license=made.license,
                    runtime=made.runtime,
                    sampled=len(rows),
                    failed=len(ids) - len(rows),
                    knn_accuracy=knn_accuracy(vectors, labels[rows]),
                    separation=separation(vectors, labels[rows]),
                    per_second=len(ids) / made.seconds,
                    hours=total / (len(ids) / made.seconds) / 3600,
                    memory_bytes=made.memory_bytes,
                    disk_bytes=total * (2 * output["dimension"] + _BYTES_PER_ROW),
                )
            )
        report(number + 1)
    return Comparison(
        items=total,
        sampled=len(ids),
        labeled=int((labels >= 0).sum()),
        measured=measured,
        problems=problems,
        overlap=[
            {"one": one, "other": other, "share": overlap(neighbours[one], neighbours[other])}
            for at, one in enumerate(neighbours)
            for other in list(neighbours)[at + 1 :]
        ],
    )


# The sample ----------------------------------------------------------------------------------------------------------


def _candidates(dataset: Dataset) -> Any:
    return Item.objects.filter(dataset=dataset, problem="")


def _sample(dataset: Dataset, number: int) -> tuple[list[int], Labels]:
    """Ids, labelled ones first wanted, and the number of each one's label; -1 without one. The same ones every time."""
    labels: dict[int, int] = {}
    standing = Annotation.objects.standing().filter(item__dataset=dataset, item__problem="", region=None)
    for item, label in standing.order_by("-id").values_list("item_id", "label_id"):
        labels[item] = label
    generator = np.random.default_rng(0)
    labeled = np.array(sorted(labels), dtype=np.int64)
    chosen = generator.permutation(labeled)[:number].tolist()
    if len(chosen) < number:
        others = np.array(
            list(_candidates(dataset).order_by("id").values_list("pk", flat=True).iterator()), dtype=np.int64
        )
        others = np.setdiff1d(others, labeled, assume_unique=True)
        chosen += generator.permutation(others)[: number - len(chosen)].tolist()
    return chosen, np.array([labels.get(pk, -1) for pk in chosen], dtype=np.int64)


# What is measured ----------------------------------------------------------------------------------------------------


def knn_accuracy(vectors: Array, labels: Labels, k: int = NEIGHBOURS) -> float | None:
    """Leave-one-out, among the items with a label (``labels`` ≥ 0). ``vectors`` is ``(n, dimension)``, L2-normalised.

    None where fewer than two items or classes have one. Ties go to the class of the nearer neighbour.
    """
    vectors, labels = vectors[labels >= 0], labels[labels >= 0]
    if len(labels) <= 1 or len(np.unique(labels)) < 2:
        return None
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    k = min(k, len(labels) - 1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    right = 0
    for row, neighbours in enumerate(labels[order]):
        classes, first, votes = np.unique(neighbours, return_index=True, return_counts=True)
        right += classes[np.lexsort((first, -votes))[0]] == labels[row]
    return float(right / len(labels))


def separation(vectors: Array, labels: Labels) -> float | None:
    """Mean silhouette in cosine distance of the items with a label; None where no class has two of them or there is one
    class only. An item that is alone in its class counts 0."""
    vectors, labels = vectors[labels >= 0], labels[labels >= 0]
    classes, member, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2 or sizes.max(initial=0) < 2:
        return None
    # Sums of distances to each class: the distance is 1 - cosine, so sums of vectors will do.
    sums = np.zeros((len(classes), vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, member, vectors)
    distance = sizes[None, :] - vectors @ sums.T
    rows = np.arange(len(labels))
    own = distance[rows, member] / np.maximum(sizes[member] - 1, 1)
    distance = distance / sizes[None, :]
    distance[rows, member] = np.inf
    other = distance.min(axis=1)
    silhouette = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(sizes[member] > 1, silhouette, 0).mean())


def nearest(vectors: Array, rows: npt.NDArray[np.int64], total: int, k: int) -> npt.NDArray[np.int64]:
    """``(total, k)``: the nearest other sample items of each, by their place in the sample; -1 for what has no vector.

    ``vectors`` are those of the places ``rows``.
    """
    result = np.full((total, k), -1, dtype=np.int64)
    if len(rows) > 1:
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -np.inf)
        found = np.argsort(-similarity, axis=1, kind="stable")[:, : min(k, len(rows) - 1)]
        result[rows, : found.shape[1]] = rows[found]
    return result


def overlap(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Mean share of neighbours in common, over the items that have some in both."""
    shares = [
        len(np.intersect1d(left[left >= 0], right[right >= 0])) / max((left >= 0).sum(), 1)
        for left, right in zip(one, other, strict=True)
        if (left >= 0).any() and (right >= 0).any()
    ]
    return float(np.mean(shares)) if shares else 0.0


# One encoder, in a process of its own --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    title: str
    license: str
    runtime: str
    outputs: list[dict[str, Any]]
    seconds: float
    memory_bytes: int
    rows: npt.NDArray[np.int64]  # places in the sample that have a vector
    vectors: dict[str, Array]


def _in_a_process(name: str, ids: list[int]) -> _Made:
    """Raises ``EncoderUnavailable``."""
    # Twice: what fetches and converts it the first time needs more memory than what uses it.
    _run(name, [])
    return _run(name, ids)


def _run(name: str, ids: list[int]) -> _Made:
    with tempfile.TemporaryDirectory(prefix="kindred-compare-") as folder:
        work = Path(folder)
        (work / "ask.json").write_text(json.dumps({"encoder": name, "ids": ids}))
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "encoders", "--embed-sample", folder]
        try:
            ended = subprocess.run(command, capture_output=True, timeout=_LONGEST_S, text=True, check=False)
        except subprocess.TimeoutExpired as error:
            raise EncoderUnavailable(
                f"{name} was not done with {len(ids)} items after an hour. Take a smaller sample."
            ) from error
        if ended.returncode == _FAILED:
            raise EncoderUnavailable((work / "problem.txt").read_text())
        if ended.returncode:
            raise EncoderUnavailable(
                f"{name} ended its process ({ended.returncode}); with -9 this machine ran out of memory. "
                f"Its last words: {ended.stderr.strip()[-300:] or 'none'}"
            )
        said = json.loads((work / "said.json").read_text())
        with np.load(work / "vectors.npz") as file:
            arrays = {key: file[key] for key in file.files}
        return _Made(rows=arrays.pop("rows"), vectors=arrays, **said)


def embed_sample(folder: Path) -> int:
    """The other side of it, in that process: the exit code."""
    asked = json.loads((folder / "ask.json").read_text())
    before = psutil.Process().memory_info().rss
    try:
        encoders.prepare(asked["encoder"])
        encoder = encoders.get(asked["encoder"])
        items = Item.objects.select_related("dataset").in_bulk(asked["ids"])
        batch_size = encoder.batch_size  # tried out before the clock starts
        began = time.perf_counter()
        rows, vectors = _embed(encoder, [items.get(pk) for pk in asked["ids"]], batch_size)
        seconds = time.perf_counter() - began
    except (EncoderUnavailable, EncoderError, UnknownEncoder) as error:
        (folder / "problem.txt").write_text(str(error))
        return _FAILED
    arrays: dict[str, Any] = {"rows": rows, **vectors}
    np.savez(folder / "vectors.npz", **arrays)
    said = {
        "title": encoder.spec.title,
        "license": encoder.spec.license,
        "runtime": encoder.runtime,
        "outputs": [
            {"name": one.name, "dimension": one.dimension} for one in encoder.spec.outputs if one.name in vectors
        ],
        "seconds": seconds,
        "memory_bytes": max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT - before, 0),
    }
    (folder / "said.json").write_text(json.dumps(said))
    return 0


def _embed(
    encoder: encoders.Encoder, items: list[Item | None], batch_size: int
) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
    """Opened in threads, encoded in batches. Items that cannot be read have no row."""
    if not items:
        return np.arange(0), {}
    if any(item is not None and item.dataset.modality == Modality.TEXT for item in items):
        kept = [(at, item.text or "") for at, item in enumerate(items) if item is not None]
        return np.array([at for at, _ in kept]), encoder.encode_texts([text for _, text in kept])

    def open_item(item: Item | None) -> Any:
        if item is None:
            return None
        try:
            with media.open_original(item) as stream:
                picture = read_image(stream, least_side=encoder.spec.image_side)
        except (UnreadableImage, media.FileGone):
            return None
        finally:
            connections.close_all()
        return encoder.preprocess(picture.pixels)

    rows: list[int] = []
    batches: list[dict[str, Array]] = []
    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as decoders:
        for start in range(0, len(items), batch_size):
            inputs = list(decoders.map(open_item, items[start : start + batch_size]))
            good = [at for at, one in enumerate(inputs) if one is not None]
            if good:
                batches.append(encoder.encode_batch([inputs[at] for at in good]))
                rows += [start + at for at in good]
    if not batches:
        raise EncoderError("None of the sampled files could be read.")
    return np.array(rows), {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
