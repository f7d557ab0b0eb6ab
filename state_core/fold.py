"""The fold: from events to a state.

`apply_event` moves a document by one event. What a header says (which branches and steps there are,
how they stand, when) comes from the header alone, so that a reader without bodies or without the key
folds the same outline; what an event's body says (context, memories, inputs, outputs, results) are
plain changes. The fold never runs foreign code and never looks at a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from state_core.changes import apply_changes
from state_core.events import Event, EventKind, Header
from state_core.exceptions import DamagedError
from state_core.records import (
    BRANCH_ENDED,
    BranchStatus,
    BranchType,
    Document,
    SessionStatus,
    StepStatus,
    show_time,
)


def empty_document(session_id: str) -> Document:
    return {
        "session_id": session_id,
        "status": str(SessionStatus.PENDING),
        "seq": 0,
        "created_at": None,
        "updated_at": None,
        "started_at": None,
        "ended_at": None,
        "reason": "",
        "error": None,
        "context": {},
        "metadata": {},
        "agent_memories": {},
        "intermediate_results": {},
        "branches": {},
        "questions": {},
        "state_bytes": 0,
    }


SESSION_STATUS_AFTER: dict[str, SessionStatus] = {
    EventKind.SESSION_CREATED: SessionStatus.PENDING,
    EventKind.SESSION_FORKED: SessionStatus.PAUSED,
    EventKind.SESSION_STARTED: SessionStatus.RUNNING,
    EventKind.SESSION_PAUSED: SessionStatus.PAUSED,
    EventKind.SESSION_RESUMED: SessionStatus.RUNNING,
    EventKind.SESSION_COMPLETED: SessionStatus.COMPLETED,
    EventKind.SESSION_FAILED: SessionStatus.FAILED,
    EventKind.SESSION_CANCELLED: SessionStatus.CANCELLED,
    EventKind.SESSION_INTERRUPTED: SessionStatus.INTERRUPTED,
    EventKind.SESSION_RESTORED: SessionStatus.PAUSED,
    EventKind.PAUSE_REQUESTED: SessionStatus.PAUSING,
    EventKind.RESTORE_REQUESTED: SessionStatus.PAUSING,
    EventKind.RESUME_REQUESTED: SessionStatus.RESUMING,
    EventKind.CANCEL_REQUESTED: SessionStatus.CANCELLING,
}


def session_status_after(header: Header) -> str | None:
    """The session's status after this event, or None where the event does not change it."""
    status = SESSION_STATUS_AFTER.get(header.kind) or header.data.get("session")
    return str(status) if status else None


def apply_event(document: Document, event: Header, seq: int = 0) -> None:
    """Move ``document`` from ``event.seq - 1`` to ``event.seq``, in place; by what the header tells, where
    that is all that was read. ``seq``: of an event that does not bear its number yet.

    A ``session.restored`` event is only half of a restore: the caller has put the state at its ``to``
    into ``document`` before (see `log.EventLog.document`).
    """
    shape = _SHAPES.get(event.kind)
    try:
        if shape:
            shape(document, event)
        if isinstance(event, Event) and event.changes:
            apply_changes(document, event.changes)
    except (KeyError, TypeError) as error:
        what = f"event {seq or event.seq} ({event.kind})"
        raise DamagedError(
            document["session_id"], what, "it names a branch or step that is not there"
        ) from error
    pass_over(document, event, seq)


def pass_over(document: Document, event: Header, seq: int = 0) -> None:
    """What every event changes, whatever it is about."""
    status = session_status_after(event)
    if status:
        document["status"] = status
    document["seq"] = seq or event.seq
    document["state_bytes"] += event.size
    document["updated_at"] = show_time(event.at)


def fold(document: Document, events: Iterable[Event]) -> Document:
    for event in events:
        apply_event(document, event)
    return document


def state_counts(document: Document) -> dict[str, int]:
    """Those of `records.COUNTS` that a restore rewinds, computed from the state itself."""
    branches = list(document["branches"].values())
    steps = list(steps_of(document))
    return {
        **content_counts(document),
        "branches_ended": sum(branch["status"] in BRANCH_ENDED for branch in branches),
        "steps_completed": sum(step["status"] == StepStatus.COMPLETED for step in steps),
        "steps_failed": sum(step["status"] == StepStatus.FAILED for step in steps),
        "questions": len(open_questions(document)),
    }


