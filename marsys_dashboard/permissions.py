"""Who may do what. Three permissions, on sessions of every store; superusers have all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from marsys_dashboard.failures import MayNotSee, failure, wants_json

PERMISSIONS = {
    "view": "state_core.view_session",
    "operate": "state_core.operate_session",
    "restore": "state_core.restore_session",
}
MEANINGS = {
    "view": "see sessions",
    "operate": "pause, resume, answer, checkpoint and cancel sessions",
    "restore": "restore checkpoints, fork and delete sessions",
}

View = Callable[..., Awaitable[HttpResponse]]


async def amay(user: Any, permission: str) -> bool:
    return bool(user.is_active and await user.ahas_perm(PERMISSIONS[permission]))


async def permissions_of(user: Any) -> frozenset[str]:
    """Which of view, operate and restore a user has."""
    return frozenset([permission for permission in PERMISSIONS if await amay(user, permission)])


def lacks(user: Any, permission: str) -> str:
    """The sentence for who has not got it."""
    return (
        f"{user} has no permission to {MEANINGS[permission]} ({PERMISSIONS[permission]}). "
        "An administrator can grant it under Admin, Users."
    )


def require(permission: str) -> Callable[[View], View]:
    """Decorates an asynchronous view: signed-in people who have the permission, nobody else."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            user, is_allowed = await sync_to_async(_who)(request, permission)
            if not user.is_authenticated:
                return _ask_to_sign_in(request)
            if not is_allowed:
                raise (MayNotSee if permission == "view" else PermissionDenied)(lacks(user, permission))
            request.user = user
            return await view(request, *args, **kwargs)

        return guarded

    return decorate


def _who(request: HttpRequest, permission: str) -> tuple[Any, bool]:
    """The user, and whether they have it. All that has to be asked of the database, without changing threads
    between."""
    user = get_user(request)
    return user, user.is_active and user.has_perm(PERMISSIONS[permission])


def _ask_to_sign_in(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return failure(request, 403, "You are not signed in, or no longer. Sign in, then try again.")
    return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
