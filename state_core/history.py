"""History: how the places that a session has been at differ."""

from __future__ import annotations

from dataclasses import dataclass

from state_core.checkpointing import Checkpointing
from state_core.diff import Place, StateDiff, diff_documents, place_of
from state_core.exceptions import InvalidValue
from state_core.records import Checkpoint, Document, check_id


@dataclass(frozen=True, slots=True)
class _Side:
    """What is compared: a session at an event, or now."""

    session_id: str
    seq: int | None
    checkpoint: Checkpoint | None = None


class History(Checkpointing):
    """Compare."""

    async def diff(
        self, a: str | int, b: str | int | None = None, *, session_id: str | None = None
    ) -> StateDiff:
        """What turns the state at ``a`` into the one at ``b``; without ``b``, into the present one.

        Each is a checkpoint's id or, with ``session_id``, the seq of an event. The checkpoints of a
        session and of its fork can be compared, too. Nothing is changed. Raises CheckpointNotFound,
        SessionNotFound, InvalidValue for a seq that the session has not reached, EncryptionKeyError.
        """
        first = await self._side(a, session_id)
        sides = (first, await self._side(b, session_id or first.session_id))
        earlier_first = sorted((0, 1), key=lambda which: sides[which].seq or float("inf"))
        # The later state is folded on from the earlier one, where it was kept.
        documents = {which: await self._document(sides[which]) for which in earlier_first}
        places = (_place(sides[0], documents[0]), _place(sides[1], documents[1]))
        return diff_documents(documents[0], documents[1], places)

    async def _side(self, place: str | int | None, session_id: str | None) -> _Side:
        if isinstance(place, str):
            checkpoint = await self._checkpoint_of(place, None)
            return _Side(checkpoint.session_id, checkpoint.seq, checkpoint)
        if session_id is None:
            raise InvalidValue(f"Event {place} of which session? Pass session_id, or a checkpoint's id.")
        return _Side(check_id(session_id), place)

    async def _document(self, side: _Side) -> Document:
        return await self.log.document(side.session_id, side.seq)


def _place(side: _Side, document: Document) -> Place:
    checkpoint = side.checkpoint
    return place_of(document, checkpoint.id if checkpoint else "", checkpoint.name if checkpoint else "")
