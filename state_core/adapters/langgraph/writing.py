"""Puts and writes as records, and whether they may be written at all.

Every run reads a checkpoint before it writes. What it is told then, the place in the log and a name of its
own, comes back with its writes, in the framework's config. Where somebody else wrote to the namespace after
that, the run goes on from what is no more so: its write gets ConflictError, and nothing forks silently. A
run that goes on from an older checkpoint on purpose has read just now, too.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from state_core.adapters.langgraph.thread import (
    Kept,
    Namespace,
    Record,
    Thread,
    Version,
    shown_version,
    updated_by,
)
from state_core.adapters.langgraph.values import (
    Encoded,
    Numbering,
    Typed,
    difference,
    difference_of,
    shown_items,
)
from state_core.codec import plain_json
from state_core.exceptions import ConflictError
from state_core.records import utc_now

START = "__start__"
"""The channel that every graph's input comes in by."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who read, and when: what a run brings back with its writes."""

    name: str
    seq: int

    @classmethod
    def at(cls, seq: int) -> Reader:
        return cls(secrets.token_hex(3), seq)

    @classmethod
    def parse(cls, text: Any) -> Reader | None:
        name, _, seq = str(text or "").partition(".")
        return cls(name, int(seq)) if name and seq.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.name}.{self.seq}"


@dataclass(frozen=True, slots=True)
class Put:
    """A checkpoint to be kept, serialised."""

    ns: str
    id: str
    parent: str | None
    reader: Reader | None
    v: int
    ts: str
    updated: list[str] | None
    versions: Mapping[str, Version]
    seen: Mapping[str, Mapping[str, Version]]
    values: Mapping[str, Encoded | None]
    """Of the channels that are new; None for one that is empty."""
    metadata: Typed
    plain_metadata: Record | None
    """The same as JSON, where that says all of it."""
    rest: Typed
    step: int = 0
    source: str = "loop"

    at: datetime = field(default_factory=utc_now)
    """When it was made, as far as its ``ts`` is to be believed."""
    only_changes: bool = False
    """``values`` has all channels: those of its parent's versions are left out."""
    imported: bool = False
    """It was made long ago: what people see of it is of then."""

    @property
    def begins(self) -> bool:
        """Is it the first checkpoint of a graph's thread, as far as who puts it knows?"""
        is_of_graph = START in self.versions or self.step < 0
        return self.parent is None and not self.ns and is_of_graph and self.reader is None


@dataclass(frozen=True, slots=True)
class Writes:
    """What a task wrote, serialised, to wait on a checkpoint."""

    ns: str
    checkpoint_id: str
    task_id: str
    path: str
    reader: Reader | None
    writes: Sequence[tuple[int, str, Encoded]]
    """Index, channel, value."""
    overwrites: bool
    at: datetime | None = None
    """When, where that was long ago."""


def put_record(thread: Thread, put: Put, number: Numbering) -> Record:
    """Says only what does not follow from the parent and from what was put last. Raises ConflictError."""
    namespace = thread.namespace(put.ns)
    base = namespace.checkpoints.get(put.parent or "")
    if put.begins and put.id not in namespace.checkpoints and namespace.latest:
        raise ConflictError(thread.session_id, 0, namespace.latest.seq)
    if base is None and put.parent and not put.reader and thread.restored_at:
        raise ConflictError(thread.session_id, 0, thread.restored_at)
    _refuse_if_its_parent_is_gone(thread, put, base)
    writer = _writer(thread, namespace, put.reader, put.parent) or secrets.token_hex(3)
    values = {
        channel: difference(_present(thread, base, channel), value, number)
        for channel, value in put.values.items()
        if not (put.only_changes and base and base.versions.get(channel) == put.versions[channel])
    }
    rest = number(put.rest)
    record: Record = {"t": "put", "id": put.id, "values": values}
    if put.at.isoformat() != put.ts:
        record["ts"] = put.ts
    record |= _where(namespace, writer)
    record |= _version_change(base.versions if base else {}, put.versions, list(values))
    record |= _seen_change(base, put.seen)
    record |= _metadata_change(base, put, number)
    if put.parent != namespace.newest:
        record["parent"] = put.parent
    if base is None or base.v != put.v:
        record["v"] = put.v
    if base is None or base.rest != put.rest:
        record["rest"] = rest
    if put.updated != updated_by(values):
        record["uc"] = put.updated
    return record


def _refuse_if_its_parent_is_gone(thread: Thread, put: Put, base: Kept | None) -> None:
    """Deleted while the run went on from it: what it does not name again nobody knows any more."""
    if base is None and put.parent and put.reader and put.reader.seq < thread.dropped_at:
        raise ConflictError(thread.session_id, put.reader.seq, thread.dropped_at)


def is_kept(thread: Thread, put: Put) -> bool:
    """Is the same put there already?"""
    kept = thread.namespace(put.ns).checkpoints.get(put.id)
    if kept is None or kept.parent != put.parent or kept.versions != put.versions or kept.seen != put.seen:
        return False
    metadata = put.metadata if put.plain_metadata is None else put.plain_metadata
    number = Numbering(thread.items)
    return kept.metadata == metadata and all(
        difference(None, value, number) == difference_of(thread.resolve(kept.values.get(channel)))
        for channel, value in put.values.items()
    )


