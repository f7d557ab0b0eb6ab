"""A MARSYS run that obeys the dashboard: it pauses at the next boundary of each agent, goes on when it is
resumed, and stops when it is cancelled.

    the dashboard appends pause.requested → the session that records the run sees it
      → the gate closes: an agent that is about to begin waits; those at work finish their step
      → nobody is at work, everything is recorded → session.paused
    resume.requested → session.resumed → the gate opens

Steps and gate live in the run's loop, the session in the recorder's; they meet through the gate alone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from state_core.adapters.marsys.live import MarsysLive, Run, Seen
from state_core.adapters.marsys.shelf import session_id_of
from state_core.adapters.recorded import RecordedSession
from state_core.adapters.recorder import Stopped, Target
from state_core.exceptions import CancelRequested, ConfigurationError, LeaseLost, StateError
from state_core.records import SessionStatus
from state_core.redaction import Redact, redacted

logger = logging.getLogger(__name__)

AT_WORK = "the run"
"""Stands for the run among the session's steps at work: only the gate says when nobody is."""


class Gate:
    """Where steps begin. Entered and left in the run's loop, closed and opened from the recorder's."""

    def __init__(self) -> None:
        self.cancelled = False
        self.reason = ""
        self._loop = asyncio.get_running_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._closed = False
        self._at_work = 0
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._working: asyncio.Task[Any] | None = None

    # In the run's loop

    def watch(self, working: asyncio.Task[Any]) -> None:
        self._working = working

    async def result(self) -> Any:
        """Of the run, once it has ended; who stops waiting does not stop it."""
        assert self._working is not None, "a run is watched from its beginning"
        return await asyncio.shield(self._working)

    async def enter(self) -> None:
        """Wait while it is closed. Raises CancelledError where the run was cancelled meanwhile."""
        while not self._entered():
            await self._open.wait()
            if self.cancelled:
                raise asyncio.CancelledError

    def _entered(self) -> bool:
        with self._lock:
            self._at_work += not self._closed
            return not self._closed

    def leave(self) -> None:
        with self._lock:
            self._at_work -= 1
            if not self._at_work and self._waiting:
                loop, empty = self._waiting
                loop.call_soon_threadsafe(empty.set)

    # From the recorder's

    def close(self) -> None:
        """Nobody enters any more."""
        with self._lock:
            self._closed = True
        self._call(self._open.clear)

    @property
    def closed(self) -> bool:
        return self._closed

    async def empty(self) -> None:
        """Until nobody is at work."""
        with self._lock:
            if not self._at_work:
                return
            empty = asyncio.Event()
            self._waiting = asyncio.get_running_loop(), empty
        await empty.wait()

    def open(self) -> None:
        with self._lock:
            self._closed = False
        self._call(self._open.set)

    def cancel(self, reason: str) -> None:
        """Who waits at the gate, and the run, is cancelled."""
        self.cancelled, self.reason = True, reason
        self._call(self._open.set)
        if self._working:
            self._call(self._working.cancel)

    def _call(self, function: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)


