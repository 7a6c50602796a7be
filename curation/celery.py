"""The Celery app: ``celery -A curation.celery worker -Q default`` and ``… -Q embed``."""

from __future__ import annotations

import logging.config
import os
from typing import Any

import structlog
from celery import Celery, signals
from django.conf import settings

from . import workers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "curation.settings")

app = Celery("kindred")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    logging.config.dictConfig(settings.LOGGING)


@signals.worker_ready.connect
def report_ready(sender: Any, **_: Any) -> None:
    workers.report_alive(queue.name for queue in sender.task_consumer.queues)


@signals.worker_process_init.connect
def load_encoders(**_: Any) -> None:
    from search import warming  # the apps are not loaded yet where this module is

    if "embed" in app.amqp.queues.consume_from:
        warming.load_default_encoders()


@signals.heartbeat_sent.connect
def report_alive(**_: Any) -> None:
    workers.report_alive()


@signals.worker_shutting_down.connect
def report_gone(**_: Any) -> None:
    workers.report_gone()


@signals.task_prerun.connect
def name_task(task_id: str, task: Any, **_: Any) -> None:
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)


@signals.task_postrun.connect
def forget_task(**_: Any) -> None:
    structlog.contextvars.unbind_contextvars("task", "task_id")
