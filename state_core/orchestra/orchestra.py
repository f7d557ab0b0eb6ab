"""Running workflows: the two classes that programs call."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from state_core.codec import plain
from state_core.exceptions import OrchestraError, SessionExists, TopologyError
from state_core.manager import StateManager
from state_core.orchestra.agents import AgentFunction, Agents
from state_core.orchestra.attempts import Limits
from state_core.orchestra.results import FINAL, OrchestraResult
from state_core.orchestra.runner import Run, final_response
from state_core.orchestra.topology import Line, Topology
from state_core.records import BRANCH_ENDED, SessionState, SessionStatus, check_id, utc_now
from state_core.session import Session
from state_core.storage.memory import MemoryStorageBackend

TOPOLOGY, ORCHESTRA = "topology", "orchestra"
"""Keys of the session's metadata: what a further process needs to go on."""

TITLE_CHARACTERS = 120


class OrchestraInstance:
    """Runs the sessions of one workflow.

    ``topology``: a `Topology`, or what its ``to_dict()`` made. Without one, a session is resumed with the
    topology that it was started with. ``agents``: name → callable, besides those registered with `agent`.
    Without a ``state_manager`` sessions live in memory.

    ``step_timeout`` (seconds), ``max_attempts``, ``backoff`` and ``backoff_max`` (seconds): see `Limits`;
    a node's own win over them.

    An exception of an agent, after its last attempt, fails the session and is raised by `execute` and
    `resume_session` as it is. A failed session can be resumed. LeaseLost is raised when another process
    took the session.
    """

    def __init__(
        self,
        topology: Topology | Mapping[str, Any] | None = None,
        state_manager: StateManager | None = None,
        agents: Mapping[str, AgentFunction] | None = None,
        *,
        step_timeout: float | None = None,
        max_attempts: int = 1,
        backoff: float = 0.5,
        backoff_max: float = 30.0,
        tags: Sequence[str] = (),
    ) -> None:
        self.topology = None if topology is None else Topology.of(topology)
        self.state_manager = state_manager or StateManager(MemoryStorageBackend())
        self._agents = Agents(agents)
        self._limits = Limits(
            step_timeout=step_timeout, max_attempts=max_attempts, backoff=backoff, backoff_max=backoff_max
        )
        self._tags = tuple(tags)

    async def execute(self, task: Any, context: Mapping[str, Any] | None = None) -> OrchestraResult:
        """Run the workflow. ``context["session_id"]`` names the session; otherwise it gets a new id.

        A program that is started again after a crash calls the same: a session of this id that is
        interrupted, paused or failed is taken up where it stands; what its context has by now stays.
        Returns when the session is completed, paused or cancelled. Raises TransitionError when it has
        ended before, LeaseHeld when another process runs it.
        """
        topology = self._given_topology()
        given = dict(context or {})
        session_id = check_id(given.get("session_id") or _new_id(topology.name))
        with contextlib.suppress(SessionExists):
            await self.state_manager.create_session(session_id, **self._creation(topology, task, given))
        session = self.state_manager.session(session_id, on_pause="raise")
        return await self._run(session, topology, task=plain(task, "task"), defaults=given)

    async def submit(self, task: Any, context: Mapping[str, Any] | None = None) -> str:
        """Leave the workflow to an `OrchestraWorker`: a pending session; returns its id."""
        topology = self._given_topology()
        given = dict(context or {})
        session_id = check_id(given.get("session_id") or _new_id(topology.name))
        creation = self._creation(topology, task, given)
        creation["metadata"][TOPOLOGY] = topology.to_dict()
        await self.state_manager.create_session(session_id, **creation)
        return session_id

    async def pause_session(self, session_id: str, reason: str = "") -> SessionState:
        """Ask for a pause at the next step boundaries; `execute`, wherever it runs, then returns.

        A session that this state manager has just completed is paused, too: resumed, it goes on with a
        further round or a further topology.
        """
        return await self.state_manager.pause_execution(session_id, reason=reason)

    async def resume_session(
        self,
        session_id: str,
        additional_context: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        metadata: Mapping[str, Any] | None = None,
        statuses: Collection[SessionStatus] = (),
    ) -> OrchestraResult:
        """Go on with a paused, interrupted or failed session, whichever process ran it.

        What completed is not run again. Where everything had completed before the session was paused, a
        new round runs: the same nodes as new branches, the last final response as ``context.previous``.
        Nodes of another topology run after what is there, and those of the same name are reused.
        ``additional_context`` and ``metadata`` are merged into the session's and recorded. ``statuses``:
        raise TransitionError where it has none of these, if there are any.
        """
        await self.state_manager.get_head(check_id(session_id))
        topology = self.topology or await self.stored_topology(session_id)
        self._agents.check(topology.agents)
        session = self.state_manager.session(
            session_id,
            context=additional_context,
            metadata=metadata,
            statuses=statuses,
            reason=reason,
            on_pause="raise",
        )
        return await self._run(session, topology)

    async def create_checkpoint(self, session_id: str, checkpoint_name: str = "checkpoint") -> str:
        """Returns the checkpoint's id."""
        return await self.state_manager.create_checkpoint(session_id, checkpoint_name)

    async def restore_checkpoint(self, checkpoint_id: str) -> SessionState:
        """Go back to it; the session is then paused there and can be resumed."""
        return await self.state_manager.restore_checkpoint(checkpoint_id)

    async def stored_topology(self, session_id: str) -> Topology:
        """That which the session was last run with. Raises TopologyError where it has none."""
        state = await self.state_manager.get_session_state(session_id)
        if TOPOLOGY not in state.metadata:
            raise TopologyError(f"Session {session_id!r} has no topology stored; give one to the orchestra.")
        return Topology.of(state.metadata[TOPOLOGY])

    def _given_topology(self) -> Topology:
        if self.topology is None:
            raise TopologyError("There is no topology to run; give one to the orchestra.")
        self._agents.check(self.topology.agents)
        return self.topology

    def _creation(self, topology: Topology, task: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Without the topology: no worker takes it, since this process is about to."""
        return {
            "context": given,
            "metadata": {ORCHESTRA: {"task": plain(task, "task")}},
            "title": str(task)[:TITLE_CHARACTERS],
            "workflow": topology.name,
            "tags": self._tags,
        }

    async def _run(
        self,
        session: Session,
        topology: Topology,
        *,
        task: Any = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> OrchestraResult:
        began = time.monotonic()
        async with session:
            for key, value in (defaults or {}).items():
                session.context.setdefault(key, value)
            await _Round(session, topology, task).run(self._agents, self._limits)
        return OrchestraResult.of(session.document, time.monotonic() - began)


class Orchestra:
    """Runs one workflow, once."""

    @classmethod
    async def run(
        cls,
        task: Any,
        topology: Topology | Mapping[str, Any],
        state_manager: StateManager | None = None,
        context: Mapping[str, Any] | None = None,
        agents: Mapping[str, AgentFunction] | None = None,
        **options: Any,
    ) -> OrchestraResult:
        """See `OrchestraInstance` for what is given and `OrchestraInstance.execute` for what is done."""
        return await OrchestraInstance(topology, state_manager, agents, **options).execute(task, context)


class _Round:
    """One passage through a topology in a session that may have seen others.

    The session's metadata remembers the task, the round, whether it was finished, and the branches that
    it ended with; a restore takes them back with everything else.
    """

    def __init__(self, session: Session, topology: Topology, task: Any) -> None:
        self._session = session
        self._topology = topology
        self._notes: dict[str, Any] = {"round": 1, "finished": False, "ends": []}
        self._notes |= session.metadata.get(ORCHESTRA, {})
        self._begin(task)

    @property
    def _lines(self) -> list[Line]:
        return self._topology.lines(self._notes["round"])

    def _begin(self, task: Any) -> None:
        if self._notes["finished"] and all(self._has_ended(line) for line in self._lines):
            self._notes["round"] += 1
        is_new = self._notes["finished"] or "task" not in self._notes
        self._refuse_other_task(task, is_new)
        if is_new and task is not None:
            self._notes["task"] = task
        self._notes["finished"] = False

    def _has_ended(self, line: Line) -> bool:
        known = self._session.document["branches"].get(line.branch_id)
        return bool(known) and known["status"] in BRANCH_ENDED

    def _refuse_other_task(self, task: Any, is_new: bool) -> None:
        if not is_new and task is not None and task != self._notes["task"]:
            session_id = self._session.session_id
            raise OrchestraError(
                f"Session {session_id!r} is in the middle of another task, "
                f"{str(self._notes['task'])[:80]!r}. Go on with it by resume_session({session_id!r}), "
                "or choose another session id."
            )

    async def run(self, agents: Agents, limits: Limits) -> None:
        await self._remember()
        run = Run(
            self._session,
            self._lines,
            agents,
            limits,
            task=self._notes.get("task"),
            previous=self._session.results.get(FINAL),
            ancestors=[i for i in self._notes["ends"] if i in self._session.document["branches"]],
        )
        responses = await run.execute()
        await self._finish(responses)

    async def _remember(self) -> None:
        self._session.metadata[TOPOLOGY] = self._topology.to_dict()
        self._session.metadata[ORCHESTRA] = dict(self._notes)
        await self._session.save()

    async def _finish(self, responses: Mapping[str, Any]) -> None:
        ends = self._topology.sinks(self._notes["round"])
        self._notes |= {"finished": True, "ends": [line.branch_id for line in ends]}
        self._session.metadata[ORCHESTRA] = dict(self._notes)
        self._session.results[FINAL] = final_response(ends, responses)
        await self._session.complete()


def _new_id(name: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "session"
    return f"{slug}-{utc_now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
