"""``manage.py up``: one link, everything ends with Ctrl-C, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import psutil
import pytest
from django.conf import settings

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def up(data_dir: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    environment = inherited | {
        "DATA_DIR": str(data_dir), "PORT": str(port), "DEMO": "0", "DJANGO_SETTINGS_MODULE": "curation.settings",
    }  # fmt: skip
    log = data_dir.parent / f"up-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=settings.BASE_DIR, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def link_of(process: subprocess.Popen[str], log: Path) -> str:
    end = time.monotonic() + 90
    while not (found := re.findall(r"http://\S+", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    assert len(found) == 1
    return str(found[0])


def end(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Ctrl-C; the processes that it had, none of which should be left."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(40)
    return psutil.wait_procs(family, timeout=10)[1]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not below pytest's own folder: the embedded Postgres may run as another user, who could not get there.
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="kindred-up-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def test_start_sign_in_stop_and_start_again(data_dir: Path) -> None:
    port = free_port()
    cookies = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))

    def ask(path: str, body: bytes | None = None) -> str:
        token = next((cookie.value or "" for cookie in cookies if cookie.name == "csrftoken"), "")
        headers = {"Content-Type": "application/json", "X-CSRFToken": token}
        with opener.open(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers), timeout=20) as answer:
            return str(answer.read().decode())

    with up(data_dir, port) as (process, log):
        link = link_of(process, log)
        assert f":{port}/login/" in link
        opener.open(link, timeout=20).close()
        assert '"username":"admin"' in ask("/api/v1/auth/me/")
        ask("/api/v1/datasets/", b'{"name": "kept", "modality": "text"}')
        assert end(process) == []
        assert process.returncode == 0
        assert "Stopped. Everything is kept." in log.read_text()

    with up(data_dir, port) as (process, log):
        second = link_of(process, log)
        assert second != link
        opener.open(second, timeout=20).close()
        assert '"name":"kept"' in ask("/api/v1/datasets/")
        with up(data_dir, free_port()) as (other, said):
            assert other.wait(30) != 0
            assert "is in use by another Kindred" in said.read_text()
        assert end(process) == []


def test_a_port_in_use_gets_one_sentence(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with up(data_dir, taken.getsockname()[1]) as (process, log):
            assert process.wait(30) != 0
            said = log.read_text()
    assert "cannot be used" in said
    assert "Traceback" not in said
