"""Asking: a step of a live session waits for a person's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from state_core.changes import set_value
from state_core.codec import plain
from state_core.events import Event, EventKind
from state_core.fold import open_questions
from state_core.pausing import Pausing, Unwound
from state_core.records import BranchStatus, SessionStatus


class Asking(Pausing):
    """A live session whose steps can ask."""

    @cached_property
    def _answers(self) -> dict[str, asyncio.Future[None]]:
        """By question, of the steps that wait for one."""
        return {}

    async def ask(
        self,
        prompt: Any,
        *,
        branch_id: str,
        step_id: str,
        question_id: str,
        agent: str = "",
        choices: Sequence[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Any:
        """Wait for a person's answer. A question that was answered before returns at once."""
        known = self.document["questions"].get(question_id)
        if known and known["status"] == "answered":
            return known["answer"]
        if known:
            await self._wait_again(branch_id)
        else:
            await self._request_input(question_id, prompt, branch_id, step_id, agent, choices, schema)
        if self.requested and (self._unwinds or self.requested == EventKind.CANCEL_REQUESTED):
            await self.pause_point()
        await self._wait_for_answer(question_id, step_id)
        await self.pause_point()
        await self._go_on(branch_id, question_id)
        return self.document["questions"][question_id]["answer"]

    async def _request_input(
        self,
        question_id: str,
        prompt: Any,
        branch_id: str,
        step_id: str,
        agent: str,
        choices: Sequence[Any] | None,
        schema: Mapping[str, Any] | None,
    ) -> None:
        given = {"prompt": prompt, "choices": choices and list(choices), "schema": schema}
        changes = [
            set_value(["questions", question_id, name], plain(value, name))
            for name, value in given.items()
            if value is not None
        ]
        event = self.event(
            EventKind.INPUT_REQUESTED,
            changes,
            branch_id=branch_id,
            step_id=step_id,
            agent=agent,
            status=str(BranchStatus.WAITING),
            data={"question": question_id, "session": self._waiting},
        )
        await self.append(event)

    @property
    def _waiting(self) -> str:
        """The session's status when a question is open, where that changes it."""
        return str(SessionStatus.WAITING) if self.status == SessionStatus.RUNNING else ""

    async def _wait_again(self, branch_id: str) -> None:
        """The session was resumed while its question is still open."""
        data = {"for": "an answer", "session": self._waiting}
        status = str(BranchStatus.WAITING)
        await self.append(self.event(EventKind.BRANCH_WAITING, branch_id=branch_id, status=status, data=data))

    async def _wait_for_answer(self, question_id: str, step_id: str) -> None:
        """While it waits, the step is not at work: the session can pause."""
        answer = self._answers.setdefault(question_id, asyncio.get_running_loop().create_future())
        agent = self._writer.at_work.pop(step_id, None)
        try:
            await self._pause_if_idle()
            if self.document["questions"][question_id]["status"] == "open":
                await answer
        except Unwound as unwound:
            raise unwound.cause from None
        finally:
            self._answers.pop(question_id, None)
            if agent is not None:
                self._writer.at_work[step_id] = agent

    async def _go_on(self, branch_id: str, question_id: str) -> None:
        others = [q for q in open_questions(self.document) if q["question_id"] != question_id]
        runs = self.status == SessionStatus.WAITING and not others
        event = self.event(
            EventKind.BRANCH_RESUMED,
            branch_id=branch_id,
            status=str(BranchStatus.RUNNING),
            data={"session": str(SessionStatus.RUNNING)} if runs else {},
        )
        await self.append(event)

    def _wake_all(self, error: Exception) -> None:
        """A branch that waits for a person is at a boundary; resumed, it comes to its question again."""
        super()._wake_all(error)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def _on_foreign(self, event: Event) -> None:
        super()._on_foreign(event)
        answer = self._answers.get(event.data.get("question", ""))
        if event.kind == EventKind.INPUT_ANSWERED and answer and not answer.done():
            answer.set_result(None)
