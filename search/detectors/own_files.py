"""What people put into ``ENCODERS_DIR`` themselves."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from .base import DetectorUnavailable


def folder() -> Path:
    return Path(settings.ENCODERS_DIR).resolve()


def inside(relative: str) -> Path:
    """The path under ``ENCODERS_DIR``, there or not, links followed. Raises ``DetectorUnavailable`` for one outside."""
    root = folder()
    try:
        path = (root / relative).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a zero byte
        raise DetectorUnavailable(
            f"“{relative}” is no path that can be followed. Name a file or folder under {root}."
        ) from error
    if path == root or not path.is_relative_to(root):
        raise DetectorUnavailable(f"“{relative}” leads out of {root}. Put the file there and name it relative to that.")
    return path
