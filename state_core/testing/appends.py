"""Numbering, guards, and all or nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from state_core.events import EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    ConflictError,
    InvalidId,
    InvalidValue,
    LeaseLost,
    SessionExists,
    SessionNotFound,
    TooLarge,
    TransitionError,
)
from state_core.records import SessionStatus
from state_core.storage.base import StorageBackend
from state_core.testing.records import (
    LONG,
    PATIENCE,
    create,
    is_lost,
    message,
    numbers,
    outcomes,
    record,
    start,
    until,
)


class AppendContract:
    """Numbering, guards, and all or nothing."""

    async def test_the_first_append_creates_the_session(self, storage: StorageBackend) -> None:
        assert await storage.append("s", [record(EventKind.SESSION_CREATED), message()]) == 2
        assert await numbers(storage, "s") == [1, 2]
        assert (await storage.head("s")).last_seq == 2

    async def test_numbers_follow_on(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.append("s", [message()]) == 2
        assert await storage.append("s", [message(), message(), message()]) == 5
        assert await numbers(storage, "s") == [1, 2, 3, 4, 5]

    async def test_appends_at_once_are_numbered_without_gaps(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        given = await asyncio.gather(*(storage.append("s", [message(f"{n}")] * 2) for n in range(20)))
        assert sorted(given) == list(range(3, 42, 2))
        events = await storage.read_events("s", after=1)
        assert [event.seq for event in events] == list(range(2, 42))
        assert sorted(int(event.body) for event in events) == sorted([*range(20), *range(20)])

    async def test_sessions_are_numbered_apart(self, storage: StorageBackend) -> None:
        await create(storage, "a")
        await create(storage, "b")
        await storage.append("a", [message("of a")])
        assert await storage.append("b", [message("of b")]) == 2
        assert [e.body for e in await storage.read_events("b", after=1)] == [b"of b"]

    async def test_an_unknown_session_cannot_be_appended_to(self, storage: StorageBackend) -> None:
        with pytest.raises(SessionNotFound):
            await storage.append("nobody", [message()])
        assert await storage.read_events("nobody") == []

    async def test_a_session_cannot_be_created_twice(self, storage: StorageBackend) -> None:
        await create(storage, "s", title="first")
        with pytest.raises(SessionExists):
            await create(storage, "s", title="second")
        head = await storage.head("s")
        assert (head.title, head.last_seq) == ("first", 1)

    async def test_of_two_creations_at_once_one_wins(self, storage: StorageBackend) -> None:
        results = await asyncio.gather(
            *(storage.append("s", [record(EventKind.SESSION_CREATED)]) for _ in range(4)),
            return_exceptions=True,
        )
        assert outcomes(results) == [1, "SessionExists", "SessionExists", "SessionExists"]
        assert await numbers(storage, "s") == [1]

    async def test_an_append_without_events_is_refused(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        with pytest.raises(InvalidValue):
            await storage.append("s", [])

    async def test_an_append_over_the_limit_is_refused_and_the_session_lives_on(
        self, storage: StorageBackend
    ) -> None:
        await create(storage, "s")
        part = bytes(storage.max_append_bytes // 2)
        with pytest.raises(TooLarge):
            await storage.append("s", [record(EventKind.MESSAGE_ADDED, body=part)] * 3)
        assert await storage.append("s", [message()]) == 2

    async def test_expected_seq_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        assert await storage.append("s", [message()], expected_seq=1) == 2
        with pytest.raises(ConflictError) as caught:
            await storage.append("s", [message()], expected_seq=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert await numbers(storage, "s") == [1, 2]

    async def test_of_writers_that_expect_the_same_one_wins(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        results = await asyncio.gather(
            *(storage.append("s", [message()], expected_seq=1) for _ in range(4)), return_exceptions=True
        )
        assert outcomes(results) == [2, "ConflictError", "ConflictError", "ConflictError"]

    async def test_the_status_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await start(storage, "s")
        allowed = [SessionStatus.RUNNING, SessionStatus.WAITING]
        assert await storage.append("s", [message()], statuses=allowed) == 3
        with pytest.raises(TransitionError):
            await storage.append("s", [message()], statuses=[SessionStatus.PAUSED])
        with pytest.raises(TransitionError):
            await storage.append("s", [message()], statuses=[])
        assert await numbers(storage, "s") == [1, 2, 3]

    async def test_the_fence_is_compared(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        assert await storage.append("s", [message()], fence=lease.fence) == 2
        for fence in (lease.fence - 1, lease.fence + 1):
            with pytest.raises(LeaseLost):
                await storage.append("s", [message()], fence=fence)
        assert await numbers(storage, "s") == [1, 2]

    async def test_a_write_without_a_fence_does_not_need_the_lease(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        await storage.acquire("s", "somebody", LONG)
        assert await storage.append("s", [record(EventKind.PAUSE_REQUESTED)]) == 2

    async def test_a_lease_given_back_fences_off(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence)
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=lease.fence)

    async def test_a_lease_that_ran_out_fences_off(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", 0.02)
        await until(lambda: is_lost(storage, lease.fence))
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=lease.fence)
        assert await numbers(storage, "s") == [1]

    async def test_a_refused_append_leaves_nothing(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        before = await storage.head("s")
        events = [
            record(EventKind.SESSION_STARTED),
            record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"}),
        ]
        with pytest.raises(ConflictError):
            await storage.append("s", events, expected_seq=7)
        assert await storage.head("s") == before
        assert await storage.checkpoints("s") == []
        with pytest.raises(CheckpointNotFound):
            await storage.checkpoint("c")

    async def test_a_reader_sees_an_append_whole_or_not_at_all(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        sizes: list[int] = []

        async def read() -> None:
            while not sizes or sizes[-1] < 401:
                sizes.append(len(await storage.read_events("s")))
                await asyncio.sleep(0)

        reader = asyncio.ensure_future(read())
        for _ in range(4):
            await storage.append("s", [message()] * 100)
        async with asyncio.timeout(PATIENCE):
            await reader
        assert {size % 100 for size in sizes} == {1}

    async def test_ids_that_are_none_are_refused(self, storage: StorageBackend) -> None:
        for bad in ("", "..", "../../x", "a b", "ä", "x" * 129, "a\x00b", "a/b"):
            for attempt in (
                storage.append(bad, [record(EventKind.SESSION_CREATED)]),
                storage.head(bad),
                storage.read_events(bad),
                storage.acquire(bad, "me", LONG),
                storage.renew(bad, 1, LONG),
                storage.checkpoints(bad),
                storage.delete(bad),
            ):
                with pytest.raises(InvalidId):
                    await attempt

    async def test_the_longest_id_works(self, storage: StorageBackend) -> None:
        session_id = await create(storage, "Az09-_.:" * 16)
        assert (await storage.head(session_id)).session_id == session_id

    async def test_ids_differ_by_case(self, storage: StorageBackend) -> None:
        await create(storage, "session")
        await create(storage, "SESSION")
        assert await storage.append("session", [message()]) == 2
        assert (await storage.head("SESSION")).last_seq == 1

    async def test_it_serves_several_event_loops_and_threads(self, storage: StorageBackend) -> None:
        await create(storage, "s")

        async def work() -> None:
            for _ in range(5):
                await storage.append("s", [message()])

        threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        await work()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert await numbers(storage, "s") == list(range(1, 22))
