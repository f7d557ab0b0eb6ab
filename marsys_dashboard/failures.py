"""Errors as answers: which status each error of the library is, and the pages for them."""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.template import loader
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from state_core.exceptions import (
    ConflictError,
    DamagedError,
    EncryptionKeyError,
    InvalidId,
    InvalidValue,
    LeaseError,
    NotFound,
    QuestionAnswered,
    QuestionReplaced,
    QuotaExceeded,
    SessionExists,
    StateError,
    StorageError,
    TooLarge,
    TransitionError,
)

logger = logging.getLogger(__name__)

STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (QuestionAnswered, 409),
    (QuestionReplaced, 409),
    (NotFound, 404),
    (TooLarge, 413),
    (InvalidId, 400),
    (InvalidValue, 400),
    (SessionExists, 409),
    (TransitionError, 409),
    (ConflictError, 409),
    (LeaseError, 409),
    (EncryptionKeyError, 422),
    (QuotaExceeded, 507),
    (StorageError, 503),
    (OperationalError, 503),
    (InterfaceError, 503),
    (StateError, 500),
)
"""The first that fits."""

TITLES = {
    400: "That request does not fit",
    401: "You are not signed in",
    403: "You may not do that",
    404: "There is nothing here",
    405: "This address does not take that method",
    409: "The session is in another state",
    413: "That is too large",
    422: "Its content cannot be read here",
    429: "Too many ask at once",
    500: "Something went wrong here",
    503: "The store cannot be reached",
    507: "The store is full",
}
DAMAGED = "What is stored here is damaged"
UNREACHABLE = (
    "The database does not answer. Nothing that was recorded is lost, and running sessions wait for it. "
    "Try again in a moment; if it stays like this, check DATABASE_URL and that the database is running."
)


class MayNotSee(PermissionDenied):
    """Not even the list, so that a page about it does not lead there."""


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that this error is, or None for one that nobody foresaw."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), None)


def sentence(error: BaseException) -> str:
    """What to tell people. A database driver's own words stay in the log: they can name hosts and users."""
    return str(error) if isinstance(error, StateError) else UNREACHABLE


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def is_of_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def answer_error(request: HttpRequest, error: BaseException, status: int) -> HttpResponse:
    if status >= 500:
        logger.error("%s %s: %s", request.method, request.path, error, exc_info=error)
    return failure(request, status, sentence(error), DAMAGED if isinstance(error, DamagedError) else "")


def failure(
    request: HttpRequest, status: int, message: str, title: str = "", *, may_see: bool = True
) -> HttpResponse:
    """An error as a page, or as JSON for programs. Asks neither the database nor who is signed in."""
    if is_of_api(request):
        return problem(status, message, title)
    if wants_json(request):
        return JsonResponse({"ok": False, "error": message}, status=status)
    context = {
        "status": status,
        "title": title or TITLES[status],
        "message": message,
        "may_see": may_see,
        "csrf_token": get_token(request) if status == 403 else "",
        "retry": request.get_full_path() if status >= 500 and request.method == "GET" else "",
    }
    return HttpResponse(loader.get_template("errors/error.html").render(context), status=status)


def problem(status: int, detail: str, title: str = "", **members: Any) -> HttpResponse:
    """An error as the HTTP API tells it: problem details (RFC 9457)."""
    document = {
        "type": f"{reverse('api-reference')}#problem-{status}",
        "title": title or TITLES[status],
        "status": status,
        "detail": detail,
        **members,
    }
    response = JsonResponse(document, status=status, content_type="application/problem+json")
    add_never_cache_headers(response)
    return response


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE / 1e6
        return failure(request, 413, f"A form may hold {limit:.1f} MB at most. Nothing was done.")
    return failure(request, 400, "The server could not make sense of this request.")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    told = str(exception or "")
    told = told or "Your account may not see this. Ask an administrator."
    return failure(request, 403, told, may_see=not isinstance(exception, MayNotSee))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return failure(request, 404, "No page of this dashboard has this address. It may have been mistyped.")


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    status = status_of(error) or 500
    if error is not None and status != 500:
        return failure(request, status, sentence(error))
    return failure(request, 500, "The error was logged. Nothing that was recorded is lost.")


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    message = (
        "This form was not sent from a page of this dashboard, or it stood open for too long. "
        "Go back, reload the page, and send it again."
    )
    return failure(request, 403, message, "The form could not be checked")
