"""Which rows of the list of sessions changed since the last look."""

from __future__ import annotations

from collections.abc import Callable
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
        self._known: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._newest: dict[str, datetime] = {}
        self._counts: dict[str, dict[str, int]] = {}

    async def snapshot(self) -> str:
        """The newest rows of every store that can be reached, for who has just come."""
        found: Found = []
        for store in self._stores:
            with suppress(StorageUnavailable):
                found += await self._look(store, None)
                await self._count(store)
        if not self._known:
            self._know(found)
        return self._frame(found)

    async def changed(self, store: str) -> str | None:
        """Rows that are new or differ, and the counts; None when nothing changed."""
        since = self._newest.get(store)
        looked_at = await self._look(store, since - OVERLAP if since else None)
        found = [
            pair for pair in looked_at if self._known.get((store, pair[1].session_id)) != _version(pair[1])
        ]
        if not found:
            return None
        self._know(found)
        await self._count(store)
        return self._frame(found)

    async def _look(self, store: str, since: datetime | None) -> Found:
        heads = await self._manager_of(store).storage.heads(HeadQuery(since=since, limit=NEWEST))
        if heads and heads[0].updated_at:
            self._newest[store] = heads[0].updated_at
        return [(store, head) for head in heads]

    def _is_news(self, store: str, head: Head) -> bool:
        return self._known.get((store, head.session_id)) != _version(head)

    def _know(self, found: Found) -> None:
        self._known.update({(store, head.session_id): _version(head) for store, head in found})

    async def _count(self, store: str) -> None:
        self._counts[store] = await self._manager_of(store).storage.count_by_status(HeadQuery())

    def _frame(self, found: Found) -> str:
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
        return list_frame(rows, counts)
