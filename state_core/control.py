"""Control: commands are events. Who holds the session answers with what it did; where nobody does, the
command is carried out at once, under a short lease."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from state_core.answers import check_answer
from state_core.changes import remove_value, set_value
from state_core.codec import plain
from state_core.compose import content_changes, interruption, make_event
from state_core.events import Changes, EventKind
from state_core.exceptions import (
    ConflictError,
    DamagedError,
    EncryptionKeyError,
    InvalidValue,
    LeaseHeld,
    QuestionAnswered,
    QuestionNotFound,
    QuestionReplaced,
    SessionNotFound,
    TransitionError,
)
from state_core.heads import short
from state_core.reading import Reading
from state_core.records import (
    ENDED,
    HELD,
    Document,
    Head,
    Lease,
    SessionState,
    SessionStatus,
    check_id,
    parse_time,
    show_time,
    utc_now,
)
from state_core.storage.base import HeadQuery, refuse_if_moved_on
from state_core.words import refusal
from state_core.writer import acquire_when_let_go

logger = logging.getLogger(__name__)

T = TypeVar("T")

GO_ON = "Fork it, or restore one of its checkpoints, to go on from there."


class Control(Reading):
    """Pause, resume, cancel, interrupt, answer."""

    async def pause_execution(
        self,
        session_id: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        actor: str = "",
        expected_seq: int | None = None,
    ) -> SessionState:
        """Ask for a pause at the next step boundaries; ``metadata`` is merged into the session's.

        A session that nobody runs is paused at once, also one that this very manager has just completed
        (to hand it on for a further part). Raises TransitionError for other sessions that have ended.

        ``expected_seq``, of this and every other act: refuse with ConflictError when this is not the
        session's last event any more, for who decided by what stood there.
        """
        changes = content_changes(metadata=metadata)
        async for attempt in again_on_conflict(expected_seq):
            with attempt:
                head = await self._head_at(session_id, expected_seq)
                await self._pause(head, changes, reason, actor, expected_seq)
        return await self.get_session_state(session_id)

    async def _head_at(self, session_id: str, expected_seq: int | None) -> Head:
        """The head, for what is written only where nothing was since ``expected_seq``, if there is one."""
        head = await self.storage.head(check_id(session_id))
        refuse_if_moved_on(session_id, expected_seq, head.last_seq)
        return head

    async def _pause(
        self, head: Head, changes: Changes, reason: str, actor: str, expected_seq: int | None
    ) -> None:
        refuse_if_not_taken(head, "pause")
        if head.status in ENDED and not self._has_just_completed(head):
            raise TransitionError(head.session_id, head.status, "pause", GO_ON)
        if head.status in {SessionStatus.PAUSED, SessionStatus.PAUSING, SessionStatus.CANCELLING}:
            await self._merge_metadata(head, changes, actor, expected_seq)
        elif not await self._request_of_holder(
            head, EventKind.PAUSE_REQUESTED, changes, {"reason": short(reason)}, actor, expected_seq
        ):
            await self._at_once(head, EventKind.SESSION_PAUSED, changes, reason, actor)

    def _has_just_completed(self, head: Head) -> bool:
        return (
            head.status == SessionStatus.COMPLETED
            and head.session_id in self._finished_here
            and self._finished_here[head.session_id] == head.ended_at
        )

    async def _merge_metadata(
        self, head: Head, changes: Changes, actor: str, expected_seq: int | None
    ) -> None:
        if head.status == SessionStatus.CANCELLING:
            raise TransitionError(head.session_id, head.status, "pause", "It is being cancelled.")
        if changes:
            event = make_event(EventKind.CONTEXT_CHANGED, changes, actor=actor or self.actor)
            await self.log.append(head.session_id, [event], expected_seq=expected_seq)

    async def resume_execution(
        self,
        session_id: str,
        additional_context: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        actor: str = "",
        remove_context: Collection[str] = (),
        expected_seq: int | None = None,
    ) -> SessionState:
        """Ask that an orchestrator take a paused, interrupted or failed session up again.

        ``additional_context`` is merged into the session's context, the names of ``remove_context`` are
        taken out of it, and both are recorded. The status is ``resuming`` until somebody takes it: a
        program that waits at its pause point, a worker, or `OrchestraInstance.resume_session`.

        Raises TransitionError; InvalidValue for a name that is not there.
        """
        changes = content_changes(additional_context)
        head = await self._head_at(session_id, expected_seq)
        refuse_if_not_taken(head, "resume")
        data = {"reason": short(reason)}
        statuses = {SessionStatus.PAUSED, SessionStatus.INTERRUPTED, SessionStatus.FAILED}
        if head.status in HELD and not is_held(head):
            interrupted = await self._interrupt(session_id, actor, expected_seq)
            if interrupted and expected_seq is not None:
                expected_seq = interrupted
        elif head.status not in statuses:
            raise TransitionError(session_id, head.status, "resume", _why_not_resume(head))
        document = await self._with_context(session_id, remove_context) if remove_context else None
        if document and expected_seq is None:
            expected_seq = document["seq"]
        removals = [remove_value(["context", name]) for name in remove_context]
        event = make_event(
            EventKind.RESUME_REQUESTED,
            [*removals, *changes],
            document=document,
            actor=actor or self.actor,
            data=data,
        )
        await self.log.append(session_id, [event], statuses=statuses, expected_seq=expected_seq)
        return await self.get_session_state(session_id)

    async def _with_context(self, session_id: str, names: Collection[str]) -> Document:
        """The state, if its context has these names: a removal of nothing would be damage."""
        document = await self.log.document(session_id)
        unknown = [name for name in names if name not in document["context"]]
        if unknown:
            raise InvalidValue(f"The context has no {unknown[0]!r} that could be removed; read it again.")
        return document

    async def cancel_execution(
        self, session_id: str, *, reason: str = "", actor: str = "", expected_seq: int | None = None
    ) -> SessionState:
        """Stop a session for good, at the next step boundaries. Raises TransitionError when it has ended."""
        async for attempt in again_on_conflict(expected_seq):
            with attempt:
                head = await self._head_at(session_id, expected_seq)
                await self._cancel(head, reason, actor, expected_seq)
        return await self.get_session_state(session_id)

    async def _cancel(self, head: Head, reason: str, actor: str, expected_seq: int | None) -> None:
        refuse_if_not_taken(head, "cancel")
        if head.status in ENDED:
            raise TransitionError(head.session_id, head.status, "cancel", "There is nothing to stop.")
        is_asked = head.status == SessionStatus.CANCELLING and is_held(head)
        if not is_asked and not await self._request_of_holder(
            head, EventKind.CANCEL_REQUESTED, [], {"reason": short(reason)}, actor, expected_seq
        ):
            await self._at_once(head, EventKind.SESSION_CANCELLED, [], reason, actor)

    async def _request_of_holder(
        self,
        head: Head,
        kind: EventKind,
        changes: Changes,
        data: Mapping[str, Any],
        actor: str,
        expected_seq: int | None,
    ) -> bool:
        """Append a command for who holds the session; False where nobody does."""
        if not is_held(head):
            return False
        event = make_event(kind, changes, actor=actor or self.actor, data=data)
        try:
            await self.log.append(head.session_id, [event], statuses=HELD, expected_seq=expected_seq)
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

    async def interrupt(self, session_id: str, *, actor: str = "") -> bool:
        """Record that a session's lease ran out. False where it has not, or somebody was faster."""
        return await self._interrupt(session_id, actor) is not None

    async def _interrupt(self, session_id: str, actor: str, expected_seq: int | None = None) -> int | None:
        """The event that says so, or None."""
        owner = (await self.storage.head(check_id(session_id))).owner
        try:
            async with self._short_lease(session_id) as lease:
                document = await self._document_or_outline(session_id)
                if document["status"] not in HELD:
                    return None
                events = interruption(document, actor or self.actor, owner)
                return await self.log.append(session_id, events, fence=lease.fence, expected_seq=expected_seq)
        except LeaseHeld:
            return None

    async def _document_or_outline(self, session_id: str) -> Document:
        """That a process fell silent can be told without what it wrote: damaged, or without its key."""
        try:
            return await self.log.document(session_id)
        except (DamagedError, EncryptionKeyError):
            return await self.log.outline(session_id)

    async def interrupt_expired(self, *, actor: str = "") -> list[str]:
        """Record every session whose orchestrator fell silent as interrupted; returns their ids. Also those
        that are only recorded, under no lease, once nothing came for the configuration's
        ``recorded_silence``: whatever comes then takes them up again."""
        expired = await self.storage.heads(HeadQuery(lease_expired=True, limit=500))
        silent = await self._silent()
        interrupt = partial(self.interrupt, actor=actor)
        interrupt_silent = partial(self._interrupt_silent, actor=actor or self.actor)
        return [
            *[head.session_id for head in expired if await self._if_readable(interrupt, head.session_id)],
            *[head.session_id for head in silent if await self._if_readable(interrupt_silent, head)],
        ]

    async def _silent(self) -> list[Head]:
        silence = self.config.recorded_silence
        if silence is None or time.monotonic() < self._looks_for_silent_at:
            return []
        self._looks_for_silent_at = time.monotonic() + silence / 10
        until = utc_now() - timedelta(seconds=silence)
        query = HeadQuery(statuses=[SessionStatus.RUNNING], until=until, sort="updated_at", limit=500)
        return [head for head in await self.storage.heads(query) if head.refuses and not head.owner]

    async def _interrupt_silent(self, head: Head, actor: str) -> bool:
        """False where something came meanwhile."""
        outline = await self.log.outline(head.session_id)
        why = f"nothing was recorded of it since {show_time(head.updated_at)}"
        try:
            await self.log.append(
                head.session_id, interruption(outline, actor, why=why), expected_seq=head.last_seq
            )
        except ConflictError:
            return False
        return True

    async def _if_readable(self, interrupt: Callable[[T], Awaitable[bool]], what: T) -> bool:
        """One session that is damaged, or was deleted meanwhile, does not hold up the others."""
        try:
            return await interrupt(what)
        except (DamagedError, EncryptionKeyError, SessionNotFound) as error:
            logger.warning("A session cannot be recorded as interrupted: %s", error)
            return False

    async def answer(
        self,
        session_id: str,
        question_id: str,
        answer: Any,
        *,
        actor: str = "",
        asked_at: datetime | None = None,
        expected_seq: int | None = None,
    ) -> SessionState:
        """Answer an open question; what was asked goes on. Raises QuestionNotFound; QuestionAnswered, which
        says by whom, where somebody was faster; and, where the answer does not fit the question's choices or
        schema, InvalidValue.

        ``asked_at``: only the question that was asked then; raises QuestionReplaced where, after a restore,
        another has its id."""
        value = plain(answer, "answer")
        refuse_if_not_taken(await self.storage.head(check_id(session_id)), "answer")
        async for attempt in again_on_conflict(expected_seq):
            with attempt:
                document = await self.log.document(session_id)
                refuse_if_moved_on(session_id, expected_seq, document["seq"])
                question = open_question(document, question_id, asked_at)
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

    async def record_link_shared(
        self, session_id: str, question_id: str, *, until: datetime, to: str = "", actor: str = ""
    ) -> None:
        """Record that a link for answering a question was given out: to whom, and until when it works."""
        data = {"question": question_id, "for": short(to), "until": show_time(until)}
        await self._record_link(session_id, EventKind.LINK_SHARED, data, actor)

    async def record_link_withdrawn(
        self, session_id: str, question_id: str, *, to: str = "", actor: str = ""
    ) -> None:
        data = {"question": question_id, "for": short(to)}
        await self._record_link(session_id, EventKind.LINK_WITHDRAWN, data, actor)

    async def _record_link(
        self, session_id: str, kind: EventKind, data: Mapping[str, Any], actor: str
    ) -> None:
        event = make_event(kind, actor=actor or self.actor, data=data)
        await self.log.append(check_id(session_id), [event])


