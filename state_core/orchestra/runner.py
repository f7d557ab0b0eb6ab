"""One run of a topology in a live session: its lines of execution, their joins, their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from state_core.branch import Branch, Step
from state_core.orchestra.agents import Agents, Handoff, recorded, response_of
from state_core.orchestra.attempts import Limits, attempt_step
from state_core.orchestra.context import StepContext
from state_core.orchestra.fanout import Call
from state_core.orchestra.results import recorded_response
from state_core.orchestra.tasks import UNRECORDABLE, Stopped, raise_first, settle
from state_core.orchestra.topology import Line
from state_core.records import BRANCH_ENDED, BranchStatus, BranchType, Document, Message
from state_core.session import Session

ABSENT = object()
"""Stands for the response of an optional branch that failed."""


class Run:
    """Runs lines until all are done, or until the session is to stop at its step boundaries.

    What a line is asked: a root, the task; one that stands after one branch, its response; one that
    joins several, ``{branch name: response}``, without optional branches that failed.
    """

    def __init__(
        self,
        session: Session,
        lines: Sequence[Line],
        agents: Agents,
        limits: Limits,
        *,
        task: Any,
        previous: Any = None,
        ancestors: Sequence[str] = (),
    ) -> None:
        """``ancestors``: ids of the branches of an earlier round, or topology, that roots follow."""
        self.session = session
        self.task = task
        self.previous = previous
        self._lines = lines
        self._agents = agents
        self._limits = limits
        self._ancestors = ancestors
        self._failed = False
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def execute(self) -> dict[str, Any]:
        """Responses by branch id. Raises what an agent raised, PauseRequested, CancelRequested."""
        for line in self._lines:
            self._tasks[line.branch_id] = asyncio.create_task(self._run_line(line), name=line.branch_id)
        self.session.on_lost = self._abandon
        errors = await settle(self._tasks.values())
        self.session.check_lease()
        if errors and isinstance(errors[0], Exception) and not isinstance(errors[0], UNRECORDABLE):
            await self._cancel_open_branches()
        raise_first(errors)
        await self.session.pause_point()
        return {line.branch_id: self._tasks[line.branch_id].result() for line in self._lines}

    def _abandon(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _cancel_open_branches(self) -> None:
        """They stopped because another failed: that is not a failure of theirs."""
        branches = [self.session.branch(branch_id) for branch_id in self.session.document["branches"]]
        await asyncio.gather(*(branch.cancel() for branch in branches))

    # Lines

    async def _run_line(self, line: Line) -> Any:
        if self._has_failed_for_good(line):
            return ABSENT
        branch = await self._arrive(line)
        try:
            return await self._walk(branch, line.agent, self._request(line), self._limits_of(line))
        except UNRECORDABLE:
            raise
        except Exception as error:
            await branch.fail(error)
            if line.is_optional:
                return ABSENT
            self._failed = True
            raise

    def _has_failed_for_good(self, line: Line) -> bool:
        """The others went on without it before the session was resumed."""
        known = self.session.document["branches"].get(line.branch_id)
        return line.is_optional and bool(known) and known["status"] == BranchStatus.FAILED

    async def _arrive(self, line: Line) -> Branch:
        """Open the line's branch when those before it are done; a join waits for them one by one."""
        if len(line.parents) > 1:
            return await self._join(line)
        if line.parents:
            await self._wait_for(line.parents)
        return await self._open(line, BranchStatus.RUNNING)

    async def _join(self, line: Line) -> Branch:
        missing, arrived = set(line.parents), []
        while missing:
            arrived += await self._wait_for(missing)
            missing.difference_update(arrived)
            if self._are_open(line.parents):
                branch = await self._open(line, BranchStatus.WAITING)
                while arrived:
                    await _joined(branch, arrived.pop(0), last=not missing and not arrived)
        return branch

    def _are_open(self, branch_ids: Sequence[str]) -> bool:
        return all(branch_id in self.session.document["branches"] for branch_id in branch_ids)

    async def _wait_for(self, parents: Collection[str]) -> list[str]:
        """Those that have completed, at least one. Raises Stopped where one of them has not."""
        waiting = {self._tasks[parent]: parent for parent in parents}
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task.cancelled() or task.exception() for task in done):
            raise Stopped
        return [parent for task, parent in waiting.items() if task in done]

    async def _open(self, line: Line, status: BranchStatus) -> Branch:
        self._boundary()
        parents = line.parents or self._ancestors
        branch = await self.session.open_branch(
            line.name,
            parent=list(parents),
            branch_id=line.branch_id,
            branch_type=self._type_of(line),
            agent=line.agent,
            status=status,
        )
        if branch.status in BRANCH_ENDED and branch.status != BranchStatus.COMPLETED:
            await branch.reopen(status)
        return branch

    def _type_of(self, line: Line) -> BranchType:
        if line.branch_id not in self._tasks:
            return BranchType.NESTED
        if sum(other.parents == line.parents for other in self._lines) > 1:
            return BranchType.PARALLEL
        return BranchType.SEQUENTIAL if line.parents or self._ancestors else BranchType.MAIN

    def _boundary(self) -> None:
        if self._failed:
            raise Stopped

    def _request(self, line: Line) -> Any:
        if not line.parents:
            return self.task
        responses = {parent: self._tasks[parent].result() for parent in line.parents}
        if len(responses) == 1:
            (response,) = responses.values()
            return None if response is ABSENT else response
        return named_responses(self._lines, responses)

    def _limits_of(self, line: Line) -> Limits:
        node, limits = line.node, self._limits
        return replace(
            limits,
            step_timeout=limits.step_timeout if node.step_timeout is None else node.step_timeout,
            max_attempts=node.max_attempts or limits.max_attempts,
        )

    # Steps

    async def _walk(self, branch: Branch, agent: str, request: Any, limits: Limits) -> Any:
        """The steps of a branch, until one returns a response and not the next step."""
        response: Any = Handoff(agent, request)
        number = 0
        while isinstance(response, Handoff):
            number += 1
            step_id = f"{branch.branch_id}:{number}"
            response = await self._step(branch, step_id, response.agent, response.request, limits)
        await branch.complete()
        return response

    async def _step(self, branch: Branch, step_id: str, agent: str, request: Any, limits: Limits) -> Any:
        self._boundary()
        asked = [] if request is None else [Message("user", request, name=branch.name)]
        async with branch.step(agent, request, step_id=step_id, messages=asked) as step:
            if not step.done:
                response = await attempt_step(
                    step,
                    self._agents[agent],
                    request,
                    limits,
                    lambda clock: StepContext(self, step, clock),
                )
                step.output = recorded(response, agent)
                if response is not None and step.output is response:
                    step.messages.append(Message("assistant", response, agent=agent))
        return response_of(step.output)

    # Fan-out at run time

    async def invoke(
        self, step: Step, calls: Sequence[Call], *, limit: int | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """See `StepContext.invoke`."""
        self._agents.check({call.line.agent for call in calls})
        gate = asyncio.Semaphore(limit or max(1, len(calls)))
        if any(self._completed(call.line) is None for call in calls):
            await step.branch.wait_for(f"{len(calls)} branches")
        tasks = [asyncio.create_task(self._run_call(step.branch, call, gate)) for call in calls]
        try:
            errors = await settle(tasks)
        except asyncio.CancelledError:
            await self.session.cut_off([call.line.branch_id for call in calls])
            raise
        if not any(isinstance(error, UNRECORDABLE) for error in errors):
            await step.branch.go_on()
        raise_first(errors, but=Exception if return_exceptions else ())
        return [task.exception() or task.result() for task in tasks]

    def _completed(self, line: Line) -> Document | None:
        known: Document | None = self.session.document["branches"].get(line.branch_id)
        return known if known and known["status"] == BranchStatus.COMPLETED else None

    async def _run_call(self, parent: Branch, call: Call, gate: asyncio.Semaphore) -> Any:
        async with gate:
            known = self._completed(call.line)
            response = recorded_response(known) if known else await self._run_nested(call)
            if call.line.branch_id not in parent.document["joined_ids"]:
                await parent.joined(call.line.branch_id, last=False)
            return response

    async def _run_nested(self, call: Call) -> Any:
        branch = await self._open(call.line, BranchStatus.RUNNING)
        try:
            return await self._walk(branch, call.line.agent, call.request, self._limits)
        except UNRECORDABLE:
            raise
        except Exception as error:
            await branch.fail(error)
            raise


async def _joined(branch: Branch, parent: str, *, last: bool) -> None:
    is_new = parent not in branch.document["joined_ids"]
    if is_new or (last and branch.status == BranchStatus.WAITING):
        await branch.joined(parent, last=last)


def named_responses(lines: Sequence[Line], responses: Mapping[str, Any]) -> dict[str, Any]:
    """``{branch name: response}`` of those that are there."""
    names = {line.branch_id: line.name for line in lines}
    return {names[i]: response for i, response in responses.items() if response is not ABSENT}


def final_response(sinks: Sequence[Line], responses: Mapping[str, Any]) -> Any:
    """The response of the only branch that nothing stands after, or ``{branch name: response}``."""
    if len(sinks) > 1:
        return named_responses(sinks, {line.branch_id: responses[line.branch_id] for line in sinks})
    response = responses[sinks[0].branch_id]
    return None if response is ABSENT else response
