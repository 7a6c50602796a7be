"""Searches that are kept under a name, for everybody in their dataset."""

from __future__ import annotations

import math
from typing import Any

from django.db import transaction

from . import selection
from .errors import Conflict, Forbidden, Refused
from .models import Dataset, Membership, Role, SavedSearch

MOST = 500  # of one dataset: more is no list that anybody reads


class NameTaken(Conflict):
    """Another saved search of the dataset has that name."""


@transaction.atomic
def save(dataset: Dataset, *, name: str, query: dict[str, Any], min_score: float | None = None, by: Any) -> SavedSearch:
    """Keep a search. It is run once, so that nothing is kept that cannot be. Raises ``NameTaken``, ``Refused``, and what a
    selection raises."""
    _lock(dataset)
    if dataset.saved_searches.count() >= MOST:
        raise Refused(f"“{dataset.name}” has {MOST} saved searches. Delete one that nobody needs first.")
    return _checked(SavedSearch(dataset=dataset, name=name, query=query, min_score=min_score, author=by))


@transaction.atomic
def change(saved: SavedSearch, *, by: Any, **changes: Any) -> SavedSearch:
    """Give it another ``name``, ``query`` or ``min_score``. Raises as ``save`` does, and ``Forbidden``."""
    require_owner(saved, by)
    _lock(saved.dataset)
    for field, value in changes.items():
        setattr(saved, field, value)
    return _checked(saved, runs=bool({"query", "min_score"} & set(changes)))


def delete(saved: SavedSearch, *, by: Any) -> None:
    """Raises ``Forbidden``."""
    require_owner(saved, by)
    saved.delete()


def require_owner(saved: SavedSearch, user: Any) -> None:
    """Who saved it and the managers may change it. Raises ``Forbidden``."""
    if saved.author_id == user.pk:
        return
    if not Membership.objects.filter(dataset=saved.dataset_id, user=user, role__gte=Role.MANAGER).exists():
        raise Forbidden(
            f"“{saved.name}” can be changed by who saved it and by the managers. Save yours under another name."
        )


def _checked(saved: SavedSearch, *, runs: bool = True) -> SavedSearch:
    saved.name = saved.name.strip()
    if not saved.name or "\x00" in saved.name:
        raise Refused("A saved search needs a name.")
    if saved.min_score is not None and not math.isfinite(saved.min_score):
        raise Refused(f"min_score is a number, not {saved.min_score}.")
    others = SavedSearch.objects.filter(dataset=saved.dataset).exclude(pk=saved.pk)
    if others.filter(name=saved.name).exists():
        raise NameTaken(f"“{saved.dataset.name}” has a saved search “{saved.name}” already. Choose another name.")
    if runs:
        if saved.selection == {"filter": {}}:
            raise Refused("There is nothing to save: search for something, or filter, first.")
        selection.parse(saved.dataset, saved.selection)
    saved.save()
    return saved


def _lock(dataset: Dataset) -> None:
    """Two people who save under one name at once: the second is told, not failed."""
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
