"""Every event kind, and the two shapes of an event: with its changes, and as stores keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from state_core.facts import fact
from state_core.records import utc_now


class EventKind(StrEnum):
    """A noun, a dot, what happened to it. What stands in ``data`` is in the clear and small."""

    SESSION_CREATED = "session.created"
    """A session exists. data: title, workflow, tags, refuses. Its body may hold context and metadata."""
    SESSION_FORKED = "session.forked"
    """A session exists that carries another's state. data: origin, counts, worked (agents of its steps). Its
    body holds the state."""
    SESSION_STARTED = "session.started"
    """An orchestrator took a new session. data: owner, refuses (what it does not carry out)."""
    SESSION_PAUSED = "session.paused"
    """No branch is in a step any more; the session is held until somebody resumes it. data: reason."""
    SESSION_RESUMED = "session.resumed"
    """An orchestrator took the session up again. data: owner, reason, refuses, reopens
    (branches that had ended)."""
    SESSION_COMPLETED = "session.completed"
    """The workflow ended well. data: closes (branches that complete with it)."""
    SESSION_FAILED = "session.failed"
    """The workflow ended badly. data: error (short); the body holds the traceback."""
    SESSION_CANCELLED = "session.cancelled"
    """The workflow was stopped on purpose. data: reason."""
    SESSION_INTERRUPTED = "session.interrupted"
    """The lease of its orchestrator ran out. data: owner (who held it)."""
    SESSION_RESTORED = "session.restored"
    """From here on the state is that at an earlier event. data: to, checkpoint, counts, reason."""
    SESSION_SAVED = "session.saved"
    """A whole state was saved by hand; the body holds what no other kind expresses. data: counts."""
    SESSION_COMPACTED = "session.compacted"
    """The log begins here: it stands in the place of an event and of all before it, with that event's number
    and time. data: kind (the event's), compacted_at, session (its status), head, counts, and checkpoint where
    the event made one. Its body holds the state."""

    PAUSE_REQUESTED = "pause.requested"
    """Somebody asks the orchestrator to pause at the next step boundaries. data: reason."""
    RESUME_REQUESTED = "resume.requested"
    """Somebody asks an orchestrator to go on. data: reason. The body may hold additional context."""
    RESTORE_REQUESTED = "restore.requested"
    """Somebody asks the orchestrator to stop and go back. data: checkpoint, to, reason."""
    CANCEL_REQUESTED = "cancel.requested"
    """Somebody asks the orchestrator to stop for good. data: reason."""

    BRANCH_OPENED = "branch.opened"
    """A line of execution begins. data: name, type, status, parents."""
    BRANCH_WAITING = "branch.waiting"
    """A branch waits for a person or for siblings. data: for."""
    BRANCH_JOINED = "branch.joined"
    """A parent arrived at a join. data: parent."""
    BRANCH_RESUMED = "branch.resumed"
    """A branch goes on after waiting. data: session (the session's status, where it changes), reopened
    (true when it had ended)."""
    BRANCH_COMPLETED = "branch.completed"
    BRANCH_FAILED = "branch.failed"
    """data: error (short)."""
    BRANCH_CANCELLED = "branch.cancelled"

    STEP_STARTED = "step.started"
    """An agent was invoked. data: attempt. The body holds its input."""
    STEP_COMPLETED = "step.completed"
    """An agent answered. data: began (when, where nothing told of its start). The body holds its output."""
    STEP_FAILED = "step.failed"
    """An agent failed for good. data: error (short), attempt; the body holds the traceback."""
    STEP_RETRIED = "step.retried"
    """A step is attempted again. data: attempt, previous (its status until now), error (short)."""

    MESSAGE_ADDED = "message.added"
    """Messages were appended to a memory. data: count, role."""
    MEMORY_REWRITTEN = "memory.rewritten"
    """A memory was cut or replaced. data: count (messages now less messages before)."""
    CONTEXT_CHANGED = "context.changed"
    """Values of the session's context or metadata changed."""
    RESULT_CHANGED = "result.changed"
    """Intermediate results changed."""

    RECORD_KEPT = "record.kept"
    """An adapter keeps something of its own, beside the state; see the change ``keep``."""

    INPUT_REQUESTED = "input.requested"
    """A step asks a person. data: question, session (the session's status, where it changes)."""
    INPUT_ANSWERED = "input.answered"
    """A person answered. data: question. The body holds the answer."""

    LINK_SHARED = "link.shared"
    """Somebody gave out a link with which a question can be answered. data: question, for (whom), until."""
    LINK_WITHDRAWN = "link.withdrawn"
    """Such a link no longer works. data: question, for."""

    CHECKPOINT_CREATED = "checkpoint.created"
    """A place in the log got a name. data: id, name, kind, reason, size, counts."""
    CHECKPOINT_RENAMED = "checkpoint.renamed"
    """data: id, name."""
    CHECKPOINT_PINNED = "checkpoint.pinned"
    """data: id, pinned (true or false)."""
    CHECKPOINT_DELETED = "checkpoint.deleted"
    """data: ids."""

    EVENTS_MISSED = "events.missed"
    """Recorded from outside, more happened than could be recorded. data: missed (how much), reason."""


CREATING = frozenset({EventKind.SESSION_CREATED, EventKind.SESSION_FORKED, EventKind.SESSION_COMPACTED})
"""The kinds that a session's log begins with."""

Change = list[Any]
"""A plain state change, as JSON: ``["set", path, value]``, ``["remove", path]``,
``["append", path, [items]]`` or ``["truncate", path, length]``; a path is a list of keys. ``["keep", [],
value]`` changes nothing: an adapter keeps ``value`` for itself."""

Changes = list[Change]


@fact(kw_only=True)
class Header:
    """What lists, graphs, timelines and metrics need of an event. Never encrypted."""

    kind: str
    seq: int = 0
    """Its place in the session's log; given by the store."""
    at: datetime = field(default_factory=utc_now)
    actor: str = ""
    """Who did it: a user's name, or the program's owner name."""
    branch_id: str = ""
    step_id: str = ""
    agent: str = ""
    status: str = ""
    """Of the branch or step after this event, where it has one."""
    duration: float | None = None
    """Seconds."""
    size: int = 0
    """By how many bytes the content of the state grew."""
    data: Mapping[str, Any] = field(default_factory=dict)


@fact(kw_only=True)
class Event(Header):
    """A fact in a session's log."""

    changes: Changes = field(default_factory=list)
    body_read: bool = True
    """False when it was read without its body, so that ``changes`` says nothing."""


@fact(kw_only=True)
class EventRecord(Header):
    """An event as stores see it: the header, and a body of bytes with the name of its encoding."""

    body: bytes = b""
    encoding: str = ""


def numbered(record: EventRecord, seq: int) -> EventRecord:
    """At its place. Once for each event that is written: `dataclasses.replace` takes twice the time."""
    return EventRecord(
        kind=record.kind,
        seq=seq,
        at=record.at,
        actor=record.actor,
        branch_id=record.branch_id,
        step_id=record.step_id,
        agent=record.agent,
        status=record.status,
        duration=record.duration,
        size=record.size,
        data=record.data,
        body=record.body,
        encoding=record.encoding,
    )