class MarsysRuns(MarsysLive):
    """Records runs, and carries out what is asked of them."""

    refuses: Sequence[str] = ("answer", "restore", "fork")

    def __init__(self, target: Target, *, redact: Redact = redacted, **options: Any) -> None:
        super().__init__(target, redact=redact, **options)
        self._gates: dict[str, Gate] = {}
        self._controllers: dict[str, asyncio.Task[None]] = {}

    def is_running(self, marsys_id: str) -> bool:
        return marsys_id in self._gates

    def gate(self, marsys_id: str) -> Gate:
        """Of a run under way."""
        return self._gates[marsys_id]

    def begins(self, marsys_id: str, task: Any, gate: Gate) -> None:
        self._gates[marsys_id] = gate
        self.tell(marsys_id, "run begins", {"task": task})

    def ends(self, marsys_id: str, **outcome: Any) -> None:
        self._gates.pop(marsys_id, None)
        self.tell(marsys_id, "run ends", outcome)

    async def record(self, item: Seen) -> None:
        if item.kind == "run ends":
            await self._stop_controlling(item.marsys_id)
        if item.kind == "run ends" and item.values.get("cancelled"):
            await self._leave_as(item.marsys_id, CancelRequested())
            return
        if item.kind == "run ends" and item.values.get("interrupted"):
            await self._leave_as(item.marsys_id, Stopped())
            return
        await super().record(item)
        gate = self._gates.get(item.marsys_id)
        recorded = self.opened(session_id_of(item.marsys_id))
        if gate and recorded and item.marsys_id not in self._controllers:
            recorded.session.step_entered(AT_WORK, "")
            control = self._control(item.marsys_id, recorded, gate)
            self._controllers[item.marsys_id] = asyncio.ensure_future(control)

    async def _leave_as(self, marsys_id: str, error: BaseException) -> None:
        self._courses.pop(marsys_id, None)
        await self.leave(session_id_of(marsys_id), error)

    async def leave_all(self) -> None:
        for marsys_id in list(self._controllers):
            await self._stop_controlling(marsys_id)
        await super().leave_all()

    async def _stop_controlling(self, marsys_id: str) -> None:
        controller = self._controllers.pop(marsys_id, None)
        if controller is not None:
            controller.cancel()
            await asyncio.wait([controller])
        recorded = self.opened(session_id_of(marsys_id))
        if recorded is not None:
            recorded.held = False
            recorded.session.step_left(AT_WORK)

    async def _control(self, marsys_id: str, recorded: RecordedSession, gate: Gate) -> None:
        try:
            while not gate.cancelled:
                await recorded.session.wait_until_asked()
                await self._obey(recorded, gate)
        except LeaseLost as error:
            await self._without_lease(marsys_id, recorded, gate, error)
        except StateError:
            logger.exception("The run of session %s takes no more commands.", marsys_id)
            gate.open()

    async def _without_lease(
        self, marsys_id: str, recorded: RecordedSession, gate: Gate, error: LeaseLost
    ) -> None:
        """Somebody ended the session while it was paused here, or another process has taken it."""
        head = await self._manager.get_head(recorded.session_id)
        if head.status == SessionStatus.CANCELLED:
            await self.forget(recorded)
            gate.cancel(head.reason)
            return
        logger.warning("The run of session %s takes no more commands: %s", marsys_id, error)
        gate.open()

    async def _obey(self, recorded: RecordedSession, gate: Gate) -> None:
        session = recorded.session
        session.check_lease()
        gate.close()
        await gate.empty()
        await self.drained()
        recorded.held = True
        try:
            session.step_left(AT_WORK)
            await session.pause_point()
        except CancelRequested:
            gate.cancel(session.document["reason"])
            return
        finally:
            recorded.held = False
        session.step_entered(AT_WORK, "")
        await recorded.flush()
        gate.open()


def watched(
    orchestra: type,
    target: Any,
    *,
    redact: Redact = redacted,
    checkpoint_interval: float | None = None,
    **options: Any,
) -> Any:
    """A subclass of MARSYS's Orchestra whose runs are sessions, live, and obey pause, resume and cancel.

    ``target``: a `MarsysStateManager`, a StateManager of ours, a store, or its URL. A run that is cancelled
    returns a result without success that says so. ``checkpoint_interval``: seconds between two snapshots
    while a run lasts, of the 0.3 line, which can quiesce: it halts at its next boundary, writes a snapshot
    to its storage (a `MarsysSnapshotStorage` keeps each) and goes on. Raises ConfigurationError with 0.2.1.
    """
    if checkpoint_interval is not None and not _can_quiesce(orchestra):
        raise ConfigurationError(
            "checkpoint_interval needs MARSYS's 0.3 line, which can quiesce a run. With 0.2.1, use "
            "MarsysCheckpointManager.start_auto_checkpoint."
        )
    shelf = getattr(target, "shelf", None)
    if shelf is not None:
        shelf.projects = False  # Its outline comes from here.
    runs = MarsysRuns(target if shelf is None else shelf.manager, redact=redact, **options)
    parts = {"recorder": runs, "checkpoint_interval": checkpoint_interval}
    return type(orchestra.__name__, (_Watched, orchestra), parts)


class _Watched:
    """What `watched` puts in front of an Orchestra's own methods."""

    recorder: MarsysRuns
    """Its `flush` waits until everything is in the store; at the program's end that is done by itself."""
    checkpoint_interval: float | None

    def _initialize_components(self) -> None:
        orchestra: Any = self
        super()._initialize_components()  # type: ignore[misc]
        run = self.recorder.attach(self)
        step = orchestra.step_executor.execute_step
        orchestra.step_executor.execute_step = _gated(step, run, self.recorder)

    async def execute(
        self, task: Any, topology: Any, context: dict[str, Any] | None = None, max_steps: int = 100
    ) -> Any:
        parent: Any = super()
        context = {} if context is None else context
        marsys_id = context["session_id"] = str(context.get("session_id") or uuid.uuid4())
        work = parent.execute(task, topology, context, max_steps)
        if self.checkpoint_interval is not None:
            work = _checkpointed(self, marsys_id, self.checkpoint_interval, work, parent.resume_session)
        return await _driven(self, self.recorder, marsys_id, task, work)

    async def pause_session(self, session_id: str) -> Any:
        """0.2.1 only notes a pause; here the run pauses, as when the dashboard asks."""
        parent: Any = super()
        if _can_quiesce(type(self)) or not self.recorder.is_running(session_id):
            return await parent.pause_session(session_id)
        await self.recorder.manager.pause_execution(session_id_of(session_id), reason="its program asked")
        return True

    async def resume_session(self, session_id: str) -> Any:
        """The result of the run that goes on. 0.2.1 itself cannot go on with a run that it has left."""
        parent: Any = super()
        if _can_quiesce(type(self)):
            return await _driven(self, self.recorder, session_id, None, parent.resume_session(session_id))
        if not self.recorder.is_running(session_id):
            return await parent.resume_session(session_id)
        await self.recorder.manager.resume_execution(session_id_of(session_id), reason="its program asked")
        return await self.recorder.gate(session_id).result()


