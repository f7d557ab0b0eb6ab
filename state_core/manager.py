"""StateManager: the one object that orchestrators, the dashboard, the admin and commands call.

It stands on four layers: `reading` (every question), `control` (pause, resume, cancel, answer),
`checkpointing` and `history` (what differs between two places); sessions themselves, retention and the end
are here.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from state_core.changes import KEEP, KEEPS_RECORDS, in_parts, set_value
from state_core.codec import plain
from state_core.compaction import Compaction, compact_session
from state_core.compose import creation
from state_core.control import is_held, refuse_if_not_taken
from state_core.events import Event, EventKind
from state_core.exceptions import ConflictError, LeaseHeld, SessionNotFound
from state_core.fold import agents_of_steps, state_counts
from state_core.heads import agent_name, joined, short
from state_core.history import History
from state_core.pausing import OnPause
from state_core.records import Document, SessionState, SessionStatus, check_id, parse_time
from state_core.retention import CleanupReport, Limits, Progress
from state_core.rotation import RotationReport, rotate_keys
from state_core.saving import saving_events
from state_core.session import Session
from state_core.walk import OnProgress

FINISHED_KEPT = 1000
"""Sessions that a manager remembers as completed by itself."""


class StateManager(History):
    """State of sessions in one store.

    ``auto_save_interval`` (seconds), ``compression`` and ``encryption_key`` are short for the options of
    the same meaning in ``config`` and win over it. ``actor``: who stands in the log for what this manager
    does; the dashboard gives each call its user instead.
    """

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
        refuses: Sequence[str] = (),
        reopen: bool = False,
        statuses: Collection[SessionStatus] = (),
        reason: str = "",
        on_pause: OnPause = "wait",
    ) -> Session:
        """The live session, to be used with ``async with``: created, or taken up where it stands.

        ``context`` and ``metadata`` are merged into what it has. ``refuses``: verbs of `words.ACTIONS` that
        the caller does not carry out; who asks for one is told so. Entering raises LeaseHeld while
        somebody else holds it, and TransitionError when it is completed or cancelled, unless ``reopen``, or
        when it has none of ``statuses``, where there are any: for who decided by what it stood at before.
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
            refuses=refuses,
            reopen=reopen,
            statuses=statuses,
            reason=reason,
            on_pause=on_pause,
            admit=self._housekeeping.admit,
            on_entered=self._housekeeping.start_if_due,
            on_left=self._session_left,
        )

    def _session_left(self, session: Session) -> None:
        if session.status == SessionStatus.COMPLETED:
            self._finished_here[session.session_id] = parse_time(session.document["ended_at"])
            while len(self._finished_here) > FINISHED_KEPT:
                del self._finished_here[next(iter(self._finished_here))]
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
        if is_held(head):
            raise LeaseHeld(session_id, head.owner, head.lease_expires_at)

    async def delete_session(self, session_id: str, *, expected_seq: int | None = None) -> None:
        """Remove everything of it, for good. Raises SessionNotFound, LeaseHeld, ConflictError."""
        await self.storage.delete(check_id(session_id), expected_seq=expected_seq)

    async def fork_session(
        self,
        session_id: str,
        new_session_id: str | None = None,
        *,
        checkpoint_id: str | None = None,
        seq: int | None = None,
        reason: str = "",
        actor: str = "",
        expected_seq: int | None = None,
    ) -> str:
        """A new, paused session that starts with the state of another, now or at a place; returns its id.

        Raises SessionNotFound, CheckpointNotFound, QuotaExceeded.
        """
        await self._housekeeping.admit(sparing={session_id})
        place = (await self._checkpoint_of(checkpoint_id, session_id)).seq if checkpoint_id else seq
        head = await self._head_at(session_id, expected_seq)
        refuse_if_not_taken(head, "fork")
        document = await self.log.document(session_id, expected_seq if place is None else place)
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
                "worked": joined((), map(agent_name, agents_of_steps(document))),
            },
        )
        records = await self._records_kept(document) if document.get(KEEPS_RECORDS) else []
        await self.log.append(new_id, [event, *records])
        return new_id

    async def _records_kept(self, document: Document) -> list[Event]:
        """What adapters keep beside a state, a thousand or a megabyte to an event."""
        session_id, seq = document["session_id"], document["seq"]
        kept = [
            change
            for span in await self.log.line(session_id, seq)
            async for event in self.log.iterate(session_id, span)
            for change in event.changes
            if change[0] == KEEP
        ]
        return [Event(kind=EventKind.RECORD_KEPT, actor=self.actor, changes=part) for part in in_parts(kept)]

    # Retention

    async def compact_session(self, session_id: str, *, dry_run: bool = False, actor: str = "") -> Compaction:
        """Fold what lies before the oldest kept checkpoint, or before the last event where none is kept, into
        one event that carries the state; where that makes the session smaller. Numbers stay, and so does
        every state from there on.

        Raises SessionNotFound, TransitionError while it is run, LeaseHeld.
        """
        return await compact_session(self.log, session_id, actor=actor or self.actor, dry_run=dry_run)

    async def rotate_keys(
        self,
        session_ids: Iterable[str] | None = None,
        *,
        decrypt: bool = False,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> RotationReport:
        """Re-encrypt events and snapshots, of these sessions or of all, that are under another key than the
        first of ``encryption_key``, or under none; with ``decrypt``, all that are under any.

        Orchestrators may go on meanwhile. Killed and started again it goes on where it was. What cannot be
        read is left as it is, and reported. With ``dry_run`` nothing changes. Raises ConfigurationError
        without any key, StorageUnavailable.
        """
        return await rotate_keys(
            self.storage,
            self.log.codec,
            session_ids,
            decrypt=decrypt,
            dry_run=dry_run,
            on_progress=on_progress,
        )

    async def cleanup(self, dry_run: bool = False, *, progress: Progress | None = None) -> CleanupReport:
        """Delete sessions that ended and checkpoints made by themselves, and compact history, as far as they
        are beyond the ages and the quota of the configuration, whether ``auto_cleanup_enabled`` or not;
        returns what went.

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

    async def close(self) -> None:
        """Wait for snapshots on their way and give back the store's connections. A clean-up that is under
        way ends after its present batch."""
        await self._housekeeping.stop()
        await self.log.flush()
        await self.storage.close()


_OF_ONE_SESSION = frozenset({"session_id", "seq", "status", "created_at", "updated_at", "state_bytes"})
