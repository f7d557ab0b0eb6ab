"""Saving a whole state: the events that turn the stored state into the one given, and no more.

What has a kind of its own (a branch was opened, a step completed, a message added …) is written as that,
so that lists, graphs and timelines show it; whatever then still differs goes into one ``session.saved``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from state_core.changes import Path, differences, set_value
from state_core.compose import make_event
from state_core.events import Changes, Event, EventKind
from state_core.fold import apply_event, state_counts
from state_core.heads import short
from state_core.records import BranchStatus, Document, SessionStatus, StepStatus, parse_time, utc_now

NOT_COMPARED = frozenset({"session_id", "seq", "created_at", "updated_at", "state_bytes"})
"""They belong to the log, not to who saves."""

_SESSION_KINDS = {
    SessionStatus.RUNNING: EventKind.SESSION_RESUMED,
    SessionStatus.PAUSED: EventKind.SESSION_PAUSED,
    SessionStatus.COMPLETED: EventKind.SESSION_COMPLETED,
    SessionStatus.FAILED: EventKind.SESSION_FAILED,
    SessionStatus.CANCELLED: EventKind.SESSION_CANCELLED,
}
BRANCH_KINDS = {
    BranchStatus.WAITING: EventKind.BRANCH_WAITING,
    BranchStatus.RUNNING: EventKind.BRANCH_RESUMED,
    BranchStatus.COMPLETED: EventKind.BRANCH_COMPLETED,
    BranchStatus.FAILED: EventKind.BRANCH_FAILED,
    BranchStatus.CANCELLED: EventKind.BRANCH_CANCELLED,
}


def saving_events(document: Document, target: Document, actor: str) -> list[Event]:
    """The events that move ``document`` to ``target``; it is moved along, in place."""
    return _Saving(document, target, actor).events()


class _Saving:
    def __init__(self, document: Document, target: Document, actor: str) -> None:
        self.document = document
        self.target = target
        self.actor = actor
        self.found: list[Event] = []

    def events(self) -> list[Event]:
        self._contents()
        for branch in self.target["branches"].values():
            self._branch(branch)
        for agent, memory in self.target["agent_memories"].items():
            self._memory(["agent_memories", agent], self.document["agent_memories"].get(agent), memory, agent)
        self._status()
        self._rest()
        return self.found

    def _add(
        self, kind: str, changes: Changes | None = None, *, at: str | None = None, **header: Any
    ) -> None:
        moment: datetime = parse_time(at) or utc_now()
        event = make_event(kind, changes, document=self.document, actor=self.actor, at=moment, **header)
        apply_event(self.document, event, self.document["seq"] + 1)
        self.found.append(event)

    def _differences(self, *parts: str) -> Changes:
        return [
            change for part in parts for change in differences(self.document[part], self.target[part], [part])
        ]

    def _contents(self) -> None:
        for kind, parts in (
            (EventKind.CONTEXT_CHANGED, ("context", "metadata")),
            (EventKind.RESULT_CHANGED, ("intermediate_results",)),
        ):
            changes = self._differences(*parts)
            if changes:
                self._add(kind, changes)

    def _branch(self, branch: Document) -> None:
        branch_id = branch["branch_id"]
        if branch_id not in self.document["branches"]:
            self._open(branch)
        for step in branch["steps"].values():
            self._step(branch_id, step)
        stored = self.document["branches"][branch_id]
        self._memory(
            ["branches", branch_id, "memory"], stored["memory"], branch["memory"], branch["agent"], branch_id
        )
        kind = BRANCH_KINDS.get(BranchStatus(branch["status"]))
        if kind and branch["status"] != stored["status"]:
            data = {"error": short(branch["error"])} if branch["error"] else {}
            self._add(kind, at=branch["ended_at"], branch_id=branch_id, status=branch["status"], data=data)

    def _open(self, branch: Document) -> None:
        parents = [parent for parent in branch["parent_ids"] if parent in self.document["branches"]]
        self._add(
            EventKind.BRANCH_OPENED,
            at=branch["opened_at"],
            branch_id=branch["branch_id"],
            agent=branch["agent"] or "",
            status=str(BranchStatus.RUNNING),
            data={"name": short(branch["name"], 128), "type": branch["branch_type"], "parents": parents},
        )

    def _step(self, branch_id: str, step: Document) -> None:
        step_id = step["step_id"]
        path: Path = ["branches", branch_id, "steps", step_id]
        header = {"branch_id": branch_id, "step_id": step_id, "agent": step["agent"] or ""}
        if step_id not in self.document["branches"][branch_id]["steps"]:
            changes = [] if step["input"] is None else [set_value([*path, "input"], step["input"])]
            data = {"attempt": step["attempt"]}
            self._add(
                EventKind.STEP_STARTED,
                changes,
                at=step["started_at"],
                status=str(StepStatus.RUNNING),
                data=data,
                **header,
            )
        stored = self.document["branches"][branch_id]["steps"][step_id]
        if stored["status"] != StepStatus.RUNNING or step["status"] == StepStatus.RUNNING:
            return
        completed = step["status"] == StepStatus.COMPLETED
        name = "output" if completed else "error"
        self._add(
            EventKind.STEP_COMPLETED if completed else EventKind.STEP_FAILED,
            [] if step[name] is None else [set_value([*path, name], step[name])],
            at=step["ended_at"],
            status=step["status"],
            duration=step["duration"],
            data={} if completed else {"error": short(step["error"] or "")},
            **header,
        )

    def _memory(
        self, path: Path, old: list[Any] | None, new: list[Any], agent: str | None, branch_id: str = ""
    ) -> None:
        changes = list(differences(old or [], new, path))
        if not changes:
            return
        only_added = [change[0] for change in changes] == ["append"]
        kind = EventKind.MESSAGE_ADDED if only_added else EventKind.MEMORY_REWRITTEN
        data = {"count": len(new) - len(old or [])}
        self._add(kind, changes, branch_id=branch_id, agent=agent or "", data=data)

    def _status(self) -> None:
        status = SessionStatus(self.target["status"])
        if status == self.document["status"]:
            return
        kind = _SESSION_KINDS.get(status, EventKind.SESSION_SAVED)
        if status == SessionStatus.RUNNING and self.document["started_at"] is None:
            kind = EventKind.SESSION_STARTED
        data = {"reason": short(self.target["reason"]), "error": short(self.target["error"] or "")}
        extra = {"session": str(status)} if kind == EventKind.SESSION_SAVED else {}
        self._add(kind, at=self.target["ended_at"], data={**data, **extra})

    def _rest(self) -> None:
        changes = list(_compared_differences(self.document, self.target))
        if not changes:
            return
        self._add(EventKind.SESSION_SAVED, changes)
        counts = state_counts(self.document)
        last = self.found.pop()
        self.found.append(
            make_event(
                last.kind,
                last.changes,
                at=last.at,
                actor=last.actor,
                data={"counts": counts},
            )
        )


def _compared_differences(document: Document, target: Document) -> Iterator[list[Any]]:
    for part in target:
        if part not in NOT_COMPARED:
            yield from differences(document.get(part), target[part], [part])