def _where(namespace: Namespace, writer: str) -> Record:
    where: Record = {"ns": namespace.name} if namespace.name else {}
    return where if writer == namespace.writers.last[0] else {**where, "by": writer}


def with_new_items(thread: Thread, record: Record, number: Numbering) -> Record:
    new = number.new
    return {**record, "new": shown_items(thread.items, new)} if new else record


def _present(thread: Thread, base: Kept | None, channel: str) -> Any:
    return thread.resolve(base.values.get(channel)) if base else None


def _version_change(old: Mapping[str, Version], new: Mapping[str, Version], values: list[str]) -> Record:
    changed: dict[Version, list[str]] = {}
    for channel, version in new.items():
        if channel not in old or old[channel] != version:
            changed.setdefault(version, []).append(channel)
    removed = [channel for channel in old if channel not in new]
    shown = [[shown_version(version), channels] for version, channels in changed.items()]
    # Nearly always the channels that have new values, and one version for all.
    as_values = len(shown) == 1 and isinstance(shown[0][0], str) and shown[0][1] == values
    change: Record = {"cv": shown[0][0] if as_values else shown}
    return {**change, "cv-": removed} if removed else change


def _seen_change(base: Kept | None, new: Mapping[str, Mapping[str, Version]]) -> Record:
    old, known = (base.seen, base.versions) if base else ({}, {})
    changes = {
        node: _seen_by(old.get(node, {}), versions, known)
        for node, versions in new.items()
        if node not in old or old[node] != versions
    }
    removed = [node for node in old if node not in new]
    return {**({"vs": changes} if changes else {}), **({"vs-": removed} if removed else {})}


def _seen_by(
    old: Mapping[str, Version], new: Mapping[str, Version], known: Mapping[str, Version]
) -> list[str] | dict[str, Version]:
    changed = [channel for channel, version in new.items() if old.get(channel) != version]
    as_known = all(channel in known and known[channel] == new[channel] for channel in changed)
    return changed if as_known and changed and old.keys() <= new.keys() else _shown(new)


def _shown(versions: Mapping[str, Version]) -> dict[str, Version]:
    return {channel: shown_version(version) for channel, version in versions.items()}


def _metadata_change(base: Kept | None, put: Put, number: Numbering) -> Record:
    if put.plain_metadata is None:
        return {"meta": number(put.metadata)}
    new = put.plain_metadata
    old = base.metadata if base and isinstance(base.metadata, dict) else {}
    # As JSON: True is not 1.
    changed = {
        name: new[name] for name in new if name not in old or plain_json(old[name]) != plain_json(new[name])
    }
    if type(old.get("step")) is int and type(new.get("step")) is int:
        changed.pop("step", None)
        if new["step"] != old["step"] + 1:
            changed["step"] = new["step"]
    removed = [name for name in old if name not in new]
    return {**({"m": changed} if changed else {}), **({"m-": removed} if removed else {})}


def writes_record(thread: Thread, writes: Writes, number: Numbering) -> Record | None:
    """None where all of it is there already. Raises ConflictError."""
    namespace = thread.namespace(writes.ns)
    waiting = namespace.writes.get(writes.checkpoint_id, {})
    new = [
        [idx, channel, difference(None, value, number)]
        for idx, channel, value in writes.writes
        if writes.overwrites or (writes.task_id, idx) not in waiting
    ]
    if not new:
        return None
    writer = _writer(thread, namespace, writes.reader, writes.checkpoint_id)
    record: Record = {"t": "writes", "task": writes.task_id, "path": writes.path, "writes": new}
    record |= _where(namespace, writer)
    if writes.checkpoint_id != namespace.newest:
        record["cp"] = writes.checkpoint_id
    return record


def _writer(thread: Thread, namespace: Namespace, reader: Reader | None, parent: str | None) -> str:
    """The writer's name. Raises ConflictError where somebody else wrote after it read, or the session was
    restored."""
    base = namespace.checkpoints.get(parent or "")
    others = max(namespace.writers.last_but(reader.name), thread.restored_at) if reader else 0
    if reader and others > reader.seq:
        raise ConflictError(thread.session_id, reader.seq, others)
    return reader.name if reader else _name_of_untold(thread, namespace, base)


def _name_of_untold(thread: Thread, namespace: Namespace, base: Kept | None) -> str:
    """A run that found no checkpoint had nothing to be told with. It goes by the name that its first put is
    given here, and what others wrote since is after it read."""
    if base is None:
        return ""
    last, seq = namespace.writers.last
    if START in base.versions and last != base.writer:
        raise ConflictError(thread.session_id, base.seq, seq)
    return base.writer


def is_plain(value: Any) -> bool:
    """Does JSON say exactly this?"""
    if type(value) is dict:
        return all(type(key) is str and is_plain(key) and is_plain(part) for key, part in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) is bool or (type(value) is int and abs(value) < 2**53)


BELIEVED = timedelta(seconds=10)


def moment(ts: str) -> datetime:
    """``ts``, where it is about now: then the event says it, and the record need not."""
    now = utc_now()
    try:
        at = datetime.fromisoformat(ts)
    except ValueError:
        return now
    return at if at.tzinfo and abs(now - at) < BELIEVED else now
