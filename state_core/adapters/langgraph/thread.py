"""A thread as its log tells it: checkpoints by namespace, the values of their channels, pending writes.

What the framework keeps stands in the log beside what people read, as changes that the fold passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.values import Items, Resolver, Typed, Value, read_items
from state_core.changes import KEEP
from state_core.events import CREATING, Event, EventKind
from state_core.exceptions import DamagedError
from state_core.fold import apply_event, empty_document
from state_core.records import Document

Version = str | int | float
Record = dict[str, Any]


@dataclass(slots=True)
class Kept:
    """A checkpoint of the framework, without the values of its channels."""

    id: str
    ns: str
    parent: str | None
    seq: int
    at: datetime
    writer: str
    v: int
    ts: str
    updated: list[str] | None
    versions: dict[str, Version]
    values: dict[str, Value]
    """Of the channels, as far as they have any."""
    seen: dict[str, dict[str, Version]]
    metadata: Typed | Record
    """As JSON where that says the same."""
    rest: Typed | None
    """What else a checkpoint has, such as sends of an old format."""
    dropped: bool = False
    """Deleted: not to be found any more. What follows from it stays whole."""


@dataclass(slots=True)
class Write:
    """A write of a task that waits on a checkpoint."""

    task_id: str
    idx: int
    channel: str
    value: Value
    path: str

    @property
    def order(self) -> tuple[str, str, int]:
        return self.path, self.task_id, self.idx


@dataclass(slots=True)
class Writers:
    """Who wrote last to a namespace, and the last that was somebody else: enough to tell whether anybody
    but me has written since I read."""

    last: tuple[str, int] = ("", 0)
    other: tuple[str, int] = ("", 0)

    def wrote(self, writer: str, seq: int) -> None:
        """``writer``: ``""`` for a task that wrote before its run's first checkpoint was there."""
        if not writer:
            return
        if writer != self.last[0]:
            self.other = self.last
        self.last = (writer, seq)

    def last_but(self, writer: str) -> int:
        return self.other[1] if writer == self.last[0] else self.last[1]


@dataclass(slots=True)
class Namespace:
    name: str
    checkpoints: dict[str, Kept] = field(default_factory=dict)
    """In the order in which they were put."""
    values: dict[tuple[str, Version], Value] = field(default_factory=dict)
    """By channel and version, for a checkpoint whose parent is not here."""
    writes: dict[str, dict[tuple[str, int], Write]] = field(default_factory=dict)
    writers: Writers = field(default_factory=Writers)
    newest: str | None = None
    """The id that was put last."""
    message_channel: str = ""
    """The channel whose messages are its branch's memory."""

    def get(self, checkpoint_id: str | None) -> Kept | None:
        """One that was not deleted."""
        found = self.checkpoints.get(checkpoint_id or "")
        return found if found and not found.dropped else None

    @property
    def latest(self) -> Kept | None:
        return next((kept for kept in reversed(self.checkpoints.values()) if not kept.dropped), None)

    def forget(self, needed: Collection[str]) -> None:
        """Deleted checkpoints, save those that are needed: nothing can follow from them any more."""
        for kept in [kept for kept in self.checkpoints.values() if kept.dropped and kept.id not in needed]:
            del self.checkpoints[kept.id]
            self.writes.pop(kept.id, None)
        held = {value for kept in self.checkpoints.values() for value in kept.values.values()}
        self.values = {key: value for key, value in self.values.items() if value in held}

    def ordered_writes(self, checkpoint_id: str) -> list[Write]:
        return sorted(self.writes.get(checkpoint_id, {}).values(), key=lambda write: write.order)


