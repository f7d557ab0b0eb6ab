"""Leases are kept for programs that block their event loop, for a while."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest

from state_core import MemoryStorageBackend, SessionStatus, StateManager, StateManagerConfig, StorageBackend

PATIENCE = 60
"""Seconds that a slow machine gets."""


def in_another_thread(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The event loop stands still meanwhile."""
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


async def until(has_come: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not await has_come():
        await asyncio.sleep(0.05)


async def test_an_agent_that_blocks_the_loop_keeps_its_session(
    storage: StorageBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    manager = StateManager(storage, config=StateManagerConfig(lease_ttl=4))
    elsewhere = StateManager(storage, actor="somebody")
    ends: list[datetime | None] = []

    async def is_renewed_or_lost() -> bool:
        await elsewhere.interrupt_expired()
        ends.append((await elsewhere.get_head("s")).lease_expires_at)
        return ends[-1] != ends[0]

    async with manager.session("s") as session:
        branch = await session.open_branch("work")
        async with branch.step("Agent") as step:
            in_another_thread(lambda: until(is_renewed_or_lost))
            step.output = "done"
    assert ends[0] and ends[-1] and ends[-1] > ends[0]
    assert (await manager.get_head("s")).status == SessionStatus.COMPLETED
    assert "Something blocks its event loop" in caplog.text


async def test_one_that_blocks_it_for_too_long_is_left_to_others() -> None:
    storage = MemoryStorageBackend()
    manager = StateManager(storage, config=StateManagerConfig(lease_ttl=0.2, stall_patience=0.5))
    elsewhere = StateManager(storage, actor="somebody")

    async def is_interrupted() -> bool:
        return await elsewhere.interrupt_expired() == ["s"]

    session = await manager.session("s").__aenter__()
    in_another_thread(lambda: until(is_interrupted))
    assert (await elsewhere.get_head("s")).status == SessionStatus.INTERRUPTED
    await session._stop_watching()


async def test_a_session_that_was_left_is_not_kept() -> None:
    storage = MemoryStorageBackend()
    manager = StateManager(storage, config=StateManagerConfig(lease_ttl=0.2))
    async with manager.session("s", on_pause="raise") as session:
        await session.request_pause()
        await session.pause_point()
    lease = await storage.acquire("s", "somebody", 0.4)
    await asyncio.sleep(0.6)
    assert (await storage.head("s")).lease_expires_at == lease.expires_at
