"""What an append changes in a session's head and in its checkpoints, derived from event headers.

Counts are changed by differences, so that a store can add them in one statement without reading the
head first; everything else is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from state_core.events import EventKind, Header
from state_core.fold import session_status_after
from state_core.records import Checkpoint, CheckpointKind, Head, SessionStatus, parse_time, show_time

SHORT = 500
"""Longest reason, error or title in a head, in characters."""
MOST_WORKED = 64
"""Agents whose work in a session its head remembers: the first that began a step."""
LONGEST_NAME = 64
"""Of an agent's name in a head, in characters; of a longer one, the beginning stands there."""


def short(text: object, limit: int = SHORT) -> str:
    """Text for a header: one paragraph, bounded, without NUL (PostgreSQL's text refuses it)."""
    flat = str(text).replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def agent_name(agent: str) -> str:
    """As a head has it."""
    return short(agent, LONGEST_NAME)


def joined(names: Iterable[str], more: Iterable[str]) -> list[str]:
    """Each once, the first first, and no more than a head remembers."""
    return list(dict.fromkeys([*names, *more]))[:MOST_WORKED]


@dataclass(slots=True)
class HeadChange:
    """``add``: differences of counts. ``set``: new values of fields, counts included. ``worked``: names that
    join the head's, where they are not among them yet."""

    add: dict[str, int] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)

    def count(self, name: str, difference: int) -> None:
        target = self.set if name in self.set else self.add
        target[name] = target.get(name, 0) + difference

    @property
    def first_seq(self) -> int:
        """The number of the first event of a session that this creates."""
        return int(self.set.get("first_seq", 1))

    @property
    def first_worked(self) -> list[str]:
        """Who has worked in a session that this creates."""
        return joined(self.set.get("worked", ()), self.worked)

    def replace_counts(self, counts: Mapping[str, int]) -> None:
        for name, value in counts.items():
            self.add.pop(name, None)
            self.set[name] = value


def head_change(events: Sequence[Header], extra: Mapping[str, Any] | None = None) -> HeadChange:
    """``extra``: further head fields that only the writer knows, such as ``agents``."""
    change = HeadChange()
    for event in events:
        _count(change, event)
        _set_status(change, event)
        setter = _SETTERS.get(event.kind)
        if setter:
            change.set.update(setter(event))
        agents = _WORKED.get(event.kind)
        if agents:
            change.worked = joined(change.worked, map(agent_name, filter(None, agents(event))))
    change.set["updated_at"] = events[-1].at
    change.set["last_kind"] = str(events[-1].data["kind"] if is_compacted(events[-1]) else events[-1].kind)
    change.set.update(extra or {})
    return change


def is_compacted(event: Header) -> bool:
    return event.kind == EventKind.SESSION_COMPACTED


def apply_head_change(head: Head, change: HeadChange, events: int) -> None:
    """Apply in place, for stores that keep a head as a record. ``events``: how many were appended."""
    head.last_seq += events
    for name, difference in change.add.items():
        head.counts[name] += difference
    for name, value in change.set.items():
        if name in head.counts:
            head.counts[name] = value
        elif name == "status":
            head.status = SessionStatus(value)
        else:
            setattr(head, name, value)
    if change.worked:
        head.worked = joined(head.worked, change.worked)


def _set_status(change: HeadChange, event: Header) -> None:
    status = session_status_after(event)
    if status:
        change.set["status"] = status
        change.set["reason"] = short(event.data.get("reason", ""))


def _count(change: HeadChange, event: Header) -> None:
    if event.size:
        change.count("state_bytes", event.size)
    counter = _COUNTERS.get(event.kind)
    for name, difference in counter(event).items() if counter else ():
        change.count(name, difference)
    if "counts" in event.data and event.kind in _REPLACES_COUNTS:
        change.replace_counts(event.data["counts"])


_REPLACES_COUNTS = {
    EventKind.SESSION_RESTORED,
    EventKind.SESSION_FORKED,
    EventKind.SESSION_SAVED,
    EventKind.SESSION_COMPACTED,
}

_BRANCH_ENDED: Callable[[Header], dict[str, int]] = lambda event: {"branches_ended": 1}  # noqa: E731

