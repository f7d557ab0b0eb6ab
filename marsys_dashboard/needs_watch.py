"""How many questions and proposed changes wait for a person, for the navigation of every page that is open.

One look at each store a beat while anybody is connected, none otherwise: a page with a socket is told when
the number changes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from django.db import InterfaceError, OperationalError

from marsys_dashboard import frames, proposals
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.needs import MOST, question_query
from state_core.exceptions import StateError

logger = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two looks."""


class Told(Protocol):
    def tell(self, text: str) -> None: ...


class NeedsWatch:
    def __init__(self) -> None:
        self.count: int | None = None
        """As of the last look; None while nobody looks."""
        self.more = False
        """Are there more than were counted?"""
        self.proposals = ""
        """Another text as soon as other changes wait for approval."""
        self._listeners: set[Told] = set()
        self._task: asyncio.Task[None] | None = None

    def join(self, listener: Told) -> None:
        self._listeners.add(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="count what needs a person")
        elif self.count is not None:
            listener.tell(self._frame())

    def leave(self, listener: Told) -> None:
        self._listeners.discard(listener)
        if self._task and not self._listeners:
            self._task.cancel()
            self._task = self.count = None

    async def _watch(self) -> None:
        while True:
            before = self._seen
            try:
                self.count, self.more, self.proposals = await self._look()
            except Exception:
                # Nothing that goes wrong in one look ends the others.
                logger.exception("Open questions could not be counted; it is tried again.")
            if before != self._seen:
                for listener in list(self._listeners):
                    listener.tell(self._frame())
            await asyncio.sleep(BEAT)

    async def current(self) -> tuple[int, bool]:
        """How many, and are there more than were counted? Looked for anew where nobody is connected."""
        return (await self._look())[:2] if self.count is None else (self.count, self.more)

    async def _look(self) -> tuple[int, bool, str]:
        """A store that cannot be reached is left out: its pages say so."""
        count, others = await self._proposed()
        more = False
        for store in store_names():
            try:
                heads = await manager(store).storage.heads(question_query())
            except StateError as error:
                logger.debug("Store %r cannot be asked for open questions: %s", store, error)
                continue
            count += sum(head.counts["questions"] for head in heads[:MOST])
            more |= len(heads) > MOST
        return count, more, others

    async def _proposed(self) -> tuple[int, str]:
        try:
            return await proposals.count()
        except (OperationalError, InterfaceError) as error:
            logger.debug("The database cannot be asked for proposed changes: %s", error)
            return 0, ""

    @property
    def _seen(self) -> tuple[int | None, bool, str]:
        return self.count, self.more, self.proposals

    def _frame(self) -> str:
        return frames.needs(self.count or 0, self.more, self.proposals)


needs_watch = NeedsWatch()
"""The one of this process."""
