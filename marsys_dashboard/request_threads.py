"""Threads that serve one request after another, with the connection to the database that they have.

Django gives each request a thread of its own, and so a new connection: on PostgreSQL that takes longer than
all that a page asks of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

MOST = 8
"""Threads that are kept. What more requests there are at once have one of their own each, as by Django."""
KEPT_SECONDS = 600
"""So long a connection is used; before each request it is asked whether it still works."""

Application = Callable[[Any, Any, Any], Awaitable[None]]


class KeptThreads:
    """An ASGI application around another."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._free: list[Context] = []
        """The one that was used last is used next, so that a quiet site has few connections."""
        self._made = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (not self._free and self._made == MOST) or _may_wait(scope):
            return await self._application(scope, receive, send)
        thread = self._free.pop() if self._free else await self._new()
        try:
            # A copy, so that nothing of this request is left to the next.
            await _in_context(self._application(scope, receive, send), thread.copy())
        finally:
            self._free.append(thread)

    async def _new(self) -> Context:
        self._made += 1
        try:
            return await _in_context(_entered(), copy_context())
        except BaseException:
            self._made -= 1
            raise


def _may_wait(scope: Any) -> bool:
    """Would it keep a thread from others while nothing happens? See `api.events`."""
    return b"wait=" in scope.get("query_string", b"")


async def _in_context(work: Any, context: Context) -> Any:
    return await asyncio.get_running_loop().create_task(work, context=context)


async def _entered() -> Context:
    """Never left, so that its thread stays; where one was entered, Django enters no other."""
    await ThreadSensitiveContext().__aenter__()
    await sync_to_async(_keep_connections)()
    return copy_context()


def _keep_connections() -> None:
    """Those of this thread. A file is opened in no time, and may be another one by then."""
    for connection in connections.all():
        if connection.vendor != "sqlite":
            kept = {"CONN_MAX_AGE": KEPT_SECONDS, "CONN_HEALTH_CHECKS": True}
            connection.settings_dict = {**connection.settings_dict, **kept}