_COUNTERS: dict[str, Callable[[Header], dict[str, int]]] = {
    EventKind.SESSION_RESUMED: lambda event: {"branches_ended": -len(event.data.get("reopens", ()))},
    EventKind.SESSION_COMPLETED: lambda event: {"branches_ended": len(event.data.get("closes", ()))},
    EventKind.BRANCH_OPENED: lambda event: {"branches": 1},
    EventKind.BRANCH_COMPLETED: _BRANCH_ENDED,
    EventKind.BRANCH_FAILED: _BRANCH_ENDED,
    EventKind.BRANCH_CANCELLED: _BRANCH_ENDED,
    EventKind.BRANCH_RESUMED: lambda event: {"branches_ended": -bool(event.data.get("reopened"))},
    EventKind.STEP_STARTED: lambda event: {"steps": 1},
    EventKind.STEP_COMPLETED: lambda event: {"steps": int("began" in event.data), "steps_completed": 1},
    EventKind.STEP_FAILED: lambda event: {"steps_failed": 1},
    EventKind.STEP_RETRIED: lambda event: {
        "steps_failed": -(event.data.get("previous") == "failed"),
        "branches_ended": -bool(event.data.get("reopened")),
    },
    EventKind.MESSAGE_ADDED: lambda event: {"messages": event.data.get("count", 1)},
    EventKind.MEMORY_REWRITTEN: lambda event: {"messages": event.data.get("count", 0)},
    EventKind.INPUT_REQUESTED: lambda event: {"questions": 1},
    EventKind.INPUT_ANSWERED: lambda event: {"questions": -1},
    EventKind.CHECKPOINT_CREATED: lambda event: {"checkpoints": 1},
    EventKind.CHECKPOINT_DELETED: lambda event: {"checkpoints": -len(event.data["ids"])},
    EventKind.SESSION_RESTORED: lambda event: {"restores": 1},
}

_WORKED: dict[str, Callable[[Header], Iterable[str]]] = {
    EventKind.STEP_STARTED: lambda event: (event.agent,),
    EventKind.STEP_COMPLETED: lambda event: (event.agent,) if "began" in event.data else (),
    EventKind.SESSION_FORKED: lambda event: event.data.get("worked", ()),
}
"""Whose work an event tells of. A restore takes none of it back: they have worked."""
TELL_OF_WORK = frozenset(_WORKED) | {EventKind.SESSION_COMPACTED}


def _created(event: Header) -> dict[str, Any]:
    return {
        "created_at": event.at,
        "title": short(event.data.get("title", "")),
        "workflow": short(event.data.get("workflow", ""), 128),
        "tags": [short(tag, 64) for tag in event.data.get("tags", ())][:32],
        "origin": short(event.data.get("origin", ""), 160),
        **_driven(event),
    }


def _driven(event: Header) -> dict[str, Any]:
    """What whoever drives it from here on says of itself."""
    return {"refuses": [short(verb, 32) for verb in event.data.get("refuses", ())][:32]}


NOT_CARRIED = frozenset(
    {
        *("session_id", "status", "first_seq", "last_seq", "last_kind", "updated_at", "counts"),
        *("agents", "owner", "fence", "lease_expires_at"),
    }
)
"""Of a head, what a ``session.compacted`` event says elsewhere, or what does not follow from events."""


def carried(head: Head) -> dict[str, Any]:
    """What a ``session.compacted`` event says of the head at its place, without blanks."""
    values = {f.name: getattr(head, f.name) for f in fields(Head) if f.name not in NOT_CARRIED}
    shown = {name: show_time(v) if isinstance(v, datetime) else v for name, v in values.items()}
    return {name: value for name, value in shown.items() if value not in ("", None, [])}


def _compacted(event: Header) -> dict[str, Any]:
    kept, blank = event.data["head"], Head("")
    values = {f.name: kept.get(f.name, getattr(blank, f.name)) for f in fields(Head)}
    given = {name: value for name, value in values.items() if name not in NOT_CARRIED}
    times = {name: parse_time(value) for name, value in given.items() if name.endswith("_at")}
    return {**given, **times, "first_seq": event.seq}


def _ended(event: Header) -> dict[str, Any]:
    return {"ended_at": event.at, "error": short(event.data.get("error") or ""), "agents": []}