def refuse_if_not_taken(head: Head, verb: str) -> None:
    """Raises TransitionError where who drives the session does not carry this command out."""
    refused = refusal(verb, head.status, head.refuses)
    if refused:
        raise TransitionError(head.session_id, head.status, verb, refused)


def open_question(document: Document, question_id: str, asked_at: datetime | None = None) -> Document:
    """Raises QuestionNotFound; QuestionReplaced where it was asked at another moment than ``asked_at``;
    QuestionAnswered."""
    question: Document | None = document["questions"].get(question_id)
    if question is None:
        raise QuestionNotFound(question_id)
    if asked_at and parse_time(question["asked_at"]) != asked_at:
        raise QuestionReplaced(question_id)
    if question["status"] != "open":
        raise QuestionAnswered(question_id, question["answered_by"], question["answered_at"])
    return question


def is_held(head: Head) -> bool:
    """As far as this machine's clock can tell; what follows is decided by the store's."""
    lasts = head.lease_expires_at is not None and head.lease_expires_at > utc_now()
    return head.status in HELD and bool(head.owner) and lasts


def again_on_conflict(expected_seq: int | None = None) -> AsyncRetrying:
    """Read and write anew; once where the caller said what they had read."""
    return AsyncRetrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(20 if expected_seq is None else 1),
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
