"""Liveness and readiness."""

from __future__ import annotations

import redis
import structlog
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from . import workers

log = structlog.get_logger(__name__)


@never_cache
def alive(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """200 when database, broker and a worker for each queue answer; else 503 with what does not."""
    problems: dict[str, str] = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.warning("database_unreachable", error=str(error))
        problems["database"] = "The database does not answer."
    try:
        if queues := workers.missing():
            problems["worker"] = f"No worker has reported for: {', '.join(queues)}."
    except redis.RedisError as error:
        log.warning("broker_unreachable", error=str(error))
        problems["broker"] = "The broker does not answer."
    if problems:
        return JsonResponse({"status": "not ready", "problems": problems}, status=503)
    return JsonResponse({"status": "ready"})
