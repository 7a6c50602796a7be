"""``manage.py up``: everything that Kindred needs, in one terminal, ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import honcho.manager
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from honcho.printer import Message, Printer

from curation import embedded, keep, setup
from curation.embedded import tuning
from curation.processes import Program, programs

_STILL_WAITING_AFTER_S = 60.0


class Command(BaseCommand):
    help = "Start the embedded servers, the workers and the web server; print one link that signs the first admin in."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--show-settings",
            action="store_true",
            help="Print how the embedded Postgres is set on this machine, and end.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["show_settings"]:
            self.stdout.write(tuning.as_conf(tuning.settings_for(tuning.Machine.this_one())))
            return
        _check_port(settings.PORT)
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, _interrupt)
        try:
            with embedded.alone(settings.DATA_DIR):
                self._run()
        except (embedded.InUse, embedded.CannotStart) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stdout.write("Stopped before it was ready.")

    def _run(self) -> None:
        data_dir: Path = settings.DATA_DIR
        self.stdout.write(f"Starting Kindred on {data_dir} …")
        servers = embedded.start(data_dir, database=settings.IS_DATABASE_EMBEDDED, broker=settings.IS_BROKER_EMBEDDED)
        try:
            prepared = setup.prepare()
            if prepared.is_admin_new and not settings.SUPERUSER_PASSWORD:
                name = prepared.admin.get_username()
                self.stdout.write(
                    f"Created the account {name}, without a password yet: the link below signs it in, "
                    f"`.venv/bin/python manage.py changepassword {name}` gives it one."
                )
            self.stdout.flush()
            # What is forked now must not share a connection.
            connections.close_all()
            token = secrets.token_urlsafe(24)
            manager = _Manager(servers, port=settings.PORT, token=token)
            wanted = programs(cores=tuning.usable_cores(), port=settings.PORT, data_dir=data_dir, login_token=token)
            for name, program in wanted.items():
                manager.add(name, program)
            manager.loop()
        finally:
            servers.stop()
        if not manager.was_asked_to_stop:
            raise CommandError("A process ended and could not be kept running; what it said stands above.")
        self.stdout.write("Stopped. Everything is kept.")


class _Manager(honcho.manager.Manager):
    """Honcho's, which shows and stops the processes together; tells the link once, and watches the servers too."""

    def __init__(self, servers: embedded.Servers, *, port: int, token: str) -> None:
        super().__init__(_CalmPrinter(sys.stdout))
        # Longer than what `keep` gives the slowest of them.
        honcho.manager.KILL_WAIT = 12
        self.was_asked_to_stop = False
        self._servers = servers
        self._port = port
        self._token = token

    def add(self, name: str, program: Program) -> None:
        command = keep.command(program.command, name=name, follow=os.getpid(), stop_timeout_s=program.stop_timeout_s)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **program.environment}
        self.add_process(name, f"exec {shlex.join(command)}", env=environment, cwd=str(settings.BASE_DIR))

    def terminate(self) -> None:
        # Honcho sets the code of a signal before it ends the processes, that of an ended process after.
        self.was_asked_to_stop = self.was_asked_to_stop or self.returncode in (130, 143)
        super().terminate()

    def _start(self) -> None:
        super()._start()
        # Only now: a thread must not be running while processes are forked.
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        started = time.monotonic()
        is_ready = is_warned = False
        while not self._terminating:
            for service in self._servers.ended:
                self._say(f"The embedded {service.name} ended and cannot be started again; see {service.log}.")
                self.terminate()
                return
            if not is_ready:
                problem = _problem(self._port)
                if problem is None:
                    is_ready = True
                    self._say(
                        f"Kindred is ready: http://127.0.0.1:{self._port}/login/{self._token}/  (Ctrl-C stops it)"
                    )
                elif time.monotonic() - started > _STILL_WAITING_AFTER_S and not is_warned:
                    is_warned = True
                    self._say(f"Not ready yet: {problem}")
            time.sleep(1.0 if is_ready else 0.1)

    def _say(self, sentence: str) -> None:
        print(sentence, flush=True)


class _CalmPrinter(Printer):
    """Without honcho's notes on which process it starts and signals, and Celery's on how it stops."""

    def write(self, message: Message) -> None:
        text = message.data if isinstance(message.data, str) else message.data.decode(errors="replace")
        is_chatter = message.name == honcho.manager.SYSTEM_PRINTER_NAME or text.startswith("worker: ")
        if text.strip() and not is_chatter:
            super().write(message)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}). Stop what listens there, or choose another: "
                f"PORT={port + 1} make run."
            ) from error


def _problem(port: int) -> str | None:
    """Why it is not ready, or None when it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return None
    except urllib.error.HTTPError as error:
        try:
            return " ".join(json.loads(error.read())["problems"].values())
        except (ValueError, KeyError):
            return f"/readyz answers {error.code}."
    except OSError as error:
        return f"The web server does not answer ({error})."
