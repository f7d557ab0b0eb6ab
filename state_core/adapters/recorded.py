"""A session that is recorded from outside: what happened elsewhere, as events of our log.

Its methods only compose events, at the times that they are told; `flush` appends what was composed, in
one commit. Whatever does not fit (an end without a beginning, a branch that nobody opened) is put right
and recorded all the same: who records from outside cannot ask again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from state_core.changes import append_items, set_value
from state_core.compose import message_document
from state_core.events import Change, Changes, Event, EventKind
from state_core.heads import short
from state_core.records import (
    BRANCH_ENDED,
    BranchStatus,
    BranchType,
    Message,
    SessionStatus,
    StepStatus,
    utc_now,
)
from state_core.saving import BRANCH_KINDS
from state_core.session import Session

APPEND_BYTES = 2_000_000
"""Content of one append, about."""


class RecordedSession:
    """Composes events for a live session that this process holds."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.held = False
        """True while the session is paused: what is composed waits."""
        self.start_over()

    def start_over(self) -> None:
        """From what the log has; what was composed and not appended is forgotten."""
        self._composed: list[Event] = []
        branches = self.session.document["branches"]
        self._branches = {branch_id: BranchStatus(b["status"]) for branch_id, b in branches.items()}
        self._steps = {
            step_id: (branch_id, StepStatus(step["status"]))
            for branch_id, branch in branches.items()
            for step_id, step in branch["steps"].items()
        }
        self._questions = {
            name
            for name, question in self.session.document["questions"].items()
            if question["status"] == "open"
        }
        self._memories = {i: [fingerprint(m) for m in b["memory"]] for i, b in branches.items()}

    @property
    def session_id(self) -> str:
        return self.session.session_id

    @property
    def running_steps(self) -> list[str]:
        return [step_id for step_id, (_, status) in self._steps.items() if status == StepStatus.RUNNING]

    def has_branch(self, branch_id: str) -> bool:
        return branch_id in self._branches

    def has_steps(self, branch_id: str) -> bool:
        return any(of == branch_id for of, _ in self._steps.values())

    def messages_of(self, branch_id: str) -> int:
        return len(self._memories.get(branch_id, ()))

    # Branches

    def branch(
        self,
        branch_id: str,
        name: str = "",
        *,
        parents: Sequence[str] = (),
        branch_type: BranchType | None = None,
        agent: str = "",
        input: Any = None,
        at: datetime | None = None,
    ) -> None:
        """Open it, unless it is there."""
        if branch_id in self._branches:
            return
        known = [parent for parent in parents if parent in self._branches]
        kind = branch_type or (BranchType.NESTED if known else BranchType.MAIN)
        self._branches[branch_id] = BranchStatus.RUNNING
        self._add(
            EventKind.BRANCH_OPENED,
            [] if input is None else [set_value(["branches", branch_id, "metadata"], {"input": input})],
            at=at,
            branch_id=branch_id,
            agent=agent,
            status=str(BranchStatus.RUNNING),
            data={"name": short(name or branch_id, 128), "type": str(kind), "parents": known},
        )

    def branch_is(
        self, branch_id: str, status: BranchStatus, *, why: str = "", at: datetime | None = None
    ) -> None:
        """It waits, runs again, or has ended."""
        self.branch(branch_id, at=at)
        before = self._branches[branch_id]
        if before == status:
            return
        self._branches[branch_id] = status
        data: dict[str, Any] = {"reopened": True} if before in BRANCH_ENDED else {}
        data["for" if status == BranchStatus.WAITING else "error"] = short(why)
        detail = status == BranchStatus.FAILED and why
        changes = [set_value(["branches", branch_id, "error"], why)] if detail else []
        self._add(BRANCH_KINDS[status], changes, at=at, branch_id=branch_id, status=str(status), data=data)

    def joined(self, branch_id: str, parent: str, *, last: bool, at: datetime | None = None) -> None:
        """A parent arrived at a branch that joins several."""
        self.branch(branch_id, at=at)
        self._branches[branch_id] = BranchStatus.RUNNING if last else BranchStatus.WAITING
        status = str(self._branches[branch_id])
        data = {"parent": parent}
        self._add(EventKind.BRANCH_JOINED, at=at, branch_id=branch_id, status=status, data=data)

    # Steps

    def step(
        self, branch_id: str, step_id: str, agent: str, *, input: Any = None, at: datetime | None = None
    ) -> None:
        """An agent, a model or a tool begins, unless it is known to have begun."""
        if step_id in self._steps:
            return
        self.branch(branch_id, at=at)
        self._steps[step_id] = (branch_id, StepStatus.RUNNING)
        self._branches[branch_id] = BranchStatus.RUNNING
        self.session.step_entered(step_id, agent)
        self._add(
            EventKind.STEP_STARTED,
            [] if input is None else [set_value(_step_path(branch_id, step_id, "input"), input)],
            at=at,
            branch_id=branch_id,
            step_id=step_id,
            agent=agent,
            status=str(StepStatus.RUNNING),
            data={"attempt": 1},
        )

    def step_ends(
        self,
        step_id: str,
        agent: str,
        *,
        output: Any = None,
        error: str = "",
        detail: str = "",
        duration: float | None = None,
        at: datetime | None = None,
    ) -> None:
        """It ended well, or with an ``error``; ``detail``: its traceback. Seconds."""
        branch_id, status = self._steps[step_id]
        if status != StepStatus.RUNNING:
            return
        self.session.step_left(step_id)
        status = StepStatus.FAILED if error else StepStatus.COMPLETED
        self._steps[step_id] = (branch_id, status)
        values = {"error": detail or error} if error else {"output": output}
        self._add(
            EventKind.STEP_FAILED if error else EventKind.STEP_COMPLETED,
            [
                set_value(_step_path(branch_id, step_id, name), value)
                for name, value in values.items()
                if value is not None
            ],
            at=at,
            branch_id=branch_id,
            step_id=step_id,
            agent=agent,
            status=str(status),
            duration=duration,
            data={"error": short(error), "attempt": 1} if error else {},
        )

    def is_running(self, step_id: str) -> bool:
        return self._steps.get(step_id, ("", None))[1] == StepStatus.RUNNING

    def detail(self, step_id: str, name: str, value: Any) -> None:
        """Set an entry of a step's metadata."""
        branch_id = self._steps[step_id][0]
        self._add(
            EventKind.CONTEXT_CHANGED, [set_value([*_step_path(branch_id, step_id, "metadata"), name], value)]
        )

    def has_step(self, step_id: str) -> bool:
        return step_id in self._steps

    # Questions that are answered where the program runs

    def asks(
        self, branch_id: str, question_id: str, prompt: Any, *, agent: str = "", at: datetime | None = None
    ) -> None:
        self.branch(branch_id, at=at)
        self._questions.add(question_id)
        self._branches[branch_id] = BranchStatus.WAITING
        self._add(
            EventKind.INPUT_REQUESTED,
            [set_value(["questions", question_id, "prompt"], prompt)],
            at=at,
            branch_id=branch_id,
            agent=agent,
            status=str(BranchStatus.WAITING),
            data={"question": question_id, "session": str(SessionStatus.WAITING)},
        )

    def answered(
        self, branch_id: str, question_id: str, answer: Any = None, at: datetime | None = None
    ) -> None:
        if question_id not in self._questions:
            return
        self._questions.remove(question_id)
        changes = [] if answer is None else [set_value(["questions", question_id, "answer"], answer)]
        self._branches[branch_id] = BranchStatus.RUNNING
        self._add(
            EventKind.INPUT_ANSWERED, changes, at=at, data={"question": question_id}, branch_id=branch_id
        )
        runs = {} if self._questions else {"session": str(SessionStatus.RUNNING)}
        status = str(BranchStatus.RUNNING)
        self._add(EventKind.BRANCH_RESUMED, at=at, data=runs, branch_id=branch_id, status=status)

    # Messages

    def add_messages(self, branch_id: str, messages: Sequence[Message], at: datetime | None = None) -> None:
        self.branch(branch_id, at=at)
        documents = [message_document(message) for message in messages]
        if not documents:
            return
        self._memories.setdefault(branch_id, []).extend(map(fingerprint, documents))
        self._add(
            EventKind.MESSAGE_ADDED,
            [append_items(["branches", branch_id, "memory"], documents)],
            at=at,
            branch_id=branch_id,
            agent=messages[-1].agent or "",
            data={"count": len(documents), "role": short(messages[-1].role, 32)},
        )

    async def memory_is(
        self, branch_id: str, messages: Sequence[Message], at: datetime | None = None
    ) -> None:
        """The branch's memory as a whole, as a model is given it: what is new is added, and where it is not
        what it was, it is rewritten from there on."""
        documents = [message_document(message) for message in messages]
        new = [fingerprint(document) for document in documents]
        old = self._memories.get(branch_id, [])
        same = next(
            (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        if same == len(old):
            self.add_messages(branch_id, messages[same:], at)
            return
        await self.flush()  # The event is measured against what is stored.
        path = ["branches", branch_id, "memory"]
        changes: list[Change] = [["truncate", path, same]]
        if documents[same:]:
            changes.append(append_items(path, documents[same:]))
        self._memories[branch_id] = new
        data = {"count": len(new) - len(old)}
        self._add(EventKind.MEMORY_REWRITTEN, changes, at=at, branch_id=branch_id, data=data)

    def memory_of_others(self, branch_id: str, agent: str) -> list[Message]:
        """What is stored of the branch's memory, without what is this agent's."""
        stored = self.session.document["branches"][branch_id]["memory"]
        return [Message.from_document(m) for m in stored if m.get("agent") != agent]

    # The session

    def note(self, name: str, value: Any, at: datetime | None = None) -> None:
        """Set a value of the session's metadata."""
        self.session.metadata[name] = value
        self._add(EventKind.CONTEXT_CHANGED, [set_value(["metadata", name], value)], at=at)

    def result(self, name: str, value: Any, at: datetime | None = None) -> None:
        """Set an intermediate result."""
        self.session.results[name] = value
        self._add(EventKind.RESULT_CHANGED, [set_value(["intermediate_results", name], value)], at=at)

    def missed(self, count: int, reason: str) -> None:
        """So much of what happened is not in the log."""
        self._add(EventKind.EVENTS_MISSED, data={"missed": count, "reason": short(reason)})

    def end_open_steps(self, why: str) -> None:
        """Their ends did not come, or were missed."""
        for step_id in self.running_steps:
            self.step_ends(step_id, "", error=why)

    def end_open_branches(self, status: BranchStatus) -> None:
        for branch_id in [i for i, present in self._branches.items() if present not in BRANCH_ENDED]:
            self.branch_is(branch_id, status)

    def _add(
        self, kind: str, changes: Changes | None = None, *, at: datetime | None = None, **header: Any
    ) -> None:
        self._composed.append(self.session.event(kind, changes, at=at or utc_now(), **header))

    @property
    def composed(self) -> int:
        """How many events are to be flushed."""
        return len(self._composed)

    async def flush(self) -> int:
        """Append what was composed, durably; returns how many events that were. Raises what
        `Session.append` raises; what was composed is then gone."""
        if self.held:
            return 0
        events, self._composed = self._composed, []
        for part in _in_parts(events):
            await self.session.append(*part)
        return len(events)


def _in_parts(events: Sequence[Event]) -> Iterator[list[Event]]:
    part: list[Event] = []
    size = 0
    for event in events:
        size += max(0, event.size)
        if part and size > APPEND_BYTES:
            yield part
            part, size = [], max(0, event.size)
        part.append(event)
    if part:
        yield part


def _step_path(branch_id: str, step_id: str, name: str) -> list[str]:
    return ["branches", branch_id, "steps", step_id, name]


def fingerprint(message: dict[str, Any]) -> str:
    """Tells a message from others, whenever it was recorded."""
    content = {name: value for name, value in message.items() if name not in {"created_at", "agent"}}
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
