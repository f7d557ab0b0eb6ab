"""A thread as a session that people watch: namespaces are branches, tasks are steps, messages are messages,
interrupts are questions. The events go into the log in one append with the record that they are made of, and
where they say the same as the record, in one body with it, so that compression makes one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from state_core.adapters.langgraph.ids import ROOT, branch_id_of
from state_core.adapters.langgraph.memories import memory_event
from state_core.adapters.langgraph.telling import (
    SHOWN_BYTES,
    Loads,
    is_said,
    loaded,
    message,
    questions,
    shown,
    size_of,
    spoken,
)
from state_core.adapters.langgraph.thread import Record, Thread
from state_core.adapters.langgraph.values import Encoded, Listed, Numbering, Typed, Whole
from state_core.adapters.langgraph.writing import Put, Writes
from state_core.changes import keep_aside, set_value
from state_core.compose import make_event, messages_added
from state_core.events import Changes, Event, EventKind
from state_core.fold import open_questions
from state_core.heads import short
from state_core.records import (
    BRANCH_ENDED,
    BranchStatus,
    BranchType,
    Document,
    SessionStatus,
    StepStatus,
    utc_now,
)

REFUSED = ("pause", "resume", "answer")
"""What nobody carries out for a thread whose runs are not driven by `run_session`. A restore and a fork need
nobody: the next run goes on from there, and one under way is told at its next write."""
PUSHED, PULLED = "~__pregel_push, ", "~__pregel_pull, "
SENDS = "__pregel_tasks"
GOES_ON = ("branch:to:", "join:", "__start__", SENDS)
"""Channels that make a further task run when they were updated."""
ENDS = "__end__"
CANCELLED = "CancelledError()"
"""The error of a task whose run was stopped: nothing is wrong with the graph."""


@dataclass
class Showing:
    """The events of one append."""

    thread: Thread
    ns: str
    actor: str
    loads: Loads
    driven: bool
    """Is a live session at work on it, that says itself how the session stands?"""
    at: datetime | None = None
    """When it happened, where that is long ago."""
    events: list[Event] = field(default_factory=list)

    @property
    def outline(self) -> Document:
        return self.thread.outline

    @property
    def branch_id(self) -> str:
        return branch_id_of(self.ns)

    def add(self, kind: str, changes: Changes | None = None, **header: Any) -> None:
        if self.at:
            header = {"at": self.at, **header}
        self.events.append(make_event(kind, changes, actor=self.actor, **header))

    # Checkpoints

    def put(self, put: Put, record: Record, number: Numbering) -> None:
        runs = put.source in ("input", "loop", "fork")
        if runs and not self.ns:
            self._runs()
        self.open_branch(self.ns)
        self._remember(put, record, number)
        if runs and not self.ns and not self.driven and self._has_ended(put):
            self.add(EventKind.SESSION_COMPLETED, data={"closes": self._root_if(ended=False)})

    def _runs(self) -> None:
        status = self.outline["status"]
        if self.driven or status == SessionStatus.RUNNING:
            return
        is_new = status == SessionStatus.PENDING and not self.outline["started_at"]
        kind = EventKind.SESSION_STARTED if is_new else EventKind.SESSION_RESUMED
        data = {"owner": self.actor, "refuses": list(REFUSED)}
        self.add(kind, data=data if is_new else {**data, "reopens": self._root_if(ended=True)})

    def _root_if(self, *, ended: bool) -> list[str]:
        root = self.outline["branches"].get(ROOT)
        has_ended = (
            root["status"] in BRANCH_ENDED if root else not any(e.branch_id == ROOT for e in self.events)
        )
        return [ROOT] if has_ended == ended else []

    def _end_branch(self, branch_id: str, status: BranchStatus, **data: Any) -> None:
        branch = self.outline["branches"].get(branch_id)
        if branch and branch["status"] not in BRANCH_ENDED:
            self.add(f"branch.{status}", branch_id=branch_id, status=str(status), data=data)

    def _has_ended(self, put: Put) -> bool:
        """Does no task follow? Told by the channels that graphs and entrypoints have."""
        if put.source == "input":
            return False
        new = [channel for channel, value in put.values.items() if value is not None]
        is_known = ENDS in put.versions or any(channel.startswith(GOES_ON[0]) for channel in put.versions)
        return is_known and not any(channel.startswith(GOES_ON) for channel in new)

    def open_branch(self, ns: str) -> None:
        branch_id = branch_id_of(ns)
        if branch_id in self.outline["branches"] or any(e.branch_id == branch_id for e in self.events):
            return
        parent = ns.rpartition("|")[0]
        if ns:
            self.open_branch(parent)
        name = ns.rpartition("|")[2].partition(":")[0] or ROOT
        data = {
            "name": short(name, 128),
            "type": str(BranchType.NESTED if ns else BranchType.MAIN),
            "parents": [branch_id_of(parent)] if ns else [],
        }
        status = str(BranchStatus.RUNNING)
        self.add(EventKind.BRANCH_OPENED, branch_id=branch_id, status=status, data=data)

    def _remember(self, put: Put, record: Record, number: Numbering) -> None:
        """The branch's memory follows the channel that holds messages."""
        channel = self._message_channel(put)
        value = put.values.get(channel) if channel else None
        if channel and isinstance(value, Listed):
            record["memory"] = [self.branch_id, channel]
            known = self.thread.memories.get(self.branch_id, [])
            event = memory_event(self, known, [number(item) for item in value.items], value.items)
            if event:
                self.events.append(event)

    def _message_channel(self, put: Put) -> str:
        known = self.thread.namespace(self.ns).message_channel
        if known:
            return known
        return next(
            (
                channel
                for channel, value in sorted(put.values.items(), key=lambda pair: pair[0] != "messages")
                if isinstance(value, Listed)
                and value.items
                and not channel.startswith("__")
                and is_said(self.loads(value.items[0]))
            ),
            "",
        )

    # Tasks

    def writes(self, writes: Writes, record: Record, number: Numbering, began: datetime) -> None:
        by_channel = {channel: value for _, channel, value in writes.writes}
        name = self._task_name(writes)
        if RESUME in by_channel:
            self._answered(loaded(by_channel[RESUME], self.loads))
        if not name or by_channel.keys() <= {RESUME}:
            return
        step = _Step(self, step_id_of(name, writes.task_id), short(name, 128))
        error = str(loaded(by_channel[ERROR], self.loads)) if ERROR in by_channel else ""
        if error == CANCELLED and step.is_over:
            return
        self.open_branch(self.ns)
        step.begin(began, at_once=not by_channel.keys() & {INTERRUPT, ERROR})
        if INTERRUPT in by_channel:
            step.ask(questions([loaded(by_channel[INTERRUPT], self.loads)]))
        elif error:
            self._fail(step, error)
            self._close_below(name, writes.task_id, BranchStatus.FAILED)
        else:
            self._close_below(name, writes.task_id, BranchStatus.COMPLETED)
            step.complete(self._output(writes))
            self._say(writes, record, number, step)

    def _fail(self, step: _Step, error: str) -> None:
        step.fail(error)
        if self.ns or self.driven:
            return
        if error == CANCELLED and self.outline["status"] == SessionStatus.RUNNING:
            data = {"owner": self.actor, "reason": "its run was cancelled"}
            self.add(EventKind.SESSION_INTERRUPTED, data=data)
        elif error != CANCELLED:
            self._end_branch(ROOT, BranchStatus.FAILED, error=short(error))
            self.add(EventKind.SESSION_FAILED, data={"error": short(error)})

    def _task_name(self, writes: Writes) -> str:
        """ "" for what is no node's."""
        path = writes.path
        if path.startswith(PULLED):
            name = path[len(PULLED) :]
        elif path.startswith(PUSHED):
            name = self._sent_to(writes.checkpoint_id, path[len(PUSHED) :].partition(",")[0])
        else:
            return ""
        return "" if name.startswith("__") else name

    def _sent_to(self, checkpoint_id: str, place: str) -> str:
        """The node of a send, which names it by its place among those of the checkpoint."""
        kept = self.thread.namespace(self.ns).checkpoints.get(checkpoint_id)
        sends = self.thread.resolve(kept.values.get(SENDS)) if kept else None
        if not isinstance(sends, list) or not place.isdecimal() or int(place) >= len(sends):
            return "task"
        return str(getattr(self.loads(self.thread.items[sends[int(place)]]), "node", "task"))

    def _output(self, writes: Writes) -> Document:
        """What a node gave, less its messages and what only steers the graph."""
        said = self.thread.namespace(self.ns).message_channel
        return {
            channel: shown(loaded(value, self.loads))
            if size_of(value) <= 4 * SHOWN_BYTES
            else f"{size_of(value):,} bytes"
            for _, channel, value in writes.writes
            if channel != said and not channel.startswith(("branch:", "join:", "__"))
        }

    def _say(self, writes: Writes, record: Record, number: Numbering, step: _Step) -> None:
        """Messages are shown when their node is done; the next checkpoint says where they stand."""
        known = self.thread.namespace(self.ns).message_channel
        for _, channel, value in writes.writes:
            if channel == known or (not known and not channel.startswith("__")):
                # Elsewhere two words are two words.
                read = spoken if channel == known else _if_said
                said = [(item, told) for item in _items(value) if (told := read(self.loads(item)))]
                if said:
                    record["said"] = [self.branch_id, channel, [number(item) for item, _ in said]]
                    self._add_messages([told for _, told in said], step)
                    return

    def _add_messages(self, said: list[Any], step: _Step) -> None:
        event = messages_added(
            ["branches", self.branch_id, "memory"],
            [message(value, step.agent) for value in said],
            {},
            actor=self.actor,
            branch_id=self.branch_id,
            step_id=step.step_id,
            agent=step.agent,
        )
        self.events.append(event)

    def _close_below(self, name: str, task_id: str, status: BranchStatus) -> None:
        """The branches of a task that was a subgraph."""
        below = f"{self.ns}|{name}:{task_id}" if self.ns else f"{name}:{task_id}"
        for ns in self.thread.namespaces:
            if ns == below or ns.startswith(f"{below}|"):
                self._end_branch(branch_id_of(ns), status)

    def _answered(self, value: Any) -> None:
        """By the program itself; a person's answer stands in the log already."""
        still_open = open_questions(self.outline)
        for question in still_open if len(still_open) == 1 else ():
            answer = shown(value[-1] if isinstance(value, list) and value else value)
            self.add(
                EventKind.INPUT_ANSWERED,
                [set_value(["questions", question["question_id"], "answer"], answer)],
                branch_id=question["branch_id"],
                step_id=question["step_id"] or "",
                agent=question["agent"] or "",
                data={"question": question["question_id"]},
            )
            self.add(
                EventKind.BRANCH_RESUMED,
                branch_id=question["branch_id"],
                status=str(BranchStatus.RUNNING),
                data={} if self.driven else {"session": str(SessionStatus.RUNNING)},
            )

    # The record

    def with_record(self, record: Record, at: datetime | None = None) -> list[Event]:
        """The record goes with what is the most like it. ``at``: the moment of that event."""
        if not self.events:
            self.add(EventKind.RECORD_KEPT)
        place = max(range(len(self.events)), key=lambda i: (len(self.events[i].changes), i))
        event = self.events[place]
        event = replace(event, changes=[*event.changes, keep_aside(record)], at=at or event.at)
        return [*self.events[:place], event, *self.events[place + 1 :]]


