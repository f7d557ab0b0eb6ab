"""Which rows of the list of sessions changed since the last look."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from marsys_dashboard.frames import list_frame
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from state_core.records import Head
from state_core.storage.base import HeadQuery

NEWEST = 200
"""Heads looked at in one go."""
OVERLAP = timedelta(minutes=2)
"""Sessions carry the time of the machine that wrote last; clocks may differ by this much."""

GONE_BEAT = 1.0
"""Seconds between two looks for sessions that were deleted, in each store."""
MOST_KNOWN = 1000
"""Sessions of each store that are watched for being deleted: those that changed last."""

RenderRow = Callable[[Head, str], str]
Found = list[tuple[str, Head]]
"""(store, head)"""


def _version(head: Head) -> tuple[Any, ...]:
    return head.last_seq, head.status, head.owner


class ListWatch:
    """What everybody who watches the list was told."""

    def __init__(
        self, manager_of: Callable[[str], StateManager], stores: list[str], render_row: RenderRow
    ) -> None:
        self._manager_of = manager_of
        self._stores = stores
        self._render_row = render_row
        self._known: dict[str, dict[str, tuple[Any, ...]]] = {store: {} for store in stores}
        self._looked_for_gone: dict[str, float] = {}
        self._newest: dict[str, datetime] = {}
        self._counts: dict[str, dict[str, int]] = {}

    async def snapshot(self) -> str:
        """The newest rows of every store that can be reached, for who has just come."""
        found: Found = []
        for store in self._stores:
            with suppress(StorageUnavailable):
                found += await self._look(store, None)
                await self._count(store)
        if not any(self._known.values()):
            self._know(found)
        return self._frame(found, is_snapshot=True)

    async def changed(self, store: str) -> str | None:
        """Rows that are new or differ, those that are gone, and the counts; None when nothing changed."""
        since = self._newest.get(store)
        looked_at = await self._look(store, since - OVERLAP if since else None)
        found = [pair for pair in looked_at if self._is_news(*pair)]
        gone = await self._gone(store)
        if not found and not gone:
            return None
        self._know(found)
        await self._count(store)
        return self._frame(found, gone)

    async def _gone(self, store: str) -> list[tuple[str, str]]:
        """(store, session id) of those that were deleted since the last look; they are known no more."""
        if time.monotonic() - self._looked_for_gone.get(store, 0.0) < GONE_BEAT:
            return []
        self._looked_for_gone[store] = time.monotonic()
        known = self._known[store]
        there = await self._manager_of(store).storage.last_seqs(list(known)) if known else {}
        gone = [session_id for session_id in known if session_id not in there]
        for session_id in gone:
            del known[session_id]
        return [(store, session_id) for session_id in gone]

    async def _look(self, store: str, since: datetime | None) -> Found:
        heads = await self._manager_of(store).storage.heads(HeadQuery(since=since, limit=NEWEST))
        if heads and heads[0].updated_at:
            self._newest[store] = heads[0].updated_at
        return [(store, head) for head in heads]

    def _is_news(self, store: str, head: Head) -> bool:
        return self._known[store].get(head.session_id) != _version(head)

    def _know(self, found: Found) -> None:
        for store, head in reversed(found):
            known = self._known[store]
            known.pop(head.session_id, None)
            known[head.session_id] = _version(head)
            if len(known) > MOST_KNOWN:
                del known[next(iter(known))]

    async def _count(self, store: str) -> None:
        self._counts[store] = await self._manager_of(store).storage.count_by_status(HeadQuery())

    def _frame(self, found: Found, gone: Sequence[tuple[str, str]] = (), *, is_snapshot: bool = False) -> str:
        rows = [
            {
                "id": head.session_id,
                "store": store,
                "seq": head.last_seq,
                "status": str(head.status),
                "html": self._render_row(head, store),
            }
            for store, head in found
        ]
        counts: dict[str, int] = {}
        for of_store in self._counts.values():
            for status, number in of_store.items():
                counts[status] = counts.get(status, 0) + number
        missing = [{"store": store, "id": session_id} for store, session_id in gone]
        return list_frame(rows, counts, gone=missing, is_snapshot=is_snapshot)
