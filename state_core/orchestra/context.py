"""What an agent is given besides its request."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from state_core.branch import Step
from state_core.exceptions import OrchestraError
from state_core.orchestra.fanout import nested_calls
from state_core.orchestra.tasks import StepClock
from state_core.records import Message
from state_core.sync import LoopThread, SyncFace

if TYPE_CHECKING:
    from state_core.orchestra.runner import Run


class StepContext(MutableMapping[str, Any]):
    """As a mapping it is the session's context: ``context["phase"] = 2`` is saved with the next step.

    A plain function gets the same with ordinary methods instead of coroutines. What is recorded through
    it (`say`, `remember` …) is durable at once, and again when the step is attempted again.
    """

    def __init__(self, run: Run, step: Step, clock: StepClock) -> None:
        self._run = run
        self._step = step
        self._clock = clock
        self._is_over = False
        self._invoked: Counter[str] = Counter()
        """How often the same was asked of the same agent in this attempt."""

    def __repr__(self) -> str:
        return f"<StepContext {self.step_id} attempt {self.attempt}>"

    # The session's context

    def __getitem__(self, key: str) -> Any:
        return self._run.session.context[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._run.session.context[key] = value

    def __delitem__(self, key: str) -> None:
        del self._run.session.context[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.session.context)

    def __len__(self) -> int:
        return len(self._run.session.context)

    @property
    def metadata(self) -> dict[str, Any]:
        """The session's, to be changed freely; it comes back as ``result.metadata``."""
        return self._run.session.metadata

    # Where this is

    @property
    def session_id(self) -> str:
        return self._run.session.session_id

    @property
    def branch_id(self) -> str:
        return self._step.branch.branch_id

    @property
    def step_id(self) -> str:
        """The same in every attempt, so that it serves as a key for what must be done only once."""
        return self._step.step_id

    @property
    def attempt(self) -> int:
        """1, and more when an earlier attempt failed or was cut off."""
        return self._step.attempt

    @property
    def agent(self) -> str:
        return self._step.agent

    @property
    def task(self) -> Any:
        """What the whole session is for."""
        return self._run.task

    @property
    def previous(self) -> Any:
        """The final response of the round before, when a completed session was paused and resumed."""
        return self._run.previous

    # Memory

    @property
    def memory(self) -> list[Message]:
        """This agent's own, in all branches of the session."""
        stored = self._run.session.document["agent_memories"].get(self.agent, [])
        return [Message.from_document(message) for message in stored]

    @property
    def history(self) -> list[Message]:
        """The branch's: requests, responses, and what was said."""
        return self._step.branch.memory

    async def remember(self, content: Any, role: str = "assistant", **metadata: Any) -> None:
        """Add to this agent's own memory."""
        self._check_open()
        message = Message(role, content, agent=self.agent, metadata=metadata)
        await self._run.session.remember(self.agent, message)

    async def say(self, content: Any, role: str = "assistant", **metadata: Any) -> None:
        """Add a message to the branch."""
        self._check_open()
        message = Message(role, content, agent=self.agent, metadata=metadata)
        await self._step.branch.add_messages(message, step_id=self.step_id)

    # The session

    async def set_result(self, name: str, value: Any) -> None:
        """Keep an intermediate result of the session."""
        self._check_open()
        await self._run.session.set_result(name, value)

    async def checkpoint(self, name: str, reason: str = "") -> str:
        """Name this place in the log; returns the checkpoint's id."""
        self._check_open()
        return await self._run.session.checkpoint(name, reason=reason)

    async def request_pause(self, reason: str = "") -> None:
        """Ask that the session pause when this step, and those beside it, are done."""
        self._check_open()
        await self._run.session.request_pause(reason)

    # Others

    async def ask(
        self, prompt: Any, *, choices: Sequence[Any] | None = None, schema: Mapping[str, Any] | None = None
    ) -> Any:
        """Ask a person and wait for the answer: one of ``choices``, or what fits the JSON Schema.

        Questions are told apart by their order in the step: ask them in the same order in each attempt,
        and those that were answered return at once.
        """
        self._check_open()
        with self._clock.stopped():
            return await self._step.ask(prompt, choices=choices, schema=schema)

    async def invoke(
        self,
        calls: Sequence[Sequence[Any]],
        *,
        limit: int | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Run agents at the same time, each in a nested branch; returns their responses in order.

        ``calls``: ``(agent, request)`` or ``(agent, request, name of the branch)``. ``limit``: at most so
        many at once. A branch is known by its step, agent and request: when the step is attempted again,
        those that completed are not run again. When one fails the others finish, then its error is
        raised, or stands in its place with ``return_exceptions``.
        """
        self._check_open()
        with self._clock.stopped():
            nested = nested_calls(self._step, calls, self._invoked)
            return await self._run.invoke(
                self._step, nested, limit=limit, return_exceptions=return_exceptions
            )

    def _check_open(self) -> None:
        if self._is_over:
            raise OrchestraError(
                f"Step {self.step_id} is over (attempt {self.attempt}); its context records nothing more. "
                "Await everything that an agent starts before it returns."
            )

    def _close(self) -> None:
        self._is_over = True

    def for_thread(self) -> ThreadContext:
        return ThreadContext(self, asyncio.get_running_loop())


class _RunningLoop(LoopThread):
    """A loop that runs already, in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop


class ThreadContext(SyncFace, MutableMapping[str, Any]):
    """A `StepContext` for an agent that is a plain function, in its own thread."""

    def __init__(self, context: StepContext, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(context, _RunningLoop(loop))

    def __getitem__(self, key: str) -> Any:
        return self._target[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._target[key] = value

    def __delitem__(self, key: str) -> None:
        del self._target[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)
