"""A session that somebody watches: its outline, kept at the log's end, and the frames that lead there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from marsys_dashboard.contents import read_contents
from marsys_dashboard.frames import CHECKPOINT_KINDS, Beat, Frame, content_places, session_frame
from marsys_dashboard.outlines import (
    Outline,
    OutlineCache,
    fold_forward,
    fold_outline,
    goes_back,
    is_compacted_since,
    is_of,
)
from state_core.events import Event
from state_core.exceptions import DamagedError, SessionNotFound
from state_core.manager import StateManager
from state_core.records import Head

PAGE = 2000
"""Events in one frame at most; it holds rows for the newest of them alone."""
PAGES_KEPT = 4
"""Of those made last for who fell behind."""
LONGEST_REST = 30.0
"""Seconds until a session that could not be read is tried again, at most."""


class Watched:
    def __init__(self, store: str, manager: StateManager, session_id: str) -> None:
        self.store = store
        self.manager = manager
        self.session_id = session_id
        self.outline: Outline | None = None
        self.head: Head | None = None
        self._moving = asyncio.Lock()
        self._failures = 0
        self._rests_until = 0.0
        self._pages: dict[tuple[int, int], asyncio.Task[Frame]] = {}
        """(after, seq of the session) → what was made for who fell behind there."""

    @property
    def seq(self) -> int:
        return self.outline.seq if self.outline else 0

    @property
    def status(self) -> str:
        return str(self.outline.document["status"]) if self.outline else ""

    @property
    def is_due(self) -> bool:
        return self.outline is not None and time.monotonic() >= self._rests_until

    def rest(self) -> None:
        """It could not be read: leave it alone for a while, longer each time."""
        self._failures += 1
        self._rests_until = time.monotonic() + min(LONGEST_REST, 2.0 ** (self._failures - 1))

    async def open(self, cache: OutlineCache) -> None:
        """Raises SessionNotFound."""
        async with self._moving:
            if self.outline is None:
                outline = await cache.outline(self.store, self.manager, self.session_id)
                self.head = await self.manager.storage.head(self.session_id)
                self.outline = outline.copy()

    async def advance(self, publish: Callable[[Frame], None]) -> None:
        """Fold what is new and publish it. Raises SessionNotFound when the session is there no more."""
        async with self._moving:
            if self.outline is None:
                return
            self.head, events = await self.manager.log.news(
                self.session_id, after=self.outline.seq, limit=PAGE
            )
            if not is_of(self.outline, self.head):
                raise SessionNotFound(self.session_id)
            if is_compacted_since(self.outline, self.head) and self.outline.seq >= self.head.first_seq:
                self.outline = await fold_outline(self.manager, self.session_id, self.outline.seq)
            while self.outline.seq < self.head.last_seq:
                events = events or await self._headers(self.outline.seq, self.head.last_seq)
                await self._advance_page(self.outline, self.head, events, publish)
                events = []

    async def _advance_page(
        self, outline: Outline, head: Head, events: Sequence[Event], publish: Callable[[Frame], None]
    ) -> None:
        after = outline.seq
        if not events:
            raise DamagedError(self.session_id, f"event {after + 1}", "the log ends before it")
        moved = outline
        if goes_back(events):
            moved = await fold_outline(self.manager, self.session_id, events[-1].seq)
        beat = await self._beat(head, moved, events)
        if moved is outline:
            fold_forward(moved, events)
        # From here on nothing waits: who watches sees the outline and the frame move together.
        self.outline = moved
        self._failures = 0
        publish(session_frame(beat, after, events[-1].seq))

    async def page(self, after: int) -> Frame:
        """The events that follow ``after``, for who fell behind; at most PAGE of them. Made once for all who
        ask from the same place, as everybody does whose line was cut at the same time.

        Raises SessionNotFound when they are there no more."""
        outline, head = self._opened()
        key = (after, outline.seq)
        if key not in self._pages:
            self._pages = dict([*self._pages.items()][1 - PAGES_KEPT :])
            self._pages[key] = asyncio.ensure_future(self._page(outline, head, after))
        try:
            return await asyncio.shield(self._pages[key])
        except Exception:
            self._pages.pop(key, None)
            raise

    async def _page(self, outline: Outline, head: Head, after: int) -> Frame:
        events = await self._headers(after, outline.seq)
        if not events:
            raise SessionNotFound(self.session_id)
        beat = await self._beat(head, outline, events)
        return session_frame(beat, after, events[-1].seq)

    async def refresh_head(self, publish: Callable[[Frame], None]) -> None:
        """Publish a renewed or lost lease: it is in no event."""
        outline, known = self._opened()
        head = await self.manager.storage.head(self.session_id)
        lease = (head.owner, head.lease_expires_at)
        if head.last_seq == outline.seq == self.seq and lease != (known.owner, known.lease_expires_at):
            self.head = head
            self._pages.clear()
            beat = Beat(self.store, head, outline, [], {}, [])
            publish(session_frame(beat, outline.seq, outline.seq))

    def _opened(self) -> tuple[Outline, Head]:
        if self.outline is None or self.head is None:
            raise SessionNotFound(self.session_id)
        return self.outline, self.head

    async def _headers(self, after: int, upto: int) -> Sequence[Event]:
        return await self.manager.log.read(
            self.session_id, after=after, before=upto + 1, limit=PAGE, bodies=False
        )

    async def _beat(self, head: Head, outline: Outline, events: Sequence[Event]) -> Beat:
        contents = await read_contents(self.manager, self.session_id, content_places(events))
        touches_checkpoints = any(event.kind in CHECKPOINT_KINDS for event in events)
        checkpoints = await self.manager.storage.checkpoints(self.session_id) if touches_checkpoints else []
        return Beat(self.store, head, outline, events, contents, checkpoints)
