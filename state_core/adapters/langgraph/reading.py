"""Finding checkpoints in a thread, and telling them as the framework wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory

from state_core.adapters.langgraph.serializing import Serializer
from state_core.adapters.langgraph.thread import Kept, Namespace, Thread, Write
from state_core.adapters.langgraph.threads import Threads
from state_core.adapters.langgraph.values import Numbers, Typed, Value

Raw = list[Typed] | dict[str, Typed] | Typed
"""A value as its items: of a list, of a dict, of one piece."""


@dataclass(frozen=True, slots=True)
class RawWrite:
    task_id: str
    channel: str
    value: Raw

    def told(self, serializer: Serializer) -> tuple[str, str, Any]:
        return self.task_id, self.channel, load(self.value, serializer)


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint, taken out of its thread and not yet made objects of."""

    thread_id: str
    kept: Kept
    values: Mapping[str, Raw]
    writes: Sequence[RawWrite]
    seq: int
    """The thread's, when it was read."""

    def told(self, serializer: Serializer) -> CheckpointTuple:
        kept = self.kept
        checkpoint: Any = {
            "v": kept.v,
            "ts": kept.ts,
            "id": kept.id,
            "channel_values": {name: load(value, serializer) for name, value in self.values.items()},
            "channel_versions": dict(kept.versions),
            "versions_seen": {node: dict(versions) for node, versions in kept.seen.items()},
            "updated_channels": None if kept.updated is None else list(kept.updated),
            **(serializer.load_anew(kept.rest) if kept.rest else {}),
        }
        return CheckpointTuple(
            config=self._place(kept.id),
            checkpoint=checkpoint,
            metadata=metadata_of(kept, serializer.load_anew),
            parent_config=self._place(kept.parent) if kept.parent else None,
            pending_writes=[write.told(serializer) for write in self.writes],
        )

    def _place(self, checkpoint_id: str) -> Any:
        place = {
            "thread_id": self.thread_id,
            "checkpoint_ns": self.kept.ns,
            "checkpoint_id": checkpoint_id,
        }
        return {"configurable": place}


def metadata_of(kept: Kept, loads: Callable[[Typed], Any]) -> Any:
    return deepcopy(kept.metadata) if isinstance(kept.metadata, dict) else loads(kept.metadata)


def load(value: Raw, serializer: Serializer) -> Any:
    if isinstance(value, list):
        return [serializer.load(item) for item in value]
    if isinstance(value, dict):
        return {key: serializer.load(item) for key, item in value.items()}
    return serializer.load(value)


def raw(thread: Thread, value: Value | None) -> Raw | None:
    """None for a channel that is empty."""
    numbers: Numbers = thread.resolve(value)
    items = thread.items
    if isinstance(numbers, list):
        return [items[number] for number in numbers]
    if isinstance(numbers, dict):
        return {key: items[number] for key, number in numbers.items()}
    return None if numbers is None else items[numbers]


def find(thread: Thread, ns: str, checkpoint_id: str | None) -> Found | None:
    """That checkpoint, or the latest of its namespace."""
    namespace = thread.namespaces.get(ns)
    if namespace is None:
        return None
    kept = namespace.get(checkpoint_id) if checkpoint_id else namespace.latest
    return found(thread, namespace, kept) if kept else None


def found(thread: Thread, namespace: Namespace, kept: Kept) -> Found:
    values = {name: raw(thread, value) for name, value in kept.values.items()}
    return Found(
        thread_id=thread.thread_id,
        kept=kept,
        values={name: value for name, value in values.items() if value is not None},
        writes=[_raw_write(thread, write) for write in namespace.ordered_writes(kept.id)],
        seq=thread.seq,
    )


def _raw_write(thread: Thread, write: Write) -> RawWrite:
    value = raw(thread, write.value)
    assert value is not None, "a write has a value"
    return RawWrite(write.task_id, write.channel, value)


# Several…


