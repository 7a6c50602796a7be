"""What the environment says, turned into settings. Each function refuses with one sentence."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def secret_key(given: str, *, data_dir: Path, is_embedded: bool, debug: bool) -> str:
    """``SECRET_KEY``; with the embedded servers, one kept in the data directory, which is as private as they are."""
    if given:
        return given
    if is_embedded:
        return _kept_secret(data_dir / "secret_key")
    if debug:
        return "insecure: DEBUG is on"
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it to a long random text that stays the same (python -c "
        "'import secrets; print(secrets.token_urlsafe(50))'), or leave DATABASE_URL unset to run the embedded servers."
    )


def media_storage(url: str) -> dict[str, Any]:
    """Django's ``STORAGES["default"]`` for ``MEDIA_STORAGE_URL``."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        folder = Path(unquote(parts.path))
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}
    if parts.scheme == "s3":
        raise ImproperlyConfigured(
            "MEDIA_STORAGE_URL: this release keeps files on disk only. Use file:///a/folder instead of s3://."
        )
    raise ImproperlyConfigured(f"MEDIA_STORAGE_URL: {url!r} is not the address of a folder. Write file:///a/folder.")


def import_roots(given: str) -> list[Path]:
    """Folders that a server path may be imported from, separated as in PATH or by commas, links resolved."""
    roots = [Path(part.strip()) for part in given.replace(os.pathsep, ",").split(",") if part.strip()]
    for root in roots:
        if not root.is_absolute():
            raise ImproperlyConfigured(f"IMPORT_ROOTS: {str(root)!r} is not an absolute path.")
    return [root.resolve() for root in roots]


def broker_url(redis_url: str) -> str:
    """Celery's way of writing a Redis URL: it has its own word for one on a Unix socket."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parts.query.removeprefix("db=") or "0"
    return f"redis+socket://{parts.path}?virtual_host={database}"


def _kept_secret(path: Path) -> str:
    while True:
        try:
            if kept := path.read_text().strip():
                return kept
            path.unlink()
        except FileNotFoundError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written whole under another name and linked: of two processes that start together, both read one key.
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(fresh, path)
        except FileExistsError:
            continue
        finally:
            fresh.unlink()


def encoder_runtime(given: str) -> str:
    """``ENCODER_RUNTIME``: what runs the encoders, or ``""`` for the fastest here."""
    if given not in ("", "cuda", "openvino", "torch"):
        raise ImproperlyConfigured(
            f"ENCODER_RUNTIME: {given!r} is unknown. Use cuda, openvino or torch, or leave it out."
        )
    return given
