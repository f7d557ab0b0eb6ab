"""The live session: what an orchestrator holds while it works.

    async with state_manager.session("research_2024", context={...}) as session:   # takes the lease
        branch = await session.open_branch("collect")
        async with branch.step(agent="DataCollector", input=...) as step:           # a pause point
            step.output = ...

It stands on three layers: `recording` (content and appends), `pausing` (what others ask of it) and
`asking` (what its steps ask of people).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from state_core.asking import Asking
from state_core.branch import Branch
from state_core.changes import set_value
from state_core.checkpoints import AutoCheckpoints
from state_core.codec import plain
from state_core.compose import (
    checkpoint_event,
    content_changes,
    counts_after,
    creation,
    error_line,
    failed_steps,
    interruption,
    trace,
)
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.events import Event, EventKind
from state_core.exceptions import (
    BranchNotFound,
    CancelRequested,
    ConflictError,
    InvalidValue,
    LeaseError,
    LeaseLost,
    PauseRequested,
    SessionExists,
    SessionNotFound,
    StorageUnavailable,
    TransitionError,
)
from state_core.heads import short
from state_core.keeping import Keeper
from state_core.log import EventLog
from state_core.pausing import OnPause
from state_core.records import (
    BRANCH_ENDED,
    ENDED,
    HELD,
    RESUMABLE,
    BranchStatus,
    BranchType,
    CheckpointKind,
    SessionStatus,
    check_id,
)

logger = logging.getLogger(__name__)


class Session(Asking):
    """A session that this process holds. Made by `StateManager.session`; use it with ``async with``.

    Entering creates the session or takes it up where it stands, and takes its lease. Leaving completes
    it; with an error it fails, with Ctrl-C it is interrupted and can be resumed. Entering a new one raises
    QuotaExceeded where the store is over its quota.

    ``on_pause``: at a pause point of a session that is to pause, ``"wait"`` until it is resumed, or
    ``"raise"`` PauseRequested so that the program unwinds and the session can be resumed elsewhere.
    """

    def __init__(
        self,
        log: EventLog,
        session_id: str,
        *,
        owner: str,
        config: StateManagerConfig,
        checkpoint_config: CheckpointConfig | None = None,
        context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        title: str = "",
        workflow: str = "",
        tags: Sequence[str] = (),
        refuses: Sequence[str] = (),
        reopen: bool = False,
        statuses: Collection[SessionStatus] = (),
        reason: str = "",
        on_pause: OnPause = "wait",
        admit: Callable[[], Awaitable[None]] | None = None,
        on_entered: Callable[[], None] | None = None,
        on_left: Callable[[Session], None] | None = None,
    ) -> None:
        super().__init__(log, session_id, owner, config, reason, on_pause)
        self._auto = AutoCheckpoints(checkpoint_config)
        self._creation = creation(
            actor=owner,
            title=title,
            workflow=workflow,
            tags=tags,
            refuses=refuses,
            context=context,
            metadata=metadata,
        )
        self._refuses = list(refuses)
        self._resumable = RESUMABLE | ENDED if reopen else RESUMABLE
        self._statuses = frozenset(statuses)
        self._additional = content_changes(context, metadata)
        self._admit = admit
        self._on_entered = on_entered
        self._on_left = on_left
        self._created = False
        self._step_numbers: dict[str, int] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._keeper = Keeper(session_id, config, self._writer.renew_from_elsewhere)
        self._is_left = False

    # Branches and steps

    def branch(self, branch_id: str) -> Branch:
        """Raises BranchNotFound."""
        if branch_id not in self.document["branches"]:
            raise BranchNotFound(branch_id, self.document["branches"])
        return Branch(self, branch_id)

    async def open_branch(
        self,
        name: str,
        *,
        parent: Branch | str | Sequence[Branch | str] | None = None,
        branch_id: str | None = None,
        branch_type: BranchType | None = None,
        agent: str | None = None,
        status: BranchStatus = BranchStatus.RUNNING,
        input: Any = None,
    ) -> Branch:
        """Open a branch, or take up the one of this id when the session was resumed.

        ``branch_id`` is made of ``name`` where it is not given. Several parents: a join.
        """
        chosen = check_id(branch_id or _slug(name), "branch id")
        if chosen in self.document["branches"]:
            return Branch(self, chosen)
        await self.pause_point()
        parents = [p.branch_id if isinstance(p, Branch) else p for p in _listed(parent)]
        for known in parents:
            self.branch(known)
        kind = branch_type or (BranchType.SEQUENTIAL if parents else BranchType.MAIN)
        changes = (
            []
            if input is None
            else [set_value(["branches", chosen, "metadata"], {"input": plain(input, "input")})]
        )
        event = self.event(
            EventKind.BRANCH_OPENED,
            changes,
            branch_id=chosen,
            agent=agent or "",
            status=str(status),
            data={"name": short(name, 128), "type": str(kind), "parents": parents},
        )
        await self.append(event)
        return Branch(self, chosen)

    async def cut_off(self, branch_ids: Sequence[str]) -> None:
        """Record that nobody works on these branches any more, though they are not done."""
        still_open = [
            branch_id
            for branch_id in branch_ids
            if branch_id in self.document["branches"] and self.branch(branch_id).status not in BRANCH_ENDED
        ]
        ends = [
            self.event(EventKind.BRANCH_CANCELLED, branch_id=i, status=str(BranchStatus.CANCELLED))
            for i in still_open
        ]
        if ends:
            await self.append(*failed_steps(self.document, "cut off", self.owner, still_open), *ends)

    def next_step_id(self, branch_id: str) -> str:
        """Steps are numbered in the order in which this process comes to them: the same program,
        resumed, comes to the same ids."""
        self._step_numbers[branch_id] = self._step_numbers.get(branch_id, 0) + 1
        return f"{branch_id}:{self._step_numbers[branch_id]}"

    # What branches and steps tell

    async def step_begins(self, step_id: str, agent: str, *events: Event) -> None:
        self.step_entered(step_id, agent)
        try:
            await self._append_of_step(*events)
        except BaseException:
            self.step_left(step_id)
            raise

    async def step_completes(self, step_id: str, *events: Event) -> None:
        self.step_left(step_id)
        with self._recording(step_id):
            await self._append_of_step(*events)
        await self._pause_if_idle()

    async def step_fails(self, step_id: str, event: Event) -> None:
        self.step_left(step_id)
        with self._recording(step_id):
            if self._auto.on_error:
                await self.checkpoint(f"error in {step_id}", event, kind=CheckpointKind.ERROR)
            else:
                await self.append(event)
        await self._pause_if_idle()

    def step_entered(self, step_id: str, agent: str) -> None:
        """The session's head names this agent as being at work, from the next append on."""
        self._writer.at_work[step_id] = agent

    def step_left(self, step_id: str) -> None:
        self._writer.at_work.pop(step_id, None)

    async def branch_moves(self, event: Event) -> None:
        if event.kind == EventKind.BRANCH_COMPLETED and self._auto.on_completion:
            name = self.document["branches"][event.branch_id]["name"]
            await self.checkpoint(f"{name} completed", event, kind=CheckpointKind.COMPLETION)
        else:
            await self.append(event)

    # Checkpoints

    async def checkpoint(
        self, name: str, *events: Event, kind: CheckpointKind = CheckpointKind.MANUAL, reason: str = ""
    ) -> str:
        """Name the present place in the log; returns the checkpoint's id.

        ``events``: such as `Branch.messages_event`, are appended before it, in the same commit.
        """
        await self.save()
        counts = counts_after(self.document, events)
        event = checkpoint_event(name, counts, kind=kind, actor=self.owner, reason=reason)
        await self.append(*events, event)
        self._auto.made()
        await self._drop_surplus_checkpoints()
        return str(event.data["id"])

    async def _drop_surplus_checkpoints(self) -> None:
        if not self._auto.bounded:
            return
        surplus = self._auto.surplus(await self._log.storage.checkpoints(self.session_id))
        if surplus:
            await self.append(self.event(EventKind.CHECKPOINT_DELETED, data={"ids": surplus}))

    # Ending

    async def complete(self, result: Any = None) -> None:
        """End it well. ``result`` is kept as the intermediate result ``final_response``."""
        if result is not None:
            self.results["final_response"] = plain(result, "result")
        closed = self._close_branches({BranchStatus.RUNNING}, BranchStatus.COMPLETED)
        await self._append_after_unsaved(*closed, self.event(EventKind.SESSION_COMPLETED))

    async def fail(self, error: BaseException | str) -> None:
        """End it badly. Branches that were open fail with it."""
        line = short(error_line(error))
        end = self.event(EventKind.SESSION_FAILED, [set_value(["error"], trace(error))], data={"error": line})
        await self._append_in_the_end(*self._stop_branches(BranchStatus.FAILED, line), end)

    async def cancel(self, reason: str = "", actor: str = "") -> None:
        """Stop it for good."""
        end = self.event(EventKind.SESSION_CANCELLED, actor=actor, data={"reason": short(reason)})
        await self._append_in_the_end(*self._stop_branches(BranchStatus.CANCELLED, "cancelled"), end)

    def _stop_branches(self, status: BranchStatus, why: str) -> list[Event]:
        still_open = set(BranchStatus) - BRANCH_ENDED
        return failed_steps(self.document, why, self.owner) + self._close_branches(still_open, status)

    def _close_branches(self, which: set[BranchStatus], status: BranchStatus) -> list[Event]:
        return [
            self.event(f"branch.{status}", branch_id=branch_id, status=str(status))
            for branch_id, branch in self.document["branches"].items()
            if branch["status"] in which
        ]

    # Opening

    async def __aenter__(self) -> Session:
        beginning = asyncio.ensure_future(self._take())
        try:
            await asyncio.shield(beginning)
        except asyncio.CancelledError as error:
            await self._take_back(beginning, error)
            raise
        self._refresh_content()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.session_id}")
        self._keeper.begin()
        if self._on_entered:
            self._on_entered()
        return self

    async def _take(self) -> None:
        await self._acquire()
        try:
            await self._begin()
        except BaseException:
            await self._writer.release()
            raise

    async def _take_back(self, beginning: asyncio.Future[None], error: BaseException) -> None:
        """Cancelled while it began: what is written meanwhile must not say that it runs for ever. Where
        the store is away, the lease runs out by itself."""
        await asyncio.wait([beginning], timeout=self._config.lease_ttl / 3)
        if not beginning.done():
            beginning.cancel()
        elif not beginning.cancelled() and beginning.exception() is None:
            try:
                self._refresh_content()
                await self._record_outcome(error)
            finally:
                await self._writer.release()

    async def _acquire(self) -> None:
        try:
            await self._writer.acquire()
        except SessionNotFound:
            if self._admit:
                await self._admit()
            with contextlib.suppress(SessionExists):
                await self._log.append(self.session_id, [self._creation])
                self._created = True
            await self._writer.acquire()

    async def _begin(self) -> None:
        while True:
            await self._writer.load()
            events = self._beginning()
            with contextlib.suppress(ConflictError):
                await self._writer.append(*events, expected_seq=self.seq)
                return

    def _beginning(self) -> list[Event]:
        """What takes the session from how it was found to running."""
        if self._statuses and self.status not in self._statuses:
            raise TransitionError(self.session_id, self.status, "take up", "Somebody else was faster.")
        changes = [] if self._created else self._additional
        data = {"owner": self.owner, "reason": short(self._reason), "refuses": self._refuses}
        resumed = self.event(EventKind.SESSION_RESUMED, changes, data=data)
        if self.status in HELD:
            # Its lease had run out, or we would not have got it.
            return [*interruption(self.document, self.owner), resumed]
        if self.status not in self._resumable:
            remedy = "Fork it, or restore one of its checkpoints, to go on from there."
            raise TransitionError(self.session_id, self.status, "run", remedy)
        if self.document["started_at"] is None and self.status == SessionStatus.PENDING:
            return [self.event(EventKind.SESSION_STARTED, changes, data=data)]
        return [resumed]

    # Leaving

    async def __aexit__(self, kind: Any, error: BaseException | None, tb: Any) -> bool:
        try:
            return await self._leave(error)
        finally:
            await self._stop_watching()
            with contextlib.suppress(StorageUnavailable):
                await self._writer.release()
            await self._log.flush()
            if self._on_left:
                self._on_left(self)

    async def _leave(self, error: BaseException | None) -> bool:
        if self._writer.lost:
            if error is None or isinstance(error, PauseRequested | CancelRequested):
                raise self._writer.lost
            return False
        if isinstance(error, PauseRequested):
            if not self._is_paused:
                await self._record_pause()
            return True
        if isinstance(error, CancelRequested):
            await self.cancel(
                self._request.reason if self._request else "", self._request.actor if self._request else ""
            )
            return True
        if self.status in HELD:
            await self._record_outcome(error)
        return False

    async def _record_outcome(self, error: BaseException | None) -> None:
        # A step whose completion is on its way, though who waited for it was cancelled, is not to be
        # recorded as failed after it.
        await self._writer.settled()
        if error is None:
            await self.complete()
        elif isinstance(error, Exception):
            await self.fail(error)
        else:
            # Ctrl-C, a cancelled task: nothing is wrong with the workflow, somebody can go on with it.
            stopped = interruption(self.document, self.owner, self.owner, "its process was stopped")
            await self._append_in_the_end(*stopped)

    async def _stop_watching(self) -> None:
        self._is_left = True
        self._keeper.end()
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    # Watching: renew the lease, look for requests, auto-save, automatic checkpoints

    async def _watch(self) -> None:
        saved = time.monotonic()
        # Cancelling alone does not do: a client of a store may swallow that.
        while not self._writer.lost and not self._is_left:
            await asyncio.sleep(self._config.control_interval)
            try:
                if not self._is_paused and self._keeper.is_due:
                    await self._writer.renew()
                    self._keeper.renewed()
                await self._look()
                if self._auto_save_is_due(saved):
                    saved = time.monotonic()
                    await self.save()
            except LeaseError as error:
                self._lose(error)
            except InvalidValue as error:
                logger.warning("Session %s: cannot be saved as it is: %s", self.session_id, error)
            except StorageUnavailable as error:
                logger.warning("Session %s: %s Trying again.", self.session_id, error)

    def _auto_save_is_due(self, saved: float) -> bool:
        waited = time.monotonic() - saved
        return (
            self._config.auto_save_enabled
            and not self._is_paused
            and waited > self._config.auto_save_interval
        )

    async def _look(self) -> None:
        await self._writer.catch_up()
        if self._restored_elsewhere or self._is_recording_pause:
            return
        if not self._is_paused:
            await self._pause_if_idle()
            if self._auto.is_due() and self.status == SessionStatus.RUNNING:
                await self.checkpoint("automatic", kind=CheckpointKind.AUTO)
        elif self.status == SessionStatus.RESUMING:
            await self._take_up_again()
        elif self.status != SessionStatus.PAUSED:
            raise LeaseLost(self.session_id)


def _listed(parent: Branch | str | Sequence[Branch | str] | None) -> list[Branch | str]:
    if parent is None:
        return []
    return [parent] if isinstance(parent, Branch | str) else list(parent)


def _slug(name: str) -> str:
    """A name as an id: ``"Plan the trip"`` → ``Plan-the-trip``."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", name).strip("-")[:128]
