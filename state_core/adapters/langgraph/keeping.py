"""Keeping a put or a task's writes: the record, and what people see of it, in one append."""

from __future__ import annotations

from typing import Any

from state_core.adapters.langgraph.serializing import Serializer
from state_core.adapters.langgraph.thread import Record, Thread
from state_core.adapters.langgraph.threads import Threads
from state_core.adapters.langgraph.values import Numbering
from state_core.adapters.langgraph.writing import Put, Writes, put_record, with_new_items, writes_record
from state_core.changes import keep_aside
from state_core.events import Event, EventKind


async def keep_put(threads: Threads, thread_id: str, put: Put, serializer: Serializer) -> None:
    """Raises ConflictError, InvalidValue, TooLarge. A put that goes on from a checkpoint does not bring
    back a thread that was deleted: it raises SessionNotFound."""

    def compose(thread: Thread) -> list[Event]:
        number = Numbering(thread.items)
        record = put_record(thread, put, number)
        serializer.check(number.new)
        return [_kept(threads, with_new_items(thread, record, number), at=put.at)]

    await threads.append(thread_id, compose, create=put.parent is None)


async def keep_writes(threads: Threads, thread_id: str, writes: Writes, serializer: Serializer) -> None:
    """Raises ConflictError, InvalidValue, TooLarge."""

    def compose(thread: Thread) -> list[Event]:
        number = Numbering(thread.items)
        record = writes_record(thread, writes, number)
        if record is None:
            return []
        serializer.check(number.new)
        return [_kept(threads, with_new_items(thread, record, number))]

    await threads.append(thread_id, compose)


def _kept(threads: Threads, record: Record, **header: Any) -> Event:
    changes = [keep_aside(record)]
    return Event(kind=EventKind.RECORD_KEPT, actor=threads.manager.actor, changes=changes, **header)
