"""A whole Kindred of its own for a benchmark: started as `make run` does it, used through its HTTP API as a person would."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
_START_S = 120.0
_JOB_S = 300.0
_STOP_S = 40.0
_PR_SET_PDEATHSIG = 1
# Settings of whoever runs the benchmark: with them it would measure, or read, another installation.
_NOT_OURS = (
    *("DATABASE_URL", "REDIS_URL", "MEDIA_STORAGE_URL", "IMPORT_ROOTS", "ENCODERS_DIR", "SECRET_KEY", "LOGIN_TOKEN"),
    *("DEBUG", "HTTPS", "ALLOWED_HOSTS", "LOG_LEVEL", "DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD"),
)


class Instance:
    """`manage.py up` on a fresh data directory, without the demo. Ends, and its data with it, when the block does."""

    def __init__(self, **settings: str) -> None:
        """``settings``: of its environment, beside the usual ones."""
        self.data_dir = Path(tempfile.mkdtemp(prefix="kindred-bench-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = self.data_dir.with_suffix(".log")
        self._environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        self._environment |= {"DATA_DIR": str(self.data_dir), "PORT": str(port), "DEMO": "0", **settings}
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def __enter__(self) -> Self:
        # Asked to end, the benchmark leaves through `__exit__`.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with self._log.open("wb") as log:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        try:
            link = self.wait(lambda: re.search(r"http://\S+/login/\S+/", self._log.read_text()), "ready", _START_S)
            self.get(link.group(0).removeprefix(self.url))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # What it has started follows it, and ends by itself.
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def set_up_django(self) -> None:
        """Let this process read the instance's database and load its encoders."""
        import django

        os.environ.clear()
        os.environ.update(self._environment | {"DJANGO_SETTINGS_MODULE": "curation.settings"})
        django.setup()

    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started

    def wait(self, probe: Callable[[], T | None], until: str, timeout_s: float = _JOB_S) -> T:
        """What ``probe`` says as soon as that is something true."""
        end = time.monotonic() + timeout_s
        while True:
            if found := probe():
                return found
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"It was not {until} in time. It said:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.05)

    def cookies(self) -> list[tuple[str, str]]:
        """Names and values: of the first admin's session, for a browser of its own."""
        return [(cookie.name, cookie.value or "") for cookie in self._cookies]

    def get(self, path: str) -> bytes:
        return self._ask(urllib.request.Request(self.url + path))

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self._send(path, json.dumps(body).encode(), "application/json"))

    def post_raw(self, path: str, body: dict[str, Any]) -> bytes:
        """For an answer that is no JSON."""
        return self._send(path, json.dumps(body).encode(), "application/json")

    def upload(self, path: str, name: str, content: bytes) -> Any:
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        whole = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return json.loads(self._send(path, whole, f"multipart/form-data; boundary={boundary}"))

    def _send(self, path: str, content: bytes, content_type: str) -> bytes:
        token = next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), None) or ""
        headers = {"Content-Type": content_type, "X-CSRFToken": token, "Referer": self.url}
        return self._ask(urllib.request.Request(self.url + path, content, headers))

    def _ask(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=120) as response:
                found: bytes = response.read()
                return found
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{request.full_url}: {error.code} {error.read().decode(errors='replace')}") from error


def _end_with_parent() -> None:
    """On Linux the kernel interrupts it, so that it stops in order, even when the benchmark is killed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
