"""A session's log, and following it: who asks for what comes next is answered as soon as something does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest
from django.urls import reverse
from ninja import Query, Router
from ninja.errors import HttpError

from marsys_dashboard.api.schemas import LARGEST, OF_SESSION, Events, event_of
from marsys_dashboard.feed import BEAT, SLOW_BEAT, feed
from marsys_dashboard.managers import manager
from state_core.events import Event
from state_core.manager import StateManager
from state_core.records import Head

router = Router(tags=["Events"])

LONGEST_WAIT = 60
"""Seconds. What stands between a program and the dashboard cuts off what is silent for longer."""
MOST_WAITING = 500
"""Requests that wait in this process at once."""
MOST_BYTES = 4_000_000
"""Of changes in one answer, as far as the headers tell; a single event may have more."""

Found = tuple[Head, list[Event]]

waiting: set[asyncio.Task[Any]] = set()
"""Requests that wait for something to happen."""


@router.get(
    f"{OF_SESSION}/events",
    response=Events,
    operation_id="list_events",
    summary="What happened after an event, and what happens next",
    url_name="events",
)
async def events(
    request: HttpRequest,
    store: str,
    session_id: str,
    after: Annotated[int, Query(ge=0, le=LARGEST, description="Number of the last event that is known.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 200,
    changes: Annotated[bool, Query(description="With what each event changed.")] = False,
    wait: Annotated[
        int, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for one, where there is none yet.")
    ] = 0,
) -> dict[str, Any]:
    """To follow a session, ask for `next` with `wait=60` again and again: each event comes once, in order. Of
    large changes there are fewer in an answer than asked for."""
    read = partial(_read, manager(store), session_id, after, limit, changes)
    head, found = await read()
    if wait and not found:
        head, found = await _wait(read, store, session_id, wait)
    upto = found[-1].seq if found else after
    query = {"after": upto, "limit": limit, "changes": str(changes).lower(), "wait": wait}
    return {
        "events": [event_of(event, with_changes=changes) for event in found],
        "seq": head.last_seq,
        "first_seq": head.first_seq,
        "status": str(head.status),
        "next": f"{reverse('api:events', args=[store, session_id])}?{urlencode(query)}",
    }


async def _read(of_store: StateManager, session_id: str, after: int, limit: int, changes: bool) -> Found:
    head, found = await of_store.log.news(session_id, after=after, limit=limit)
    if changes and found:
        last = _within(found, MOST_BYTES)
        found = await of_store.log.read(session_id, after=after, before=last + 1)
    return head, found


def _within(found: list[Event], most: int) -> int:
    """The last event until which there are not more bytes; the first one in any case."""
    total, last = 0, found[0].seq
    for event in found:
        total += abs(event.size)
        if total > most:
            break
        last = event.seq
    return last


async def _wait(read: Callable[[], Awaitable[Found]], store: str, session_id: str, seconds: int) -> Found:
    """Until something is found, or the time is over."""
    if len(waiting) >= MOST_WAITING:
        raise HttpError(429, "Too many programs wait here at present. Ask again later, or without wait=.")
    task = asyncio.current_task()
    assert task
    waiting.add(task)
    try:
        await sync_to_async(_let_connections_go)()
        return await _until_found(read, store, session_id, seconds)
    finally:
        waiting.discard(task)


async def _until_found(
    read: Callable[[], Awaitable[Found]], store: str, session_id: str, seconds: int
) -> Found:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    longest = SLOW_BEAT if manager(store).storage.supports_wakeups else BEAT
    async with feed.hints((store, session_id)) as hint:
        while True:
            hint.clear()
            head, found = await read()
            left = until - loop.time()
            if found or left <= 0:
                return head, found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(longest, left)):
                    await hint.wait()


def _let_connections_go() -> None:
    """Who waits asks the stores, which have connections of their own. Those of Django's that told who it is
    would be held until the end. A file costs nothing."""
    for connection in connections.all():
        if connection.vendor != "sqlite":
            connection.close()
