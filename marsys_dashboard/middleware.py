"""What every response says to the browser, and how errors of the library become pages."""

from __future__ import annotations

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin

from marsys_dashboard.failures import answer_error, status_of

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)


@sync_and_async_middleware
def content_security_policy(get_response):
    def protect(response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            return protect(await get_response(request))
    else:

        def middleware(request: HttpRequest) -> HttpResponse:
            return protect(get_response(request))

    return middleware


class StateErrors(MiddlewareMixin):
    """A StateError, or an unreachable database, answers with its sentence and its status."""

    async_capable = False
    """The last of all, it lets those before it run one after another on the request's thread; each of them
    would otherwise go there and come back, twice."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        status = status_of(error)
        if status is None or (settings.DEBUG and status == 500):
            return None
        return answer_error(request, error, status)
