"""Encoders on a CUDA device: whether their vectors are right, how fast they are made, and what the device waits for.

    python benchmarks/cuda.py [--quick]

The starters have their own weights; the others, made here at their usual sizes, have random ones, on which speed does not
depend. No database is needed. Without a CUDA device it says so and measures nothing.

Of each encoder, for its images and its texts:

- ``cosine_min``: the least cosine between its vectors and those of torch in float32 on the CPU; ``exact_cosine_min``: the same
  of float32 on the device. ``runtime`` is what the product takes by itself.
- ``per_s``: items a second by batch size, from arrays (images) or strings (texts) in the computer's memory to vectors in it;
  ``device_per_s``: the same without the way there and back.
- ``batch``: the size that the product takes by itself (images); ``peak_mb``: memory of the device at that size, weights
  included.
- ``short_of_memory``: with half of what that batch needs, whether the vectors are the same, and items a second.
- ``files_per_s``: from JPEGs of a megapixel, with thumbnail, hash and measures, as a worker does it, without the database;
  ``idle``: the share of that time in which the device had nothing to do, by ``device_per_s``.
- ``one_text_ms``: what a search waits for its words.

``speed_ratio``: the speed that the product tells before an encoder is there, over that of ViT-B/16.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import photos
from benchmarks.support.texts import short_texts

SIZES = (1, 8, 32, 64, 128, 256, 512)
TEXT_SIZES = (1, 64, 512, 4096)
LANES = 2  # as a worker has
FILE_BATCH, FILE_BATCHES = 128, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the starters and a CLIP, less often: under 45 s")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("This machine has no CUDA device that torch can use: nothing is measured.")
        print(json.dumps({"cuda": False}))
        return
    with tempfile.TemporaryDirectory() as folder:
        set_up_django(Path(folder))
        figures = measure(Path(folder) / "encoders", quick=options.quick)
    print(json.dumps({"cuda": True} | figures))


def set_up_django(folder: Path) -> None:
    """What the encoders ask of the settings, and nothing that needs a server."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import structlog
    from django.conf import settings

    # Batches that are halved are counted by what they cost, not told one by one.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings.configure(DATA_DIR=folder, ENCODERS_DIR=folder / "encoders", ENCODER_RUNTIME="")


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    import torch

    from benchmarks.support.checkpoints import USUAL
    from search.encoders import runtime

    files, source = photos.megapixels(16 if quick else 64)
    texts = short_texts(max(TEXT_SIZES))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {runtime.cores()} cores, photos: {source}")
    names = ["starter", "starter-text", *list(USUAL)[: 1 if quick else None]]
    rounds = 3 if quick else 10
    found: dict[str, Any] = {}
    for name in names:
        if name in USUAL:
            USUAL[name](folder / name.partition(":")[2])
        began = time.perf_counter()
        ours = loaded(name, "cuda")
        found[name] = {"loaded_s": round(time.perf_counter() - began, 1)}
        exact = loaded(name, "torch")
        for kind in kinds(ours):
            found[name][kind] = (
                measured_images(ours, exact, files, rounds)
                if kind == "images"
                else measured_texts(ours, exact, texts, rounds)
            )
        show(name, found[name])
    figures = {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cores": runtime.cores(),
        "cosine_min": min(
            kind["cosine_min"] for one in found.values() for kind in one.values() if isinstance(kind, dict)
        ),
        "encoders": found,
    }
    if vit := found.get("images:vit-base-patch16"):
        told = runtime.measure_speed()
        figures |= {"speed_told": round(told), "speed_ratio": round(told / max(vit["images"]["per_s"].values()), 2)}
    return figures


def loaded(name: str, runs_in: str) -> Any:
    from search.encoders import minilm, starter, transformers_images, transformers_joint

    match name.partition(":")[0]:
        case "starter":
            return starter.Starter(runs_in)
        case "starter-text":
            return minilm.MiniLM(runs_in)
        case "images":
            return transformers_images.TransformersImages(name, runs_in)
        case _:
            return transformers_joint.Joint(name, runs_in)


def network_of(encoder: Any, kind: str) -> Any:
    """What it runs for images or for texts."""
    if hasattr(encoder, "_images"):
        return (encoder._images() if kind == "images" else encoder._texts())._network
    if kind == "texts":
        return encoder._sentences._network
    return encoder._backbone._network if hasattr(encoder, "_backbone") else encoder._network._network


def of_images(encoder: Any, inputs: list[Any]) -> Any:
    """Vectors of the first output, which is for images where there is one."""
    return encoder.encode_batch(inputs)[encoder.spec.outputs[0].name]


def of_texts(encoder: Any, texts: list[str]) -> Any:
    return encoder.encode_texts(texts)[encoder.spec.outputs[-1].name]


@contextmanager
def in_float32(network: Any) -> Iterator[None]:
    before, network._float16 = network._float16, False
    try:
        yield
    finally:
        network._float16 = before


def kinds(encoder: Any) -> list[str]:
    return sorted({f"{kind}s" for output in encoder.spec.outputs for kind in output.accepts})


# Images --------------------------------------------------------------------------------------------------------------


