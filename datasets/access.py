"""Who may do what: every way to an object of a dataset goes through here.

What a person is no member of does not exist for them (``Missing``, 404); what their role does not allow is
``Forbidden`` (403).
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from .errors import Forbidden, Missing
from .models import Dataset, Item, Membership, Region, Role

M = TypeVar("M", bound=Model)

_GREATEST_ID = 2**63 - 1  # more than the database could hold


def dataset_for(user: Any, dataset_id: int, role: Role = Role.VIEWER) -> Dataset:
    """The dataset, when ``user`` has at least ``role`` in it. One query."""
    if dataset_id > _GREATEST_ID:
        raise Missing("There is no such dataset.")
    found = list(Dataset.objects.raw(_DATASET, [user.pk, dataset_id]))
    if not found:
        raise Missing(f"There is no dataset {dataset_id} that you are a member of.")
    dataset = found[0]
    require(Membership(dataset=dataset, user_id=user.pk, role=dataset.role), role)  # type: ignore[attr-defined]
    return dataset


# As a whole statement: nearly every request begins with it, and to build it of objects takes longer than to answer it.
_DATASET = """
SELECT dataset.*, membership.role
  FROM datasets_membership AS membership JOIN datasets_dataset AS dataset ON dataset.id = dataset_id
 WHERE membership.user_id = %s AND dataset_id = %s AND deleted_at IS NULL
"""


def picture_for(user: Any, item_id: int) -> Item:
    """An item of a dataset that ``user`` is a member of, with what its pictures are found by. One query: a page of the grid asks a
    hundred times at once."""
    found = list(Item.objects.raw(_PICTURE, [user.pk, item_id])) if item_id <= _GREATEST_ID else []
    if not found:
        raise Missing(f"There is no item {item_id} in a dataset that you are a member of.")
    return found[0]


_PICTURE = """
SELECT item.id, key, sha256, problem
  FROM datasets_item AS item JOIN datasets_dataset AS dataset ON dataset.id = item.dataset_id
  JOIN datasets_membership AS membership ON membership.dataset_id = dataset.id
 WHERE membership.user_id = %s AND item.id = %s AND deleted_at IS NULL
"""


def object_for(user: Any, queryset: QuerySet[M], pk: int, role: Role = Role.VIEWER) -> M:
    """The row ``pk`` of a model with a ``dataset`` field, when ``user`` has at least ``role`` in that dataset."""
    if pk > _GREATEST_ID:
        raise Missing(f"There is no such {queryset.model._meta.verbose_name}.")
    found = queryset.select_related("dataset").filter(pk=pk, dataset__deleted_at=None).first()
    if found is not None:
        dataset = found.dataset  # type: ignore[attr-defined]
        membership = Membership.objects.filter(user=user, dataset=dataset).first()
        if membership is not None:
            membership.dataset = dataset
            require(membership, role)
            return found
    noun = queryset.model._meta.verbose_name
    raise Missing(f"There is no {noun} {pk} in a dataset that you are a member of.")


def region_for(user: Any, pk: int, role: Role = Role.VIEWER) -> Region:
    """The region, when nobody has removed it and ``user`` has at least ``role`` in its dataset."""
    missing = Missing(f"There is no region {pk} in a dataset that you are a member of.")
    if pk > _GREATEST_ID:
        raise missing
    region = Region.objects.standing().select_related("item__dataset").filter(pk=pk).first()
    if region is None:
        raise missing
    try:
        dataset_for(user, region.item.dataset_id, role)
    except Missing as error:
        raise missing from error
    return region


def require(membership: Membership, role: Role) -> None:
    if membership.role < role:
        raise Forbidden(
            f"This needs the role {role.label} or above in “{membership.dataset.name}”; you are "
            f"{membership.get_role_display()}. Ask one of its managers."
        )
