"""Errors as RFC 9457 problem JSON, made in this one place."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework.exceptions import APIException, NotAuthenticated, ValidationError
from rest_framework.response import Response
from rest_framework.views import set_rollback

from ..errors import Conflict, Forbidden, Missing, Refused
from .rendering import JSONRenderer

log = structlog.get_logger(__name__)

_STATUS = ((Missing, 404), (Forbidden, 403), (Conflict, 409), (Refused, 400))
_TITLES = {
    400: "This cannot be done as asked",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "In conflict with the present state",
    413: "Too large",
    415: "Unsupported media type",
    429: "Too many requests",
    503: "Not available now",
}


class ProblemRenderer(JSONRenderer):
    media_type = "application/problem+json"


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's ``EXCEPTION_HANDLER``. What it does not know becomes Django's 500, with a log entry."""
    headers: dict[str, str] = {}
    errors: dict[str, Any] | None = None
    if isinstance(error, Refused):
        code = next(code for kind, code in _STATUS if isinstance(error, kind))
        detail = str(error)
    elif isinstance(error, ValidationError):
        code, errors = error.status_code, _by_field(error.detail)
        detail = _first_sentence(errors)
    elif isinstance(error, APIException):
        code, detail = error.status_code, str(error.detail)
        if isinstance(error, NotAuthenticated):
            detail = "You are not signed in, or your session has ended. Sign in and try again."
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait))
    elif isinstance(error, Http404):
        code, detail = 404, "There is nothing here."
    elif isinstance(error, PermissionDenied):
        code, detail = 403, "You are not allowed to do this."
    elif isinstance(error, RequestDataTooBig | TooManyFilesSent):
        code, detail = 413, "The request is too large. Send the files in smaller batches."
    elif isinstance(error, SuspiciousOperation):
        code, detail = 400, "The request is malformed."
    elif isinstance(error, OperationalError):
        log.error("database_unreachable", error=str(error))
        code, detail = 503, "The database cannot be reached at the moment. Try again in a few seconds."
        headers["Retry-After"] = "5"
    else:
        return None
    set_rollback()
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(code, "Error"),
        "status": code,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    response = Response(body, status=code, headers=headers, content_type="application/problem+json")
    response.exception = True
    return response


def answer(code: int, detail: str) -> JsonResponse:
    """A problem found outside the views of the API."""
    body = {"type": "about:blank", "title": _TITLES.get(code, "Error"), "status": code, "detail": detail}
    return JsonResponse(body, status=code, content_type="application/problem+json")


def not_found(request: HttpRequest, *args: Any) -> HttpResponse:
    """For addresses under the API that no view serves."""
    return answer(404, f"There is nothing at {request.path}.")


def _by_field(detail: Any) -> dict[str, Any]:
    if isinstance(detail, dict):
        return {str(field): _sentences(value) for field, value in detail.items()}
    return {"non_field_errors": _sentences(detail)}


def _sentences(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _sentences(one) for key, one in value.items()}
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _first_sentence(errors: dict[str, Any]) -> str:
    """The first one, after the way to its field: “add.0: This field may not be blank.”"""
    value: Any = errors
    way = []
    while isinstance(value, dict):
        field, value = next(iter(value.items()))
        way.append(field)
    sentence = value[0] if value else "It cannot be read."
    return sentence if way == ["non_field_errors"] else f"{'.'.join(way)}: {sentence}"
