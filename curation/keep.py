"""Runs one command and keeps it running: ``python -m curation.keep --name worker --follow PID -- celery …``.

Honcho, which shows and stops our processes together, ends all of them when one ends, and leaves them all behind
when it is killed itself. This stands between it and each command: a command that dies is started again, and none
outlives the process it follows. It imports nothing of the project, so that it is small and starts at once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

# A command that lives shorter than this has failed to start; so many times in a row, and it is given up.
_STARTED_AFTER_S = 5.0
_FAILED_STARTS = 4
_LOOK_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1


def command(
    args: Sequence[str],
    *,
    name: str,
    follow: int,
    stop_signal: signal.Signals = signal.SIGTERM,
    stop_timeout_s: float = 8.0,
    user: str | None = None,
) -> list[str]:
    """The command line that keeps ``args`` running, as ``user``, until it is terminated or process ``follow`` ends.

    To end ``args`` it sends ``stop_signal``, and kills what is left of its process group ``stop_timeout_s`` later.
    """
    as_user = ["--user", user] if user else []
    return [
        *(sys.executable, "-m", "curation.keep", "--name", name, "--follow", str(follow)),
        *("--stop-signal", stop_signal.name, "--stop-timeout", str(stop_timeout_s), *as_user, "--", *args),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m curation.keep", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--follow", type=int, required=True)
    parser.add_argument("--stop-signal", default="SIGTERM")
    parser.add_argument("--stop-timeout", type=float, default=8.0)
    parser.add_argument("--user")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    keeper = _Keeper(
        name=options.name,
        command=options.command,
        follow=options.follow,
        stop_signal=signal.Signals[options.stop_signal],
        stop_timeout_s=options.stop_timeout,
        user=options.user,
    )
    return keeper.run()


@dataclass
class _Keeper:
    name: str
    command: list[str]
    follow: int
    stop_signal: signal.Signals
    stop_timeout_s: float
    user: str | None

    def run(self) -> int:
        self._asked_to_stop = False
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, self._ask_to_stop)
        self._followed = psutil.Process(self.follow) if psutil.pid_exists(self.follow) else None

        failed_starts = 0
        while self._is_wanted():
            started = time.monotonic()
            child = self._spawn()
            while child.poll() is None and self._is_wanted():
                self._sleep(_LOOK_EVERY_S)
            if child.poll() is None:
                self._end(child)
                return 0
            _kill_group(child.pid)
            if not self._is_wanted():
                return 0
            failed_starts = failed_starts + 1 if time.monotonic() - started < _STARTED_AFTER_S else 0
            if failed_starts == _FAILED_STARTS:
                self._say(f"{self.name} cannot be started ({_how(child.returncode)}); what it said stands above.")
                return 1
            self._say(f"{self.name} stopped by itself ({_how(child.returncode)}); starting it again.")
            until = time.monotonic() + failed_starts
            while time.monotonic() < until and self._is_wanted():
                self._sleep(_LOOK_EVERY_S)
        return 0

    def _is_wanted(self) -> bool:
        if self._asked_to_stop or self._followed is None:
            return False
        try:
            # One that nobody has waited for yet (a zombie) has ended all the same.
            return self._followed.is_running() and self._followed.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            preexec_fn=_die_with_parent(self.stop_signal),
        )

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        child.send_signal(self.stop_signal)
        until = time.monotonic() + self.stop_timeout_s
        while child.poll() is None and time.monotonic() < until:
            self._sleep(_LOOK_EVERY_S)
        if child.poll() is None:
            self._say(f"{self.name} did not stop within {self.stop_timeout_s:g} s; killing it.")
        _kill_group(child.pid)
        child.wait()

    def _ask_to_stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _sleep(self, seconds: float) -> None:
        """Until a signal comes (the child's end among them), at most so long."""
        if select.select([self._woken], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)

    def _say(self, sentence: str) -> None:
        print(sentence, flush=True)


def _die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """On Linux the kernel stops the command when its keeper is killed; elsewhere the next start cleans up."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(stop_signal))


def _kill_group(pid: int) -> None:
    """Whatever the command has left behind in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(returncode: int) -> str:
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit status {returncode}"


if __name__ == "__main__":
    sys.exit(main())
