"""Branches and steps of a live session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from types import TracebackType
from typing import TYPE_CHECKING, Any

from state_core.changes import differences, set_value
from state_core.codec import plain
from state_core.compose import error_line, message_document, messages_added, trace
from state_core.events import Changes, Event, EventKind
from state_core.exceptions import CancelRequested, InvalidValue, LeaseLost, PauseRequested
from state_core.heads import short
from state_core.records import BRANCH_ENDED, BranchStatus, Document, Message, StepStatus, check_id

if TYPE_CHECKING:
    from state_core.session import Session

UNWINDING = (
    PauseRequested,
    CancelRequested,
    LeaseLost,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
)
"""What leaves a step without an outcome: it is attempted again when the session is resumed."""


class Branch:
    """A branch of a live session."""

    def __init__(self, session: Session, branch_id: str) -> None:
        self.session = session
        self.branch_id = branch_id

    def __repr__(self) -> str:
        return f"<Branch {self.branch_id} {self.status}>"

    @property
    def document(self) -> Document:
        found: Document = self.session.document["branches"][self.branch_id]
        return found

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def status(self) -> BranchStatus:
        return BranchStatus(self.document["status"])

    @property
    def memory(self) -> list[Message]:
        return [Message.from_document(message) for message in self.document["memory"]]

    @property
    def outputs(self) -> list[Any]:
        """Of its completed steps, in order."""
        steps = self.document["steps"].values()
        return [step["output"] for step in steps if step["status"] == StepStatus.COMPLETED]

    def step(
        self,
        agent: str,
        input: Any = None,
        *,
        step_id: str | None = None,
        messages: Sequence[Message] = (),
    ) -> Step:
        """One invocation of an agent, to be used with ``async with``: a pause point, then ``step.started``;
        on leaving, ``step.completed`` with ``step.output``, or ``step.failed`` with the traceback.

        In a resumed session a step that was completed comes back with ``done`` true and its recorded
        ``output``: skip the work then.

        ``messages`` join the branch's memory in the same commit as the step's start, those in
        ``step.messages`` in the same as its completion.
        """
        chosen = step_id or self.session.next_step_id(self.branch_id)
        return Step(self, check_id(chosen, "step id"), agent, input, messages)

    async def run(self, agent: str, function: Callable[[Any], Awaitable[Any]], input: Any = None) -> Any:
        """``await function(input)`` as a step; its recorded output where it was completed before."""
        async with self.step(agent, input) as step:
            if not step.done:
                step.output = await function(input)
        return step.output

    async def add_message(
        self, role: str, content: Any, *, agent: str | None = None, name: str | None = None, **metadata: Any
    ) -> None:
        await self.add_messages(Message(role, content, agent=agent, name=name, metadata=metadata))

    async def add_messages(self, *messages: Message, step_id: str = "") -> None:
        """Durably append to the branch's memory, in one commit."""
        await self.session.append(self.messages_event(messages, step_id))

    def messages_event(self, messages: Sequence[Message], step_id: str = "") -> Event:
        return messages_added(
            ["branches", self.branch_id, "memory"],
            messages,
            self.session.document,
            actor=self.session.owner,
            branch_id=self.branch_id,
            step_id=step_id,
            agent=messages[-1].agent or "",
        )

    async def rewrite_memory(self, messages: Sequence[Message]) -> None:
        """Replace the branch's memory, as when an agent compacts it; only what differs is written."""
        path = ["branches", self.branch_id, "memory"]
        new = [message_document(message) for message in messages]
        changes = list(differences(self.document["memory"], new, path))
        if changes:
            await self.session.append(
                self.session.event(
                    EventKind.MEMORY_REWRITTEN,
                    changes,
                    branch_id=self.branch_id,
                    data={"count": len(new) - len(self.document["memory"])},
                )
            )

    async def wait_for(self, what: str) -> None:
        await self._move(EventKind.BRANCH_WAITING, BranchStatus.WAITING, {"for": short(what)})

    async def joined(self, parent: Branch | str, *, last: bool) -> None:
        """A parent arrived. With the ``last`` one the branch runs."""
        parent_id = parent.branch_id if isinstance(parent, Branch) else parent
        status = BranchStatus.RUNNING if last else BranchStatus.WAITING
        await self._move(EventKind.BRANCH_JOINED, status, {"parent": parent_id})

    async def go_on(self) -> None:
        """It waited, and runs again."""
        if self.status == BranchStatus.WAITING:
            await self._move(EventKind.BRANCH_RESUMED, BranchStatus.RUNNING, {})

    async def reopen(self, status: BranchStatus = BranchStatus.RUNNING) -> None:
        """It had failed or was cancelled, and goes on."""
        if self.status in BRANCH_ENDED:
            await self._move(EventKind.BRANCH_RESUMED, status, {"reopened": True})

    async def complete(self) -> None:
        if self.status not in BRANCH_ENDED:
            await self._move(EventKind.BRANCH_COMPLETED, BranchStatus.COMPLETED, {})

    async def fail(self, error: BaseException | str) -> None:
        if self.status not in BRANCH_ENDED:
            detail = [set_value(["branches", self.branch_id, "error"], trace(error))]
            data = {"error": short(error_line(error))}
            await self._move(EventKind.BRANCH_FAILED, BranchStatus.FAILED, data, detail)

    async def cancel(self) -> None:
        if self.status not in BRANCH_ENDED:
            await self._move(EventKind.BRANCH_CANCELLED, BranchStatus.CANCELLED, {})

    async def _move(
        self, kind: EventKind, status: BranchStatus, data: Mapping[str, Any], changes: Changes | None = None
    ) -> None:
        event = self.session.event(kind, changes, branch_id=self.branch_id, status=str(status), data=data)
        await self.session.branch_moves(event)


