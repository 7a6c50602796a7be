"""Few and plain: people, two datasets, some photos. Alice manages, Bob annotates, Rita reviews, Vera views; Charlie is
a stranger who has a dataset of his own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from PIL import Image
from rest_framework.test import APIClient

from datasets import classes, creation, jobs
from datasets.models import Dataset, Item, LabelClass, Membership, Role
from search import pending

EVAL = Path(__file__).resolve().parents[2] / "shared" / "eval"


def make_user(name: str) -> Any:
    return get_user_model()._default_manager.create_user(name, password=f"{name}-password")


@pytest.fixture
def alice(db: None) -> Any:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> Any:
    return make_user("bob")


@pytest.fixture
def rita(db: None) -> Any:
    return make_user("rita")


@pytest.fixture
def vera(db: None) -> Any:
    return make_user("vera")


@pytest.fixture
def charlie(db: None) -> Any:
    return make_user("charlie")


@pytest.fixture
def dataset(alice: Any, bob: Any, rita: Any, vera: Any) -> Dataset:
    """An empty single-label dataset of images."""
    return with_members(creation.create_dataset(name="signs", modality="image", by=alice), bob, rita, vera)


@pytest.fixture
def multi(alice: Any, bob: Any, rita: Any, vera: Any) -> Dataset:
    """An empty multi-label dataset of texts."""
    made = creation.create_dataset(name="questions", modality="text", by=alice, multi_label=True)
    return with_members(made, bob, rita, vera)


def with_members(dataset: Dataset, bob: Any, rita: Any, vera: Any) -> Dataset:
    for user, role in ((bob, Role.ANNOTATOR), (rita, Role.REVIEWER), (vera, Role.VIEWER)):
        Membership.objects.create(dataset=dataset, user=user, role=role)
    return dataset


@pytest.fixture
def foreign(charlie: Any) -> Dataset:
    """Charlie's dataset, which nobody else may see."""
    return creation.create_dataset(name="secret", modality="image", by=charlie)


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that an earlier test has started hears of nothing: what this test commits, it does itself."""
    monkeypatch.setattr(jobs, "_send", lambda job_id: None)
    monkeypatch.setattr(pending, "send", lambda dataset_id: None)


def add_items(dataset: Dataset, number: int, **fields: Any) -> list[Item]:
    """Items as an import leaves them, without files behind them."""
    content = {"text": "a text"} if dataset.modality == "text" else {"external_path": "/nowhere.jpg"}
    start = dataset.items.count()
    return Item.objects.bulk_create(
        Item(dataset=dataset, key=f"item-{start + i:04}", sha256=f"{start + i:064x}", **content, **fields)
        for i in range(number)
    )


def add_class(dataset: Dataset, name: str) -> LabelClass:
    return classes.create_class(dataset, name)


def labels_of(dataset: Dataset) -> dict[int, set[str]]:
    """What holds now: item id → names of its labels."""
    found: dict[int, set[str]] = {pk: set() for pk in dataset.items.values_list("pk", flat=True)}
    standing = Item.objects.filter(dataset=dataset, annotations__retracted_by=None, annotations__isnull=False)
    for pk, name in standing.values_list("pk", "annotations__label__name"):
        found[pk].add(name)
    return found


@pytest.fixture
def client_of() -> Callable[[Any], APIClient]:
    def signed_in(user: Any) -> APIClient:
        client = APIClient()
        client.force_authenticate(user)
        return client

    return signed_in


def jpeg(seed: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    """A small colourful picture that no other seed gives."""
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def photos() -> list[Path]:
    """Real photographs: 60 of `photos12`, five of each class."""
    folder = EVAL / "photos12" / "images"
    if not folder.is_dir():
        pytest.skip(f"the evaluation photos are not at {folder}")
    by_class: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        by_class.setdefault(path.name.split("_image_")[0], []).append(path)
    return [path for paths in by_class.values() for path in paths[:5]]
