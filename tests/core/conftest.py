"""What the tests of the manager have in common."""

from __future__ import annotations

import asyncio
import threading

import pytest

from state_core import (
    MemoryStorageBackend,
    StateManager,
    StateManagerConfig,
    StorageBackend,
)

QUICK = StateManagerConfig(control_interval=0.02)


class Clock:
    """Seconds since 1970 that pass only when told to, for leases."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> StorageBackend:
    return MemoryStorageBackend()


@pytest.fixture
def manager(store: StorageBackend) -> StateManager:
    return StateManager(store, config=QUICK)


@pytest.fixture
def elsewhere(store: StorageBackend) -> StateManager:
    return StateManager(store, config=QUICK, actor="somebody")


async def completed(manager: StateManager, session_id: str = "s") -> None:
    async with manager.session(session_id, context={"a": 1}) as session:
        branch = await session.open_branch("b")
        async with branch.step("A", "in") as step:
            step.output = "out"


@pytest.fixture
def ctrl_c_at_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a command at once where that asks in the main thread and no event loop runs."""

    def pressed(question: str) -> str:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        assert threading.current_thread() is threading.main_thread()
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", pressed)
