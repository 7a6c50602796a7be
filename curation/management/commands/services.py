"""``manage.py services``: the embedded servers alone, for development beside them."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from curation import embedded


class Command(BaseCommand):
    help = "Run the embedded PostgreSQL and Valkey of DATA_DIR, and nothing else, until Ctrl-C."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        asked_to_stop = threading.Event()
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, lambda *_: asked_to_stop.set())
        try:
            with embedded.alone(settings.DATA_DIR):
                servers = embedded.start(settings.DATA_DIR)
                urls = embedded.urls(settings.DATA_DIR)
                self.stdout.write(f"DATABASE_URL={urls.database}\nREDIS_URL={urls.redis}\nCtrl-C stops both.")
                self.stdout.flush()
                try:
                    while not asked_to_stop.wait(1.0):
                        for service in servers.ended:
                            raise CommandError(f"The embedded {service.name} ended; see {service.log}.")
                finally:
                    servers.stop()
        except (embedded.InUse, embedded.CannotStart) as error:
            raise CommandError(str(error)) from error
