"""What happens in a session from now on, as soon as its store says that something did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from marsys_dashboard.commandline.finding import Session, fell_silent
from marsys_dashboard.commandline.who import at_terminal
from marsys_dashboard.feed import BEAT, PATIENCE, SLOW_BEAT, Alarm
from state_core.events import Event
from state_core.exceptions import SessionNotFound, StorageUnavailable
from state_core.records import Head
from state_core.storage.base import StorageBackend

EVENTS = 500
"""Events that are read at once."""


async def follow(
    session: Session, after: int, tell: Callable[[str], None]
) -> AsyncGenerator[tuple[Head, Sequence[Event]], None]:
    """The head, and the events behind ``after``, once what comes next is there; every now and then the head
    alone. A store that is away is told of, and waited for. Raises SessionNotFound when it is deleted."""
    alarm = Alarm(BEAT)
    listening = asyncio.create_task(_listen(session, alarm))
    try:
        began = time.monotonic()
        while True:
            head, events = await _news(session, after, tell)
            after = events[-1].seq if events else after
            yield head, events
            if after < head.last_seq:
                continue
            # What happened just before the store began to wake us up is found by asking.
            is_new = time.monotonic() - began < SLOW_BEAT
            await alarm.rest(BEAT if is_new else SLOW_BEAT, busy=bool(events))
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _news(session: Session, after: int, tell: Callable[[str], None]) -> tuple[Head, Sequence[Event]]:
    failures = 0
    while True:
        try:
            head, events = await session.manager.log.news(session.id, after=after, limit=EVENTS)
            if head.created_at != session.head.created_at:
                raise SessionNotFound(session.id)  # another has its id
            if fell_silent(head):
                await session.manager.interrupt(session.id, actor=at_terminal())
        except StorageUnavailable as error:
            if not failures:
                tell(f"{error} Trying again.")
            await asyncio.sleep(PATIENCE[min(failures, len(PATIENCE) - 1)])
            failures += 1
        else:
            return head, events


async def _listen(session: Session, alarm: Alarm) -> None:
    """A store that does not wake us up is asked at each beat."""
    storage: StorageBackend = session.manager.storage
    while True:
        if not storage.supports_wakeups:
            alarm.ring(session.id)
            await asyncio.sleep(BEAT)
            continue
        try:
            async with aclosing(storage.wakeups()) as hints:
                async for hint in hints:
                    if hint in ("", session.id):
                        alarm.ring(session.id)
        except StorageUnavailable:
            alarm.ring(session.id)  # so that it is asked, and its answer told of
        await asyncio.sleep(SLOW_BEAT)
