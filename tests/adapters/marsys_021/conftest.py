"""Checks that run inside of a Python of their own, where the real MARSYS 0.2.1 is installed; see
`tests/adapters/test_marsys.py`, which runs them and reports each."""

from __future__ import annotations

import pytest

from state_core import MemoryStorageBackend, StateManager, StorageBackend
from state_core.adapters.marsys import MarsysStateManager
from state_core.storage import from_url


@pytest.fixture(params=["memory", "file", "sqlite"])
async def store(request, tmp_path):
    urls = {"file": f"file:{tmp_path}/state", "sqlite": f"sqlite:///{tmp_path}/state.sqlite3"}
    found: StorageBackend = (
        MemoryStorageBackend() if request.param == "memory" else from_url(urls[request.param])
    )
    yield found
    await found.close()


@pytest.fixture
def ours(store) -> StateManager:
    return StateManager(store)


@pytest.fixture
def marsys(store) -> MarsysStateManager:
    """In the place of MARSYS's own state manager."""
    return MarsysStateManager(store)
