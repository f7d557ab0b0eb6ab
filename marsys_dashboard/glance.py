"""A session at first glance: its newest messages, before all of a long log has been folded.

The page is painted from this; graph, timeline and everything else that needs the fold come after it.
"""

from __future__ import annotations

from dataclasses import replace

from marsys_dashboard.outlines import MESSAGE_KINDS, Outline, OutlineCache
from state_core.events import EventKind
from state_core.exceptions import DamagedError
from state_core.fold import empty_document
from state_core.manager import StateManager
from state_core.records import Head, SessionStatus, show_time

LONG_FROM = 8_000
"""Events that would have to be folded: fewer are folded sooner than somebody would notice."""
MESSAGES = 31
"""Events with messages that are looked at."""
TOLD_BY_HEAD = frozenset(
    {SessionStatus.RUNNING, SessionStatus.PAUSED, SessionStatus.COMPLETED, SessionStatus.FAILED}
)
"""Statuses of which the head says all that a page says."""


async def glance(store: str, manager: StateManager, head: Head, cache: OutlineCache) -> Outline | None:
    """An outline that has only what the first sight of a page needs; None where the whole one is at hand, or
    soon will be, or where the newest messages do not tell how the session stands."""
    if cache.lacks(store, head) < LONG_FROM or not _is_plain(head):
        return None
    newest = await manager.log.read(
        head.session_id, kinds=MESSAGE_KINDS, limit=MESSAGES, bodies=False, newest_first=True
    )
    writing = {event.branch_id for event in newest}
    opened = await manager.log.read(head.session_id, kinds=[EventKind.BRANCH_OPENED], bodies=False)
    alone = [
        replace(event, data={**event.data, "parents": []}) for event in opened if event.branch_id in writing
    ]
    outline = Outline(_document(head))
    try:
        for event in (*alone, *reversed(newest)):
            outline.apply(event)
    except DamagedError:
        return None  # the fold says what is wrong
    outline.document.update(_document(head), branches=outline.document["branches"])
    return outline


def _is_plain(head: Head) -> bool:
    """Does its log begin at the beginning, with nothing set aside, and nothing to be answered?"""
    is_whole = not head.origin and head.first_seq == 1 and not head.counts["restores"]
    return is_whole and head.status in TOLD_BY_HEAD and not head.counts["questions"]


def _document(head: Head) -> dict[str, object]:
    return {
        **empty_document(head.session_id),
        "status": str(head.status),
        "seq": head.last_seq,
        "reason": head.reason,
        "error": head.error or None,
        "state_bytes": head.counts["state_bytes"],
        "created_at": show_time(head.created_at),
        "started_at": show_time(head.started_at),
        "ended_at": show_time(head.ended_at),
        "updated_at": show_time(head.updated_at),
    }
