"""History: how places of a session differ, going back with open eyes, and families of sessions."""

from __future__ import annotations

from dataclasses import dataclass

from state_core.checkpointing import Checkpointing
from state_core.diff import Place, StateDiff, diff_documents, place_of
from state_core.events import EventKind
from state_core.exceptions import InvalidValue
from state_core.lineage import Lineage, lineage_of
from state_core.preview import RestorePreview, preview_of
from state_core.records import Checkpoint, CheckpointKind, Document, SessionState, check_id


@dataclass(frozen=True, slots=True)
class _Side:
    """What is compared: a session at an event, or now."""

    session_id: str
    seq: int | None
    checkpoint: Checkpoint | None = None

    def comes_after(self, other: _Side) -> bool:
        return other.seq is not None and (self.seq is None or self.seq > other.seq)


class History(Checkpointing):
    """Compare, preview and undo a restore, tell origins and forks."""

    async def diff(
        self,
        a: str | int,
        b: str | int | None = None,
        *,
        session_id: str | None = None,
        other_session_id: str | None = None,
        other: History | None = None,
    ) -> StateDiff:
        """What turns the state at ``a`` into the one at ``b``; without ``b``, into the present one.

        Each is a checkpoint's id or, with ``session_id``, the seq of an event. ``b`` may be of another
        session, which is named by ``other_session_id`` and may be in another manager's store, ``other``;
        so a session is compared with its fork, or with last week's run. Nothing is changed. Raises
        CheckpointNotFound, SessionNotFound, InvalidValue for a seq that the session has not reached,
        EncryptionKeyError.
        """
        with_b = other or self
        first = await self._side(a, session_id)
        second = await with_b._side(b, other_session_id or session_id or first.session_id)
        if first.comes_after(second):
            # The later state is folded on from the earlier one, where it was kept.
            new, old = await with_b._document(second), await self._document(first)
        else:
            old, new = await self._document(first), await with_b._document(second)
        return diff_documents(old, new, (_place(first, old), _place(second, new)))

    async def _side(self, place: str | int | None, session_id: str | None) -> _Side:
        if isinstance(place, str):
            checkpoint = await self._checkpoint_of(place, None)
            return _Side(checkpoint.session_id, checkpoint.seq, checkpoint)
        if session_id is None:
            raise InvalidValue(f"Event {place} of which session? Pass session_id, or a checkpoint's id.")
        return _Side(check_id(session_id), place)

    async def _document(self, side: _Side) -> Document:
        return await self.log.document(side.session_id, side.seq)

    async def preview_restore(self, checkpoint_id: str, *, session_id: str | None = None) -> RestorePreview:
        """What `restore_checkpoint` would set aside, bring back and have executed again; changes nothing.

        Reads headers alone. Raises CheckpointNotFound, DamagedError.
        """
        checkpoint = await self._checkpoint_of(checkpoint_id, session_id)
        head = await self.storage.head(checkpoint.session_id)
        target = await self.log.outline(checkpoint.session_id, checkpoint.seq)
        present = await self.log.outline(checkpoint.session_id, head.last_seq)
        return preview_of(present, target, checkpoint, head.counts["messages"])

    async def undo_restore(
        self, session_id: str, *, reason: str = "", actor: str = "", expected_seq: int | None = None
    ) -> SessionState:
        """Go back to where the session was before its last restore; that can be undone, too.

        Raises InvalidValue where it was never restored, or where the checkpoint that was made then is gone.
        """
        checkpoint = await self.checkpoint_before_restore(session_id)
        if checkpoint is None:
            raise InvalidValue(
                f"Session {session_id!r} has no restore that could be undone. "
                "Restore one of its checkpoints instead."
            )
        return await self.restore_checkpoint(
            checkpoint.id,
            session_id=session_id,
            reason=reason or "undo the restore",
            actor=actor,
            expected_seq=expected_seq,
        )

    async def checkpoint_before_restore(self, session_id: str) -> Checkpoint | None:
        """The one that the last restore made of the place that it left."""
        restores = await self.storage.read_events(
            check_id(session_id), kinds=[EventKind.SESSION_RESTORED], bodies=False, newest_first=True, limit=1
        )
        places = await self.storage.checkpoints(session_id) if restores else []
        made = [place for place in places if place.kind == CheckpointKind.PRE_RESTORE]
        return made[-1] if made and made[-1].seq == restores[0].seq - 1 else None

    async def lineage(self, session_id: str) -> Lineage:
        """Where a session comes from, its forks, and its restores. Raises SessionNotFound."""
        return await lineage_of(self.storage, check_id(session_id))


def _place(side: _Side, document: Document) -> Place:
    checkpoint = side.checkpoint
    return place_of(document, checkpoint.id if checkpoint else "", checkpoint.name if checkpoint else "")
