"""Processes of their own that use a store: `working` on it, told and asked by a connection.

They are forked from one that has imported everything, so that none of them costs a start of Python.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from state_core.events import EventKind, EventRecord
from state_core.exceptions import StateError
from state_core.storage import StorageBackend, from_url
from state_core.storage.redis import RedisStorageBackend

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["__main__", "tests.storage.worker", "state_core.storage.database"])


@dataclass
class Worker:
    process: ForkServerProcess
    line: Connection
    """To it and from it. It is at its end when the process is, and all that was said has been heard."""

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def ended_well(self) -> bool:
        self.process.join()
        return self.process.exitcode == 0

    def all_it_says(self) -> list[Any]:
        """From now to its end."""
        return list(iter(self._next, None))

    def _next(self) -> Any:
        try:
            return self.line.recv()
        except EOFError:
            return None


@contextmanager
def working(verb: str, url: str, number: float = 0, prefix: str = "") -> Iterator[Worker]:
    ours, theirs = FORKING.Pipe()
    process = FORKING.Process(target=run, args=(theirs, verb, url, number, prefix))
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours)
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def appended_by(workers: int, number: int, url: str, prefix: str = "") -> list[int]:
    """Let so many processes append so many events at once, until all have ended well. Their ids, which the
    events name."""
    with ExitStack() as stack:
        started = [stack.enter_context(working("append", url, number, prefix)) for _ in range(workers)]
        for each in started:
            assert each.line.recv() == "ready"
        for each in started:
            each.line.send("go")
        assert all(each.ended_well() for each in started)
        return [each.pid for each in started]


def run(line: Connection, verb: str, url: str, number: float, prefix: str) -> None:
    warnings.simplefilter("error")
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    asyncio.run(work(line, verb, url, number, prefix))


async def work(line: Connection, verb: str, url: str, number: float, prefix: str) -> None:
    store = RedisStorageBackend(url=url, key_prefix=prefix) if prefix else from_url(url)
    try:
        await VERBS[verb](store, line, number)
    finally:
        await store.close()


def event(text: str) -> EventRecord:
    return EventRecord(kind=EventKind.MESSAGE_ADDED, body=text.encode(), encoding="j1")


async def append(store: StorageBackend, line: Connection, number: int) -> None:
    """So many events, one after another, when told to."""
    line.send("ready")
    line.recv()
    for n in range(number):
        await store.append("s", [event(f"{os.getpid()}:{n}")])


async def burst(store: StorageBackend, line: Connection, number: int) -> None:
    """So many appends of 100 events."""
    for _ in range(number):
        await store.append("s", [event("x")] * 100)


async def endless(store: StorageBackend, line: Connection, number: int) -> None:
    """Say each number that was acknowledged."""
    while True:
        line.send(await store.append("s", [event("x")]))


async def hold(store: StorageBackend, line: Connection, seconds: float) -> None:
    """Take the lease, and write once when told to."""
    lease = await store.acquire("s", "the first", seconds)
    line.send("held")
    line.recv()
    try:
        line.send(await store.append("s", [event("too late")], fence=lease.fence))
    except StateError as error:
        line.send(type(error).__name__)


async def create(store: StorageBackend, line: Connection, number: int) -> None:
    try:
        await store.append("s", [EventRecord(kind=EventKind.SESSION_CREATED)])
        line.send("made")
    except StateError as error:
        line.send(type(error).__name__)


VERBS = {"append": append, "burst": burst, "create": create, "endless": endless, "hold": hold}
