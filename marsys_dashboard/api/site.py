"""The HTTP API as a whole: its addresses, who may call it, and how errors are told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as UnfitText
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.cache import add_never_cache_headers
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

from marsys_dashboard.api import acts, changes, contents, events, records, sessions
from marsys_dashboard.api.callers import AccessTokenAuth, CookieAuth
from marsys_dashboard.api.schemas import Problem
from marsys_dashboard.failures import answer_error, bad_request, problem, status_of
from marsys_dashboard.jsontext import read_json
from state_core.exceptions import StateError

logger = logging.getLogger(__name__)

View = Callable[..., Awaitable[HttpResponse]]

SIGN_IN = (
    "Send an access token in the header Authorization: Bearer …; make one under Access tokens, in the menu "
    "with your name."
)


REFUSED = {
    "description": "It was refused, or went wrong.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class Renderer(BaseRenderer):
    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)


class Strict(Parser):
    """What would be stored as something else, such as NaN, is refused as in the dialogs."""

    def parse_body(self, request: HttpRequest) -> Any:
        return read_json(request.body.decode())


class Api(NinjaAPI):
    def create_temporal_response(self, request: HttpRequest) -> HttpResponse:
        """Never cached: it is live."""
        response = super().create_temporal_response(request)
        add_never_cache_headers(response)
        return response

    def get_openapi_schema(self, **given: Any) -> OpenAPISchema:
        """With how every operation tells of errors."""
        schema = super().get_openapi_schema(**given)
        schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        for methods in schema["paths"].values():
            for operation in methods.values():
                operation["responses"]["default"] = REFUSED
        return schema


api = Api(
    title="MARSYS dashboard",
    version="1",
    urls_namespace="api",
    description="Sessions of agents: list, read and follow them, answer them, and act on them.",
    auth=[AccessTokenAuth(), CookieAuth()],
    openapi_url=None,
    parser=Strict(),
    renderer=Renderer(),
)
api.add_router("", sessions.router)
api.add_router("", acts.router)
api.add_router("", changes.router)
api.add_router("", events.router)
api.add_router("", contents.router)
api.add_router("", records.router)


@api.get("openapi.json", include_in_schema=False, url_name="schema")
async def openapi(request: HttpRequest) -> dict[str, Any]:
    return api.get_openapi_schema()


# Errors


def _unforeseen(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s", request.method, request.path, exc_info=error)
    return problem(500, "The error was logged. Nothing that was recorded is lost.")


def _of_the_store(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer_error(request, error, status_of(error) or 500)


def _not_signed_in(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    is_wrong = error.__cause__ is not None
    response = problem(401, str(error) if is_wrong else SIGN_IN)
    refused = ', error="invalid_token"' if is_wrong else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="MARSYS dashboard"{refused}'
    return response


def _told(request: HttpRequest, error: HttpError) -> HttpResponse:
    because = error.__cause__
    told = because.messages[0] if isinstance(because, UnfitText) else str(error)
    return problem(error.status_code, told)


def _forbidden(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return problem(403, str(error))


def _not_there(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(404, str(error))


def _malformed(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """What pydantic says, without what was sent."""
    return _does_not_fit([(_field(each["loc"]), each["msg"]) for each in error.errors])


def _field(place: Sequence[Any]) -> str:
    """``reason``; ``body`` where it is all of it."""
    return ".".join(str(part) for part in place if part not in {"query", "path", "body", "sent"}) or "body"


def _unfit(request: HttpRequest, error: acts.DoesNotFit) -> HttpResponse:
    return _does_not_fit(list(error.errors.items()))


def _does_not_fit(found: list[tuple[str, str]]) -> HttpResponse:
    told = " ".join(f"{field}: {what}" for field, what in found)
    return problem(400, told, errors=[{"field": field, "detail": what} for field, what in found])


for kind, handler in (
    (Exception, _unforeseen),
    (StateError, _of_the_store),
    (OperationalError, _of_the_store),
    (InterfaceError, _of_the_store),
    (HttpError, _told),
    (AuthenticationError, _not_signed_in),
    (PermissionDenied, _forbidden),
    (Http404, _not_there),
    (ValidationError, _malformed),
    (acts.DoesNotFit, _unfit),
    (RequestDataTooBig, bad_request),
):
    api.add_exception_handler(kind, handler)


def _every_method_told(view: View) -> View:
    """HEAD is GET whose body the server leaves out, OPTIONS tells what there is (RFC 9110)."""

    @wraps(view)
    async def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        method = request.method
        if method == "HEAD":
            request.method = "GET"
        response = await view(request, *args, **kwargs)
        request.method = method
        return response if response.status_code != 405 else _of_another_method(request, response)

    return told


def _of_another_method(request: HttpRequest, refused: HttpResponse) -> HttpResponse:
    methods = {*refused.headers["Allow"].split(", "), "OPTIONS"}
    allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers={"Allow": allowed})
    answer = problem(405, f"{request.method} does not fit here. This address takes {allowed}.")
    answer.headers["Allow"] = allowed
    return answer


def _addresses() -> list[URLPattern]:
    patterns: list[URLPattern] = api.urls[0]
    for pattern in patterns:
        if iscoroutinefunction(pattern.callback):
            pattern.callback = _every_method_told(pattern.callback)
    return patterns


urlpatterns = _addresses()
