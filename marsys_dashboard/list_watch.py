"""Which rows of the list of sessions changed since the last look."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from marsys_dashboard.frames import list_frame
from state_core.exceptions import SessionNotFound, StorageUnavailable
from state_core.manager import StateManager
from state_core.records import Head
from state_core.storage.base import HeadQuery

NEWEST = 200
"""Heads looked at in one go."""
SPARE = 8
"""Heads more than the store named: others change while these are looked for."""
OVERLAP = timedelta(minutes=2)
"""Sessions carry the time of the machine that wrote last; clocks may differ by this much."""

COUNT_BEAT = 1.0
"""Seconds between two countings of each store's sessions, at least."""
GONE_BEAT = 1.0
"""Seconds between two looks for sessions that were deleted, in each store."""
MOST_KNOWN = 1000
"""Sessions of each store that are watched for being deleted whoever shows them: those that changed last."""

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
        self.shown: dict[Any, set[tuple[str, str]]] = {}
        """Who watches → (store, session id) of the rows there: they are watched for being deleted, too."""
        self._looked_for_gone: dict[str, float] = {}
        self._newest: dict[str, datetime] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._questions: dict[str, int] = {}
        self._counted: dict[str, float] = {}
        self._uncounted = dict.fromkeys(stores, False)
        """Did something change since?"""

    async def begin(self) -> None:
        """Know how the newest sessions stand, of every store that can be reached; once."""
        if not any(self._known.values()):
            self._know(await self._of_all(None))

    async def since(self, moment: datetime) -> str:
        """The rows that changed since then, as a frame, for who has just come."""
        return self._frame(await self._of_all(moment - OVERLAP))

    async def _of_all(self, since: datetime | None) -> Found:
        found: Found = []
        for store in self._stores:
            with suppress(StorageUnavailable):
                found += await self._look(store, since)
                await self._count(store)
        return found

    async def changed(self, store: str, named: Collection[str] | None = None) -> str | None:
        """Rows that are new or differ; None when none is.

        ``named``: the only sessions that may have changed, where the store says so."""
        newest = self._newest.get(store)
        since = newest - OVERLAP if newest else None
        if named is None or len(named) > NEWEST:
            looked_at = await self._look(store, since)
        else:
            looked_at = await self._look_for(store, named, since)
        found = [pair for pair in looked_at if self._is_news(*pair)]
        self._know(found)
        self._uncounted[store] |= bool(found)
        return self._frame(found, counted=False) if found else None

    async def tallied(self, store: str) -> str | None:
        """Sessions that are gone, and counts, where it is time for them: rows do not wait for these."""
        gone = await self._gone(store)
        self._uncounted[store] |= bool(gone)
        counted = await self._count_if_due(store)
        return self._frame([], gone, counted) if gone or counted else None

    async def _gone(self, store: str) -> list[tuple[str, str]]:
        """(store, session id) of those that were deleted since the last look; they are known no more."""
        if time.monotonic() - self._looked_for_gone.get(store, 0.0) < GONE_BEAT:
            return []
        self._looked_for_gone[store] = time.monotonic()
        asked = self._watched_for_gone(store)
        there = await self._manager_of(store).storage.last_seqs(asked) if asked else {}
        gone = [(store, session_id) for session_id in asked if session_id not in there]
        for _, session_id in gone:
            self._known[store].pop(session_id, None)
        for rows in self.shown.values():
            rows.difference_update(gone)
        return gone

    def _watched_for_gone(self, store: str) -> list[str]:
        shown = (session_id for rows in self.shown.values() for of, session_id in rows if of == store)
        return list(dict.fromkeys([*self._known[store], *shown]))

    async def _look(self, store: str, since: datetime | None) -> Found:
        """The newest first. As long as a page is full and its last rows are news, there may be more."""
        query = HeadQuery(since=since, limit=NEWEST)
        found = await self._page(store, query)
        newest = found[0][1].updated_at if found else None
        page = found
        while since and len(page) == NEWEST and len(found) < MOST_KNOWN and self._is_news(*page[-1]):
            page = await self._page(store, replace(query, after=query.cursor(page[-1][1])))
            found += page
        if newest:
            self._newest[store] = newest
        return found

    async def _look_for(self, store: str, named: Collection[str], since: datetime | None) -> Found:
        """They are those that changed last, but for what changes meanwhile, and where clocks differ."""
        found = await self._page(store, HeadQuery(since=since, limit=len(named) + SPARE))
        missing = set(named).difference(head.session_id for _, head in found)
        for session_id in missing:
            with suppress(SessionNotFound):
                found.append((store, await self._manager_of(store).storage.head(session_id)))
        return found

    async def _page(self, store: str, query: HeadQuery) -> Found:
        return [(store, head) for head in await self._manager_of(store).storage.heads(query)]

    def _is_news(self, store: str, head: Head) -> bool:
        return self._known[store].get(head.session_id) != _version(head)

    def _know(self, found: Found) -> None:
        for store, head in reversed(found):
            known = self._known[store]
            known.pop(head.session_id, None)
            known[head.session_id] = _version(head)
            if len(known) > MOST_KNOWN:
                del known[next(iter(known))]

    async def _count_if_due(self, store: str) -> bool:
        """Counting looks at every session, so that it is not done for every change of a burst."""
        if not self._uncounted[store] or time.monotonic() - self._counted.get(store, 0.0) < COUNT_BEAT:
            return False
        await self._count(store)
        return True

    async def _count(self, store: str) -> None:
        storage = self._manager_of(store).storage
        self._counts[store] = await storage.count_by_status(HeadQuery())
        asked = await storage.count_by_status(HeadQuery(questions=True))
        self._questions[store] = sum(asked.values())
        self._counted[store] = time.monotonic()
        self._uncounted[store] = False

    def _frame(self, found: Found, gone: Sequence[tuple[str, str]] = (), counted: bool = True) -> str:
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
        missing = [{"store": store, "id": session_id} for store, session_id in gone]
        if not counted:
            return list_frame(rows, gone=missing)
        return list_frame(rows, self._all_counts(), sum(self._questions.values()), gone=missing)

    def _all_counts(self) -> dict[str, int]:
        return dict(sum((Counter(of_store) for of_store in self._counts.values()), Counter()))