def _reopened(event: Header) -> dict[str, Any]:
    return {"ended_at": None, "error": "", "agents": []}


def _resumed(event: Header) -> dict[str, Any]:
    return {**_reopened(event), **_driven(event)}


_SETTERS: dict[str, Callable[[Header], dict[str, Any]]] = {
    EventKind.SESSION_CREATED: _created,
    EventKind.SESSION_FORKED: _created,
    EventKind.SESSION_COMPACTED: _compacted,
    EventKind.SESSION_STARTED: lambda event: {"started_at": event.at, **_driven(event)},
    EventKind.SESSION_RESUMED: _resumed,
    EventKind.SESSION_RESTORED: _reopened,
    EventKind.SESSION_PAUSED: lambda event: {"ended_at": None, "agents": []},
    EventKind.SESSION_INTERRUPTED: lambda event: {"ended_at": None, "agents": []},
    EventKind.SESSION_COMPLETED: _ended,
    EventKind.SESSION_FAILED: _ended,
    EventKind.SESSION_CANCELLED: _ended,
}


@dataclass(slots=True)
class CheckpointChange:
    """What an append changes in the session's list of checkpoints."""

    added: list[tuple[int, Checkpoint]] = field(default_factory=list)
    """(index of its event in the append, the checkpoint with ``seq`` 0)"""
    renamed: dict[str, str] = field(default_factory=dict)
    pinned: dict[str, bool] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.renamed or self.pinned or self.removed)


_OF_CHECKPOINTS = frozenset(
    {
        EventKind.CHECKPOINT_CREATED,
        EventKind.CHECKPOINT_RENAMED,
        EventKind.CHECKPOINT_PINNED,
        EventKind.CHECKPOINT_DELETED,
        EventKind.SESSION_COMPACTED,
    }
)


def checkpoint_change(session_id: str, events: Iterable[Header]) -> CheckpointChange:
    change = CheckpointChange()
    for index, event in enumerate(events):
        if event.kind not in _OF_CHECKPOINTS:
            continue
        if event.kind == EventKind.CHECKPOINT_CREATED:
            change.added.append((index, _checkpoint(session_id, event)))
        elif is_compacted(event) and "checkpoint" in event.data:
            change.added.append((index, _checkpoint(session_id, _made_before(event))))
        elif event.kind == EventKind.CHECKPOINT_RENAMED:
            change.renamed[event.data["id"]] = event.data["name"]
        elif event.kind == EventKind.CHECKPOINT_PINNED:
            change.pinned[event.data["id"]] = bool(event.data["pinned"])
        elif event.kind == EventKind.CHECKPOINT_DELETED:
            change.removed.extend(event.data["ids"])
    return change


def apply_checkpoint_change(kept: dict[str, Checkpoint], change: CheckpointChange, first: int) -> None:
    """Apply in place, for stores that keep checkpoints as records. ``first``: seq of the first event."""
    for index, checkpoint in change.added:
        kept[checkpoint.id] = replace(checkpoint, seq=first + index)
    for checkpoint_id, name in change.renamed.items():
        if checkpoint_id in kept:
            kept[checkpoint_id].name = name
    for checkpoint_id, pinned in change.pinned.items():
        if checkpoint_id in kept:
            kept[checkpoint_id].pinned = pinned
    for checkpoint_id in change.removed:
        kept.pop(checkpoint_id, None)


def _made_before(compacted: Header) -> Header:
    """The ``checkpoint.created`` event that it stands in the place of."""
    data = dict(compacted.data["checkpoint"])
    actor = data.pop("actor", "")
    return Header(
        kind=EventKind.CHECKPOINT_CREATED, seq=compacted.seq, at=compacted.at, actor=actor, data=data
    )


def _checkpoint(session_id: str, event: Header) -> Checkpoint:
    data = event.data
    return Checkpoint(
        id=data["id"],
        session_id=session_id,
        name=data["name"],
        seq=event.seq,
        created_at=event.at,
        size_bytes=data.get("size", 0),
        kind=CheckpointKind(data.get("kind", CheckpointKind.MANUAL)),
        actor=event.actor,
        reason=data.get("reason", ""),
        pinned=bool(data.get("pinned", False)),
        counts=dict(data.get("counts", {})),
    )
