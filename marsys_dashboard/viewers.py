"""Whether who watches may still do so. Asked once for all sockets of one sign-in, however many there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from channels.auth import get_user
from django.conf import settings

from marsys_dashboard.permissions import amay, lacks

KEPT = 1.0
"""Seconds that an answer holds for the other sockets of the same sign-in."""
SIGNED_OUT, FORBIDDEN = 4401, 4403


class Refused(Exception):
    """The socket is to be closed, with a reason that people understand."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


async def check(user: Any) -> None:
    """Raises Refused."""
    if not user.is_authenticated:
        raise Refused(SIGNED_OUT, "You are not signed in, or no longer. Sign in to go on.")
    if not await amay(user, "view"):
        raise Refused(FORBIDDEN, lacks(user, "view"))


class Door:
    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, asyncio.Task[None]]] = {}

    async def check_again(self, scope: Mapping[str, Any]) -> None:
        """As the sign-in stands in the database now. Raises Refused."""
        key = scope["session"].session_key or ""
        self._forget()
        if key not in self._asked:
            self._asked[key] = (time.monotonic(), asyncio.ensure_future(_ask(key)))
        await asyncio.shield(self._asked[key][1])

    def _forget(self) -> None:
        now = time.monotonic()
        self._asked = {key: asked for key, asked in self._asked.items() if now - asked[0] < KEPT}


async def _ask(session_key: str) -> None:
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    await check(await get_user({"session": session}))


door = Door()
"""The one of this process."""
