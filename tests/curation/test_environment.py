from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from curation import environment


def test_without_a_secret_key_and_with_outside_servers_it_refuses_to_start(tmp_path: Path) -> None:
    outside = {"DATABASE_URL": "postgres://somewhere/kindred", "REDIS_URL": "redis://somewhere"}
    started = _manage("check", DATA_DIR=str(tmp_path), **outside)
    assert started.returncode != 0
    assert "SECRET_KEY is not set" in started.stderr
    assert _manage("check", DATA_DIR=str(tmp_path), SECRET_KEY="x" * 50, **outside).returncode == 0


def test_debug_is_off_unless_asked_for(tmp_path: Path) -> None:
    shown = _manage(
        "shell", "-v0", "-c", "from django.conf import settings; print(settings.DEBUG)", DATA_DIR=str(tmp_path)
    )
    assert shown.stdout.strip() == "False"


def test_the_embedded_servers_come_with_a_secret_key_that_stays(tmp_path: Path) -> None:
    first = environment.secret_key("", data_dir=tmp_path, is_embedded=True, debug=False)
    assert len(first) > 50
    assert environment.secret_key("", data_dir=tmp_path, is_embedded=True, debug=False) == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_an_emptied_secret_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    assert environment.secret_key("", data_dir=tmp_path, is_embedded=True, debug=False)


def test_a_given_secret_key_wins(tmp_path: Path) -> None:
    assert environment.secret_key("given", data_dir=tmp_path, is_embedded=True, debug=False) == "given"
    assert not list(tmp_path.iterdir())


def test_media_are_kept_in_a_folder() -> None:
    storage = environment.media_storage("file:///srv/my%20media")
    assert storage["OPTIONS"] == {"location": "/srv/my media"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://bucket/folder", "files on disk only"),
        ("/srv/media", "not the address of a folder"),
        ("file:relative", "not the address of a folder"),
        ("file://elsewhere/srv", "not the address of a folder"),
    ],
)
def test_other_media_storages_are_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        environment.media_storage(url)


def test_import_roots_are_separated_by_commas_or_as_in_path(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/usr")
    assert environment.import_roots(f"/srv/a, /srv/b{os.pathsep}{link}") == [
        Path("/srv/a"),
        Path("/srv/b"),
        Path("/usr"),
    ]
    assert environment.import_roots("") == []


def test_a_relative_import_root_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="'photos' is not an absolute path"):
        environment.import_roots("/srv,photos")


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("unix:///run/valkey.sock?db=3", "redis+socket:///run/valkey.sock?virtual_host=3"),
        ("unix:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=0"),
    ],
)
def test_celery_reads_the_redis_url(url: str, broker: str) -> None:
    assert environment.broker_url(url) == broker


def _manage(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=settings.BASE_DIR,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
