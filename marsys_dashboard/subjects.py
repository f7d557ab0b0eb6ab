"""What an act is about: the session as it stands, what can be chosen of it, and what would follow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from marsys_dashboard.acts import (
    ALL,
    DESTRUCTIVE,
    FROM_CHECKPOINT,
    GOING_BACK,
    Availability,
    available,
    checkpoints_for,
    consequences,
    questions_for,
)
from marsys_dashboard.managers import manager
from marsys_dashboard.travel import outline_at
from state_core.control import open_question
from state_core.exceptions import CheckpointNotFound
from state_core.manager import StateManager
from state_core.managers import why_unreadable
from state_core.preview import RestorePreview, preview_of
from state_core.records import HELD, Checkpoint, Head, Question
from state_core.words import Action


@dataclass(frozen=True)
class Subject:
    """One act on one session, before it is done."""

    store: str
    manager: StateManager
    action: Action
    head: Head
    checkpoints: list[Checkpoint]
    """Those that can be chosen, the newest first."""
    questions: list[Question]
    """The open ones, the oldest first."""
    unreadable: str
    """Why nothing can be done to it here but to delete it, or ""."""

    @property
    def refusal(self) -> str:
        """Why this act cannot be done by anybody who has not got the key, or ""."""
        return "" if self.action.verb == "delete" else self.unreadable

    @property
    def told_at(self) -> int | None:
        """The event up to which it is told what would be lost, where it may still be the last one when that
        is decided: a session at work moves on all the time."""
        tells = self.action.verb in GOING_BACK | DESTRUCTIVE and self.head.status not in HELD
        return self.head.last_seq if tells else None

    def availability(self, permissions: Collection[str]) -> Availability:
        return available(self.head, permissions, self.unreadable)[self.action.verb]

    def checkpoint(self, chosen: str) -> Checkpoint | None:
        """The one that is chosen; where none is, that to which going back leads at first."""
        if chosen:
            return next((place for place in self.checkpoints if place.id == chosen), None)
        return self.checkpoints[0] if self.checkpoints and self.action.verb in GOING_BACK else None

    def question(self, chosen: str) -> Question | None:
        """The one that is chosen, or that waits longest."""
        waiting = [question for question in self.questions if question.question_id == chosen]
        return next(iter(waiting or self.questions), None)

    async def consequences(self, checkpoint: Checkpoint | None) -> list[str]:
        """A sentence each."""
        return consequences(self.action, await self._preview(checkpoint))

    async def _preview(self, checkpoint: Checkpoint | None) -> RestorePreview | None:
        """What going back would do; of a session that cannot be read, nothing is said."""
        if self.action.verb not in GOING_BACK or checkpoint is None or self.unreadable:
            return None
        present, target = [
            await outline_at(self.store, self.manager, self.head, at) for at in (None, checkpoint.seq)
        ]
        return preview_of(present.document, target.document, checkpoint, self.head.counts["messages"])

    async def refuse_unknown(
        self, checkpoint: str, question: str = "", asked_at: datetime | None = None
    ) -> None:
        """A checkpoint or question that is named must be one of this session's, the question an open one that
        was asked then.

        Raises CheckpointNotFound, QuestionNotFound, QuestionAnswered, QuestionReplaced."""
        verb = self.action.verb
        if checkpoint and verb in FROM_CHECKPOINT and self.checkpoint(checkpoint) is None:
            raise CheckpointNotFound(checkpoint[:128], self.head.session_id)
        known = {each.question_id: (None, each.asked_at) for each in self.questions}
        if question and verb == "answer" and asked_at not in known.get(question, ()):
            open_question(await self.manager.log.document(self.head.session_id), question[:128], asked_at)


async def subject_of(store: str, session_id: str, verb: str) -> Subject:
    """Raises StoreNotFound, SessionNotFound."""
    of_store, action = manager(store), ALL[verb]
    head = await of_store.get_head(session_id)
    checkpoints = await checkpoints_for(action, of_store, session_id)
    unreadable = await why_unreadable(of_store, session_id)
    questions = [] if unreadable else await questions_for(action, of_store, session_id)
    return Subject(store, of_store, action, head, checkpoints, questions, unreadable)
