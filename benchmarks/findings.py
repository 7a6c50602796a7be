"""How well are planted mistakes found, and what does it cost beside the bare graph?

    python benchmarks/findings.py [--quick]

Quality: the evaluation photos and texts, as our starter encoders see them, 5 % of the labels replaced at random (three seeds): average
precision of the ranking by our own probabilities; and 30 photos of none of the classes among the others: AUROC of how far they are from
everything. Time: graph, label errors and outliers of the classes of clustered vectors by what a job calls (linking duplicates is not in
it), beside the same index built and asked alone. Figures of cleanlab on the same vectors stand beside them where it is installed, else null.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
EVAL = ROOT.parent / "shared" / "eval"

FLIPPED, SEEDS = 0.05, (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer texts, one seed, fewer vectors")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="kindred-bench-") as folder:
        os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "curation.settings", "SECRET_KEY": "benchmark"}
        os.environ |= {"DATABASE_URL": "postgres://unused/unused", "REDIS_URL": "redis://unused"}
        import django

        django.setup()
        figures = measure(quick)
    print(json.dumps(figures))


def measure(quick: bool) -> dict[str, Any]:
    seeds = SEEDS[:1] if quick else SEEDS
    figures: dict[str, Any] = {"quick": quick, "seeds": len(seeds)}
    if (EVAL / "photos12").is_dir():
        photos, member, background = photo_vectors()
        figures |= of_labels("photos", photos, member, seeds)
        figures |= of_outliers(np.concatenate([photos, background]), len(photos))
    if (EVAL / "banking77").is_dir():
        texts, member = text_vectors(1_500 if quick else 5_000)
        figures |= {"texts": len(texts)} | of_labels("texts", texts, member, seeds)
    return figures | of_time(20_000 if quick else 100_000)


# Quality -------------------------------------------------------------------------------------------------------------


def of_labels(what: str, vectors: Any, member: Any, seeds: tuple[int, ...]) -> dict[str, Any]:
    from search import probe

    ours, theirs = [], []
    classes = int(member.max()) + 1
    for seed in seeds:
        random = np.random.default_rng(seed)
        wrong = random.random(len(member)) < FLIPPED
        given = np.where(wrong, (member + random.integers(1, classes, len(member))) % classes, member)
        probabilities = probe.out_of_sample(vectors, given, classes)
        ours.append(average_precision_score(wrong, 1 - probabilities[np.arange(len(given)), given]))
        theirs.append(cleanlab_ap(wrong, given, vectors))
    known = [one for one in theirs if one is not None]
    return {
        f"label_ap_{what}": round(statistics.mean(ours), 4),
        f"label_ap_{what}_cleanlab": round(statistics.mean(known), 4) if known else None,
    }


def cleanlab_ap(wrong: Any, given: Any, vectors: Any) -> float | None:
    """With the out-of-sample probabilities that its manual recommends: scikit-learn's logistic regression in five folds."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    probabilities = cross_val_predict(LogisticRegression(max_iter=1000), vectors, given, cv=5, method="predict_proba")
    return float(average_precision_score(wrong, 1 - get_label_quality_scores(given, probabilities)))


def of_outliers(vectors: Any, inside: int) -> dict[str, Any]:
    from search import graph

    number = len(vectors)
    found = graph.build(graph.Rows(np.arange(number), np.zeros(number, dtype=np.int64), vectors))
    is_outlier = np.arange(number) >= inside
    ours = roc_auc_score(is_outlier, -found.scores[:, :20].mean(axis=1))
    theirs = None
    try:
        from cleanlab.outlier import OutOfDistribution

        theirs = float(roc_auc_score(is_outlier, -OutOfDistribution().fit_score(features=vectors, verbose=False)))
    except ImportError:
        pass
    return {"outlier_auroc": round(float(ours), 4), "outlier_auroc_cleanlab": theirs and round(theirs, 4)}


def photo_vectors() -> tuple[Any, Any, Any]:
    from search import encoders

    encoder = encoders.get(encoders.default_for("image"))
    folder = EVAL / "photos12"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))

    def vectors(paths: list[Path]) -> Any:
        inputs = [encoder.preprocess(Image.open(path).convert("RGB")) for path in paths]
        parts = [
            next(iter(encoder.encode_batch(inputs[at : at + encoder.batch_size]).values()))
            for at in range(0, len(inputs), encoder.batch_size)
        ]
        return np.concatenate(parts).astype(np.float32)

    names = sorted({row["label"] for row in rows})
    member = np.array([names.index(row["label"]) for row in rows])
    return (
        vectors([folder / "images" / row["filename"] for row in rows]),
        member,
        vectors(sorted((folder / "background").iterdir())),
    )


def text_vectors(number: int) -> tuple[Any, Any]:
    from search import encoders

    with (EVAL / "banking77" / "texts.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = [rows[at] for at in np.sort(np.random.default_rng(0).choice(len(rows), number, replace=False))]
    names = sorted({row["label"] for row in chosen})
    encoder = encoders.get(encoders.default_for("text"))
    vectors = next(iter(encoder.encode_texts([row["text"] for row in chosen]).values()))
    return vectors.astype(np.float32), np.array([names.index(row["label"]) for row in chosen])


# Time ----------------------------------------------------------------------------------------------------------------


def of_time(number: int, dimension: int = 512, classes: int = 20) -> dict[str, Any]:
    """In clusters, twenty of which are a class."""
    from search import graph, probe
    from search.findings import label_error, outlier

    random = np.random.default_rng(0)
    centers = random.normal(size=(20 * classes, dimension)).astype(np.float32)
    cluster = random.integers(0, len(centers), number)
    vectors = centers[cluster] + 1.2 * random.normal(size=(number, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    member = cluster % classes
    began = time.perf_counter()
    index = graph._index(vectors)
    index.search(vectors, graph.NEIGHBOURS + 1)
    bare = time.perf_counter() - began
    began = time.perf_counter()
    graph.build(graph.Rows(np.arange(number), np.zeros(number, dtype=np.int64), vectors))
    built = time.perf_counter() - began
    probabilities = probe.out_of_sample(vectors, member, classes)
    label_error.believed_of(probabilities, member)
    judged = time.perf_counter() - began
    for one in range(classes):
        outlier.class_nearness(vectors[member == one])
    ours = time.perf_counter() - began
    return {
        "vectors": number,
        "graph_s": round(built, 1),
        "labels_s": round(judged - built, 1),
        "class_outliers_s": round(ours - judged, 1),
        "graph_ratio": round(ours / bare, 3),
        "datalab_ratio": None,  # not measured yet
    }


if __name__ == "__main__":
    main()
