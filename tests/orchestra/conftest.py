"""What the orchestra's tests have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from state_core import MemoryStorageBackend, SessionStatus, StateManager, StateManagerConfig, StorageBackend
from state_core.exceptions import SessionNotFound

QUICK = StateManagerConfig(control_interval=0.05, lease_ttl=30)


@pytest.fixture
def store() -> StorageBackend:
    return MemoryStorageBackend()


@pytest.fixture
def manager(store: StorageBackend) -> StateManager:
    return StateManager(store, config=QUICK)


@pytest.fixture
def elsewhere(store: StorageBackend) -> StateManager:
    """Another manager of the same store, as another process has it."""
    return StateManager(store, config=QUICK, actor="somebody")


async def eventually(condition: Callable[[], Awaitable[object]], within: float = 30) -> None:
    """Wait until it holds. A session that is not there yet is awaited, too."""
    async with asyncio.timeout(within):
        while not await _holds(condition):
            await asyncio.sleep(0.01)


async def _holds(condition: Callable[[], Awaitable[object]]) -> bool:
    try:
        return bool(await condition())
    except SessionNotFound:
        return False


async def reaches(manager: StateManager, session_id: str, status: SessionStatus, within: float = 10) -> None:
    async def has_reached() -> bool:
        return bool((await manager.get_head(session_id)).status == status)

    await eventually(has_reached, within)
