"""Who may write."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from state_core.exceptions import (
    LeaseHeld,
    LeaseLost,
    SessionNotFound,
)
from state_core.storage.base import StorageBackend
from state_core.testing.records import (
    LONG,
    create,
    is_lost,
    message,
    until,
)


class LeaseContract:
    """Who may write."""

    async def test_a_lease_is_taken_for_a_time(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        head = await storage.head("s")
        assert (lease.session_id, lease.owner) == ("s", "me")
        assert (head.owner, head.fence, head.lease_expires_at) == ("me", lease.fence, lease.expires_at)
        left = lease.expires_at - datetime.now(UTC)
        assert timedelta(seconds=LONG - 60) < left < timedelta(seconds=LONG + 60)

    async def test_another_owner_has_to_wait(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        with pytest.raises(LeaseHeld) as caught:
            await storage.acquire("s", "you", LONG)
        assert (caught.value.owner, caught.value.expires_at) == ("me", lease.expires_at)
        assert await storage.append("s", [message()], fence=lease.fence) == 2

    async def test_each_acquisition_has_a_higher_fence(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        first = await storage.acquire("s", "me", LONG)
        second = await storage.acquire("s", "me", LONG)
        await storage.release("s", second.fence)
        third = await storage.acquire("s", "you", LONG)
        assert first.fence < second.fence < third.fence
        with pytest.raises(LeaseLost):
            await storage.append("s", [message()], fence=first.fence)

    async def test_of_many_that_acquire_at_once_one_wins(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        results = await asyncio.gather(
            *(storage.acquire("s", f"owner{n}", LONG) for n in range(6)), return_exceptions=True
        )
        assert sum(isinstance(result, LeaseHeld) for result in results) == 5

    async def test_a_lease_that_ran_out_can_be_taken(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        mine = await storage.acquire("s", "me", 0.02)
        yours = await until(lambda: _taken(storage, "you"))
        assert yours.fence > mine.fence
        for attempt in (
            storage.renew("s", mine.fence, LONG),
            storage.append("s", [message()], fence=mine.fence),
        ):
            with pytest.raises(LeaseLost):
                await attempt
        await storage.release("s", mine.fence)
        assert await storage.append("s", [message()], fence=yours.fence) == 2

    async def test_renewing_makes_it_last(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        renewed = await storage.renew("s", lease.fence, LONG * 2)
        assert renewed.fence == lease.fence
        assert renewed.expires_at - lease.expires_at > timedelta(seconds=LONG / 2)
        assert (await storage.head("s")).lease_expires_at == renewed.expires_at

    async def test_a_lease_that_ran_out_cannot_be_renewed(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", 0.02)
        await until(lambda: is_lost(storage, lease.fence))
        with pytest.raises(LeaseLost):
            await storage.renew("s", lease.fence, LONG)

    async def test_a_lease_given_back_is_free(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence)
        head = await storage.head("s")
        assert (head.owner, head.lease_expires_at) == ("", None)
        assert (await storage.acquire("s", "you", LONG)).owner == "you"

    async def test_giving_back_whatis_lost_is_no_error(self, storage: StorageBackend) -> None:
        await create(storage, "s")
        lease = await storage.acquire("s", "me", LONG)
        await storage.release("s", lease.fence - 1)
        await storage.release("nobody", 1)
        assert (await storage.head("s")).owner == "me"

    async def test_a_session_that_is_not_there_has_no_lease(self, storage: StorageBackend) -> None:
        with pytest.raises(SessionNotFound):
            await storage.acquire("nobody", "me", LONG)
        with pytest.raises(SessionNotFound):
            await storage.renew("nobody", 1, LONG)


async def _taken(storage: StorageBackend, owner: str) -> Any:
    try:
        return await storage.acquire("s", owner, LONG)
    except LeaseHeld:
        return None
