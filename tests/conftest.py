"""One real Postgres and one real Valkey for the whole run, in a temporary data directory; a real worker and a real web
server for the tests that ask for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

# Where the servers listen follows from DATA_DIR, so it must be known before the settings are read, and nothing has to
# run yet. The processes of pytest-xdist inherit it.
_IS_MAIN = "PYTEST_XDIST_WORKER" not in os.environ
if _IS_MAIN:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="kindred-test-")
    os.environ["DEMO"] = "0"
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

from curation import embedded  # noqa: E402
from curation.embedded import valkey  # noqa: E402

_DATA_DIR = Path(os.environ["DATA_DIR"])
if not _IS_MAIN and not os.environ.get("REDIS_URL"):
    # A queue of its own, as it has a database of its own.
    number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) + 1
    os.environ["REDIS_URL"] = valkey.url(_DATA_DIR, database=number)

import django  # noqa: E402

django.setup()

from tests.processes import WebServer, Worker  # noqa: E402

pytest_plugins = ["tests.fixtures"]

_servers = embedded.Servers([])


def pytest_configure(config: pytest.Config) -> None:
    if _IS_MAIN and not config.option.collectonly:
        _servers.running = embedded.start(
            _DATA_DIR, database=not os.environ.get("DATABASE_URL"), broker=not os.environ.get("REDIS_URL")
        ).running
        if not os.environ.get("DATABASE_URL"):
            _stop_autovacuum()


def _stop_autovacuum() -> None:
    """What a test writes and rolls back is nothing to autovacuum: when it comes by, tables count as empty, and a long test
    gets plans for no rows."""
    with psycopg.connect(embedded.urls(_DATA_DIR).database, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET autovacuum = off")
        server.execute("SELECT pg_reload_conf()")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _IS_MAIN:
        _servers.stop()
        shutil.rmtree(_DATA_DIR, ignore_errors=True)


@pytest.fixture(scope="session")
def _worker_process(django_db_setup: None) -> Iterator[Worker]:
    with Worker.start() as worker:
        yield worker


@pytest.fixture
def worker(_worker_process: Worker, transactional_db: None) -> Iterator[Worker]:
    """A real Celery worker for both queues, on the test database. Idle before and after the test."""
    _worker_process.restart_if_ended()
    yield _worker_process
    _worker_process.wait_until_idle()


@pytest.fixture(scope="session")
def _server_process(django_db_setup: None) -> Iterator[WebServer]:
    with WebServer.start() as server:
        yield server


@pytest.fixture
def server(_server_process: WebServer, transactional_db: None) -> WebServer:
    """The real web server, on the test database: ``server.url`` is its address, without a slash at the end."""
    return _server_process
