"""The first five minutes: seconds to the first grid, the rate of an import, and whether Find Similar finds.

    python benchmarks/first_run.py [--quick] [--photos FOLDER]

Beside each figure stands its reference, measured in the same run: a bare loop that decodes with Pillow and runs the same
encoder, one batch after another, with all cores, nothing stored (warm, as the product's worker is); and brute force in
NumPy on the vectors that the product stored. Bare loop and product take turns.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "curation.settings")

from benchmarks import photos
from benchmarks.instance import Instance

BATCH = 32
K = 10
# Sums of products in another order differ by so much; items that are closer than this may change places.
TIE = 1e-6

Photo = tuple[str, str, bytes]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="180 photos, one round: under 45 s")
    arguments.add_argument("--photos", type=Path, help="a folder of photos named CLASS_image_NUMBER")
    options = arguments.parse_args()
    wanted, rounds = (180, 1) if options.quick else (600, 3)
    files = photos.labelled(wanted, options.photos)
    print(f"{len(files)} photos, {rounds} round(s), {os.cpu_count()} cores")

    with Instance() as instance:
        ready_s = instance.seconds()
        dataset, first_grid_s, _ = import_into(instance, "first", files)
        os.environ["DATA_DIR"] = str(instance.data_dir)
        import django

        django.setup()
        from search import encoders

        encoder = encoders.get(encoders.default_for("image"))
        bare(encoder, files[:BATCH])  # warm, as the worker is by now
        bare_rates, product_rates = [bare(encoder, files)], []
        for number in range(rounds):
            product_rates.append(import_into(instance, f"round {number}", files)[2])
            bare_rates.append(bare(encoder, files))
        precision, brute_precision, same_ids = find_similar(instance, dataset)

    ratio = statistics.median(product_rates) / statistics.median(bare_rates)
    rows = [
        ("start to ready", f"{ready_s:.1f} s", ""),
        ("start to first grid with pictures", f"{first_grid_s:.1f} s", ""),
        (
            "import and embed",
            f"{statistics.median(product_rates):.1f} photos/s",
            f"bare loop {statistics.median(bare_rates):.1f} photos/s",
        ),
        ("ratio", f"{ratio:.2f}", "at least 0.7"),
        (f"Find Similar, P@{K}", f"{precision:.3f}", f"brute force {brute_precision:.3f}"),
        ("same ids as brute force", str(same_ids), "True"),
    ]
    for what, ours, reference in rows:
        print(f"{what:36} {ours:>18}   {reference}")
    print(
        json.dumps(
            {
                "first_grid_s": round(first_grid_s, 2),
                "import_ratio": round(ratio, 3),
                "p_at_10": round(precision, 4),
                "same_ids": same_ids,
                "ready_s": round(ready_s, 2),
                "import_per_s": round(statistics.median(product_rates), 1),
                "bare_per_s": round(statistics.median(bare_rates), 1),
                "p_at_10_brute_force": round(brute_precision, 4),
                "photos": len(files),
            }
        )
    )


def import_into(instance: Instance, name: str, files: list[Photo]) -> tuple[int, float, float]:
    """Upload ``files`` as a zip into a new dataset and wait until all is embedded: the dataset's id, the instance's age
    when the first picture could be shown, and photos per second from the request to the last vector."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for kind, file_name, content in files:
            made.writestr(f"{kind}/{file_name}", content)
    dataset = instance.post("/api/v1/datasets/", {"name": name, "modality": "image"})["id"]
    began = time.monotonic()
    job = instance.upload(f"/api/v1/datasets/{dataset}/imports/", "photos.zip", archive.getvalue())["job"]

    def first_picture() -> str | None:
        items = instance.json(f"/api/v1/datasets/{dataset}/items/?limit=30")["results"]
        return next((item["thumbnail_url"] for item in items if item["thumbnail_url"]), None)

    instance.get(instance.wait(first_picture, "showing a picture"))
    first_picture_s = instance.seconds()
    done = instance.wait(lambda: ended(instance, job), "imported")
    rate = len(files) / (time.monotonic() - began)
    if done["state"] != "succeeded" or done["error_count"]:
        raise RuntimeError(f"The import did not go well: {done}")
    return dataset, first_picture_s, rate


def ended(instance: Instance, job: int) -> dict[str, Any] | None:
    state: dict[str, Any] = instance.json(f"/api/v1/jobs/{job}/")
    return None if state["state"] in ("queued", "running") else state


def bare(encoder: Any, files: list[Photo]) -> float:
    """Photos per second of the least that must be done: decode, preprocess, encode."""
    began = time.monotonic()
    for start in range(0, len(files), BATCH):
        batch = []
        for _, _, content in files[start : start + BATCH]:
            with Image.open(io.BytesIO(content)) as image:
                batch.append(encoder.preprocess(image.convert("RGB")))
        encoder.encode_batch(batch)
    return len(files) / (time.monotonic() - began)


def find_similar(instance: Instance, dataset: int) -> tuple[float, float, bool]:
    """P@10 of every photo through the API, that of brute force, and whether both found the same."""
    ids, vectors = stored_vectors(dataset)
    at = {int(item): row for row, item in enumerate(ids)}
    kinds = {}
    path = f"/api/v1/datasets/{dataset}/items/?limit=1000"
    while path:
        page = instance.json(path)
        kinds.update({item["id"]: item["labels"][0]["label"] for item in page["results"]})
        path = (page["next"] or "").removeprefix(instance.url)
    ours, brute, is_same = [], [], True
    for item in at:
        scores = vectors @ vectors[at[item]]
        order = [int(one) for one in ids[np.lexsort((ids, -scores))] if one != item][:K]
        answer = instance.post(f"/api/v1/datasets/{dataset}/search/", {"like": [item], "limit": K + 1})
        found = [result["item"]["id"] for result in answer["results"] if result["item"]["id"] != item][:K]
        pairs = zip(order, found, strict=True)
        is_same &= all(a == b or abs(scores[at[a]] - scores[at[b]]) < TIE for a, b in pairs)
        ours.append(np.mean([kinds[one] == kinds[item] for one in found]))
        brute.append(np.mean([kinds[one] == kinds[item] for one in order]))
    return float(np.mean(ours)), float(np.mean(brute)), bool(is_same)


def stored_vectors(dataset: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Item ids ``(n,)`` and their vectors ``(n, dimension)`` in the dataset's default space."""
    from datasets.models import Item
    from search import vectors
    from search.models import EmbeddingSpace

    space = EmbeddingSpace.objects.get(dataset=dataset, is_default=True)
    found = vectors.of_items(space, list(Item.objects.filter(dataset=dataset).values_list("pk", flat=True)))
    return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float64)


if __name__ == "__main__":
    main()
