"""Outlines of the past: a session as it stood after an earlier event, so that somebody can travel there.

Stepping forward costs what lies between; stepping back begins at the nearest place that was kept. On the
way through a long log such places are kept at even distances.
"""

from __future__ import annotations

from collections import OrderedDict

from marsys_dashboard.outlines import Outline, fold_forward, fold_outline, goes_back, missing_headers
from state_core.manager import StateManager
from state_core.records import Head, parse_time

LEAST_STRIDE = 1_000
"""Events between places that are kept, at least …"""
PLACES = 8
"""… and so many places in a log at most."""
VISITED = 3
"""Other places of a session that are kept: where somebody is now."""
KEPT_EVENTS = 300_000
"""Events that all kept outlines together were folded from; about half a kilobyte each."""

Key = tuple[str, str, int]


class PastOutlines:
    """An outline in here is never changed: who moves one on copies it first."""

    def __init__(self, events: int = KEPT_EVENTS) -> None:
        self._events = events
        self._kept: OrderedDict[Key, Outline] = OrderedDict()

    async def outline(self, store: str, manager: StateManager, head: Head, seq: int) -> Outline:
        """At ``seq``, which the log of ``head`` has reached."""
        stride = stride_of(head.last_seq)
        base = self._nearest(store, head, seq)
        for place in range(stride, seq, stride):
            if place < head.first_seq:
                continue
            if base is None or base.seq < place:
                base = await self._moved(store, manager, head, base, place)
        if base is None or base.seq < seq:
            base = await self._moved(store, manager, head, base, seq)
        return base

    def _nearest(self, store: str, head: Head, seq: int) -> Outline | None:
        """The newest that is kept at or before ``seq``."""
        found = None
        for key, outline in list(self._kept.items()):
            if key[:2] != (store, head.session_id) or key[2] > seq:
                continue
            is_another = parse_time(outline.document["created_at"]) != head.created_at
            if is_another or outline.seq < head.first_seq:
                del self._kept[key]  # of a session that had this id before, or compacted away
            elif found is None or key[2] > found.seq:
                found = outline
        if found:
            self._kept.move_to_end((store, head.session_id, found.seq))
        return found

    async def _moved(
        self, store: str, manager: StateManager, head: Head, base: Outline | None, seq: int
    ) -> Outline:
        events = await missing_headers(manager, head.session_id, base.seq, seq) if base else []
        if base is None or goes_back(events):
            moved = await fold_outline(manager, head.session_id, seq)
        else:
            moved = base.copy()
            fold_forward(moved, events)
        self._keep((store, head.session_id, seq), moved, stride_of(head.last_seq))
        return moved

    def _keep(self, key: Key, outline: Outline, stride: int) -> None:
        others = [k for k in self._kept if k[:2] == key[:2] and k[2] % stride]
        if key[2] % stride and len(others) >= VISITED:
            del self._kept[others[0]]
        self._kept[key] = outline
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(kept.weight for kept in self._kept.values()) > self._events:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


def stride_of(last_seq: int) -> int:
    """Doubles as the log grows, so that places which were kept before stay among those that are wanted."""
    stride = LEAST_STRIDE
    while stride * PLACES < last_seq:
        stride *= 2
    return stride
