"""Entering a session, and being cancelled while it is entered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from state_core import MemoryStorageBackend, SessionStatus, StateManager, StorageBackend
from state_core.events import EventKind
from state_core.exceptions import TransitionError


class SlowToStart(MemoryStorageBackend):
    """A store whose append of the session's start takes until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def _append(self, session_id: str, events: Any, *rest: Any) -> int:
        if events[0].kind in {EventKind.SESSION_STARTED, EventKind.SESSION_RESUMED}:
            self.reached.set()
            await self.go_on.wait()
        return await super()._append(session_id, events, *rest)


async def test_a_session_that_is_cancelled_while_it_begins_is_interrupted_and_not_running_for_ever() -> None:
    store = SlowToStart()
    manager = StateManager(store)

    async def work() -> None:
        async with manager.session("slow", context={"kept": 1}):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(work())
    await store.reached.wait()
    task.cancel()
    await asyncio.sleep(0)
    store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    head = await manager.get_head("slow")
    assert head.status == SessionStatus.INTERRUPTED
    assert head.owner == ""
    assert (await manager.get_session_state("slow")).context == {"kept": 1}


async def test_a_session_that_was_interrupted_so_can_be_taken_up() -> None:
    store = SlowToStart()
    manager = StateManager(store)

    async def work() -> None:
        async with manager.session("slow"):
            pass

    task = asyncio.create_task(work())
    await store.reached.wait()
    task.cancel()
    store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await work()
    assert (await manager.get_head("slow")).status == SessionStatus.COMPLETED


class SlowToLend(MemoryStorageBackend):
    """A store that has lent the session before it can say so."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def acquire(self, session_id: str, owner: str, ttl: float) -> Any:
        lease = await super().acquire(session_id, owner, ttl)
        self.reached.set()
        await self.go_on.wait()
        return lease


async def test_a_session_that_is_cancelled_while_its_lease_is_on_its_way_is_given_back() -> None:
    store = SlowToLend()
    manager = StateManager(store)
    await manager.create_session("lent")

    async def work() -> None:
        async with manager.session("lent"):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(work())
    await store.reached.wait()
    task.cancel()
    await asyncio.sleep(0)
    store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    head = await manager.get_head("lent")
    assert (head.owner, head.status) == ("", SessionStatus.INTERRUPTED)


async def test_a_session_is_taken_up_only_as_it_was_seen(storage: StorageBackend) -> None:
    manager = StateManager(storage)
    await manager.create_session("s")
    await manager.pause_execution("s")
    before = await manager.get_head("s")
    with pytest.raises(TransitionError, match="it is paused. Somebody else was faster"):
        async with manager.session("s", statuses=[SessionStatus.RESUMING, SessionStatus.PENDING]):
            raise AssertionError("it was taken up")
    after = await manager.get_head("s")
    assert (after.last_seq, after.status, after.owner) == (before.last_seq, SessionStatus.PAUSED, "")
    async with manager.session("s", statuses=[SessionStatus.PAUSED]) as session:
        assert session.status == SessionStatus.RUNNING