@dataclass(frozen=True, slots=True)
class Query:
    loads: Callable[[Typed], Any]
    ns: str | None = None
    checkpoint_id: str | None = None
    before: str | None = None
    filter: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None

    def takes(self, kept: Kept) -> bool:
        if self.checkpoint_id and kept.id != self.checkpoint_id:
            return False
        if self.before and kept.id >= self.before:
            return False
        return not self.filter or self._fits(metadata_of(kept, self.loads))

    def _fits(self, metadata: Mapping[str, Any]) -> bool:
        return all(name in metadata and metadata[name] == value for name, value in self.filter.items())


async def find_all(threads: Threads, thread_id: str | None, query: Query) -> list[Found]:
    """Newest first, by id; of every thread where none is named."""
    if thread_id is not None:
        thread = await threads.read(str(thread_id))
        return of_thread(thread, query, query.limit) if thread else []
    results: list[Found] = []
    async for session_id in threads.session_ids():
        if query.limit is not None and len(results) >= query.limit:
            break
        thread = await threads.read_session(session_id)
        left = None if query.limit is None else query.limit - len(results)
        results.extend(of_thread(thread, query, left) if thread else [])
    return results


def of_thread(thread: Thread, query: Query, limit: int | None) -> list[Found]:
    chosen = list(_chosen(thread, query, limit))
    # From the oldest on: each is then a short way from the one before.
    told = [found(thread, thread.namespaces[kept.ns], kept) for kept in reversed(chosen)]
    return told[::-1]


def _chosen(thread: Thread, query: Query, limit: int | None) -> Iterator[Kept]:
    candidates = (kept for kept in thread.all_checkpoints() if query.ns is None or kept.ns == query.ns)
    left = limit
    for kept in sorted(candidates, key=lambda kept: kept.id, reverse=True):
        if left is not None and left <= 0:
            return
        if query.takes(kept):
            left = None if left is None else left - 1
            yield kept


# Channels that keep their writes alone…


@dataclass(slots=True)
class Past:
    """What one channel was given on the way to a checkpoint."""

    writes: list[RawWrite] = field(default_factory=list)
    seed: Raw | None = None

    def told(self, serializer: Serializer) -> DeltaChannelHistory:
        history: DeltaChannelHistory = {"writes": [write.told(serializer) for write in self.writes]}
        if self.seed is not None:
            history["seed"] = load(self.seed, serializer)
        return history


def history(
    thread: Thread | None, ns: str, checkpoint_id: str | None, channels: Sequence[str]
) -> dict[str, Past]:
    """For each channel, from the nearest ancestor that has its value on, the writes of the ancestors, the
    oldest first. Checkpoints that were deleted still count: what follows from them stays whole."""
    past = {channel: Past() for channel in channels}
    namespace = thread.namespaces.get(ns) if thread else None
    if thread is None or namespace is None:
        return past
    target = namespace.get(checkpoint_id) if checkpoint_id else namespace.latest
    remaining = set(channels)
    for kept in _ancestors(namespace, target):
        for channel in list(remaining):
            past[channel].writes[:0] = _of_channel(thread, namespace, kept, channel)
            past[channel].seed = raw(thread, kept.values.get(channel))
            if past[channel].seed is not None:
                remaining.discard(channel)
        if not remaining:
            break
    return past


def _ancestors(namespace: Namespace, kept: Kept | None) -> Iterator[Kept]:
    """From the parent on; a circle ends."""
    seen: set[str] = set()
    at = namespace.checkpoints.get(kept.parent or "") if kept else None
    while at is not None and at.id not in seen:
        seen.add(at.id)
        yield at
        at = namespace.checkpoints.get(at.parent or "")


def _of_channel(thread: Thread, namespace: Namespace, kept: Kept, channel: str) -> list[RawWrite]:
    return [
        _raw_write(thread, write) for write in namespace.ordered_writes(kept.id) if write.channel == channel
    ]
