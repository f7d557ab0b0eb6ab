"""One-time sign-in links: what `make run` prints, so that nobody has to invent a password first.

A link is a signed number of a row in Django's session table. Using the link deletes the row, and only
who deleted it is signed in: a link works once, whatever the number of processes.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from marsys_dashboard.failures import failure

SALT = "marsys.sign-in"
USER = "sign_in_as"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def make_link(user: Any, base: str = "") -> str:
    """An address that signs ``user`` in, once, within SIGN_IN_LINK_AGE seconds.

    ``base``: where the dashboard is reached, such as ``http://127.0.0.1:8000``.
    """
    ticket = SessionStore()
    ticket[USER] = str(user.pk)
    ticket.set_expiry(settings.SIGN_IN_LINK_AGE)
    ticket.create()
    return base.rstrip("/") + reverse("sign-in", args=[signing.dumps(ticket.session_key, salt=SALT)])


@require_GET
@never_cache
def sign_in(request: HttpRequest, token: str) -> HttpResponse:
    user = _take(token)
    if user is None:
        return failure(
            request,
            403,
            "This link was used before, or is too old. Start the dashboard again for a new one, "
            "or sign in with your password.",
            "This sign-in link is no longer good",
            may_see=False,
        )
    login(request, user, backend=BACKEND)
    return redirect(settings.LOGIN_REDIRECT_URL)


def _take(token: str) -> Any | None:
    try:
        key = signing.loads(token, salt=SALT, max_age=settings.SIGN_IN_LINK_AGE)
    except signing.BadSignature:
        return None
    row = Session.objects.filter(session_key=key, expire_date__gt=timezone.now()).first()
    if row is None or not Session.objects.filter(session_key=key).delete()[0]:
        return None
    user_id = str(SessionStore().decode(row.session_data).get(USER, 0))
    return get_user_model().objects.filter(pk=user_id, is_active=True).first()
