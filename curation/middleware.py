"""A request id and one log event a request; a content security policy on every answer."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse

log = structlog.get_logger("curation.request")

View = Callable[[HttpRequest], HttpResponse]

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SLOW_MS = 1_000


class RequestLog:
    """Binds ``request`` to every log event of a request, and logs what failed or was slow."""

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id)
        began = time.perf_counter()
        response = self._get_response(request)
        took_ms = round((time.perf_counter() - began) * 1000)
        # /readyz answers 503 as a matter of course while things start.
        if (response.status_code >= 500 and request.path != "/readyz") or took_ms > _SLOW_MS:
            log.warning(
                "request", method=request.method, path=_path(request), status=response.status_code, took_ms=took_ms
            )
        response["X-Request-Id"] = request_id
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> None:
        """Django calls it with what no view has handled: where it came from is in the log, not in the answer."""
        if not isinstance(error, Http404 | PermissionDenied | SuspiciousOperation):
            log.error("unexpected_error", path=_path(request), exc_info=error)


def _path(request: HttpRequest) -> str:
    """Alone: a query string may hold what somebody searched for, a login link its token."""
    return "/login/…" if request.path.startswith("/login/") else request.path


class ContentSecurityPolicy:
    """Nothing is loaded from elsewhere, and scripts come from files of ours."""

    _STRICT = (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )
    # The admin's pages (Alpine.js) evaluate expressions that stand in their attributes.
    _ADMIN = f"{_STRICT}; script-src 'self' 'unsafe-inline' 'unsafe-eval'"

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        policy = self._ADMIN if request.path.startswith("/admin/") else self._STRICT
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
