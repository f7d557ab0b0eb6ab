"""The live session: what an orchestrator holds while it works.

async with state_manager.session("research_2024", context={...}) as session:   # takes the lease
    branch = await session.open_branch("collect")
    async with branch.step(agent="DataCollector", input=...) as step:           # a pause point
        step.output = ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from state_core.branch import Branch
from state_core.changes import apply_changes, differences, set_value
from state_core.checkpoints import AutoCheckpoints
from state_core.codec import plain
from state_core.compose import (
    checkpoint_event,
    content_changes,
    creation,
    error_line,
    failed_steps,
    interruption,
    make_event,
    messages_added,
    restoration,
    trace,
)
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.events import Change, Changes, Event, EventKind
from state_core.exceptions import (
    BranchNotFound,
    CancelRequested,
    ConflictError,
    DamagedError,
    InvalidValue,
    LeaseError,
    LeaseLost,
    PauseRequested,
    SessionExists,
    SessionNotFound,
    StorageUnavailable,
    TransitionError,
)
from state_core.fold import open_questions, state_counts
from state_core.heads import short
from state_core.log import EventLog
from state_core.records import (
    BRANCH_ENDED,
    HELD,
    RESUMABLE,
    BranchStatus,
    BranchType,
    CheckpointKind,
    Document,
    Message,
    SessionState,
    SessionStatus,
    check_id,
)
from state_core.writer import Writer

logger = logging.getLogger(__name__)

LIVE_CONTENT = {"context": "context", "metadata": "metadata", "intermediate_results": "results"}
"""Part of the document → attribute of the session that a program may change directly."""

REQUESTS = frozenset({EventKind.PAUSE_REQUESTED, EventKind.CANCEL_REQUESTED, EventKind.RESTORE_REQUESTED})

OnPause = Literal["wait", "raise"]


@dataclass(frozen=True)
class _Request:
    """What somebody asked of this session and has not been done yet."""

    kind: str
    reason: str
    actor: str
    data: Mapping[str, Any]


class _Unwound(Exception):
    """Carries a BaseException through a future."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Session:
    """A session that this process holds. Made by `StateManager.session`; use it with ``async with``.

    Entering creates the session or takes it up where it stands, and takes its lease. Leaving completes
    it; with an error it fails, with Ctrl-C it is interrupted and can be resumed.

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
        reason: str = "",
        on_pause: OnPause = "wait",
        on_left: Callable[[Session], None] | None = None,
    ) -> None:
        self.session_id = check_id(session_id)
        self.owner = owner
        self.context: dict[str, Any] = {}
        """Change it freely; it is saved with each step and at the auto-save interval."""
        self.metadata: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.on_lost: Callable[[], object] = lambda: None
        """Called once when the lease is lost: nothing that goes on now can be recorded."""
        self._log = log
        self._config = config
        self._auto = AutoCheckpoints(checkpoint_config)
        self._creation = creation(
            actor=owner, title=title, workflow=workflow, tags=tags, context=context, metadata=metadata
        )
        self._additional = content_changes(context, metadata)
        self._reason = reason
        self._on_pause: OnPause = on_pause
        self._on_left = on_left
        self._writer = Writer(log, session_id, owner, config, self._on_foreign)
        self._request: _Request | None = None
        self._asked = asyncio.Event()
        self._pausing_done = asyncio.Event()
        self._is_paused = False
        self._is_recording_pause = False
        self._restored_elsewhere = False
        self._created = False
        self._saving = asyncio.Lock()
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._step_numbers: dict[str, int] = {}
        self._watcher: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Session {self.session_id} {self.document['status']}>"

    # Looking

    @property
    def document(self) -> Document:
        """The state as it is held here, as plain JSON values; to be read, not changed."""
        return self._writer.document

    @property
    def status(self) -> SessionStatus:
        return SessionStatus(self.document["status"])

    @property
    def seq(self) -> int:
        return self._writer.seq

    @property
    def state(self) -> SessionState:
        """A copy of the state."""
        return SessionState.from_document(deepcopy(self.document))

    @property
    def requested(self) -> str:
        """What was asked of this session and is not done yet: an event kind such as
        ``pause.requested``, or ``""``."""
        return self._request.kind if self._request else ""

    def branch(self, branch_id: str) -> Branch:
        """Raises BranchNotFound."""
        if branch_id not in self.document["branches"]:
            raise BranchNotFound(branch_id, self.document["branches"])
        return Branch(self, branch_id)

    # Branches and steps

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

    # Content

    async def set_context(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Durably set values of the context."""
        self.context.update(plain({**(values or {}), **more}, "context"))
        await self.save()

    async def set_metadata(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Durably set values of the metadata."""
        self.metadata.update(plain({**(values or {}), **more}, "metadata"))
        await self.save()

    async def set_result(self, name: str, value: Any) -> None:
        """Durably set an intermediate result."""
        self.results[name] = plain(value, f"result {name!r}")
        await self.save()

    async def remember(self, agent: str, *messages: Message) -> None:
        """Durably append to an agent's own memory, which it keeps across branches."""
        path = ["agent_memories", agent]
        await self.append(messages_added(path, messages, self.document, actor=self.owner, agent=agent))

    async def save(self) -> None:
        """Durably save what was changed in ``context``, ``metadata`` and ``results``."""
        await self._append_after_unsaved()

    async def _append_after_unsaved(self, *events: Event) -> None:
        """Append in one commit with what is unsaved. One at a time while something is, so that two that
        end at the same moment do not both save the same change."""
        await self._pause_ends()
        async with self._saving:
            # Who records a pause comes to this lock later, and gives the lease back after it.
            unsaved = self._unsaved()
            if unsaved:
                await self._writer.append(*unsaved, *events)
        if events and not unsaved:
            await self.append(*events)

    async def _append_in_the_end(self, *events: Event) -> None:
        """With what is unsaved, unless that cannot be stored: an end is recorded all the same."""
        async with self._saving:
            await self._writer.append(*self._unsaved_if_storable(), *events)

    def _unsaved(self) -> list[Event]:
        changes: dict[str, Changes] = {}
        for part, attribute in LIVE_CONTENT.items():
            live = plain(getattr(self, attribute), part)
            changes[part] = list(differences(self.document[part], live, [part]))
        pairs = (
            (EventKind.CONTEXT_CHANGED, changes["context"] + changes["metadata"]),
            (EventKind.RESULT_CHANGED, changes["intermediate_results"]),
        )
        return [self.event(kind, found) for kind, found in pairs if found]

    async def _append_of_step(self, *events: Event) -> None:
        if self._config.auto_save_enabled and self._config.auto_save_on_step:
            await self._append_after_unsaved(*events)
        else:
            await self.append(*events)

    def _unsaved_if_storable(self) -> list[Event]:
        try:
            return self._unsaved()
        except InvalidValue as error:
            logger.warning("Session %s: its last changes are not saved: %s", self.session_id, error)
            return []

    # Checkpoints

    async def checkpoint(
        self, name: str, *, kind: CheckpointKind = CheckpointKind.MANUAL, reason: str = ""
    ) -> str:
        """Name the present place in the log; returns the checkpoint's id."""
        await self.save()
        counts = state_counts(self.document)
        event = checkpoint_event(name, counts, kind=kind, actor=self.owner, reason=reason)
        await self.append(event)
        self._auto.made()
        surplus = self._auto.surplus(await self._log.storage.checkpoints(self.session_id))
        if surplus:
            await self.append(self.event(EventKind.CHECKPOINT_DELETED, data={"ids": surplus}))
        return str(event.data["id"])

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

    # Pausing

    async def pause_point(self) -> None:
        """A step boundary: where a request to pause or to cancel takes effect."""
        while self._request or self._is_paused or self._writer.lost:
            self._unwind_if_asked()
            await self._pause_if_idle()
            await self._pausing_done.wait()

    def _unwind_if_asked(self) -> None:
        self.check_lease()
        if self.requested == EventKind.CANCEL_REQUESTED:
            raise CancelRequested
        if self._unwinds:
            raise PauseRequested

    async def wait_until_asked(self) -> None:
        """Until a pause, a restore or a cancellation is asked for, or the lease is lost."""
        await self._asked.wait()

    def check_lease(self) -> None:
        """Raises LeaseLost where it is known to be lost."""
        if self._writer.lost:
            raise self._writer.lost

    @property
    def _unwinds(self) -> bool:
        """A restore cannot be waited for: the program has to start again from an earlier place."""
        return (
            self._on_pause == "raise"
            or self._restored_elsewhere
            or self.requested == EventKind.RESTORE_REQUESTED
        )

    async def request_pause(self, reason: str = "", actor: str = "") -> None:
        """Pause from inside this process: the same as a request from elsewhere."""
        if self._request is None and self.status in {SessionStatus.RUNNING, SessionStatus.WAITING}:
            self._note_request(_Request(EventKind.PAUSE_REQUESTED, short(reason), actor or self.owner, {}))
            data = {"reason": short(reason)}
            await self.append(self.event(EventKind.PAUSE_REQUESTED, actor=actor, data=data))

    def _note_request(self, request: _Request) -> None:
        self._request = request
        self._asked.set()
        self._pausing_done.clear()
        if request.kind == EventKind.CANCEL_REQUESTED or self._unwinds:
            cancelled = request.kind == EventKind.CANCEL_REQUESTED
            self._wake_all(_Unwound(CancelRequested() if cancelled else PauseRequested()))

    def _wake_all(self, error: Exception) -> None:
        """Nobody is to wait for the end of a pause, or for an answer, any longer."""
        self._pausing_done.set()
        self._wake_askers(error)

    def _wake_askers(self, error: Exception) -> None:
        """A branch that waits for a person is at a boundary; resumed, it comes to its question again."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    async def _pause_if_idle(self) -> None:
        """In the waiting mode: record the pause once no step is at work, and give the lease back."""
        if self._unwinds or self._is_paused or self._writer.at_work:
            return
        if self.requested == EventKind.PAUSE_REQUESTED:
            self._is_paused = self._is_recording_pause = True
            try:
                await self._record_pause()
            except BaseException:
                self._is_paused = False
                raise
            finally:
                self._is_recording_pause = False
            await self._writer.release()

    async def _record_pause(self) -> None:
        request = self._request
        if request and request.kind == EventKind.RESTORE_REQUESTED:
            await self._restore(request)
        else:
            data = {"reason": request.reason if request else self._reason}
            paused = self.event(EventKind.SESSION_PAUSED, data=data)
            await self._append_in_the_end(paused)
        self._request = None

    async def _restore(self, request: _Request) -> None:
        target = await self._log.document(self.session_id, request.data["to"])
        async with self._saving:
            unsaved = self._unsaved_if_storable()
            if unsaved:
                await self._writer.append(*unsaved)
        checkpoint_id = str(request.data.get("checkpoint", ""))
        await self._writer.append_restore(
            restoration(
                state_counts(self.document),
                target,
                checkpoint_id=checkpoint_id,
                actor=request.actor,
                reason=request.reason,
            )
        )
        self._refresh_content()

    async def _take_up_again(self) -> None:
        """After a pause in this process somebody asked to resume. Whoever gets the lease goes on."""
        await self._writer.take_again()
        if self.status not in RESUMABLE:
            await self._writer.release()
            raise LeaseLost(self.session_id)
        await self._writer.append(self.event(EventKind.SESSION_RESUMED, data={"owner": self.owner}))
        self._request = None
        self._is_paused = False
        self._asked.clear()
        self._pausing_done.set()

    # Asking a person

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
        if self._request and (self._unwinds or self.requested == EventKind.CANCEL_REQUESTED):
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
        except _Unwound as unwound:
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

    # Appending

    def event(self, kind: str, changes: Changes | None = None, *, actor: str = "", **header: Any) -> Event:
        """An event by this owner, measured against the present state."""
        return make_event(kind, changes, document=self.document, actor=actor or self.owner, **header)

    async def append(self, *events: Event) -> int:
        """Append durably under the lease; returns the seq of the last. Raises LeaseLost."""
        await self._pause_ends()
        return await self._writer.append(*events)

    async def _pause_ends(self) -> None:
        while self._is_paused:
            await self._pausing_done.wait()
            if self._is_paused:
                self._unwind_if_asked()

    async def step_begins(self, step_id: str, agent: str, *events: Event) -> None:
        self._writer.at_work[step_id] = agent
        try:
            await self._append_of_step(*events)
        except BaseException:
            self.step_left(step_id)
            raise

    async def step_completes(self, step_id: str, *events: Event) -> None:
        self.step_left(step_id)
        await self._append_of_step(*events)
        await self._pause_if_idle()

    async def step_fails(self, step_id: str, event: Event) -> None:
        self.step_left(step_id)
        await self.append(event)
        if self._auto.on_error:
            await self.checkpoint(f"error in {step_id}", kind=CheckpointKind.ERROR)
        await self._pause_if_idle()

    def step_left(self, step_id: str) -> None:
        self._writer.at_work.pop(step_id, None)

    async def branch_moves(self, event: Event) -> None:
        await self.append(event)
        if event.kind == EventKind.BRANCH_COMPLETED and self._auto.on_completion:
            name = self.document["branches"][event.branch_id]["name"]
            await self.checkpoint(f"{name} completed", kind=CheckpointKind.COMPLETION)

    # What others append

    def _on_foreign(self, event: Event) -> None:
        if event.kind == EventKind.SESSION_RESTORED:
            self._refresh_content()
            self._restored_elsewhere = True
            self._wake_all(_Unwound(PauseRequested()))
        for change in event.changes:
            self._merge(change)
        if event.kind in REQUESTS:
            self._note_request(_Request(event.kind, event.data.get("reason", ""), event.actor, event.data))
        answer = self._answers.get(event.data.get("question", ""))
        if event.kind == EventKind.INPUT_ANSWERED and answer and not answer.done():
            answer.set_result(None)

    def _merge(self, change: Change) -> None:
        """A change from elsewhere reaches the program's own working copy, too."""
        operation, path, *rest = change
        attribute = LIVE_CONTENT.get(path[0]) if path else None
        if attribute is None:
            return
        try:
            apply_changes(getattr(self, attribute), deepcopy([[operation, path[1:], *rest]]))
        except DamagedError:
            logger.warning("Session %s: the program changed %r meanwhile; its value stays.", self, path)

    def _refresh_content(self) -> None:
        for part, attribute in LIVE_CONTENT.items():
            setattr(self, attribute, deepcopy(self.document[part]))

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
        changes = [] if self._created else self._additional
        data = {"owner": self.owner, "reason": short(self._reason)}
        resumed = self.event(EventKind.SESSION_RESUMED, changes, data=data)
        if self.status in HELD:
            # Its lease had run out, or we would not have got it.
            return [*interruption(self.document, self.owner), resumed]
        if self.status not in RESUMABLE:
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
        if error is None:
            await self.complete()
        elif isinstance(error, Exception):
            await self.fail(error)
        else:
            # Ctrl-C, a cancelled task: nothing is wrong with the workflow, somebody can go on with it.
            stopped = interruption(self.document, self.owner, self.owner, "its process was stopped")
            await self._append_in_the_end(*stopped)

    async def _stop_watching(self) -> None:
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    # Watching: renew the lease, look for requests, auto-save, automatic checkpoints

    async def _watch(self) -> None:
        renewed = saved = time.monotonic()
        while not self._writer.lost:
            await asyncio.sleep(self._config.control_interval)
            try:
                if not self._is_paused and time.monotonic() - renewed > self._config.lease_ttl / 3:
                    await self._writer.renew()
                    renewed = time.monotonic()
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

    def _lose(self, error: LeaseError) -> None:
        self._writer.lose(error)
        self._asked.set()
        self._wake_all(error)
        self.on_lost()

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
