"""A process that uses a store, for tests: ``python -m tests.storage.worker <verb> <url> [number]``."""

from __future__ import annotations

import asyncio
import os
import sys

from state_core.events import EventKind, EventRecord
from state_core.exceptions import StateError
from state_core.storage import StorageBackend, from_url


def event(text: str) -> EventRecord:
    return EventRecord(kind=EventKind.MESSAGE_ADDED, body=text.encode(), encoding="j1")


def say(*words: object) -> None:
    print(*words, flush=True)


def heard() -> str:
    return sys.stdin.readline()


async def append(store: StorageBackend, number: str) -> None:
    """So many events, one after another."""
    say("ready")
    heard()
    for n in range(int(number)):
        await store.append("s", [event(f"{os.getpid()}:{n}")])


async def burst(store: StorageBackend, number: str) -> None:
    """So many appends of 100 events."""
    for _ in range(int(number)):
        await store.append("s", [event("x")] * 100)


async def endless(store: StorageBackend, number: str) -> None:
    """Say each number that was acknowledged."""
    while True:
        say(await store.append("s", [event("x")]))


async def hold(store: StorageBackend, seconds: str) -> None:
    """Take the lease, and write once when told to."""
    lease = await store.acquire("s", "the first", float(seconds))
    say("held")
    heard()
    try:
        say(await store.append("s", [event("too late")], fence=lease.fence))
    except StateError as error:
        say(type(error).__name__)


async def create(store: StorageBackend, number: str) -> None:
    try:
        await store.append("s", [EventRecord(kind=EventKind.SESSION_CREATED)])
        say("made")
    except StateError as error:
        say(type(error).__name__)


VERBS = {"append": append, "burst": burst, "create": create, "endless": endless, "hold": hold}


async def main(verb: str, url: str, number: str = "0") -> None:
    store = from_url(url)
    try:
        await VERBS[verb](store, number)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