class Thread:
    """The fold of a session's log as the framework sees it."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.outline: Document = empty_document(session_id)
        """Branches, steps, questions and statuses; no content."""
        self.items = Items()
        self.resolve = Resolver()
        self.namespaces: dict[str, Namespace] = {}
        self.memories: dict[str, list[int]] = {}
        """Branch → the items that its memory shows."""
        self.thread_id = session_id
        self.is_named = False
        self.restored_at = 0
        """The seq of the last restore."""
        self.dropped_at = 0
        """The seq at which checkpoints were deleted last."""

    @property
    def seq(self) -> int:
        seq: int = self.outline["seq"]
        return seq

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return self.items.bytes + 600 * self.seq

    def namespace(self, name: str) -> Namespace:
        return self.namespaces.setdefault(name, Namespace(name))

    def all_checkpoints(self) -> Iterator[Kept]:
        for namespace in self.namespaces.values():
            yield from (kept for kept in namespace.checkpoints.values() if not kept.dropped)

    def apply(self, event: Event) -> None:
        """Raises DamagedError where a record does not fit what was before."""
        # The first event of a fork carries branches and steps that no header tells of.
        apply_event(self.outline, event if event.kind in CREATING else _without_changes(event))
        if event.kind == EventKind.SESSION_RESTORED:
            self.restored_at = event.seq
        for operation, _path, *rest in event.changes:
            if operation == KEEP:
                try:
                    FOLD[rest[0]["t"]](self, rest[0], event)
                except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                    what = f"event {event.seq}, a record of LangGraph"
                    raise DamagedError(self.session_id, what, "it does not fit what was before") from error

    def _add_items(self, record: Record) -> None:
        read_items(self.items, record.get("new", ()))

    def _named(self, record: Record, event: Event) -> None:
        self.is_named = True
        # A fork carries the name of what it was forked from.
        if session_id_of(record["id"]) == self.session_id:
            self.thread_id = record["id"]

    def _put(self, record: Record, event: Event) -> None:
        self._add_items(record)
        namespace = self.namespace(record.get("ns", ""))
        parent = record.get("parent", namespace.newest)
        base = namespace.checkpoints.get(parent or "")
        kept = self._kept(record, event, namespace, base)
        kept.parent = parent
        kept.values = _values(kept, base, namespace, record["values"])
        namespace.checkpoints[kept.id] = kept
        namespace.newest = kept.id
        namespace.writers.wrote(kept.writer, event.seq)
        if "memory" in record:
            branch, namespace.message_channel = record["memory"]
            shown = self.resolve(kept.values.get(namespace.message_channel))
            self.memories[branch] = list(shown) if isinstance(shown, list) else []

    def _kept(self, record: Record, event: Event, namespace: Namespace, base: Kept | None) -> Kept:
        rest = self.items[record["rest"]] if "rest" in record else base.rest if base else None
        return Kept(
            id=record["id"],
            ns=namespace.name,
            parent=None,
            seq=event.seq,
            at=event.at,
            writer=record.get("by", namespace.writers.last[0]),
            v=record["v"] if "v" in record or base is None else base.v,
            ts=record.get("ts") or event.at.isoformat(),
            updated=record["uc"] if "uc" in record else updated_by(record["values"]),
            versions=_versions(base, record),
            values={},
            seen=_seen(base, record),
            metadata=self.items[record["meta"]] if "meta" in record else _metadata(base, record),
            rest=rest,
        )

    def _write(self, record: Record, event: Event) -> None:
        self._add_items(record)
        namespace = self.namespace(record.get("ns", ""))
        waiting = namespace.writes.setdefault(record.get("cp") or namespace.newest or "", {})
        for idx, channel, change in record["writes"]:
            key = (record["task"], idx)
            waiting[key] = Write(*key, channel, Value(change), record["path"])
        if "said" in record:
            branch, namespace.message_channel, numbers = record["said"]
            self.memories.setdefault(branch, []).extend(numbers)
        namespace.writers.wrote(record.get("by", namespace.writers.last[0]), event.seq)

    def _drop(self, record: Record, event: Event) -> None:
        for name, ids in record["ids"].items():
            namespace = self.namespace(name)
            for checkpoint_id in ids:
                namespace.checkpoints[checkpoint_id].dropped = True
        if "gone" in record:
            self.dropped_at = event.seq
            self._forget(record["needed"], record["gone"])

    def _forget(self, needed: Mapping[str, list[str]], gone: list[list[int]]) -> None:
        """``needed``: deleted checkpoints, by namespace, that others are made of. ``gone``: runs of items,
        first and count."""
        for name, namespace in self.namespaces.items():
            namespace.forget(needed.get(name, ()))
        self.items.forget(number for first, count in gone for number in range(first, first + count))


def _values(
    kept: Kept, base: Kept | None, namespace: Namespace, changes: Mapping[str, list[Any]]
) -> dict[str, Value]:
    """New ones, those of the parent where the version is the same, and else those of that version: versions
    of different branches may be alike."""
    values: dict[str, Value] = {}
    for channel, version in kept.versions.items():
        found: Value | None
        if channel in changes:
            change = changes[channel]
            found = Value(change, base.values.get(channel) if base and change[0] in "ld" else None)
            namespace.values[channel, version] = found
        elif base and base.versions.get(channel) == version:
            found = base.values.get(channel)
        else:
            found = namespace.values.get((channel, version))
        if found:
            values[channel] = found
    return values


def updated_by(values: Mapping[str, list[Any]]) -> list[str]:
    """The channels that nearly always count as updated: those that have a new value."""
    return sorted(channel for channel, change in values.items() if change != ["e"])


def _versions(base: Kept | None, record: Record) -> dict[str, Version]:
    versions = dict(base.versions) if base else {}
    for channel in record.get("cv-", ()):
        del versions[channel]
    changed = record["cv"]
    for version, channels in [[changed, record["values"]]] if isinstance(changed, str) else changed:
        versions.update(dict.fromkeys(channels, read_version(version)))
    return versions


def _seen(base: Kept | None, record: Record) -> dict[str, dict[str, Version]]:
    """Channels named alone were seen as the parent had them."""
    seen = dict(base.seen) if base else {}
    for node in record.get("vs-", ()):
        del seen[node]
    for node, change in record.get("vs", {}).items():
        if isinstance(change, list):
            known = base.versions if base else {}
            seen[node] = {**seen.get(node, {}), **{channel: known[channel] for channel in change}}
        else:
            seen[node] = {channel: read_version(version) for channel, version in change.items()}
    return seen


DIGITS = 32
"""Of the number in a version that the framework's savers and ours make."""