def _if_said(value: Any) -> BaseMessage | None:
    return value if is_said(value) else None


def _items(value: Encoded) -> list[Typed]:
    """Of a list, or the one that it is."""
    if isinstance(value, Listed):
        return value.items
    return [value.item] if isinstance(value, Whole) else []


@dataclass
class _Step:
    showing: Showing
    step_id: str
    agent: str
    _data: Document = field(default_factory=dict)
    _began: datetime = field(default_factory=utc_now)

    def _path(self, name: str) -> list[Any]:
        return ["branches", self.showing.branch_id, "steps", self.step_id, name]

    @property
    def known(self) -> Document | None:
        branch = self.showing.outline["branches"].get(self.showing.branch_id)
        found: Document | None = branch["steps"].get(self.step_id) if branch else None
        return found

    @property
    def is_over(self) -> bool:
        return self.known is not None and self.known["status"] != StepStatus.RUNNING

    def _add(
        self, kind: EventKind, status: StepStatus, changes: Changes | None = None, **header: Any
    ) -> None:
        self.showing.add(
            kind,
            changes,
            branch_id=self.showing.branch_id,
            step_id=self.step_id,
            agent=self.agent,
            status=str(status),
            **header,
        )

    def begin(self, began: datetime, *, at_once: bool) -> None:
        """It began then. The framework's checkpointer is told when a task is over: its end can say so
        ``at_once``."""
        self._began = began
        known = self.known
        if known is None and not at_once:
            self._add(EventKind.STEP_STARTED, StepStatus.RUNNING, at=began, data={"attempt": 1})
        elif known is None:
            self._data = {"began": began.isoformat()}
        elif self.is_over:
            data = {"attempt": known["attempt"] + 1, "previous": known["status"]}
            self._add(EventKind.STEP_RETRIED, StepStatus.RUNNING, at=began, data=data)

    def _elapsed(self) -> float:
        ended = self.showing.at or utc_now()
        return round(max(0.0, (ended - self._began).total_seconds()), 6)

    def complete(self, output: Document) -> None:
        changes = [set_value(self._path("output"), output)] if output else []
        self._add(
            EventKind.STEP_COMPLETED,
            StepStatus.COMPLETED,
            changes,
            duration=self._elapsed(),
            data=self._data,
        )

    def fail(self, error: str) -> None:
        data = {"error": short(error), "attempt": self.known["attempt"] if self.known else 1}
        changes = [set_value(self._path("error"), short(error, 20_000))]
        self._add(EventKind.STEP_FAILED, StepStatus.FAILED, changes, duration=self._elapsed(), data=data)

    def ask(self, asked: list[Document]) -> None:
        known = self.showing.outline["questions"]
        for question in asked:
            question_id = question.pop("question_id")
            if question_id not in known:
                changes = [
                    set_value(["questions", question_id, name], value) for name, value in question.items()
                ]
                data = {"question": question_id, "session": str(SessionStatus.WAITING)}
                self._add(EventKind.INPUT_REQUESTED, StepStatus.RUNNING, changes, data=data)


def step_id_of(name: str, task_id: str) -> str:
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)[:100]
    return f"{readable}.{task_id[:8]}"