def measured_images(ours: Any, exact: Any, files: list[bytes], rounds: int) -> dict[str, Any]:
    import torch

    inputs = [opened(ours, content) for content in files]
    theirs = of_images(exact, inputs)
    network = network_of(ours, "images")
    found: dict[str, Any] = {"runtime": network.runtime, "cosine_min": cosine_min(of_images(ours, inputs), theirs)}
    with in_float32(network):
        found["exact_cosine_min"] = cosine_min(of_images(ours, inputs), theirs)
    batches = {size: [inputs[at % len(inputs)] for at in range(size)] for size in SIZES}
    found["per_s"] = {size: rate(partial(of_images, ours, batch), size, rounds) for size, batch in batches.items()}
    found["device_per_s"] = {
        size: device_rate(network, torch.from_numpy(np.stack(batch)).cuda(), size, rounds)
        for size, batch in batches.items()
    }
    found["batch"] = ours.batch_size
    batch = [inputs[at % len(inputs)] for at in range(found["batch"])]
    found["peak_mb"], needed = peak(partial(of_images, ours, batch))
    with short_of_memory(needed // 2):
        found["short_of_memory"] = {
            "cosine_min": cosine_min(of_images(ours, batch), theirs[np.arange(len(batch)) % len(theirs)]),
            "per_s": rate(partial(of_images, ours, batch), len(batch), rounds),
        }
    from_files = files_rate(ours, files)
    # Measured on the side of the device, an encoder that waits for the interpreter looks busy.
    return found | {
        "files_per_s": round(from_files),
        "idle": round(1 - from_files / max(found["device_per_s"].values()), 3),
    }


def opened(encoder: Any, content: bytes) -> Any:
    """An input from a file, with all that a worker makes of one."""
    from datasets.imaging import read_image

    return encoder.preprocess(read_image(io.BytesIO(content), least_side=encoder.spec.image_side).pixels)


def files_rate(encoder: Any, files: list[bytes]) -> float:
    """Two lanes over one pool of threads that open files, as in ``search.embedding``."""
    from search.encoders.runtime import cores

    def lane() -> None:
        for at in range(FILE_BATCHES // LANES):
            chosen = [files[(at * FILE_BATCH + row) % len(files)] for row in range(FILE_BATCH)]
            of_images(encoder, list(decoders.map(partial(opened, encoder), chosen)))

    with ThreadPoolExecutor(cores()) as decoders, ThreadPoolExecutor(LANES) as lanes:
        began = time.perf_counter()
        for one in [lanes.submit(lane) for _ in range(LANES)]:
            one.result()
        return FILE_BATCHES // LANES * LANES * FILE_BATCH / (time.perf_counter() - began)


# Texts ---------------------------------------------------------------------------------------------------------------


def measured_texts(ours: Any, exact: Any, texts: list[str], rounds: int) -> dict[str, Any]:
    some = texts[:256]
    theirs = of_texts(exact, some)
    network = network_of(ours, "texts")
    found: dict[str, Any] = {"runtime": network.runtime, "cosine_min": cosine_min(of_texts(ours, some), theirs)}
    with in_float32(network):
        found["exact_cosine_min"] = cosine_min(of_texts(ours, some), theirs)
    found["per_s"] = {size: rate(partial(of_texts, ours, texts[:size]), size, rounds) for size in TEXT_SIZES}
    found["one_text_ms"] = round(1000 / found["per_s"][1], 2)
    found["peak_mb"], needed = peak(partial(of_texts, ours, some))
    with short_of_memory(needed // 2):
        found["short_of_memory"] = {
            "cosine_min": cosine_min(of_texts(ours, some), theirs),
            "per_s": rate(partial(of_texts, ours, some), len(some), rounds),
        }
    return found


# Measures ------------------------------------------------------------------------------------------------------------


def cosine_min(ours: Any, theirs: Any) -> float:
    """Of vectors of length 1."""
    return round(float((ours.astype(np.float64) * theirs).sum(axis=1).min()), 6)


def rate(encode: Callable[[], Any], number: int, rounds: int) -> float:
    encode()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        encode()
        times.append(time.perf_counter() - began)
    return round(number / statistics.median(times), 1)


def device_rate(network: Any, rows: Any, number: int, rounds: int) -> float:
    import torch

    def run() -> float:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=network._float16):
            first.record()
            network.module(rows)
            last.record()
        torch.cuda.synchronize()
        return float(first.elapsed_time(last))

    run()
    return round(1000 * number / statistics.median(run() for _ in range(rounds)), 1)


def peak(encode: Callable[[], Any]) -> tuple[int, int]:
    """Memory of the device at the most, in MB, and in bytes how much of it this call needs beside what is held anyway."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    encode()
    most = torch.cuda.max_memory_allocated()
    return round(most / 2**20), most - held


@contextmanager
def short_of_memory(left: int) -> Iterator[None]:
    """As if others had taken all memory of the device but so many bytes."""
    import torch

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + left) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}, loaded in {found['loaded_s']} s")
    for kind in ("images", "texts"):
        for key, figure in found.get(kind, {}).items():
            print(f"  {kind:7} {key:18} {figure}", flush=True)


if __name__ == "__main__":
    main()