def shown_version(version: Version) -> Version:
    """Without the zeros in front."""
    if not isinstance(version, str):
        return version
    number = version.partition(".")[0]
    is_usual = len(number) == DIGITS and number.isdecimal() and number.isascii()
    return (
        f"~{version.lstrip('0')}"
        if is_usual
        else version.replace("~", "~~", 1)
        if version[:1] == "~"
        else version
    )


def read_version(shown: Version) -> Version:
    if not isinstance(shown, str) or not shown.startswith("~"):
        return shown
    number, dot, tail = shown[1:].partition(".")
    return shown[1:] if number.startswith("~") else f"{number.zfill(DIGITS)}{dot}{tail}"


def _metadata(base: Kept | None, record: Record) -> Record:
    """What differs from the parent's; a step later where nothing is said of it."""
    metadata = dict(base.metadata) if base and isinstance(base.metadata, dict) else {}
    if type(metadata.get("step")) is int:
        metadata["step"] += 1
    for name in record.get("m-", ()):
        del metadata[name]
    return {**metadata, **record.get("m", {})}


def _without_changes(event: Event) -> Any:
    """The header alone moves the outline."""
    return _Bare(event)


class _Bare:
    """An event whose changes are not applied."""

    __slots__ = ("_event",)
    changes: list[Any] = []

    def __init__(self, event: Event) -> None:
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


FOLD: dict[str, Callable[[Thread, Record, Event], None]] = {
    "thread": Thread._named,
    "put": Thread._put,
    "writes": Thread._write,
    "drop": Thread._drop,
}
"""By the kind of record; see also `holding`."""
