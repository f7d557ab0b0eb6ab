"""Who calls the HTTP API: a program by its access token, or a page of the dashboard by its cookie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.errors import AuthenticationError
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from marsys_dashboard import tokens
from marsys_dashboard.models import AccessToken
from marsys_dashboard.permissions import PERMISSIONS, lacks

READ_ONLY = (
    "This access token may only read. Make one that may act, under Access tokens in the menu with your name."
)
FOREIGN = (
    "A request with the dashboard's cookie must come from its pages, with their CSRF token in the header "
    "X-CSRFToken. A program signs in with an access token instead."
)


@dataclass(frozen=True)
class Caller:
    user: Any
    permissions: frozenset[str]
    """Which of view, operate and restore the person has now, and the token does not take away."""
    token: AccessToken | None = None

    @property
    def actor(self) -> str:
        """As it stands in logs. No user's name has a space in it, so that a program is told from a person."""
        name = str(self.user.get_username())
        return f"{name} (token {self.token.name})" if self.token else name

    def need(self, permission: str) -> None:
        """Raises PermissionDenied, which says which."""
        if permission in self.permissions:
            return
        if permission != "view" and self.token and not self.token.may_act:
            raise PermissionDenied(READ_ONLY)
        raise PermissionDenied(lacks(self.user, permission))


class AccessTokenAuth(AuthBase):
    """``Authorization: Bearer …``. Where it is sent, nothing else is looked at."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    async def __call__(self, request: HttpRequest) -> Caller | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            return await sync_to_async(_of_token)(token.strip())
        except tokens.TokenRefused as error:
            raise AuthenticationError(message=f"{error} Make another under Access tokens.") from error


class CookieAuth(AuthBase):
    """Of the dashboard's own pages."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Caller | None:
        user = get_user(request)
        if not user.is_authenticated:
            return None
        if check_csrf(request):
            raise PermissionDenied(FOREIGN)
        return _caller(user)


def _of_token(text: str) -> Caller:
    token = tokens.find(text)
    return _caller(token.user, token)


def _caller(user: Any, token: AccessToken | None = None) -> Caller:
    """Raises PermissionDenied for who may see nothing."""
    allowed = PERMISSIONS.keys() if token is None or token.may_act else {"view"}
    caller = Caller(user, frozenset(name for name in allowed if user.has_perm(PERMISSIONS[name])), token)
    caller.need("view")
    return caller
