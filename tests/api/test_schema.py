"""The OpenAPI document, from which the front end's types are made."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.management import call_command


def test_the_front_end_has_the_schema_that_the_api_has(tmp_path: Path) -> None:
    """When this fails: ``manage.py spectacular --file frontend/schema.yml``, then ``npm run types`` in frontend/."""
    fresh = tmp_path / "schema.yml"
    call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)
    assert (settings.BASE_DIR / "frontend" / "schema.yml").read_text() == fresh.read_text()
