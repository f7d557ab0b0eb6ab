"""Keeping a put or a task's writes: the record, and what people see of it, in one append."""

from __future__ import annotations

from datetime import datetime

from state_core.adapters.langgraph.serializing import Serializer
from state_core.adapters.langgraph.showing import Showing
from state_core.adapters.langgraph.thread import Thread
from state_core.adapters.langgraph.threads import Threads
from state_core.adapters.langgraph.values import Numbering
from state_core.adapters.langgraph.writing import (
    Put,
    Writes,
    is_kept,
    put_record,
    with_new_items,
    writes_record,
)
from state_core.events import Event
from state_core.records import utc_now


async def keep_put(threads: Threads, thread_id: str, put: Put, serializer: Serializer) -> None:
    """Raises ConflictError, InvalidValue, TooLarge. A put that goes on from a checkpoint does not bring
    back a thread that was deleted: it raises SessionNotFound."""

    def compose(thread: Thread) -> list[Event]:
        if is_kept(thread, put):
            return []
        number = Numbering(thread.items)
        record = put_record(thread, put, number)
        serializer.check(number.new)
        showing = _showing(threads, thread, put.ns, serializer)
        showing.at = put.at if put.imported else None
        showing.put(put, record, number)
        return [*showing.with_record(with_new_items(thread, record, number), at=put.at)]

    await threads.append(thread_id, compose, create=put.parent is None)


async def keep_writes(threads: Threads, thread_id: str, writes: Writes, serializer: Serializer) -> None:
    """Raises ConflictError, InvalidValue, TooLarge."""

    def compose(thread: Thread) -> list[Event]:
        number = Numbering(thread.items)
        record = writes_record(thread, writes, number)
        if record is None:
            return []
        serializer.check(number.new)
        showing = _showing(threads, thread, writes.ns, serializer)
        showing.at = writes.at
        showing.writes(writes, record, number, _began(threads, thread, writes))
        return showing.with_record(with_new_items(thread, record, number), at=writes.at)

    await threads.append(thread_id, compose)


def _showing(threads: Threads, thread: Thread, ns: str, serializer: Serializer) -> Showing:
    driven = thread.session_id in threads.driven
    return Showing(thread, ns, threads.manager.actor, serializer.load_anew, driven)


def _began(threads: Threads, thread: Thread, writes: Writes) -> datetime:
    kept = thread.namespace(writes.ns).checkpoints.get(writes.checkpoint_id)
    return threads.since(writes.reader, kept.at) if kept else utc_now()
