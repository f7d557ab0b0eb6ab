"""Pausing: what others ask of a live session, and where it takes effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from state_core.compose import restoration
from state_core.config import StateManagerConfig
from state_core.events import Event, EventKind
from state_core.exceptions import CancelRequested, LeaseError, LeaseLost, PauseRequested
from state_core.fold import state_counts
from state_core.heads import short
from state_core.log import EventLog
from state_core.recording import Recording
from state_core.records import RESUMABLE, SessionStatus

REQUESTS = frozenset({EventKind.PAUSE_REQUESTED, EventKind.CANCEL_REQUESTED, EventKind.RESTORE_REQUESTED})

OnPause = Literal["wait", "raise"]


@dataclass(frozen=True)
class _Request:
    """What somebody asked of this session and has not been done yet."""

    kind: str
    reason: str
    actor: str
    data: Mapping[str, Any]


class Unwound(Exception):
    """Carries a BaseException through a future."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Pausing(Recording):
    """A live session that can be paused, cancelled and restored at its step boundaries."""

    def __init__(
        self,
        log: EventLog,
        session_id: str,
        owner: str,
        config: StateManagerConfig,
        reason: str,
        on_pause: OnPause,
    ) -> None:
        super().__init__(log, session_id, owner, config)
        self.on_lost: Callable[[], object] = lambda: None
        """Called once when the lease is lost: nothing that goes on now can be recorded."""
        self._reason = reason
        self._refuses: list[str] = []
        self._on_pause: OnPause = on_pause
        self._request: _Request | None = None
        self._asked = asyncio.Event()
        self._pausing_done = asyncio.Event()
        self._is_paused = False
        self._is_recording_pause = False
        self._restored_elsewhere = False
        self._being_recorded: set[str] = set()
        """Steps that no agent is at work on any more, and whose outcome is on its way into the log."""

    @property
    def requested(self) -> str:
        """What was asked of this session and is not done yet: an event kind such as
        ``pause.requested``, or ``""``."""
        return self._request.kind if self._request else ""

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
            self._wake_all(Unwound(CancelRequested() if cancelled else PauseRequested()))

    def _wake_all(self, error: Exception) -> None:
        """Nobody is to wait for the end of a pause any longer."""
        self._pausing_done.set()

    async def _pause_if_idle(self) -> None:
        """In the waiting mode: record the pause once no step is at work, and give the lease back."""
        if self._unwinds or self._is_paused or self._writer.at_work or self._being_recorded:
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

    @contextmanager
    def _recording(self, step_id: str) -> Iterator[None]:
        """A pause waits for the outcome of a step: held back by it, the step would be executed again by
        whoever resumes."""
        self._being_recorded.add(step_id)
        try:
            yield
        finally:
            self._being_recorded.discard(step_id)

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
        data = {"owner": self.owner, "refuses": self._refuses}
        await self._writer.append(self.event(EventKind.SESSION_RESUMED, data=data))
        self._request = None
        self._is_paused = False
        self._asked.clear()
        self._pausing_done.set()

    async def _until_recordable(self) -> None:
        while self._is_paused:
            await self._pausing_done.wait()
            if self._is_paused:
                self._unwind_if_asked()

    def _lose(self, error: LeaseError) -> None:
        self._writer.lose(error)
        self._asked.set()
        self._wake_all(error)
        self.on_lost()

    def _on_foreign(self, event: Event) -> None:
        super()._on_foreign(event)
        if event.kind == EventKind.SESSION_RESTORED:
            self._restored_elsewhere = True
            self._wake_all(Unwound(PauseRequested()))
        if event.kind in REQUESTS:
            self._note_request(_Request(event.kind, event.data.get("reason", ""), event.actor, event.data))
