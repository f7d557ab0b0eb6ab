"""A feed on each kind of store, and somebody who listens to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.test import AsyncClient

from marsys_dashboard.feed import Feed
from marsys_dashboard.frames import Frame
from state_core.manager import StateManager
from state_core.storage.base import StorageBackend
from tests.dashboard.visiting import serve, signed_in

SESSION = "research"


class Listening:
    """Keeps what it is offered and told, and waits for it."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self._heard = asyncio.Event()

    def offer(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.text))
        self._heard.set()

    def tell(self, text: str) -> None:
        self.told.append(json.loads(text))
        self._heard.set()

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for frame in self.frames for event in frame["events"]]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for frame in self.frames for event in frame["events"]]

    def told_of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.told if message["type"] == kind]

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture
def listener() -> Listening:
    return Listening()


@pytest.fixture
def manager(storage: StorageBackend) -> StateManager:
    return StateManager(storage, actor="tests")


@pytest.fixture
async def feed(manager: StateManager) -> AsyncIterator[Feed]:
    made = Feed(lambda store: manager)
    yield made
    await made.ended()
    assert not made.hub, "a test left somebody listening"
    assert not made.running


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> StorageBackend:
    found: StorageBackend = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture
def served(store: StorageBackend, monkeypatch: pytest.MonkeyPatch) -> StateManager:
    """On a store that the dashboard shows."""
    made = StateManager(store, actor="tests")
    serve(made, monkeypatch)
    return made


@pytest.fixture
async def visitor() -> AsyncClient:
    """Of somebody who may look."""
    return await signed_in("view")
