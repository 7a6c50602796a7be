"""The label classes of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from .errors import Conflict, Refused
from .models import CLASS_COLORS, Annotation, Dataset, LabelClass

_DIGITS = "123456789"


class ClassInUse(Conflict):
    """Annotations refer to the class."""


class NameTaken(Conflict):
    """Another class of the dataset has that name or shortcut."""


@transaction.atomic
def create_class(
    dataset: Dataset, name: str, *, color: str = "", shortcut: str | None = None, prompts: list[str] | None = None
) -> LabelClass:
    """A new class. Without a colour it gets the next of the palette, without a shortcut the first free digit.

    Raises ``NameTaken`` and ``Refused``.
    """
    name = name.strip()
    if not name:
        raise Refused("A class needs a name.")
    _lock(dataset)
    existing = list(LabelClass.objects.filter(dataset=dataset))
    _check_free(existing, name=name, shortcut=shortcut or "")
    return LabelClass.objects.create(
        dataset=dataset,
        name=name,
        color=color or CLASS_COLORS[len(existing) % len(CLASS_COLORS)],
        shortcut=_free_digit(existing) if shortcut is None else shortcut,
        prompts=prompts or [],
        position=1 + max((c.position for c in existing), default=-1),
    )


def ensure_classes(dataset: Dataset, names: Iterable[str]) -> dict[str, int]:
    """The ids of the classes called ``names``; those that are missing are made."""
    wanted = list(dict.fromkeys(names))
    known = dict(LabelClass.objects.filter(dataset=dataset, name__in=wanted).values_list("name", "pk"))
    if missing := [name for name in wanted if name not in known]:
        with transaction.atomic():
            _lock(dataset)
            existing = list(LabelClass.objects.filter(dataset=dataset))
            position = 1 + (LabelClass.objects.filter(dataset=dataset).aggregate(m=Max("position"))["m"] or 0)
            for name in missing:
                found = next((c for c in existing if c.name == name), None)
                if found is None:
                    found = LabelClass.objects.create(
                        dataset=dataset,
                        name=name,
                        color=CLASS_COLORS[len(existing) % len(CLASS_COLORS)],
                        shortcut=_free_digit(existing),
                        position=position,
                    )
                    position += 1
                    existing.append(found)
                known[name] = found.pk
    return known


@transaction.atomic
def change_class(label: LabelClass, **changes: Any) -> LabelClass:
    """Rename, recolour, … Annotations follow, since they refer to the class. Raises ``NameTaken``."""
    _lock(label.dataset)
    others = list(LabelClass.objects.filter(dataset=label.dataset).exclude(pk=label.pk))
    if "name" in changes:
        changes["name"] = changes["name"].strip()
        if not changes["name"]:
            raise Refused("A class needs a name.")
    _check_free(others, name=changes.get("name", label.name), shortcut=changes.get("shortcut", label.shortcut))
    for field, value in changes.items():
        setattr(label, field, value)
    label.save(update_fields=list(changes))
    return label


def delete_class(label: LabelClass) -> None:
    """Delete a class that was never used. Raises ``ClassInUse``: history that refers to it cannot be told without it."""
    try:
        with transaction.atomic():
            if Annotation.objects.filter(label=label).exists():
                raise ClassInUse(
                    f"“{label.name}” has been given to items and stays in their history. Remove its labels and rename it, "
                    "or leave it unused."
                )
            label.delete()
    except IntegrityError as error:
        raise ClassInUse(f"“{label.name}” was given to an item this very moment. Reload and look again.") from error


def _lock(dataset: Dataset) -> None:
    """One at a time gives out names, shortcuts and positions in a dataset."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)


def _check_free(classes: Iterable[LabelClass], *, name: str, shortcut: str) -> None:
    for one in classes:
        if one.name == name:
            raise NameTaken(f"There is a class “{name}” already.")
        if shortcut and one.shortcut == shortcut:
            raise NameTaken(f"The key {shortcut} already labels “{one.name}”. Choose another.")


def _free_digit(classes: Iterable[LabelClass]) -> str:
    taken = {c.shortcut for c in classes}
    return next((digit for digit in _DIGITS if digit not in taken), "")
