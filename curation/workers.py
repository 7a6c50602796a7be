"""Which queues have a worker that lives: each worker says so every two seconds, in the broker's database."""

from __future__ import annotations

from collections.abc import Iterable

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

QUEUES = ("default", "embed")
# Celery's heartbeat comes every 2 s; a machine under load may delay some.
_ALIVE_FOR_S = 20

_my_queues: list[str] = []


def report_alive(queues: Iterable[str] = ()) -> None:
    """Called in a worker: first with the queues it serves, then at every heartbeat."""
    _my_queues.extend(queues)
    try:
        client = _client()
        for queue in _my_queues:
            client.set(_key(queue), "alive", ex=_ALIVE_FOR_S)
    except redis.RedisError as error:
        log.warning("heartbeat_not_written", error=str(error))


def report_gone() -> None:
    """Called in a worker that is about to stop."""
    queues = list(_my_queues)
    _my_queues.clear()  # no further heartbeat brings them back
    try:
        forget(*queues)
    except redis.RedisError as error:
        log.warning("heartbeat_not_removed", error=str(error))


def forget(*queues: str) -> None:
    """Until a worker reports again, these queues have none. Raises ``redis.RedisError``."""
    if queues:
        _client().delete(*map(_key, queues))


def missing() -> list[str]:
    """Queues without a living worker. Raises ``redis.RedisError``."""
    found = _client().mget([_key(queue) for queue in QUEUES])
    return [queue for queue, alive in zip(QUEUES, found, strict=True) if alive is None]


_connection: redis.Redis | None = None


def _client() -> redis.Redis:
    global _connection
    if _connection is None:
        _connection = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    return _connection


def _key(queue: str) -> str:
    return f"kindred:worker:{queue}"
