"""The number in the navigation of every page that is open."""

from __future__ import annotations

import asyncio
import json

import pytest

from marsys_dashboard import needs_watch as module
from marsys_dashboard.models import Proposal
from marsys_dashboard.needs_watch import NeedsWatch
from state_core.events import Event, EventKind
from state_core.manager import StateManager


class Page:
    def __init__(self) -> None:
        self.counts: list[int] = []
        self._heard = asyncio.Event()

    def tell(self, text: str) -> None:
        self.counts.append(json.loads(text)["count"])
        self._heard.set()

    async def hears(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.counts[-1:] != [count]:
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch, transactional_db):
    monkeypatch.setattr(module, "BEAT", 0.01)


async def ask(manager: StateManager, session_id: str) -> None:
    await manager.create_session(session_id)
    opened = Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "b"})
    asked = Event(kind=EventKind.INPUT_REQUESTED, branch_id="b", data={"question": "q", "session": "waiting"})
    await manager.log.append(session_id, [opened, asked])


async def test_a_page_is_told_at_once_and_whenever_the_number_changes(manager):
    watch, page = NeedsWatch(), Page()
    watch.join(page)
    await page.hears(0)
    await ask(manager, "a")
    await page.hears(1)
    late = Page()
    watch.join(late)
    assert late.counts == [1]
    await manager.answer("a", "q", "yes")
    await page.hears(0)
    watch.leave(page)
    watch.leave(late)
    assert page.counts == [0, 1, 0]


async def test_changes_that_wait_for_approval_count_and_other_ones_are_told(manager):
    watch, page = NeedsWatch(), Page()
    watch.join(page)
    await page.hears(0)
    first = await Proposal.objects.acreate(store="default", session_id="a", seq=1, change=b"")
    await page.hears(1)
    seen = watch.proposals
    await first.adelete()
    await page.hears(0)
    await Proposal.objects.acreate(store="default", session_id="b", seq=1, change=b"")
    await page.hears(1)
    watch.leave(page)
    assert watch.proposals != seen


async def test_nothing_is_asked_while_nobody_looks(manager, monkeypatch):
    watch, page = NeedsWatch(), Page()
    watch.join(page)
    await page.hears(0)
    watch.leave(page)
    assert watch.count is None
    assert watch._task is None


async def test_who_asks_is_told_the_present_number_whether_somebody_is_connected_or_not(manager):
    watch, page = NeedsWatch(), Page()
    await ask(manager, "a")
    assert await watch.current() == (1, False)
    assert watch.count is None, "kept, it would be shown on pages long after"
    watch.join(page)
    await page.hears(1)
    assert await watch.current() == (1, False)
    watch.leave(page)


async def test_what_goes_wrong_in_one_look_does_not_end_the_others(manager, monkeypatch, caplog):
    watch, page = NeedsWatch(), Page()
    look, failures = NeedsWatch._look, [RuntimeError("odd")]

    async def stumble(self):
        if failures:
            raise failures.pop()
        return await look(self)

    monkeypatch.setattr(NeedsWatch, "_look", stumble)
    watch.join(page)
    await page.hears(0)
    watch.leave(page)
    assert "could not be counted" in caplog.text
