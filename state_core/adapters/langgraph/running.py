"""Runs that the dashboard can steer: pausing drains the graph at its next superstep, answers resume its
interrupts, and after a restore or in a fork it goes on from the checkpoint that is the latest there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from state_core.adapters.langgraph.ids import session_id_of
from state_core.adapters.langgraph.saver import StateCoreSaver
from state_core.adapters.langgraph.showing import Showing, step_id_of
from state_core.adapters.langgraph.telling import shown
from state_core.adapters.langgraph.thread import Thread
from state_core.adapters.langgraph.threads import TAG
from state_core.changes import set_value
from state_core.events import Event, EventKind
from state_core.exceptions import ConfigurationError, PauseRequested, StorageUnavailable
from state_core.heads import short
from state_core.records import SessionStatus, StepStatus, utc_now
from state_core.session import Session
from state_core.sync import shared

logger = logging.getLogger(__name__)

Config = Mapping[str, Any]


async def run_session(
    graph: Any,
    input: Any = None,
    *,
    thread_id: str,
    config: Config | None = None,
    context: Any = None,
    title: str = "",
    workflow: str = "",
    tags: Sequence[str] = (),
    metadata: Config | None = None,
    statuses: Collection[SessionStatus] = (),
    durability: str = "sync",
) -> Any:
    """Run a compiled graph on a thread as a session that takes commands, and return its output.

    ``input`` of None goes on where the thread stands. The session is completed when the graph ends, and
    fails with it. Asked to pause, it stops at the next superstep boundary; then, as where it stops at a
    breakpoint of the graph's own, the output so far is returned and the session is paused. Where the graph
    asks by ``interrupt(…)``, it waits for a person's answer. ``config``, ``context`` and ``durability`` are
    the framework's. ``workflow``: what a `GraphWorker` knows the graph by; its own name where not given.
    ``metadata`` is merged into the session's.

    Raises LeaseHeld while somebody else runs it, TransitionError where it was cancelled, or has none of
    ``statuses``, where there are any, and what the graph raises.
    """
    saver = graph.checkpointer
    if not isinstance(saver, StateCoreSaver):
        raise ConfigurationError(
            f"run_session needs a graph that was compiled with a StateCoreSaver; this one has {saver!r}. "
            "Compile it with `builder.compile(checkpointer=StateCoreSaver(storage))`."
        )
    session = saver.state_manager.session(
        session_id_of(thread_id),
        title=title or thread_id,
        workflow=workflow or graph.get_name(),
        tags=[TAG, *tags],
        metadata=metadata,
        statuses=statuses,
        on_pause="raise",
    )
    run = _Run(graph, saver, session, thread_id, config or {}, context, durability)
    with saver.threads.driving(session.session_id):
        async with session:
            try:
                await run.go(input)
            finally:
                # What its end is composed against: the checkpointer wrote, not the session.
                with contextlib.suppress(StorageUnavailable):
                    await session.catch_up()
    return run.output


class _Run:
    def __init__(
        self,
        graph: Any,
        saver: StateCoreSaver,
        session: Session,
        thread_id: str,
        config: Config,
        context: Any,
        durability: str,
    ) -> None:
        self.output: Any = None
        self._graph = graph
        self._saver = saver
        self._session = session
        self._thread_id = thread_id
        places = {**config.get("configurable", {}), "thread_id": thread_id}
        self._config = {**config, "configurable": places}
        self._place = {"configurable": {"thread_id": thread_id}}
        self._context = context
        self._durability = durability

    async def go(self, input: Any) -> None:
        given = input
        if given is None:
            given = await self._answers()
        while True:
            await self._session.pause_point()
            await self._until_it_stops(given)
            await self._session.catch_up()
            await self._session.pause_point()
            given = await self._answers()
            if given is None:
                await self._stop_or_end()
                return

    async def _stop_or_end(self) -> None:
        state = await self._graph.aget_state(self._place)
        if state.next:
            # A breakpoint of the graph's own: whoever resumes the session goes past it.
            raise PauseRequested

    async def _until_it_stops(self, given: Any) -> None:
        """Run until the graph ends, asks, or is drained because somebody asked for something."""
        control = RunControl()
        running = asyncio.ensure_future(self._stream(given, control))
        asked = asyncio.ensure_future(self._session.wait_until_asked())
        try:
            await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                control.request_drain(self._session.requested or "the lease is lost")
            await running
        except GraphDrained:
            logger.debug("Thread %s was drained: %s", self._thread_id, control.drain_reason)
        finally:
            asked.cancel()
            if not running.done():
                running.cancel()
                # Its checkpointer writes what became of its tasks: that belongs before this session's end.
                await asyncio.wait([running])

    async def _stream(self, given: Any, control: RunControl) -> None:
        parts = self._graph.astream(
            given,
            self._config,
            context=self._context,
            stream_mode=["tasks", "values"],
            subgraphs=True,
            durability=self._durability,
            control=control,
        )
        async for path, mode, part in parts:
            if mode == "values" and not path:
                self.output = part
            elif mode == "tasks" and "triggers" in part:
                await self._began("|".join(path), part)

    async def _began(self, ns: str, task: Mapping[str, Any]) -> None:
        """A step shows from its beginning on, with its input."""
        at = utc_now()

        def compose(thread: Thread) -> list[Event]:
            return _beginning(thread, ns, task, at, self._session.owner)

        appending = self._saver.threads.append(self._thread_id, compose, create=False)
        await asyncio.wrap_future(shared.submit(appending))

    async def _answers(self) -> Command[Any] | None:
        """Wait until every question of the thread's interrupts is answered; None where none is open."""
        state = await self._graph.aget_state(self._place, subgraphs=True)
        await self._session.catch_up()
        questions = self._session.document["questions"]
        open_ones = [interrupt.id for interrupt in state.interrupts if interrupt.id in questions]
        if not open_ones:
            return None
        waiting = [asyncio.ensure_future(self._ask(questions[id])) for id in open_ones]
        try:
            answers = await asyncio.gather(*waiting)
        finally:
            for one in waiting:
                one.cancel()
        return Command(resume=dict(zip(open_ones, answers, strict=True)))

    async def _ask(self, question: Mapping[str, Any]) -> Any:
        return await self._session.ask(
            question["prompt"],
            branch_id=question["branch_id"],
            step_id=question["step_id"],
            question_id=question["question_id"],
            agent=question["agent"] or "",
        )


def _beginning(thread: Thread, ns: str, task: Mapping[str, Any], at: datetime, actor: str) -> list[Event]:
    name = str(task["name"])
    step_id = step_id_of(name, str(task["id"]))
    showing = Showing(thread, ns, actor, lambda item: None, driven=True)
    showing.open_branch(ns)
    branch_id = showing.branch_id
    known = thread.outline["branches"].get(branch_id, {"steps": {}})["steps"].get(step_id)
    if known and known["status"] in {StepStatus.COMPLETED, StepStatus.RUNNING}:
        return []
    data = {"attempt": known["attempt"] + 1, "previous": known["status"]} if known else {"attempt": 1}
    path = ["branches", branch_id, "steps", step_id, "input"]
    showing.add(
        EventKind.STEP_RETRIED if known else EventKind.STEP_STARTED,
        [] if known else [set_value(path, shown(task.get("input")))],
        at=at,
        branch_id=branch_id,
        step_id=step_id,
        agent=short(name, 128),
        status=str(StepStatus.RUNNING),
        data=data,
    )
    return showing.events
