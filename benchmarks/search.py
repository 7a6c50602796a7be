"""Search over a million vectors, beside FAISS and NumPy on the same ones.

    python benchmarks/search.py [--quick] [--items NUMBER]

A made dataset (benchmarks/support/million.py: clustered unit vectors with 512 numbers, labels, splits) in a Kindred of its own.

- ``p50_ms``, ``recall``: the best 100 of all through the index, in Postgres, against brute force. ``exact_ms``: by comparing all.
- ``http_p50_ms``: one client, items and labels in the JSON; ``http_per_s``, ``http_p99_ms``: eight clients, who share the cores.
- ``filters``: for filters that let pass so many, by split (whatever the vectors) and by label (whole clusters): how the query was
  answered, ``recall`` of the best 100, ``p50_ms`` of the whole query without HTTP, ``rows_missing`` of those that there are.
- ``list_ratio``: a page of 100 items with their labels, over a DRF ``ModelSerializer`` of the same rows;
  ``list_prefetched_ratio``: over one that prefetches.
- ``build_s``, ``build_mb``: the index, beside FAISS's with the same m and ef_construction.
- ``count_accuracy``, ``made_accuracy``: of "more than two people" on labelled photos, and of ten questions about colours and
  places on drawn ones (benchmarks/counting.py says more).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import million
from benchmarks.support.instance import Instance

WANTED = 100
CLIENTS = 8

Vectors = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50,000 items, fewer queries")
    parser.add_argument("--items", type=int, help="so many instead")
    options = parser.parse_args()
    items = options.items or (50_000 if options.quick else 1_000_000)
    queries = 40 if options.quick else 200
    print(f"{items:,} items, {queries} queries, {os.cpu_count()} cores", flush=True)
    with Instance() as instance:
        instance.set_up_django()
        figures = measured(instance, items, queries)
    figures |= of_counting(quick=options.quick)
    for name, figure in figures.items():
        if name != "filters":
            print(f"{name:24} {figure}")
    for cell in figures["filters"]:
        print(f"filter {json.dumps(cell)}")
    print(json.dumps(figures))


def measured(instance: Instance, items: int, queries: int) -> dict[str, Any]:
    from django.contrib.auth import get_user_model
    from django.db import connection

    user = get_user_model()._default_manager.first()
    began = time.perf_counter()
    dataset, space, clusters = million.make(items, by=user)
    print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(id) FROM datasets_item WHERE dataset_id = %s", [dataset.pk])
        least = cursor.fetchone()[0]
    figures: dict[str, Any] = {"items": items, "queries": queries, "cores": os.cpu_count()}
    figures |= built(space)
    print(f"index built in {figures['build_s']} s", flush=True)
    asked = clusters.queries(queries)
    chosen = np.random.default_rng(5).integers(0, items, queries)
    truth, scores = brute_force(clusters, asked, chosen)
    figures |= of_postgres(space, asked, truth, least)
    figures |= of_http(instance, dataset, chosen + least)
    warm(dataset, space)
    figures["filters"] = of_filters(dataset, space, chosen, scores, least)
    figures |= of_lists(dataset, user)
    del scores
    figures |= of_faiss(clusters, asked, truth)
    return figures


def built(space: Any) -> dict[str, Any]:
    """By the job, as the product does it."""
    from datasets.models import Job
    from search import indexing

    before = least = psutil.virtual_memory().available
    running = indexing.jobs_of(space).filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).first()
    job = running or indexing.start(space)
    while not job.is_over:
        time.sleep(0.2)
        least = min(least, psutil.virtual_memory().available)
        job.refresh_from_db()
    if job.state != Job.State.SUCCEEDED:
        raise SystemExit(f"The index was not built: {job.message}")
    phase = job.phases.get(name=indexing.PHASE)
    assert phase.updated_at is not None
    assert phase.started_at is not None
    space.refresh_from_db()
    return {
        "build_s": round((phase.updated_at - phase.started_at).total_seconds(), 1),
        "build_mb": (before - least) >> 20,
        "ef_search": space.ef_search,
        "index_recall": space.index_recall,
    }


def brute_force(
    clusters: million.Clusters, asked: Vectors, chosen: npt.NDArray[np.int64]
) -> tuple[list[set[int]], Vectors]:
    """Positions of the best for what is ``asked``; scores of everything for the items that were ``chosen`` as examples."""
    examples = np.empty((len(chosen), clusters.dimension), np.float32)
    for positions, part in clusters.parts():
        inside = np.flatnonzero((chosen >= positions[0]) & (chosen <= positions[-1]))
        examples[inside] = half(part)[chosen[inside] - positions[0]]
    by_asked = np.empty((len(asked), clusters.number), np.float32)
    by_example = np.empty((len(chosen), clusters.number), np.float32)
    for positions, part in clusters.parts():
        stored = half(part)
        by_asked[:, positions] = half(asked) @ stored.T
        by_example[:, positions] = examples @ stored.T
    return [best(row) for row in by_asked], by_example


def half(vectors: Vectors) -> Vectors:
    """As they are stored."""
    return vectors.astype(np.float16).astype(np.float32)


def best(scores: Vectors, number: int = WANTED) -> set[int]:
    return set(np.argpartition(-scores, number)[:number].tolist())


def recall_of(found: Sequence[Sequence[int]], truths: Sequence[set[int]]) -> float:
    hits = sum(len(truth.intersection(one)) for one, truth in zip(found, truths, strict=True))
    return hits / max(1, sum(map(len, truths)))


def timed(act: Callable[[Any], Any], over: Sequence[Any]) -> tuple[list[Any], list[float]]:
    """What ``act`` gives for each, and the milliseconds of each."""
    answers, took = [], []
    for one in over:
        began = time.perf_counter()
        answers.append(act(one))
        took.append((time.perf_counter() - began) * 1000)
    return answers, took


def of_postgres(space: Any, asked: Vectors, truth: list[set[int]], least: int) -> dict[str, Any]:
    from django.db import transaction

    from search import vectors

    def nearest(query: Vectors) -> list[int]:
        with transaction.atomic():
            found = vectors.nearest(space, query, number=WANTED, ef_search=max(space.ef_search, 2 * WANTED))
        return (found.item_ids - least).tolist()

    timed(nearest, list(asked))  # warm
    found, took = timed(nearest, list(asked))
    _, compared = timed(lambda query: vectors.best_of_all(space, query, WANTED), list(asked[:5]))
    return {
        "p50_ms": round(statistics.median(took), 2),
        "recall": round(recall_of(found, truth), 4),
        "exact_ms": round(statistics.median(compared), 1),
    }


def of_http(instance: Instance, dataset: Any, ids: npt.NDArray[np.int64]) -> dict[str, Any]:
    from django.contrib.auth import get_user_model
    from rest_framework.authtoken.models import Token

    token, _ = Token.objects.get_or_create(user=get_user_model()._default_manager.first())
    place = urlsplit(instance.url)
    local = threading.local()

    def search(pk: int) -> int:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
        body = json.dumps({"like": [int(pk)], "limit": WANTED})
        headers = {"Content-Type": "application/json", "Authorization": f"Token {token.key}"}
        local.connection.request("POST", f"/api/v1/datasets/{dataset.pk}/search/", body, headers)
        answer = local.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(content[:500])
        return len(content)

    timed(search, ids.tolist())  # warm
    _, alone = timed(search, ids.tolist())
    with ThreadPoolExecutor(CLIENTS) as clients:
        share = [ids.tolist() * 2 for _ in range(CLIENTS)]
        began = time.perf_counter()
        results = list(clients.map(lambda mine: timed(search, mine)[1], share))
        seconds = time.perf_counter() - began
    together = sorted(ms for result in results for ms in result)
    return {
        "http_p50_ms": round(statistics.median(alone), 2),
        "http_p99_ms": round(together[int(0.99 * len(together))], 1),
        "http_per_s": round(len(together) / seconds, 1),
    }


def warm(dataset: Any, space: Any) -> None:
    """What a server has in memory minutes after its start: the columns of the items and the vectors."""
    from datasets import columns
    from search import indexing, matrix

    columns.of(dataset)
    while indexing.standing(space).rows >= indexing.LEAST_ROWS and matrix.of(space) is None:
        time.sleep(0.5)


def of_filters(
    dataset: Any, space: Any, chosen: npt.NDArray[np.int64], scores: Vectors, least: int
) -> list[dict[str, Any]]:
    from datasets import filters
    from search import answers
    from search import query as queries

    cells = []
    number = min(len(chosen), 30)
    for kind in ("split", "label"):
        for name in million.SHARES:
            said = {kind: name}
            passing = np.zeros(scores.shape[1], bool)
            ids = filters.parse(dataset, said).apply(filters.items_of(dataset)).values_list("pk", flat=True)
            passing[np.fromiter(ids.iterator(), dtype=np.int64) - least] = True
            wanted = min(WANTED, int(passing.sum()))
            truths = [best(np.where(passing, scores[at], -9.0), wanted) if wanted else set() for at in range(number)]

            def search(position: int, said: dict[str, str] = said) -> Any:
                return answers.run(
                    queries.parse(dataset, {"like": [int(position) + least], "filter": said}), limit=WANTED
                )

            timed(search, chosen[:3].tolist())
            given, took = timed(search, chosen[:number].tolist())
            found = [(answer.best.item_ids - least).tolist() for answer in given]
            cells.append(
                {
                    "passes": round(float(passing.mean()), 5),
                    "by": kind,
                    "way": "index" if sum(not answer.is_exact for answer in given) > number / 2 else "exact",
                    "recall": round(recall_of(found, truths), 4),
                    "p50_ms": round(statistics.median(took), 1),
                    "rows_missing": sum(wanted - len(one) for one in found),
                }
            )
    return cells


def of_lists(dataset: Any, user: Any) -> dict[str, Any]:
    from rest_framework import generics, serializers
    from rest_framework.renderers import JSONRenderer
    from rest_framework.test import APIRequestFactory, force_authenticate

    from datasets.api.views.items import ItemsView
    from datasets.models import Annotation, Item

    class LabelSerializer(serializers.ModelSerializer[Any]):
        name = serializers.CharField(source="label.name")
        author = serializers.CharField(source="author.username", default=None)

        class Meta:
            model = Annotation
            fields = ("name", "label_id", "source", "confidence", "author", "created_at")

    class PlainSerializer(serializers.ModelSerializer[Any]):
        labels = LabelSerializer(source="annotations", many=True)

        class Meta:
            model = Item
            fields = (
                "id",
                "key",
                "text",
                "width",
                "height",
                "labels",
                "status",
                "split",
                "tags",
                "metadata",
                "problem",
            )

    page = Item.objects.filter(dataset=dataset, annotations__isnull=False).order_by("pk")[:WANTED]
    ids = ",".join(str(item.pk) for item in page)
    rows = Item.objects.filter(pk__in=[item.pk for item in page]).order_by("pk")

    class Plain(generics.ListAPIView[Any]):
        queryset = rows
        serializer_class = PlainSerializer
        pagination_class = None
        renderer_classes = [JSONRenderer]

    class Prefetched(Plain):
        queryset = rows.prefetch_related("annotations__label", "annotations__author")

    def asking(view: Any, address: str, **where: Any) -> Callable[[Any], int]:
        def ask(_: Any) -> int:
            request = APIRequestFactory().get(address)
            force_authenticate(request, user)
            response = view(request, **where)
            response.render()
            return len(response.content)

        return ask

    times = {}
    for name, ask in (
        ("ours", asking(ItemsView.as_view(), f"/?ids={ids}&limit={WANTED}", pk=dataset.pk)),
        ("plain", asking(Plain.as_view(), "/")),
        ("prefetched", asking(Prefetched.as_view(), "/")),
    ):
        timed(ask, range(3))
        times[name] = statistics.median(timed(ask, range(20))[1])
    return {
        "list_ms": round(times["ours"], 2),
        "list_ratio": round(times["plain"] / times["ours"], 1),
        "list_prefetched_ratio": round(times["prefetched"] / times["ours"], 1),
    }


def of_faiss(clusters: million.Clusters, asked: Vectors, truth: list[set[int]]) -> dict[str, Any]:
    import faiss

    from search import indexing

    stored = np.empty((clusters.number, clusters.dimension), np.float32)
    for positions, part in clusters.parts():
        stored[positions] = half(part)
    _, numpy_ms = timed(lambda query: best(stored @ query), list(asked[:10]))
    flat = faiss.IndexFlatIP(clusters.dimension)
    flat.add(stored)
    _, flat_ms = timed(lambda query: flat.search(query[None], WANTED), list(asked[:10]))
    before = psutil.Process().memory_info().rss
    graph = faiss.IndexHNSWFlat(clusters.dimension, indexing.M, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = indexing.EF_CONSTRUCTION
    began = time.perf_counter()
    graph.add(stored)
    seconds = time.perf_counter() - began
    grown = psutil.Process().memory_info().rss - before
    graph.hnsw.efSearch = 2 * WANTED
    found, graph_ms = timed(lambda query: graph.search(query[None], WANTED)[1][0].tolist(), list(asked))
    return {
        "faiss_build_s": round(seconds, 1),
        "faiss_build_mb": grown >> 20,
        "faiss_p50_ms": round(statistics.median(graph_ms), 2),
        "faiss_recall": round(recall_of(found, truth), 4),
        "flat_p50_ms": round(statistics.median(flat_ms), 1),
        "numpy_p50_ms": round(statistics.median(numpy_ms), 1),
    }


def of_counting(*, quick: bool) -> dict[str, Any]:
    """In a process of its own, with a Kindred of its own."""
    command = [sys.executable, str(Path(__file__).with_name("counting.py")), *(["--quick"] if quick else [])]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(said.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