def _can_quiesce(orchestra: type) -> bool:
    """The 0.3 line halts a run by itself, and goes on with it from a snapshot."""
    return hasattr(orchestra, "list_paused_sessions")


async def _driven(orchestra: Any, runs: MarsysRuns, marsys_id: str, task: Any, work: Any) -> Any:
    """Await a run's work, and say when it begins and how it ends."""
    run: Run = runs.attach(orchestra)
    run.marsys_id = marsys_id
    gate = run.gate = Gate()
    runs.begins(marsys_id, task, gate)
    working = asyncio.ensure_future(work)
    gate.watch(working)
    try:
        result = await working
    except asyncio.CancelledError:
        if not gate.cancelled:
            runs.ends(marsys_id, interrupted=True)
            raise
        runs.ends(marsys_id, cancelled=True)
        return _cancelled(marsys_id, gate.reason)
    except Exception as error:
        runs.ends(marsys_id, success=False, error=f"{type(error).__name__}: {error}")
        raise
    runs.ends(marsys_id, **_outcome(result))
    return result


async def _checkpointed(
    orchestra: Any, marsys_id: str, interval: float, work: Any, resume: Callable[[str], Any]
) -> Any:
    """Halt the run now and then for a snapshot; the caller sees one run."""
    while True:
        keeper = _Keeper(orchestra, marsys_id, interval)
        try:
            result = await work
            if not (result.metadata or {}).get("paused") or not await keeper.has_halted():
                return result
        finally:
            keeper.stop()
        work = resume(marsys_id)


class _Keeper:
    """Halts a run after some seconds, so that its snapshot is written."""

    def __init__(self, orchestra: Any, marsys_id: str, seconds: float) -> None:
        self._halts = False
        self._task = asyncio.ensure_future(self._halt(orchestra, marsys_id, seconds))

    async def _halt(self, orchestra: Any, marsys_id: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._halts = True
        await orchestra.pause_session(marsys_id)

    async def has_halted(self) -> bool:
        """False where somebody else did. Raises what kept the snapshot from being written."""
        if self._halts:
            await self._task
        return self._halts

    def stop(self) -> None:
        self._task.cancel()


def _outcome(result: Any) -> dict[str, Any]:
    if (result.metadata or {}).get("paused"):
        return {"interrupted": True}  # 0.3's own pause: its snapshot goes on elsewhere.
    return {"success": result.success, "final_response": result.final_response, "error": result.error}


def _cancelled(marsys_id: str, reason: str) -> Any:
    from marsys.coordination.orchestra import OrchestraResult

    return OrchestraResult(
        success=False,
        final_response=None,
        branch_results=[],
        total_steps=0,
        total_duration=0.0,
        metadata={"session_id": marsys_id, "cancelled": True},
        error=f"The session was cancelled{f': {reason}' if reason else '.'}",
    )


def _gated(execute_step: Any, run: Run, runs: MarsysRuns) -> Any:
    """Each step begins behind the gate; what it leaves in its agent's memory is told."""

    @functools.wraps(execute_step)
    async def execute(agent: Any, request: Any, memory: Any, context: Mapping[str, Any]) -> Any:
        gate: Gate | None = run.gate
        if gate is None:
            return await execute_step(agent, request, memory, context)
        await gate.enter()
        try:
            result = await execute_step(agent, request, memory, context)
            _tell_memory(runs, run, agent, context, result)
            return result
        finally:
            gate.leave()

    return execute


def _tell_memory(runs: MarsysRuns, run: Run, agent: Any, context: Mapping[str, Any], result: Any) -> None:
    messages = getattr(result, "memory_updates", None)
    if messages:
        name = str(getattr(agent, "name", agent))
        values = {"agent_name": name, "branch_id": context.get("branch_id"), "messages": list(messages)}
        runs.tell(run.marsys_id, "step result", values)
