"""Checkpointing: names for places in logs, and going back to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from state_core.checkpoints import made_by, surplus
from state_core.compose import checkpoint_event, restoration
from state_core.control import Control, again_on_conflict, refuse_if_not_taken
from state_core.events import Event, EventKind
from state_core.exceptions import CheckpointNotFound, DamagedError, InvalidValue
from state_core.heads import short
from state_core.records import Checkpoint, CheckpointKind, SessionState


class Checkpointing(Control):
    """Create, restore, rename, pin and delete checkpoints."""

    async def create_checkpoint(
        self,
        session_id: str,
        name: str = "checkpoint",
        *,
        kind: CheckpointKind = CheckpointKind.MANUAL,
        reason: str = "",
        actor: str = "",
        expected_seq: int | None = None,
    ) -> str:
        """Name the present place in the log; returns the checkpoint's id. The same cost at any length.

        Raises SessionNotFound, QuotaExceeded.
        """
        await self._housekeeping.admit(sparing={session_id})
        head = await self._head_at(session_id, expected_seq)
        event = checkpoint_event(name, head.counts, kind=kind, actor=actor or self.actor, reason=reason)
        await self.log.append(session_id, [event], expected_seq=expected_seq)
        return str(event.data["id"])

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
        expected_seq: int | None = None,
    ) -> SessionState:
        """Go back to a checkpoint, in place. The session is then paused there.

        Nothing is destroyed: a checkpoint of kind ``pre_restore`` is made of the place that is left.
        While an orchestrator holds the session it is asked to, and the state returned is ``pausing``
        until it has. With ``session_id``, raises CheckpointNotFound for another session's checkpoint.
        """
        checkpoint = await self._checkpoint_of(checkpoint_id, session_id)
        session_id = checkpoint.session_id
        data = {"checkpoint": checkpoint.id, "to": checkpoint.seq, "reason": short(reason)}
        async for attempt in again_on_conflict(expected_seq):
            with attempt:
                head = await self._head_at(session_id, expected_seq)
                refuse_if_not_taken(head, "restore")
                if not await self._request_of_holder(
                    head, EventKind.RESTORE_REQUESTED, [], data, actor, expected_seq
                ):
                    await self._restore_at_once(checkpoint, reason, actor or self.actor, expected_seq)
        return await self.get_session_state(session_id)

    async def _restore_at_once(
        self, checkpoint: Checkpoint, reason: str, actor: str, expected_seq: int | None
    ) -> None:
        session_id = checkpoint.session_id
        async with self._short_lease(session_id) as lease:
            target = await self.log.document(session_id, checkpoint.seq)
            head = await self.storage.head(session_id)
            events = restoration(head.counts, target, checkpoint_id=checkpoint.id, actor=actor, reason=reason)
            await self.log.append(session_id, events, fence=lease.fence, expected_seq=expected_seq)

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
        if [made_by(event) for event in events] != [checkpoint.id]:
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
