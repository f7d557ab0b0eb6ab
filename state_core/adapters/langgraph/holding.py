"""All that a thread holds as one record, so that the log before it can go; and what of it is still needed.

Items keep their numbers: whoever has read the log that this stands for, in whatever process, goes on from it
as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.showing import GOES_ON
from state_core.adapters.langgraph.thread import (
    FOLD,
    Kept,
    Namespace,
    Record,
    Thread,
    Write,
    Writers,
)
from state_core.adapters.langgraph.values import Items, Numbers, Value, plainly, read_items
from state_core.changes import keep_aside
from state_core.events import Event, EventKind
from state_core.exceptions import DamagedError

# What is needed…


def needed_by_others(thread: Thread, gone: Callable[[Kept], bool]) -> dict[str, list[str]]:
    """Namespace → the checkpoints among those that go whose writes a channel of one that stays is made of."""
    found = {}
    for namespace in thread.namespaces.values():
        stays = [kept for kept in namespace.checkpoints.values() if not kept.dropped and not gone(kept)]
        ids = {
            ancestor.id
            for kept in stays
            for ancestor in _made_of(thread, namespace, kept)
            if ancestor.dropped or gone(ancestor)
        }
        if ids:
            found[namespace.name] = sorted(ids)
    return found


def _made_of(thread: Thread, namespace: Namespace, kept: Kept) -> Iterator[Kept]:
    """Ancestors, up to the one from which on it has every channel that is told by its writes alone."""
    at, seen = namespace.checkpoints.get(kept.parent or ""), set[str]()
    unknown = {
        channel
        for channel in kept.versions
        if not channel.startswith((*GOES_ON, "__")) and not _has(thread, kept, channel)
    }
    while at and at.id not in seen and unknown:
        yield at
        seen.add(at.id)
        unknown = {channel for channel in unknown if not _has(thread, at, channel)}
        at = namespace.checkpoints.get(at.parent or "")


def _has(thread: Thread, kept: Kept, channel: str) -> bool:
    return thread.resolve(kept.values.get(channel)) is not None


def items_gone(thread: Thread, stays: Callable[[Kept], bool]) -> list[list[int]]:
    """Runs of items, first and count, that nothing which stays is made of."""
    used = set(_used(thread, stays))
    runs: list[list[int]] = []
    for number, _ in thread.items.pairs():
        if number in used:
            continue
        if runs and sum(runs[-1]) == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs


def _used(thread: Thread, stays: Callable[[Kept], bool]) -> Iterator[int]:
    for numbers in thread.memories.values():
        yield from numbers
    for namespace in thread.namespaces.values():
        for kept in namespace.checkpoints.values():
            if not stays(kept):
                continue
            for item in (kept.metadata, kept.rest):
                if isinstance(item, tuple):
                    yield from _flat(thread.items.number(item))
            for value in kept.values.values():
                yield from _flat(thread.resolve(value))
        for checkpoint_id, writes in namespace.writes.items():
            known = namespace.checkpoints.get(checkpoint_id)
            for write in writes.values() if known is None or stays(known) else ():
                yield from _flat(thread.resolve(write.value))


def _flat(numbers: Numbers) -> Iterable[int]:
    if isinstance(numbers, dict):
        return numbers.values()
    return numbers if isinstance(numbers, list) else () if numbers is None else (numbers,)


# The record…


def held(thread: Thread) -> Record:
    """Raises DamagedError where it does not say the same as the thread."""
    values = _Values()
    namespaces = {name: _namespace(thread, found, values) for name, found in thread.namespaces.items()}
    record = {
        "t": "held",
        "id": thread.thread_id,
        "named": thread.is_named,
        "restored": thread.restored_at,
        "dropped": thread.dropped_at,
        "count": len(thread.items),
        "items": [[number, plainly(item)] for number, item in thread.items.pairs()],
        "ns": namespaces,
        "values": values.shown,
        "memories": thread.memories,
    }
    _check(thread, record)
    return record


def _namespace(thread: Thread, namespace: Namespace, values: _Values) -> Record:
    return {
        "newest": namespace.newest,
        "channel": namespace.message_channel,
        "writers": [namespace.writers.last, namespace.writers.other],
        "kept": [_kept(thread, kept, values) for kept in namespace.checkpoints.values()],
        "values": [[*key, values.number(value)] for key, value in namespace.values.items()],
        "writes": {
            checkpoint_id: [
                [write.task_id, write.idx, write.channel, values.number(write.value), write.path]
                for write in writes.values()
            ]
            for checkpoint_id, writes in namespace.writes.items()
        },
    }


def _kept(thread: Thread, kept: Kept, values: _Values) -> Record:
    shown = {name: getattr(kept, name) for name in _AS_THEY_ARE}
    return {
        **shown,
        "at": kept.at.isoformat(),
        "values": {channel: values.number(value) for channel, value in kept.values.items()},
        "metadata": _shown(thread, kept.metadata),
        "rest": _shown(thread, kept.rest),
    }


_AS_THEY_ARE = ("id", "parent", "seq", "writer", "v", "ts", "updated", "versions", "seen", "dropped")


def _shown(thread: Thread, item: Any) -> Any:
    """The number of an item, or plain JSON in a list."""
    return thread.items.number(item) if isinstance(item, tuple) else [item]


class _Values:
    """Numbered, each behind the one that it follows from."""

    def __init__(self) -> None:
        self.shown: list[list[Any]] = []
        self._numbers: dict[Value, int] = {}

    def number(self, value: Value) -> int:
        behind = []
        at: Value | None = value
        while at is not None and at not in self._numbers:
            behind.append(at)
            at = at.base
        for each in reversed(behind):
            base = None if each.base is None else self._numbers[each.base]
            self._numbers[each] = len(self.shown)
            self.shown.append([each.change, base])
        return self._numbers[value]


# And back…


def _apply_held(thread: Thread, record: Record, event: Event) -> None:
    thread.is_named = record["named"]
    # A fork carries the name of what it was forked from.
    if session_id_of(record["id"]) == thread.session_id:
        thread.thread_id = record["id"]
    # Of a fork, whose numbers are lower.
    thread.restored_at, thread.dropped_at = (min(record[name], event.seq) for name in ("restored", "dropped"))
    thread.items = Items()
    for number, shown in record["items"]:
        thread.items.skip(number - len(thread.items))
        read_items(thread.items, [shown])
    thread.items.skip(record["count"] - len(thread.items))
    values: list[Value] = []
    for change, base in record["values"]:
        values.append(Value(change, None if base is None else values[base]))
    thread.namespaces = {
        name: _read_namespace(thread, name, shown, values, event.seq) for name, shown in record["ns"].items()
    }
    thread.memories = {branch: list(numbers) for branch, numbers in record["memories"].items()}


def _read_namespace(thread: Thread, name: str, shown: Record, values: list[Value], most: int) -> Namespace:
    last, other = ((writer, min(seq, most)) for writer, seq in shown["writers"])
    return Namespace(
        name,
        {kept["id"]: _read_kept(thread, name, kept, values, most) for kept in shown["kept"]},
        {(channel, version): values[number] for channel, version, number in shown["values"]},
        {
            checkpoint_id: {
                (task_id, idx): Write(task_id, idx, channel, values[number], path)
                for task_id, idx, channel, number, path in writes
            }
            for checkpoint_id, writes in shown["writes"].items()
        },
        Writers(last, other),
        shown["newest"],
        shown["channel"],
    )


def _read_kept(thread: Thread, ns: str, shown: Record, values: list[Value], most: int) -> Kept:
    told: dict[str, Any] = {
        **{name: shown[name] for name in _AS_THEY_ARE},
        "at": datetime.fromisoformat(shown["at"]),
        "seq": min(shown["seq"], most),
        "values": {channel: values[number] for channel, number in shown["values"].items()},
        "metadata": _read_shown(thread, shown["metadata"]),
        "rest": _read_shown(thread, shown["rest"]),
    }
    return Kept(ns=ns, **told)


def _read_shown(thread: Thread, shown: Any) -> Any:
    return shown[0] if isinstance(shown, list) else thread.items[shown]


FOLD["held"] = _apply_held


def _check(thread: Thread, record: Record) -> None:
    """Raises DamagedError rather than put something else in the place of the log."""
    found = Thread(thread.session_id)
    event = Event(kind=EventKind.RECORD_KEPT, seq=thread.seq, changes=[keep_aside(record)])
    _apply_held(found, orjson.loads(orjson.dumps(record)), event)
    if _told(found) != _told(thread):
        raise DamagedError(thread.session_id, f"event {thread.seq}", "what it keeps cannot be carried")


def _told(thread: Thread) -> Mapping[str, Any]:
    """All that can be asked of it, by value."""
    return {
        "items": dict(thread.items.pairs()),
        "memories": {branch: list(numbers) for branch, numbers in thread.memories.items()},
        "places": (thread.thread_id, thread.is_named, thread.restored_at, thread.dropped_at),
        "namespaces": {
            name: _told_namespace(thread, namespace) for name, namespace in thread.namespaces.items()
        },
    }


def _told_namespace(thread: Thread, namespace: Namespace) -> Any:
    def resolved(values: Mapping[Any, Value]) -> dict[Any, Numbers]:
        return {key: thread.resolve(value) for key, value in values.items()}

    return (
        namespace.newest,
        namespace.message_channel,
        namespace.writers,
        [(replace(kept, values={}), resolved(kept.values)) for kept in namespace.checkpoints.values()],
        resolved(namespace.values),
        [
            (checkpoint_id, write.order, write.channel, thread.resolve(write.value))
            for checkpoint_id, writes in namespace.writes.items()
            for write in writes.values()
        ],
    )
