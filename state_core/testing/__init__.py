"""The contract of a store as tests, so that a store of your own can prove itself.

Write a class with one fixture, and let pytest run it (with pytest-asyncio in its ``auto`` mode)::

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def storage(self, tmp_path):
            store = MyStore(tmp_path)
            yield store
            await store.close()

Each test gets a store that is empty. `state_core.storage.base` says what is promised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

_PARTS = ("appends", "batches", "checkpoints", "events", "heads", "leases", "records", "rewrites")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

# ruff: noqa: E402 - what is to be rewritten must not be imported before
from state_core.events import EventKind
from state_core.exceptions import CheckpointNotFound, ConflictError, LeaseHeld, SessionNotFound
from state_core.storage.base import Snapshot, StorageBackend
from state_core.testing.appends import AppendContract
from state_core.testing.batches import BatchContract
from state_core.testing.checkpoints import CheckpointContract
from state_core.testing.events import EventContract
from state_core.testing.heads import HeadContract
from state_core.testing.leases import LeaseContract
from state_core.testing.records import (
    LONG,
    PATIENCE,
    START,
    create,
    is_lost,
    message,
    named_checkpoint,
    numbers,
    outcomes,
    record,
    start,
    until,
)
from state_core.testing.rewrites import RewriteContract

__all__ = [
    "LONG",
    "PATIENCE",
    "START",
    "AppendContract",
    "BatchContract",
    "CheckpointContract",
    "EventContract",
    "HeadContract",
    "LeaseContract",
    "RewriteContract",
    "StoreContract",
    "create",
    "is_lost",
    "message",
    "named_checkpoint",
    "numbers",
    "outcomes",
    "record",
    "start",
    "until",
]


class StoreContract(
    AppendContract,
    BatchContract,
    EventContract,
    HeadContract,
    CheckpointContract,
    LeaseContract,
    RewriteContract,
):
    """Everything that `StorageBackend` promises."""

    async def test_a_deleted_session_leaves_nothing(self, storage: StorageBackend) -> None:
        for session_id in ("s", "t"):
            await create(storage, session_id, title=session_id)
            await storage.append(session_id, [message(session_id), named_checkpoint(f"of-{session_id}")])
            await storage.put_snapshot(session_id, Snapshot(2, b"x", "j1"))
        await storage.delete("s")
        with pytest.raises(SessionNotFound):
            await storage.head("s")
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("of-s")
        assert await storage.read_events("s") == []
        assert await storage.checkpoints("s") == []
        assert await storage.snapshot("s", at_or_before=9) is None
        assert await storage.last_seqs(["s", "t"]) == {"t": 3}
        assert await numbers(storage, "t") == [1, 2, 3]

    async def test_a_deleted_session_may_be_created_again(self, storage: StorageBackend) -> None:
        await create(storage, "s", tags=["old"])
        await storage.append("s", [message(), named_checkpoint("c")])
        await storage.delete("s")
        await create(storage, "s", tags=["new"])
        head = await storage.head("s")
        assert (head.last_seq, head.tags, head.counts["checkpoints"]) == (1, ["new"], 0)
        assert await numbers(storage, "s") == [1]

    async def test_a_session_that_is_held_cannot_be_deleted(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        with pytest.raises(LeaseHeld):
            await storage.delete("s")
        await storage.release("s", lease.fence)
        await storage.delete("s")
        with pytest.raises(SessionNotFound):
            await storage.delete("s")

    async def test_a_session_that_moved_on_is_not_deleted(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.append("s", [message()])
        with pytest.raises(ConflictError, match="event 2 is its last"):
            await storage.delete("s", expected_seq=1)
        assert await numbers(storage, "s") == [1, 2]
        await storage.delete("s", expected_seq=2)
        assert await storage.last_seqs(["s"]) == {}

    async def test_a_cancellation_is_never_lost(self, storage: StorageBackend) -> None:
        async def ask_and_rest() -> None:
            await storage.last_seqs(["s"])
            await asyncio.sleep(60)

        for turns in range(20):
            task = asyncio.create_task(ask_and_rest())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.cancelled(), f"cancelled after {turns} turns of the loop, it goes on"

    async def test_usage_adds_up_all_sessions(self, storage: StorageBackend) -> None:
        empty = await storage.usage()
        assert (empty.sessions, empty.events, empty.checkpoints, empty.bytes) == (0, 0, 0, 0)
        assert dict(empty.by_status) == {}
        events = [message("1234"), named_checkpoint("c")]
        for session_id in ("a", "b"):
            await create(storage, session_id)
        await start(storage, "a")
        await storage.append("b", events)
        usage = await storage.usage()
        assert (usage.sessions, usage.events, usage.checkpoints) == (2, 5, 1)
        assert dict(usage.by_status) == {"running": 1, "pending": 1}
        await storage.append("a", [record(EventKind.MESSAGE_ADDED, body=bytes(5000))])
        assert (await storage.usage()).bytes >= usage.bytes + 5000

    async def test_its_configuration_can_be_checked(self, storage: StorageBackend) -> None:
        assert all(isinstance(sentence, str) and sentence for sentence in await storage.check())

    async def test_a_closed_store_opens_again(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.close()
        await storage.close()
        if not storage.survives_restart:
            return
        assert await storage.append("s", [message()]) == 2

    async def test_a_change_wakes_its_watchers(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        if not storage.supports_wakeups:
            with pytest.raises(NotImplementedError):
                await anext(storage.wakeups())
            return
        assert await _woken_by(storage, lambda: storage.append("s", [message()])) in {"s", ""}


async def _woken_by(storage: StorageBackend, act: Callable[[], Coroutine[Any, Any, Any]]) -> str:
    """The first hint that comes after ``act``; those of before have been heard."""
    async with aclosing(storage.wakeups()) as hints:  # type: ignore[type-var]
        async with asyncio.timeout(PATIENCE):
            hint = asyncio.ensure_future(anext(hints))
            while not hint.done():
                await act()
                await asyncio.wait([hint], timeout=0.5)
            return await hint