def content_counts(document: Document) -> dict[str, int]:
    """Those that are counted without looking at each step."""
    branches = document["branches"].values()
    memories = [*(branch["memory"] for branch in branches), *document["agent_memories"].values()]
    return {
        "branches": len(branches),
        "steps": sum(len(branch["steps"]) for branch in branches),
        "messages": sum(map(len, memories)),
        "state_bytes": document["state_bytes"],
    }


def open_questions(document: Document) -> list[Document]:
    return [question for question in document["questions"].values() if question["status"] == "open"]


def running_steps(document: Document) -> list[tuple[str, str]]:
    """(branch_id, step_id) of the steps that an agent is at work on."""
    return [
        (branch["branch_id"], step["step_id"])
        for branch in document["branches"].values()
        for step in branch["steps"].values()
        if step["status"] == StepStatus.RUNNING
    ]


def steps_of(document: Document) -> Iterator[Document]:
    """Of all branches."""
    for branch in document["branches"].values():
        yield from branch["steps"].values()


def agents_of_steps(document: Document) -> list[str]:
    """Who has begun a step, the first first."""
    steps = sorted(steps_of(document), key=lambda step: step["started_at"] or "")
    return list(dict.fromkeys(step["agent"] for step in steps if step["agent"]))


# Sessions…


def _created(document: Document, event: Header) -> None:
    document["created_at"] = show_time(event.at)


def _compacted(document: Document, event: Header) -> None:
    """All of the state is in the body: what was there before does not count."""
    session_id, kept = document["session_id"], event.data["head"]
    document.clear()
    document.update(empty_document(session_id))
    document.update({name: kept.get(name) for name in ("created_at", "started_at", "ended_at")})


def _started(document: Document, event: Header) -> None:
    document["started_at"] = document["started_at"] or show_time(event.at)
    _resumed(document, event)


def _resumed(document: Document, event: Header) -> None:
    document["ended_at"] = document["error"] = None
    document["reason"] = event.data.get("reason", "")
    for branch_id in event.data.get("reopens", ()):
        document["branches"][branch_id].update(status=str(BranchStatus.RUNNING), ended_at=None, error=None)
    _move_branches(document, BranchStatus.PAUSED, BranchStatus.RUNNING)


def _held(document: Document, event: Header) -> None:
    document["ended_at"] = None
    document["reason"] = event.data.get("reason", "")
    _move_branches(document, BranchStatus.RUNNING, BranchStatus.PAUSED)


def _restored(document: Document, event: Header) -> None:
    document["error"] = None
    _held(document, event)


def _ended(document: Document, event: Header) -> None:
    document["ended_at"] = show_time(event.at)
    document["reason"] = event.data.get("reason", "")
    document["error"] = event.data.get("error")


def _completed(document: Document, event: Header) -> None:
    _ended(document, event)
    for branch_id in event.data.get("closes", ()):
        document["branches"][branch_id].update(
            status=str(BranchStatus.COMPLETED), ended_at=show_time(event.at), error=None
        )


def _requested(document: Document, event: Header) -> None:
    document["reason"] = event.data.get("reason", "")


def _move_branches(document: Document, old: BranchStatus, new: BranchStatus) -> None:
    for branch in document["branches"].values():
        if branch["status"] == old:
            branch["status"] = str(new)


# Branches…


def _branch_opened(document: Document, event: Header) -> None:
    parents = list(event.data.get("parents", ()))
    document["branches"][event.branch_id] = {
        "branch_id": event.branch_id,
        "name": event.data.get("name") or event.branch_id,
        "branch_type": event.data.get("type", str(BranchType.SEQUENTIAL)),
        "status": event.status or str(BranchStatus.RUNNING),
        "agent": event.agent or None,
        "parent_ids": parents,
        "child_ids": [],
        "joined_ids": [],
        "opened_at": show_time(event.at),
        "ended_at": None,
        "error": None,
        "steps": {},
        "memory": [],
        "message_count": 0,
        "metadata": {},
    }
    for parent in parents:
        document["branches"][parent]["child_ids"].append(event.branch_id)


def _branch_moved(document: Document, event: Header) -> None:
    branch = document["branches"][event.branch_id]
    branch["status"] = event.status
    if event.data.get("reopened"):
        branch["ended_at"] = branch["error"] = None


def _branch_joined(document: Document, event: Header) -> None:
    branch = document["branches"][event.branch_id]
    if event.data["parent"] not in branch["joined_ids"]:
        branch["joined_ids"].append(event.data["parent"])
    branch["status"] = event.status or branch["status"]


