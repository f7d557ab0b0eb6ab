"""Group commit: what several sessions append while a commit is under way goes together in the next.

Nobody waits for a batch to fill: an append that finds no commit under way is one of its own at once. Each
caller waits for its own durability and gets its own error.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from weakref import WeakKeyDictionary

from state_core.storage.base import AppendRequest, Outcome, StorageBackend

AT_ONCE = 2
"""Commits under way side by side: while the store writes one, the next is made ready."""
SLOW = 0.1
"""Seconds after which a commit under way no longer holds up the others: it may wait for a lock."""
PASSED_OVER = 100
"""Most appends that are passed over because their session is in the batch already."""


class _Waiting:
    def __init__(self, request: AppendRequest) -> None:
        self.request = request
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(self, outcome: Outcome) -> None:
        if self.done.done():
            return  # Its caller was cancelled.
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class GroupCommit:
    """Appends to a store, those of at most ``size`` sessions in one commit. For many event loops."""

    def __init__(self, storage: StorageBackend, size: int) -> None:
        self._storage = storage
        self._size = size if storage.supports_batches else 1
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = WeakKeyDictionary()

    async def append(self, request: AppendRequest) -> int:
        """As `StorageBackend.append`."""
        if self._size == 1:
            return await self._storage.append_one(request)
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            lane = self._lanes[loop] = _Lane(self._storage, self._size)
        return await lane.append(request)


class _Lane:
    """The appends of one event loop."""

    def __init__(self, storage: StorageBackend, size: int) -> None:
        self._storage = storage
        self._size = size
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[object, float] = {}
        """A commit → when it began."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._overtaking: asyncio.TimerHandle | None = None

    async def append(self, request: AppendRequest) -> int:
        if not self._waiting and len(self._under_way) < AT_ONCE:
            commit = self._begin()
            try:
                return await self._storage.append_one(request)
            finally:
                self._end(commit)
        waiting = _Waiting(request)
        self._waiting.append(waiting)
        self._go_on()
        return await waiting.done

    def _begin(self) -> object:
        commit = object()
        self._under_way[commit] = time.monotonic()
        return commit

    def _end(self, commit: object) -> None:
        self._under_way.pop(commit, None)
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._under_way) < AT_ONCE:
            batch = self._next_batch()
            if batch:
                task = asyncio.ensure_future(self._commit(batch, self._begin()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if self._waiting and self._overtaking is None:
            self._overtaking = asyncio.get_running_loop().call_later(SLOW, self._overtake)

    def _overtake(self) -> None:
        self._overtaking = None
        slow = time.monotonic() - SLOW
        self._under_way = {commit: began for commit, began in self._under_way.items() if began > slow}
        self._go_on()

    def _next_batch(self) -> list[_Waiting]:
        batch: dict[str, _Waiting] = {}
        later: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < self._size and len(later) < PASSED_OVER:
            waiting = self._waiting.popleft()
            if waiting.done.done():
                continue  # Its caller was cancelled.
            size += waiting.request.bytes
            if waiting.request.session_id in batch:
                later.append(waiting)
            elif batch and size > self._storage.max_append_bytes:
                later.append(waiting)
                break
            else:
                batch[waiting.request.session_id] = waiting
        self._waiting.extendleft(reversed(later))
        return list(batch.values())

    async def _commit(self, batch: list[_Waiting], commit: object) -> None:
        try:
            await self._storage.append_many(
                [waiting.request for waiting in batch], lambda index, outcome: batch[index].end(outcome)
            )
        except Exception as error:  # noqa: BLE001 - handed to every caller whose append was in it
            for waiting in batch:
                waiting.end(error)
        finally:
            for waiting in batch:
                waiting.done.cancel()  # Where the loop is being shut down; it changes nothing that is done.
            self._end(commit)
