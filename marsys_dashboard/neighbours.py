"""Who looks at sessions in other processes of this dashboard, told through a table of Django's database.

Only while somebody looks at a session here: one look a beat for all sessions that are looked at, one write
now and then. What a process that was killed has written runs out by itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextvars import Context
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.db.models.functions import Now

from marsys_dashboard.hub import Topic
from marsys_dashboard.models import Present

logger = logging.getLogger(__name__)

BEAT = 2.0
"""Seconds between two looks."""
RENEWED = 10.0
"""Seconds between two signs of life."""
LASTS = timedelta(seconds=30)
"""For how long one is believed."""
MOST = 2_000
"""People of other processes that are read at one look."""
ASKED_AT_ONCE = 500

Visit = tuple[Topic, str]
"""A session, and the name of who looks at it."""


class Neighbours:
    """``here``: who looks at what in this process. ``changed`` is told of sessions whose people elsewhere are
    no longer the same."""

    def __init__(self, here: Callable[[], set[Visit]], changed: Callable[[Topic], None]) -> None:
        self._here = here
        self._changed = changed
        self._process = secrets.token_hex(8)
        self._written: set[Visit] = set()
        self._renewed = 0.0
        self._elsewhere: dict[Topic, frozenset[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._fails = False

    def people(self, topic: Topic) -> frozenset[str]:
        return self._elsewhere.get(topic, frozenset())

    def wake(self) -> None:
        """Somebody came or went here. Needs a running loop."""
        if self._task and not self._task.done():
            self._news.set()
        elif self._here():
            self._news = asyncio.Event()
            loop = asyncio.get_running_loop()
            # In a context of its own: the thread for the database of whoever came ends with them.
            self._task = loop.create_task(self._watch(), name="who looks elsewhere", context=Context())

    async def ended(self) -> None:
        """Wait until it has told that nobody is here any more."""
        if self._task:
            await self._task

    async def _watch(self) -> None:
        while self._here() or self._written:
            self._news.clear()
            try:
                await self._exchange()
                self._fails = False
            except DatabaseError:
                if not self._fails:
                    logger.warning("Who looks at sessions elsewhere is not known for now.", exc_info=True)
                self._fails = True
                self._keep({})
                if not self._here():
                    self._written.clear()  # what was written runs out
                    return
            if self._here():
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(BEAT):
                await self._news.wait()
        except TimeoutError:
            return
        # A thousand who come at once are told of together.
        await asyncio.sleep(min(BEAT, 0.2))

    async def _exchange(self) -> None:
        here = self._here()
        is_due = time.monotonic() - self._renewed > RENEWED
        topics = {topic for topic, _name in here}
        came = here if is_due else here - self._written
        found = await sync_to_async(self._tell_and_ask)(came, self._written - here, topics, renew=is_due)
        self._written = here
        if is_due:
            self._renewed = time.monotonic()
        self._keep(found)

    def _keep(self, found: dict[Topic, frozenset[str]]) -> None:
        before, self._elsewhere = self._elsewhere, found
        for topic in before.keys() | found.keys():
            if before.get(topic) != found.get(topic):
                self._changed(topic)

    def _tell_and_ask(
        self, came: Collection[Visit], went: Collection[Visit], topics: Iterable[Topic], *, renew: bool
    ) -> dict[Topic, frozenset[str]]:
        own = Present.objects.filter(process=self._process)
        if renew:
            own.update(until=Now() + LASTS)
            Present.objects.filter(until__lt=Now()).delete()
        Present.objects.bulk_create([self._row(visit) for visit in came], ignore_conflicts=True)
        for (store, session_id), name in went:
            own.filter(store=store, session_id=session_id, name=name).delete()
        return _others(self._process, list(topics))

    def _row(self, visit: Visit) -> Present:
        (store, session_id), name = visit
        return Present(
            process=self._process, store=store, session_id=session_id, name=name, until=Now() + LASTS
        )


def _others(process: str, topics: list[Topic]) -> dict[Topic, frozenset[str]]:
    found: dict[Topic, set[str]] = defaultdict(set)
    asked = set(topics)
    for first in range(0, len(topics), ASKED_AT_ONCE):
        ids = [session_id for _store, session_id in topics[first : first + ASKED_AT_ONCE]]
        rows = Present.objects.filter(session_id__in=ids, until__gt=Now()).exclude(process=process)
        for store, session_id, name in rows.values_list("store", "session_id", "name")[:MOST]:
            if (store, session_id) in asked:
                found[store, session_id].add(name)
    return {topic: frozenset(names) for topic, names in found.items()}
