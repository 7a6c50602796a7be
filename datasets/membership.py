"""Who is a member of a dataset. It always keeps at least one manager."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from .errors import Conflict, Missing, Refused
from .models import Dataset, Membership, Role


class LastManager(Conflict):
    """Without this member nobody could manage the dataset."""


def add_member(dataset: Dataset, *, username: str, role: Role) -> Membership:
    """Raises ``Refused`` for an unknown user, ``Conflict`` for one who is a member already."""
    user = get_user_model()._default_manager.filter(username=username, is_active=True).first()
    if user is None:
        raise Refused(f"There is no user “{username}”. An admin can add one.")
    try:
        with transaction.atomic():
            return Membership.objects.create(dataset=dataset, user=user, role=role)
    except IntegrityError as error:
        raise Conflict(f"“{username}” is a member already. Change the role instead.") from error


@transaction.atomic
def change_role(member: Membership, role: Role) -> Membership:
    if role < Role.MANAGER:
        _keep_a_manager(member)
    member.role = role
    member.save(update_fields=["role"])
    return member


@transaction.atomic
def remove_member(member: Membership) -> None:
    _keep_a_manager(member)
    member.delete()


def deleted_dataset_for(user: Any, dataset_id: int) -> Dataset:
    """A deleted dataset that ``user`` manages and that has not been freed yet. Raises ``Missing``."""
    member = (
        Membership.objects.select_related("dataset")
        .filter(user=user, dataset_id=dataset_id, dataset__deleted_at__isnull=False, role__gte=Role.MANAGER)
        .first()
    )
    if member is None:
        raise Missing(f"There is no deleted dataset {dataset_id} that you could bring back.")
    return member.dataset


def _keep_a_manager(member: Membership) -> None:
    managers = Membership.objects.select_for_update().filter(dataset=member.dataset, role=Role.MANAGER)
    if member.role == Role.MANAGER and len(managers) == 1:
        raise LastManager("A dataset needs a manager, and this is the last one. Make somebody else a manager first.")
