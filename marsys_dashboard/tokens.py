"""Access tokens: made by people for their programs, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from marsys_dashboard.models import AccessToken

PREFIX = "marsys_pat_"
"""By which people, and those who look for lost secrets, know what it is."""
PATTERN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
MOST = 50
"""Tokens that a person may have."""
NOTED_EVERY = timedelta(minutes=1)
"""How often it is noted that a token was used."""


class TokenRefused(Exception):
    """Nobody is signed in by it; says why, as far as that helps whoever has the token."""


def make(user: Any, name: str, *, may_act: bool, expires_at: datetime | None) -> str:
    """The token, which is told nowhere again."""
    token = PREFIX + secrets.token_urlsafe(32)
    AccessToken.objects.create(
        user=user, name=name, digest=_digest(token), may_act=may_act, expires_at=expires_at
    )
    return token


def find(token: str) -> AccessToken:
    """Whose it is, and what it is good for. Raises TokenRefused."""
    known = PATTERN.fullmatch(token) and _known(token)
    if not known:
        raise TokenRefused("This access token is not known; it may have been revoked.")
    if known.has_expired:
        raise TokenRefused(f"This access token expired at {known.expires_at:%Y-%m-%d %H:%M} UTC.")
    if not known.user.is_active:
        raise TokenRefused("The account that this access token belongs to is deactivated.")
    _note_use(known)
    return known


def _known(token: str) -> AccessToken | None:
    return AccessToken.objects.select_related("user").filter(digest=_digest(token)).first()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _note_use(token: AccessToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at >= NOTED_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
