"""What a new installation needs before anybody can use it. All of it can be done again without harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from datasets.models import Dataset

# Any number that no other use of advisory locks in this database has.
_MIGRATING = 0x6B696E64


@dataclass(frozen=True)
class Prepared:
    admin: User
    is_admin_new: bool
    wants_demo: bool


def prepare() -> Prepared:
    """Migrate, create the first admin, and ask a worker for the demo datasets of a new installation."""
    migrate()
    admin, is_new = ensure_admin()
    wants_demo = settings.DEMO and not _demo_marker().exists() and not Dataset.objects.exists()
    if wants_demo:
        from .tasks import create_demo

        create_demo.delay(admin.pk)
        _demo_marker().touch()
    return Prepared(admin, is_new, wants_demo)


def migrate() -> None:
    """One at a time, however many machines start at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATING])
    try:
        call_command("migrate", interactive=False, verbosity=0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATING])


def first_admin() -> User | None:
    return User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()


def ensure_admin() -> tuple[User, bool]:
    """The first admin, and whether it was made now: without a password when none is given, so that only the
    printed link (or `manage.py changepassword`) opens the account."""
    if admin := first_admin():
        return admin, False
    admin = User.objects.create_superuser(settings.SUPERUSER_USERNAME, password=settings.SUPERUSER_PASSWORD or None)
    return admin, True


def _demo_marker() -> Path:
    """Says that this installation has had its demo: who deleted it does not get it back."""
    return Path(settings.DATA_DIR) / "demo_created"