def _branch_ended(document: Document, event: Header) -> None:
    branch = document["branches"][event.branch_id]
    branch["status"] = event.status
    branch["ended_at"] = show_time(event.at)
    branch["error"] = event.data.get("error")


# Steps…


def _step_started(document: Document, event: Header) -> None:
    _begin_step(document, event, show_time(event.at))


def _begin_step(document: Document, event: Header, at: str | None) -> None:
    branch = document["branches"][event.branch_id]
    branch["status"] = str(BranchStatus.RUNNING)
    branch["ended_at"] = branch["error"] = None
    branch["steps"][event.step_id] = {
        "step_id": event.step_id,
        "agent": event.agent or None,
        "status": str(StepStatus.RUNNING),
        "attempt": event.data.get("attempt", 1),
        "input": None,
        "output": None,
        "error": None,
        "started_at": at,
        "ended_at": None,
        "duration": None,
        "metadata": {},
    }


def _step_retried(document: Document, event: Header) -> None:
    branch = document["branches"][event.branch_id]
    branch["status"] = str(BranchStatus.RUNNING)
    branch["ended_at"] = branch["error"] = None
    branch["steps"][event.step_id].update(
        status=str(StepStatus.RUNNING),
        attempt=event.data["attempt"],
        error=event.data.get("error"),
        started_at=show_time(event.at),
        ended_at=None,
        duration=None,
    )


def _step_ended(document: Document, event: Header) -> None:
    if "began" in event.data:
        _begin_step(document, event, event.data["began"])
    document["branches"][event.branch_id]["steps"][event.step_id].update(
        status=event.status,
        ended_at=show_time(event.at),
        duration=event.duration,
        error=event.data.get("error"),
    )


# Messages…


def _messages_counted(document: Document, event: Header) -> None:
    if event.branch_id:
        document["branches"][event.branch_id]["message_count"] += event.data.get("count", 1)


# Questions…


def _input_requested(document: Document, event: Header) -> None:
    question_id = event.data["question"]
    document["branches"][event.branch_id]["status"] = str(BranchStatus.WAITING)
    document["questions"][question_id] = {
        "question_id": question_id,
        "prompt": None,
        "branch_id": event.branch_id,
        "step_id": event.step_id or None,
        "agent": event.agent or None,
        "schema": None,
        "choices": None,
        "asked_at": show_time(event.at),
        "status": "open",
        "answer": None,
        "answered_by": "",
        "answered_at": None,
    }


def _input_answered(document: Document, event: Header) -> None:
    document["questions"][event.data["question"]].update(
        status="answered", answered_by=event.actor, answered_at=show_time(event.at)
    )


_SHAPES: dict[str, Callable[[Document, Any], None]] = {
    EventKind.SESSION_CREATED: _created,
    EventKind.SESSION_FORKED: _created,
    EventKind.SESSION_COMPACTED: _compacted,
    EventKind.SESSION_STARTED: _started,
    EventKind.SESSION_RESUMED: _resumed,
    EventKind.SESSION_PAUSED: _held,
    EventKind.SESSION_INTERRUPTED: _held,
    EventKind.SESSION_RESTORED: _restored,
    EventKind.SESSION_COMPLETED: _completed,
    EventKind.SESSION_FAILED: _ended,
    EventKind.SESSION_CANCELLED: _ended,
    EventKind.PAUSE_REQUESTED: _requested,
    EventKind.RESUME_REQUESTED: _requested,
    EventKind.RESTORE_REQUESTED: _requested,
    EventKind.CANCEL_REQUESTED: _requested,
    EventKind.BRANCH_OPENED: _branch_opened,
    EventKind.BRANCH_WAITING: _branch_moved,
    EventKind.BRANCH_RESUMED: _branch_moved,
    EventKind.BRANCH_JOINED: _branch_joined,
    EventKind.BRANCH_COMPLETED: _branch_ended,
    EventKind.BRANCH_FAILED: _branch_ended,
    EventKind.BRANCH_CANCELLED: _branch_ended,
    EventKind.STEP_STARTED: _step_started,
    EventKind.STEP_RETRIED: _step_retried,
    EventKind.STEP_COMPLETED: _step_ended,
    EventKind.STEP_FAILED: _step_ended,
    EventKind.MESSAGE_ADDED: _messages_counted,
    EventKind.MEMORY_REWRITTEN: _messages_counted,
    EventKind.INPUT_REQUESTED: _input_requested,
    EventKind.INPUT_ANSWERED: _input_answered,
}
