"""What the contract is written with: events of sessions, and waiting for a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from state_core.events import EventKind, EventRecord
from state_core.exceptions import (
    ConflictError,
    LeaseLost,
)
from state_core.storage.base import StorageBackend

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LONG = 600.0
"""Seconds: a lease that outlasts its test."""
PATIENCE = 10.0
"""Seconds after which something that should have happened did not."""


def record(kind: str, after: float = 0.0, **header: Any) -> EventRecord:
    """An event, ``after`` seconds after `START`."""
    return EventRecord(kind=kind, at=START + timedelta(seconds=after), **{"encoding": "j1", **header})


def message(text: str = "hello", **header: Any) -> EventRecord:
    return record(EventKind.MESSAGE_ADDED, body=text.encode(), **header)


async def create(storage: StorageBackend, session_id: str, after: float = 0.0, **data: Any) -> str:
    await storage.append(session_id, [record(EventKind.SESSION_CREATED, after, data=data)])
    return session_id


async def start(storage: StorageBackend, session_id: str, after: float = 0.0) -> None:
    await storage.append(session_id, [record(EventKind.SESSION_STARTED, after)])


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What ``condition`` gives once it gives something true. Fails after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await condition()):  # noqa: ASYNC110 - a store's clock rings no bell
            await asyncio.sleep(0.01)
    return found


async def numbers(storage: StorageBackend, session_id: str) -> list[int]:
    return [event.seq for event in await storage.read_events(session_id)]


def outcomes(results: list[Any]) -> list[Any]:
    """Names of errors, and values as they are."""
    return sorted((type(r).__name__ if isinstance(r, Exception) else r for r in results), key=str)


async def is_lost(storage: StorageBackend, fence: int) -> bool:
    try:
        await storage.append("s", [message()], fence=fence, expected_seq=-1)
    except LeaseLost:
        return True
    except ConflictError:
        return False
    raise AssertionError("An append that expects the impossible went through.")


def named_checkpoint(checkpoint_id: str) -> EventRecord:
    return record(EventKind.CHECKPOINT_CREATED, data={"id": checkpoint_id, "name": checkpoint_id})
