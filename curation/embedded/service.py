"""A server that runs as long as we do: started under ``curation.keep``, its output in a log of the data directory."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import keep

# A Unix socket's path may have 108 bytes on Linux, 104 on macOS, with the closing zero.
_SOCKET_PATH_BYTES = 103
_LOG_BYTES = 4 << 20


class CannotStart(Exception):
    """An embedded server did not start; the sentence says which, why and what to do."""


@dataclass
class Service:
    name: str
    log: Path
    process: subprocess.Popen[bytes]
    stop_timeout_s: float

    @classmethod
    def start(
        cls,
        args: Sequence[str],
        *,
        name: str,
        data_dir: Path,
        is_ready: Callable[[], bool],
        stop_signal: signal.Signals,
        stop_timeout_s: float,
        ready_timeout_s: float,
        user: str | None = None,
    ) -> Service:
        """Returns once ``is_ready`` says so. Raises ``CannotStart``."""
        log = data_dir / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            process = subprocess.Popen(
                keep.command(
                    args,
                    name=name,
                    follow=os.getpid(),
                    stop_signal=stop_signal,
                    stop_timeout_s=stop_timeout_s,
                    user=user,
                ),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop it last
            )
        service = cls(name, log, process, stop_timeout_s)
        until = time.monotonic() + ready_timeout_s
        while not is_ready():
            if process.poll() is not None:
                raise CannotStart(f"The embedded {name} does not start; the end of {log} says why:\n{_tail(log)}")
            if time.monotonic() > until:
                service.stop()
                raise CannotStart(f"The embedded {name} was not ready within {ready_timeout_s:g} s; see {log}.")
            time.sleep(0.05)
        return service

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(self.stop_timeout_s + 5)
        except subprocess.TimeoutExpired:
            print(f"The embedded {self.name} does not stop; killing it.", file=sys.stderr)
            self.process.kill()
            self.process.wait()


def socket_folder(data_dir: Path, name: str, file: str) -> Path:
    """Where the server ``name`` of ``data_dir`` puts its socket ``file``: the same in every process.

    It is the server's own folder, or, where that makes too long a path, one named by a hash among the temporary files.
    """
    folder = data_dir / name
    if len(os.fsencode(folder / file)) <= _SOCKET_PATH_BYTES:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"kindred-{os.geteuid()}-{digest}"


def make_private(folder: Path, *, owner: int) -> None:
    """Create ``folder`` for the account ``owner`` alone. Raises ``CannotStart`` when it is somebody else's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        raise CannotStart(f"{folder} belongs to somebody else. Remove it, or choose a shorter DATA_DIR.")
    os.chown(folder, owner, -1)
    folder.chmod(0o700)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])
