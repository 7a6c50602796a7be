"""The embedded servers, started and broken on data directories of their own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from curation import embedded
from curation.embedded import postgres, valkey


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not under pytest's own folder: that one is private, and Postgres runs as another user when we are root.
    folder = Path(tempfile.mkdtemp(prefix="kindred-embedded-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def servers(data_dir: Path) -> Iterator[embedded.Servers]:
    servers = embedded.start(data_dir)
    yield servers
    servers.stop()


def test_what_was_written_is_there_after_a_restart(data_dir: Path, servers: embedded.Servers) -> None:
    with psycopg.connect(postgres.url(data_dir)) as connection:
        connection.execute("CREATE TABLE kept (what text)")
        connection.execute("INSERT INTO kept VALUES ('a row')")
    with redis.Redis.from_url(valkey.url(data_dir)) as client:
        client.set("kept", "a value")
    servers.stop()
    servers.running = embedded.start(data_dir).running
    with psycopg.connect(postgres.url(data_dir)) as connection:
        assert connection.execute("SELECT what FROM kept").fetchone() == ("a row",)
    with redis.Redis.from_url(valkey.url(data_dir)) as client:
        assert client.get("kept") == b"a value"


def test_the_database_has_vectors_and_knows_every_alphabet(data_dir: Path, servers: embedded.Servers) -> None:
    with psycopg.connect(postgres.url(data_dir)) as connection:
        row = connection.execute("SELECT '[1,2]'::halfvec(2) <#> '[3,4]', lower('ÉÇÄ'), 'a' < 'B'").fetchone()
    assert row == (-11.0, "éçä", False)


def test_a_killed_server_is_started_again(data_dir: Path, servers: embedded.Servers) -> None:
    killed = _postmaster(data_dir)
    killed.kill()
    _wait_until(lambda: _answers(data_dir) and _postmaster(data_dir).pid != killed.pid)
    assert not servers.ended


def test_servers_that_outlived_their_keepers_are_taken_over(data_dir: Path, servers: embedded.Servers) -> None:
    left_over = _postmaster(data_dir)
    for service in servers.running:
        # Stopped first, so that it cannot pass on what comes: as if the kernel had no way to tell its child.
        os.kill(service.process.pid, signal.SIGSTOP)
    again = embedded.start(data_dir)
    try:
        assert _postmaster(data_dir).pid != left_over.pid
        assert _answers(data_dir)
    finally:
        for service in servers.running:
            service.process.kill()
        again.stop()


def test_a_lock_file_that_names_some_other_process_is_ignored(data_dir: Path, servers: embedded.Servers) -> None:
    servers.stop()
    lock = data_dir / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{data_dir / 'postgres'}\n1\n5432\n{data_dir / 'postgres'}\n\n 0 0\nready   \n")
    servers.running = embedded.start(data_dir).running
    assert _answers(data_dir)


def test_a_half_made_database_is_made_anew(data_dir: Path) -> None:
    half = data_dir / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    servers = embedded.start(data_dir, broker=False)
    servers.stop()
    assert not half.exists()
    assert (data_dir / "postgres" / "PG_VERSION").exists()


def test_a_database_of_another_version_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(embedded.CannotStart, match="made by PostgreSQL 16"):
        embedded.start(data_dir)


def test_a_server_that_cannot_start_says_why_and_the_other_one_is_stopped(
    data_dir: Path, servers: embedded.Servers
) -> None:
    servers.stop()
    with (data_dir / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(embedded.CannotStart, match="no_such_setting"):
        embedded.start(data_dir)
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(valkey.url(data_dir)) as client:
        client.ping()


def test_a_long_path_gets_its_sockets_elsewhere(data_dir: Path) -> None:
    deep = data_dir / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    servers = embedded.start(deep)
    try:
        assert _answers(deep)
        with redis.Redis.from_url(valkey.url(deep)) as client:
            assert client.ping()
    finally:
        servers.stop()
    for folder in (postgres.socket_folder(deep, "postgres", "x"), valkey.socket_folder(deep, "valkey", "x")):
        assert folder.parent == Path(tempfile.gettempdir())
        shutil.rmtree(folder, ignore_errors=True)


def test_one_process_at_a_time_holds_a_data_directory(data_dir: Path) -> None:
    with (
        embedded.alone(data_dir),
        pytest.raises(embedded.InUse, match=f"process {os.getpid()}"),
        embedded.alone(data_dir),
    ):
        pass
    with embedded.alone(data_dir):
        pass


def _postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


def _answers(data_dir: Path) -> bool:
    try:
        psycopg.connect(postgres.url(data_dir), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _wait_until(is_so: object, timeout_s: float = 30.0) -> None:
    assert callable(is_so)
    until = time.monotonic() + timeout_s
    while True:
        try:
            if is_so():
                return
        except (OSError, psutil.NoSuchProcess, IndexError):
            pass  # the lock file is being replaced
        assert time.monotonic() < until, "It did not happen in time."
        time.sleep(0.1)
