"""Which pages may open sockets: those of this very dashboard, as with its forms.

The name alone does not tell: a browser sends the dashboard's cookie to every port of its machine, and what
another program serves on one of them could listen.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier
from django.conf import settings
from django.http.request import is_same_domain


class OwnPagesOnly:
    """Of this dashboard's name and port, or in CSRF_TRUSTED_ORIGINS; ALLOWED_HOSTS holds, too."""

    def __init__(self, application: Any) -> None:
        self._application = AllowedHostsOriginValidator(application)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        headers = dict(scope["headers"])
        origin, host = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host"))
        let_in = is_own(origin, host) or is_trusted(origin)
        return await (self._application if let_in else WebsocketDenier())(scope, receive, send)


def is_own(origin: str, host: str) -> bool:
    """Whatever the scheme: a proxy in front may end TLS."""
    _, separator, place = origin.lower().partition("://")
    return bool(separator and place) and place == host.lower()


def is_trusted(origin: str) -> bool:
    return any(_fits(origin.lower(), trusted.lower()) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _fits(origin: str, trusted: str) -> bool:
    """As Django compares them: ``https://*.example.com`` is every name below."""
    if "*" not in trusted:
        return origin == trusted
    scheme, _, pattern = trusted.partition("://*")
    found = urlsplit(origin)
    return found.scheme == scheme and is_same_domain(found.netloc, pattern)
