"""A made dataset of any size: items with labels, splits and thumbnails, and clustered unit vectors in one space.

Written in SQL and COPY, as an import of so many would leave it, in a minute for a million.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from datasets.models import Dataset
    from search.models import EmbeddingSpace

Vectors = npt.NDArray[np.float32]

DIMENSION = 512
_PER_CLUSTER = 500
_INNER = 32
_SPREAD = 0.5  # of members around their centre, where centres spread by 1: two of one cluster have a cosine of some .8
_SHAKEN = 0.2
_PART = 20_000
_PICTURES = 500
# Shares of the items that a filter lets pass: by split, whatever their vectors; by class, whole clusters.
SHARES = {"a": 0.0001, "b": 0.001, "c": 0.01, "d": 0.03, "e": 0.1, "f": 0.5}


@dataclass(frozen=True)
class Clusters:
    """Unit vectors in clusters, the same for the same seed.

    As those of real networks, they have many numbers and few directions: they are drawn in 32 dimensions, where clusters have
    others beside them, turned into all of them, and shaken a little. Drawn evenly in 512, every cluster would be alone.
    """

    number: int
    dimension: int = DIMENSION
    seed: int = 0

    @property
    def count(self) -> int:
        return max(20, self.number // _PER_CLUSTER)

    @cached_property
    def _directions(self) -> Vectors:
        """(inner, dimension), orthonormal rows."""
        drawn = np.random.default_rng(self.seed).standard_normal((self.dimension, _INNER))
        return np.linalg.qr(drawn)[0].T.astype(np.float32)

    @cached_property
    def _centres(self) -> Vectors:
        return np.random.default_rng((self.seed, 1)).standard_normal((self.count, _INNER), dtype=np.float32)

    def cluster_of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return positions % self.count

    def parts(self) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """Positions of items, and their vectors."""
        for start in range(0, self.number, _PART):
            positions = np.arange(start, min(start + _PART, self.number))
            yield positions, self._around(self.cluster_of(positions), 4 + start)

    def queries(self, number: int) -> Vectors:
        """From the same clusters, and none of the items."""
        chosen = np.random.default_rng((self.seed, 2)).integers(0, self.count, number)
        return self._around(chosen, 3)

    def _around(self, clusters: npt.NDArray[np.int64], seed: int) -> Vectors:
        random = np.random.default_rng((self.seed, seed))
        inner = self._centres[clusters] + _SPREAD * random.standard_normal((len(clusters), _INNER), dtype=np.float32)
        inner /= np.linalg.norm(inner, axis=1, keepdims=True)
        shaken = random.standard_normal((len(clusters), self.dimension), dtype=np.float32) / np.sqrt(self.dimension)
        vectors: Vectors = inner @ self._directions + _SHAKEN * shaken
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


_ITEMS = """
INSERT INTO datasets_item (dataset_id, key, file, external_path, split, metadata, sha256, size_bytes, status, tags, created_at,
                           content_type, width, height, brightness, contrast, sharpness, colors, problem)
SELECT %(dataset)s, 'item-' || to_char(n, 'FM00000000'), '', '/made/' || n, split, jsonb_build_object('shelf', n %% 97),
       (%(hashes)s::text[])[1 + n %% array_length(%(hashes)s::text[], 1)], 2000,
       CASE WHEN n %% 5 = 0 THEN 'done' ELSE 'todo' END, CASE WHEN n %% 50 = 0 THEN '{checked}'::text[] ELSE '{}' END,
       now() - (n %% 1000) * interval '1 minute', 'image/jpeg', 384, 256, random(), random(), random(),
       '{.1,.1,.1,.1,.1,.1,.1,.1,.1,.05,.05}', ''
  FROM (SELECT n, CASE %(cases)s ELSE 'rest' END AS split
          FROM (SELECT n, abs(hashint8extended(n, 7)) %% 1000000 AS lot FROM generate_series(0, %(number)s - 1) AS n) AS drawn) AS made
 ORDER BY n
"""

_LABELS = """
INSERT INTO datasets_annotation (item_id, label_id, source, author_id, operation_id, created_at)
SELECT item.id, label.id, 'human', %(author)s, %(operation)s, now()
  FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) %% %(clusters)s AS cluster
          FROM datasets_item WHERE dataset_id = %(dataset)s) AS item
  JOIN (SELECT * FROM unnest(%(labels)s::bigint[], %(from)s::int[], %(to)s::int[]) AS label (id, first, last)) AS label
    ON item.cluster BETWEEN label.first AND label.last
"""


def make(number: int, *, by: Any, name: str = "million") -> tuple[Dataset, EmbeddingSpace, Clusters]:
    """The dataset, its space, and its vectors' distribution. Django is set up."""
    from django.db import connection, transaction

    from datasets import classes
    from datasets.models import Dataset, Membership, Operation, Role
    from search import vectors
    from search.models import EmbeddingSpace

    made = Clusters(number)
    hashes = _pictures()
    with transaction.atomic():
        dataset = Dataset.objects.create(name=name, modality="image", encoder="uploaded:made", created_by=by)
        Membership.objects.create(dataset=dataset, user=by, role=Role.MANAGER)
        space = EmbeddingSpace.objects.create(
            dataset=dataset,
            encoder="uploaded:made",
            output="vectors",
            dimension=made.dimension,
            accepts=["image"],
            is_default=True,
            state=EmbeddingSpace.State.READY,
        )
        vectors.create_partition(space)
    bounds = np.cumsum([0, *SHARES.values()]) * 1_000_000
    cases = " ".join(
        f"WHEN lot >= {int(low)} AND lot < {int(high)} THEN '{split}'"
        for split, low, high in zip(SHARES, bounds[:-1], bounds[1:], strict=True)
    )
    operation = Operation.objects.create(dataset=dataset, kind=Operation.Kind.LABEL, author=by)
    labels = classes.ensure_classes(dataset, list(SHARES))
    first = np.cumsum([0, *(max(1, round(share * made.count)) for share in SHARES.values())])
    with connection.cursor() as cursor:
        cursor.execute(_ITEMS.replace("%(cases)s", cases), {"dataset": dataset.pk, "hashes": hashes, "number": number})
        cursor.execute(
            _LABELS,
            {
                "dataset": dataset.pk,
                "author": by.pk,
                "operation": operation.pk,
                "clusters": made.count,
                "labels": [labels[name] for name in SHARES],
                "from": first[:-1].tolist(),
                "to": (first[1:] - 1).tolist(),
            },
        )
        cursor.execute("SELECT min(id) FROM datasets_item WHERE dataset_id = %s", [dataset.pk])
        least = cursor.fetchone()[0]
    for positions, part in made.parts():
        vectors.write(space, (positions + least).tolist(), part)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE datasets_item, datasets_annotation")
    return dataset, space, made


def _pictures() -> list[str]:
    """Thumbnails of made pictures; their hashes."""
    from datasets import media

    hashes = []
    for seed in range(_PICTURES):
        values = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).resize((384, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=80)
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        media.keep_thumbnail(sha256, buffer.getvalue())
        hashes.append(sha256)
    return hashes