class Step:
    """An invocation of an agent that is under way, or was completed before. Made by `Branch.step`."""

    def __init__(
        self, branch: Branch, step_id: str, agent: str, input: Any, messages: Sequence[Message] = ()
    ) -> None:
        self.branch = branch
        self.step_id = step_id
        self.agent = agent
        self.input = input
        known = branch.document["steps"].get(step_id)
        self.done = bool(known and known["status"] == StepStatus.COMPLETED)
        self.attempt: int = known["attempt"] if known else 0
        self.output: Any = deepcopy(known["output"]) if known else None
        self.messages: list[Message] = []
        self._first_messages = messages
        self._previous: str = known["status"] if known else ""
        self._questions = 0
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<Step {self.step_id} attempt {self.attempt}>"

    async def __aenter__(self) -> Step:
        if not self.done:
            await self.branch.session.pause_point()
            await self.begin(self._first_messages)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.done:
            return
        if error is None:
            await self._complete_or_fail()
        elif isinstance(error, UNWINDING):
            self.branch.session.step_left(self.step_id)
        else:
            await self.fail(error)

    async def begin(self, messages: Sequence[Message] = ()) -> None:
        self.attempt += 1
        self._began = time.monotonic()
        events = [self._retried("")] if self._previous else [self._started(), *self._message_events(messages)]
        await self.branch.session.step_begins(self.step_id, self.agent, *events)

    async def _complete_or_fail(self) -> None:
        try:
            await self.complete()
        except InvalidValue as error:
            await self.fail(error)
            raise

    def _started(self) -> Event:
        changes = [] if self.input is None else [set_value(self._path("input"), plain(self.input, "input"))]
        return self._event(EventKind.STEP_STARTED, changes, data={"attempt": self.attempt})

    def _message_events(self, messages: Sequence[Message]) -> list[Event]:
        return [self.branch.messages_event(messages, self.step_id)] if messages else []

    async def retry(self, error: BaseException | str) -> None:
        """The attempt under way failed and another begins."""
        self.attempt += 1
        self._began = time.monotonic()
        self._previous = str(StepStatus.RUNNING)
        self._questions = 0
        detail = [set_value(self._path("error"), trace(error))]
        await self.branch.session.append(self._retried(short(error_line(error)), detail))

    def _retried(self, error: str, changes: Changes | None = None) -> Event:
        data: dict[str, Any] = {"attempt": self.attempt, "previous": self._previous}
        if error:
            data["error"] = error
        if self.branch.status in BRANCH_ENDED:
            data["reopened"] = True
        return self._event(EventKind.STEP_RETRIED, changes or [], data=data)

    async def complete(self) -> None:
        self.output = plain(self.output, f"output of {self.agent}")
        changes = [] if self.output is None else [set_value(self._path("output"), self.output)]
        event = self._event(
            EventKind.STEP_COMPLETED, changes, status=StepStatus.COMPLETED, duration=self._elapsed()
        )
        await self.branch.session.step_completes(self.step_id, *self._message_events(self.messages), event)

    async def fail(self, error: BaseException | str) -> None:
        event = self._event(
            EventKind.STEP_FAILED,
            [set_value(self._path("error"), trace(error))],
            status=StepStatus.FAILED,
            duration=self._elapsed(),
            data={"error": short(error_line(error)), "attempt": self.attempt},
        )
        await self.branch.session.step_fails(self.step_id, event)

    async def ask(
        self,
        prompt: Any,
        *,
        choices: Sequence[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask a person and wait for the answer; the session is ``waiting`` meanwhile."""
        self._questions += 1
        return await self.branch.session.ask(
            prompt,
            branch_id=self.branch.branch_id,
            step_id=self.step_id,
            question_id=f"{self.step_id}.q{self._questions}",
            agent=self.agent,
            choices=choices,
            schema=schema,
        )

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._began, 6)

    def _path(self, name: str) -> list[str]:
        return ["branches", self.branch.branch_id, "steps", self.step_id, name]

    def _event(
        self,
        kind: EventKind,
        changes: Changes,
        *,
        status: StepStatus = StepStatus.RUNNING,
        duration: float | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        return self.branch.session.event(
            kind,
            changes,
            branch_id=self.branch.branch_id,
            step_id=self.step_id,
            agent=self.agent,
            status=str(status),
            duration=duration,
            data=data,
        )
