"""The annotators' page, the link that signs the first admin in, and what a browser sees when there is no page."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie

from datasets.api import problems

from . import setup


@never_cache
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """The same document for every address of the app: the front end reads the address itself."""
    try:
        return HttpResponse((settings.FRONTEND_DIST / "index.html").read_bytes())
    except FileNotFoundError:
        return _message(
            "The page is not built yet",
            "Run make install, then start again. The REST API works: its documentation is at /api/v1/docs/.",
            status=503,
        )


@never_cache
def sign_in_by_link(request: HttpRequest, token: str) -> HttpResponseBase:
    """Works as long as the `manage.py up` that printed the link runs, which alone knows the token."""
    expected = settings.LOGIN_TOKEN
    admin = setup.first_admin()
    if not expected or not secrets.compare_digest(token.encode(), expected.encode()) or admin is None:
        return redirect("/login?reason=link")
    login(request, admin, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("/")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problems.not_found(request)
    return _message("There is nothing here", "The address may be mistyped, or what was here is gone.", status=404)


def failed(request: HttpRequest) -> HttpResponse:
    """For an error that nobody foresaw; the log has it under the answer's ``X-Request-ID``."""
    detail = "Something went wrong on the server. Try again; if it stays, its log says more."
    if request.path.startswith("/api/"):
        return problems.answer(500, detail)
    return _message("That did not work", detail, status=500)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    detail = "The page is out of date or came from elsewhere. Reload it and try again."
    if request.path.startswith("/api/"):
        return problems.answer(403, detail)
    return _message("That did not work", detail, status=403)


def _message(title: str, sentence: str, *, status: int) -> HttpResponse:
    text = format_html(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>{0} · Kindred</title><style>body{{font:16px/1.5 system-ui;max-width:34rem;margin:20vh auto;"
        "padding:0 1rem;color-scheme:light dark}}</style>"
        '<h1>{0}</h1><p>{1}</p><p><a href="/">To the datasets</a></p></html>',
        title,
        sentence,
    )
    return HttpResponse(text, status=status)
