"""StateManager: the one object that orchestrators, the dashboard, the admin and commands call."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from state_core.answers import check_answer
from state_core.cache import DocumentCache
from state_core.changes import set_value
from state_core.checkpoints import surplus
from state_core.codec import Codec, plain
from state_core.compose import (
    checkpoint_event,
    content_changes,
    creation,
    interruption,
    make_event,
    restoration,
)
from state_core.config import CheckpointConfig, StateManagerConfig
from state_core.events import Changes, Event, EventKind
from state_core.exceptions import (
    CheckpointNotFound,
    ConflictError,
    DamagedError,
    EncryptionKeyError,
    InvalidValue,
    LeaseHeld,
    QuestionNotFound,
    SessionNotFound,
    TransitionError,
)
from state_core.fold import state_counts
from state_core.heads import short
from state_core.housekeeping import Housekeeping
from state_core.log import EventLog
from state_core.pausing import OnPause
from state_core.records import (
    ENDED,
    HELD,
    Checkpoint,
    CheckpointKind,
    Document,
    Head,
    Lease,
    SessionMetrics,
    SessionState,
    SessionStatus,
    StorageMetrics,
    check_id,
    parse_time,
    utc_now,
)
from state_core.retention import CleanupReport, Limits, Progress, Retention
from state_core.saving import saving_events
from state_core.session import Session
from state_core.storage.base import ACTIVE, HeadQuery, StorageBackend
from state_core.sync import SyncFace
from state_core.writer import acquire_when_let_go

logger = logging.getLogger(__name__)

GO_ON = "Fork it, or restore one of its checkpoints, to go on from there."


class StateManager:
    """State of sessions in one store.

    ``auto_save_interval`` (seconds), ``compression`` and ``encryption_key`` are short for the options of
    the same meaning in ``config`` and win over it. ``actor``: who stands in the log for what this manager
    does; the dashboard gives each call its user instead.
    """

    def __init__(
        self,
        storage: StorageBackend,
        auto_save_interval: float | None = None,
        compression: bool | None = None,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        config: StateManagerConfig | None = None,
        *,
        actor: str = "",
    ) -> None:
        self.storage = storage
        self.config = _merged(config, auto_save_interval, compression, encryption_key)
        self.checkpoint_config = checkpoint_config
        self.owner = _owner_name()
        self.actor = actor or self.owner
        self.log = EventLog(storage, _codec(self.config), _cache(self.config))
        self.retention = Retention(self.log, self.actor)
        self._housekeeping = Housekeeping(self.retention, self.config)
        self._finished_here: dict[str, datetime | None] = {}
        """Session id → when it was completed by this manager."""

    def __repr__(self) -> str:
        return f"<StateManager on {self.storage!r}>"

    @property
    def sync(self) -> Any:
        """The same methods, to be called without ``await``."""
        return SyncFace(self)

    # Sessions

    def session(
        self,
        session_id: str,
        *,
        context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        title: str = "",
        workflow: str = "",
        tags: Sequence[str] = (),
        reason: str = "",
        on_pause: OnPause = "wait",
    ) -> Session:
        """The live session, to be used with ``async with``: created, or taken up where it stands.

        ``context`` and ``metadata`` are merged into what it has. Entering raises LeaseHeld while
        somebody else holds it, and TransitionError when it is completed or cancelled.
        """
        return Session(
            self.log,
            session_id,
            owner=f"{self.owner}.{secrets.token_hex(2)}",
            config=self.config,
            checkpoint_config=self.checkpoint_config,
            context=context,
            metadata=metadata,
            title=title,
            workflow=workflow,
            tags=tags,
            reason=reason,
            on_pause=on_pause,
            admit=self._housekeeping.admit,
            on_entered=self._housekeeping.start_if_due,
            on_left=self._session_left,
        )

    def _session_left(self, session: Session) -> None:
        if session.status == SessionStatus.COMPLETED:
            self._finished_here[session.session_id] = parse_time(session.document["ended_at"])
        self._housekeeping.start_if_due()

    async def create_session(
        self,
        session_id: str,
        *,
        context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        title: str = "",
        workflow: str = "",
        tags: Sequence[str] = (),
        actor: str = "",
    ) -> None:
        """A pending session, for whoever takes it up. Raises SessionExists, QuotaExceeded."""
        check_id(session_id)
        await self._housekeeping.admit()
        event = creation(
            actor=actor or self.actor,
            title=title,
            workflow=workflow,
            tags=tags,
            context=context,
            metadata=metadata,
        )
        await self.log.append(session_id, [event])

    async def get_head(self, session_id: str) -> Head:
        """What lists show of a session; reads no history. Raises SessionNotFound."""
        return await self.storage.head(session_id)

    async def list_sessions(self, query: HeadQuery | None = None, **conditions: Any) -> list[Head]:
        """Heads, the last changed first; ``conditions`` as in `HeadQuery`."""
        return await self.storage.heads(query or HeadQuery(**conditions))

    async def get_session_state(self, session_id: str, seq: int | None = None) -> SessionState:
        """The present state, or that after event ``seq``. Raises SessionNotFound, DamagedError."""
        document = await self.log.document(session_id, seq)
        checkpoints = await self.storage.checkpoints(session_id)
        return SessionState.from_document(document, [c for c in checkpoints if c.seq <= document["seq"]])

    async def save_session_state(self, session_id: str, state: SessionState, *, actor: str = "") -> int:
        """Append what differs from the stored state; returns the seq. Creates a session that is not there.

        Raises ConflictError when the session moved on since ``state`` was read, and LeaseHeld while an
        orchestrator runs it; of a new session QuotaExceeded.
        """
        target = plain({**state.to_document(), "session_id": check_id(session_id)}, "state")
        try:
            document = await self.log.document(session_id)
        except SessionNotFound:
            await self._housekeeping.admit()
            first = creation(actor=actor or self.actor)
            await self.log.append(session_id, [first])
            document = await self.log.document(session_id)
            target["seq"] = document["seq"]
        await self._refuse_held(session_id)
        if target["seq"] != document["seq"]:
            raise ConflictError(session_id, target["seq"], document["seq"])
        events = saving_events(document, target, actor or self.actor)
        if not events:
            return int(target["seq"])
        state.seq = await self.log.append(session_id, events, expected_seq=target["seq"])
        return state.seq

    async def _refuse_held(self, session_id: str) -> None:
        head = await self.storage.head(session_id)
        if _is_held(head):
            raise LeaseHeld(session_id, head.owner, head.lease_expires_at)

    async def delete_session(self, session_id: str) -> None:
        """Remove everything of it, for good. Raises SessionNotFound, LeaseHeld."""
        await self.storage.delete(check_id(session_id))

    async def fork_session(
        self,
        session_id: str,
        new_session_id: str | None = None,
        *,
        checkpoint_id: str | None = None,
        seq: int | None = None,
        reason: str = "",
        actor: str = "",
    ) -> str:
        """A new, paused session that starts with the state of another, now or at a place; returns its id.

        Raises SessionNotFound, CheckpointNotFound, QuotaExceeded.
        """
        await self._housekeeping.admit(sparing={session_id})
        place = (await self._checkpoint_of(checkpoint_id, session_id)).seq if checkpoint_id else seq
        document = await self.log.document(session_id, place)
        head = await self.storage.head(session_id)
        new_id = check_id(new_session_id or f"{session_id[:100]}.fork-{secrets.token_hex(3)}")
        carried = {k: v for k, v in document.items() if k not in _OF_ONE_SESSION}
        event = Event(
            kind=EventKind.SESSION_FORKED,
            actor=actor or self.actor,
            changes=[set_value([], carried)],
            size=document["state_bytes"],
            data={
                "origin": f"{session_id}@{document['seq']}",
                "title": head.title,
                "workflow": head.workflow,
                "tags": head.tags,
                "reason": short(reason),
                "counts": state_counts(document),
            },
        )
        await self.log.append(new_id, [event])
        return new_id

    # Control: commands are events; who holds the session answers with what it did

    async def pause_execution(
        self,
        session_id: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        actor: str = "",
    ) -> SessionState:
        """Ask for a pause at the next step boundaries; ``metadata`` is merged into the session's.

        A session that nobody runs is paused at once, also one that this very manager has just completed
        (to hand it on for a further part). Raises TransitionError for other sessions that have ended.
        """
        changes = content_changes(metadata=metadata)
        async for attempt in _again_on_conflict():
            with attempt:
                await self._pause(await self.storage.head(check_id(session_id)), changes, reason, actor)
        return await self.get_session_state(session_id)

    async def _pause(self, head: Head, changes: Changes, reason: str, actor: str) -> None:
        if head.status in ENDED and not self._has_just_completed(head):
            raise TransitionError(head.session_id, head.status, "pause", GO_ON)
        if head.status in {SessionStatus.PAUSED, SessionStatus.PAUSING, SessionStatus.CANCELLING}:
            await self._merge_metadata(head, changes, actor)
        elif not await self._request_of_holder(
            head, EventKind.PAUSE_REQUESTED, changes, {"reason": short(reason)}, actor
        ):
            await self._at_once(head, EventKind.SESSION_PAUSED, changes, reason, actor)

    def _has_just_completed(self, head: Head) -> bool:
        return (
            head.status == SessionStatus.COMPLETED
            and head.session_id in self._finished_here
            and self._finished_here[head.session_id] == head.ended_at
        )

    async def _merge_metadata(self, head: Head, changes: Changes, actor: str) -> None:
        if head.status == SessionStatus.CANCELLING:
            raise TransitionError(head.session_id, head.status, "pause", "It is being cancelled.")
        if changes:
            event = make_event(EventKind.CONTEXT_CHANGED, changes, actor=actor or self.actor)
            await self.log.append(head.session_id, [event])

    async def resume_execution(
        self,
        session_id: str,
        additional_context: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        actor: str = "",
    ) -> SessionState:
        """Ask that an orchestrator take a paused, interrupted or failed session up again.

        ``additional_context`` is merged into the session's context and recorded. The status is
        ``resuming`` until somebody takes it: a program that waits at its pause point, a worker, or
        `OrchestraInstance.resume_session`.
        """
        changes = content_changes(additional_context)
        head = await self.storage.head(check_id(session_id))
        data = {"reason": short(reason)}
        statuses = {SessionStatus.PAUSED, SessionStatus.INTERRUPTED, SessionStatus.FAILED}
        if head.status in HELD and not _is_held(head):
            await self.interrupt(session_id)
        elif head.status not in statuses:
            raise TransitionError(session_id, head.status, "resume", _why_not_resume(head))
        event = make_event(EventKind.RESUME_REQUESTED, changes, actor=actor or self.actor, data=data)
        await self.log.append(session_id, [event], statuses=statuses)
        return await self.get_session_state(session_id)

    async def cancel_execution(self, session_id: str, *, reason: str = "", actor: str = "") -> SessionState:
        """Stop a session for good, at the next step boundaries. Raises TransitionError when it has ended."""
        async for attempt in _again_on_conflict():
            with attempt:
                await self._cancel(await self.storage.head(check_id(session_id)), reason, actor)
        return await self.get_session_state(session_id)

    async def _cancel(self, head: Head, reason: str, actor: str) -> None:
        if head.status in ENDED:
            raise TransitionError(head.session_id, head.status, "cancel", "There is nothing to stop.")
        is_asked = head.status == SessionStatus.CANCELLING and _is_held(head)
        if not is_asked and not await self._request_of_holder(
            head, EventKind.CANCEL_REQUESTED, [], {"reason": short(reason)}, actor
        ):
            await self._at_once(head, EventKind.SESSION_CANCELLED, [], reason, actor)

    async def _request_of_holder(
        self, head: Head, kind: EventKind, changes: Changes, data: Mapping[str, Any], actor: str
    ) -> bool:
        """Append a command for who holds the session; False where nobody does."""
        if not _is_held(head):
            return False
        event = make_event(kind, changes, actor=actor or self.actor, data=data)
        try:
            await self.log.append(head.session_id, [event], statuses=HELD)
        except TransitionError as error:
            raise ConflictError(head.session_id, head.last_seq, head.last_seq + 1) from error
        return True

    async def _at_once(self, head: Head, kind: EventKind, changes: Changes, reason: str, actor: str) -> None:
        """Do it ourselves under a short lease, since nobody runs the session. Raises ConflictError where
        it moved on since ``head`` was read."""
        session_id = head.session_id
        async with self._short_lease(session_id) as lease:
            document = await self.log.document(session_id)
            if document["seq"] != head.last_seq:
                raise ConflictError(session_id, head.last_seq, document["seq"])
            who = actor or self.actor
            before = interruption(document, who) if document["status"] in HELD else []
            event = make_event(kind, changes, document=document, actor=who, data={"reason": short(reason)})
            await self.log.append(
                session_id, [*before, event], fence=lease.fence, expected_seq=document["seq"]
            )

    @asynccontextmanager
    async def _short_lease(self, session_id: str) -> AsyncIterator[Lease]:
        hand = f"{self.owner}.hand-{secrets.token_hex(2)}"
        lease = await acquire_when_let_go(self.storage, session_id, hand, self.config.lease_ttl)
        try:
            yield lease
        finally:
            await self.storage.release(session_id, lease.fence)

    async def interrupt(self, session_id: str) -> bool:
        """Record that a session's lease ran out. False where it has not, or somebody was faster."""
        owner = (await self.storage.head(check_id(session_id))).owner
        try:
            async with self._short_lease(session_id) as lease:
                document = await self.log.document(session_id)
                if document["status"] not in HELD:
                    return False
                events = interruption(document, self.actor, owner)
                await self.log.append(session_id, events, fence=lease.fence)
        except LeaseHeld:
            return False
        return True

    async def interrupt_expired(self) -> list[str]:
        """Record every session whose orchestrator fell silent as interrupted; returns their ids."""
        expired = await self.storage.heads(HeadQuery(lease_expired=True, limit=500))
        return [head.session_id for head in expired if await self._interrupt_if_readable(head.session_id)]

    async def _interrupt_if_readable(self, session_id: str) -> bool:
        """One session that is damaged, or was deleted meanwhile, does not hold up the others."""
        try:
            return await self.interrupt(session_id)
        except (DamagedError, EncryptionKeyError, SessionNotFound) as error:
            logger.warning("Session %s cannot be recorded as interrupted: %s", session_id, error)
            return False

    async def answer(
        self, session_id: str, question_id: str, answer: Any, *, actor: str = ""
    ) -> SessionState:
        """Answer an open question; what was asked goes on. Raises QuestionNotFound and, where the answer
        does not fit the question's choices or schema, InvalidValue."""
        value = plain(answer, "answer")
        async for attempt in _again_on_conflict():
            with attempt:
                document = await self.log.document(check_id(session_id))
                question = document["questions"].get(question_id)
                if question is None or question["status"] != "open":
                    raise QuestionNotFound(question_id)
                check_answer(question, value)
                await self._append_answer(document, question, value, actor)
        return await self.get_session_state(session_id)

    async def _append_answer(self, document: Document, question: Document, value: Any, actor: str) -> None:
        session_id = document["session_id"]
        if document["status"] in ENDED:
            raise TransitionError(session_id, document["status"], "answer", "Nobody waits for it any more.")
        event = make_event(
            EventKind.INPUT_ANSWERED,
            [set_value(["questions", question["question_id"], "answer"], value)],
            document=document,
            actor=actor or self.actor,
            branch_id=question["branch_id"],
            step_id=question["step_id"] or "",
            agent=question["agent"] or "",
            data={"question": question["question_id"]},
        )
        await self.log.append(session_id, [event], expected_seq=document["seq"])

    # Checkpoints

    async def create_checkpoint(
        self,
        session_id: str,
        name: str = "checkpoint",
        *,
        kind: CheckpointKind = CheckpointKind.MANUAL,
        reason: str = "",
        actor: str = "",
    ) -> str:
        """Name the present place in the log; returns the checkpoint's id. The same cost at any length.

        Raises SessionNotFound, QuotaExceeded.
        """
        await self._housekeeping.admit(sparing={session_id})
        head = await self.storage.head(check_id(session_id))
        event = checkpoint_event(name, head.counts, kind=kind, actor=actor or self.actor, reason=reason)
        await self.log.append(session_id, [event])
        return str(event.data["id"])

    async def list_checkpoints(self, session_id: str) -> list[Checkpoint]:
        """Oldest first. A session that is not there has none."""
        return await self.storage.checkpoints(session_id)

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Raises CheckpointNotFound."""
        return await self.storage.checkpoint(check_id(checkpoint_id, "checkpoint id"))

    async def get_checkpoint_state(self, checkpoint_id: str) -> SessionState:
        """Raises CheckpointNotFound, DamagedError."""
        checkpoint = await self._checkpoint_of(checkpoint_id, None)
        return await self.get_session_state(checkpoint.session_id, checkpoint.seq)

    async def restore_checkpoint(
        self,
        checkpoint_id: str,
        *,
        session_id: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> SessionState:
        """Go back to a checkpoint, in place. The session is then paused there.

        Nothing is destroyed: a checkpoint of kind ``pre_restore`` is made of the place that is left.
        While an orchestrator holds the session it is asked to, and the state returned is ``pausing``
        until it has. With ``session_id``, raises CheckpointNotFound for another session's checkpoint.
        """
        checkpoint = await self._checkpoint_of(checkpoint_id, session_id)
        session_id = checkpoint.session_id
        data = {"checkpoint": checkpoint.id, "to": checkpoint.seq, "reason": short(reason)}
        async for attempt in _again_on_conflict():
            with attempt:
                head = await self.storage.head(session_id)
                if not await self._request_of_holder(head, EventKind.RESTORE_REQUESTED, [], data, actor):
                    await self._restore_at_once(checkpoint, reason, actor or self.actor)
        return await self.get_session_state(session_id)

    async def _restore_at_once(self, checkpoint: Checkpoint, reason: str, actor: str) -> None:
        session_id = checkpoint.session_id
        async with self._short_lease(session_id) as lease:
            target = await self.log.document(session_id, checkpoint.seq)
            head = await self.storage.head(session_id)
            events = restoration(head.counts, target, checkpoint_id=checkpoint.id, actor=actor, reason=reason)
            await self.log.append(session_id, events, fence=lease.fence)

    async def _checkpoint_of(self, checkpoint_id: str, session_id: str | None) -> Checkpoint:
        checkpoint = await self.get_checkpoint(checkpoint_id)
        if session_id is not None and checkpoint.session_id != session_id:
            raise CheckpointNotFound(checkpoint_id, session_id)
        await self._check_place(checkpoint)
        return checkpoint

    async def _check_place(self, checkpoint: Checkpoint) -> None:
        """Raises DamagedError where the event at its place did not make it."""
        events = await self.log.read(
            checkpoint.session_id, after=checkpoint.seq - 1, before=checkpoint.seq + 1, bodies=False
        )
        if [event.data.get("id") for event in events] != [checkpoint.id]:
            why = f"event {checkpoint.seq}, where it is said to be, does not make it"
            raise DamagedError(checkpoint.session_id, f"checkpoint {checkpoint.id}", why)

    async def rename_checkpoint(self, checkpoint_id: str, name: str, *, actor: str = "") -> None:
        data = {"id": checkpoint_id, "name": short(name, 200)}
        await self._append_about(checkpoint_id, EventKind.CHECKPOINT_RENAMED, data, actor)

    async def pin_checkpoint(self, checkpoint_id: str, *, pinned: bool = True, actor: str = "") -> None:
        """A pinned checkpoint is spared by clean-up."""
        data = {"id": checkpoint_id, "pinned": pinned}
        await self._append_about(checkpoint_id, EventKind.CHECKPOINT_PINNED, data, actor)

    async def delete_checkpoint(self, checkpoint_id: str, *, actor: str = "") -> None:
        """The name goes; the log stays."""
        await self._append_about(checkpoint_id, EventKind.CHECKPOINT_DELETED, {"ids": [checkpoint_id]}, actor)

    async def _append_about(
        self, checkpoint_id: str, kind: EventKind, data: Mapping[str, Any], actor: str
    ) -> None:
        checkpoint = await self.get_checkpoint(checkpoint_id)
        event = Event(kind=kind, actor=actor or self.actor, data=data)
        await self.log.append(checkpoint.session_id, [event])

    async def cleanup_checkpoints(self, session_id: str, keep_latest: int, *, actor: str = "") -> int:
        """Delete all but the newest ``keep_latest``, sparing pinned ones; returns how many."""
        if keep_latest < 0:
            raise InvalidValue(f"keep_latest is {keep_latest}; it must be 0 or more.")
        candidates = [c for c in await self.storage.checkpoints(session_id) if not c.pinned]
        ids = surplus(candidates, keep_latest)
        if ids:
            event = Event(kind=EventKind.CHECKPOINT_DELETED, actor=actor or self.actor, data={"ids": ids})
            await self.log.append(session_id, [event])
        return len(ids)

    # Retention

    async def cleanup(self, dry_run: bool = False, *, progress: Progress | None = None) -> CleanupReport:
        """Delete sessions that ended and checkpoints made by themselves that are beyond the ages and the
        quota of the configuration, whether ``auto_cleanup_enabled`` or not; returns what went.

        With ``dry_run`` nothing goes: the report says what would, and why. ``progress`` is told how many
        removals are done, of how many. Raises StorageUnavailable.
        """
        plan = await self.retention.plan(Limits.of(self.config))
        return plan if dry_run else await self.retention.carry_out(plan, progress)

    def start_cleanup_if_due(self) -> None:
        """With ``auto_cleanup_enabled``: clean up off the caller's path, unless this manager has done so
        within the hour. Opening and leaving a session do it; call it in loops of your own. Needs a running
        event loop."""
        self._housekeeping.start_if_due()

    # Metrics

    async def get_session_metrics(self, session_id: str) -> SessionMetrics:
        """From the head alone. Raises SessionNotFound."""
        head = await self.storage.head(check_id(session_id))
        return SessionMetrics(
            session_id=session_id,
            status=head.status,
            duration_seconds=head.duration_seconds,
            steps_total=head.counts["steps"],
            steps_completed=head.counts["steps_completed"],
            steps_failed=head.counts["steps_failed"],
            branches=head.counts["branches"],
            messages=head.counts["messages"],
            storage_bytes=head.counts["stored_bytes"],
            state_bytes=head.counts["state_bytes"],
            checkpoint_count=head.counts["checkpoints"],
            events=head.last_seq,
        )

    async def get_storage_metrics(self) -> StorageMetrics:
        """From heads alone."""
        usage = await self.storage.usage()
        return StorageMetrics(
            total_sessions=usage.sessions,
            active_sessions=sum(n for status, n in usage.by_status.items() if status in ACTIVE),
            total_bytes=usage.bytes,
            total_events=usage.events,
            total_checkpoints=usage.checkpoints,
            by_status=dict(usage.by_status),
        )

    async def close(self) -> None:
        """Wait for snapshots on their way and give back the store's connections. A clean-up that is under
        way ends after its present batch."""
        await self._housekeeping.stop()
        await self.log.flush()
        await self.storage.close()


_OF_ONE_SESSION = frozenset({"session_id", "seq", "status", "created_at", "updated_at", "state_bytes"})


def _is_held(head: Head) -> bool:
    """As far as this machine's clock can tell; what follows is decided by the store's."""
    lasts = head.lease_expires_at is not None and head.lease_expires_at > utc_now()
    return head.status in HELD and bool(head.owner) and lasts


def _again_on_conflict() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(20),
        wait=wait_random(0, 0.05),
        reraise=True,
    )


def _why_not_resume(head: Head) -> str:
    if head.status in {SessionStatus.COMPLETED, SessionStatus.CANCELLED}:
        return GO_ON
    if head.status == SessionStatus.RESUMING:
        return "Somebody asked for that already; it goes on as soon as an orchestrator takes it."
    if head.status == SessionStatus.PENDING:
        return "It has not started yet; run it with an orchestrator."
    return f"It is held by {head.owner!r}; pause it first." if head.owner else "Pause it first."


def _merged(
    config: StateManagerConfig | None,
    auto_save_interval: float | None,
    compression: bool | None,
    encryption_key: str | bytes | Sequence[str | bytes] | None,
) -> StateManagerConfig:
    given: dict[str, Any] = {
        "auto_save_interval": auto_save_interval,
        "compression_enabled": compression,
        "encryption_key": encryption_key,
    }
    return replace(config or StateManagerConfig(), **{k: v for k, v in given.items() if v is not None})


def _codec(config: StateManagerConfig) -> Codec:
    return Codec(
        compression_level=config.compression_level if config.compression_enabled else None,
        keys=config.keys,
        max_bytes=int(config.max_value_mb * 1_000_000),
    )


def _cache(config: StateManagerConfig) -> DocumentCache | None:
    return DocumentCache(int(config.cache_size_mb * 1_000_000)) if config.cache_enabled else None


def _owner_name() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}"
