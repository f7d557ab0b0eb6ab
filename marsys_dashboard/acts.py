"""What people can have done to a session: when it is possible, what follows, and how it is done."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings

from marsys_dashboard.activity import note_deletion
from marsys_dashboard.checkpoint_windows import newest_first
from marsys_dashboard.context_edit import edit_of
from marsys_dashboard.permissions import MEANINGS, PERMISSIONS
from state_core.events import EventKind
from state_core.exceptions import TransitionError
from state_core.manager import StateManager
from state_core.preview import RestorePreview
from state_core.records import ENDED, Checkpoint, Head, Question, SessionStatus
from state_core.words import ACTIONS, RESTORE, RESTORE_CHECKPOINT, STATUSES, Action, refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EVERY = frozenset(SessionStatus)
_RESUMABLE = ACTIONS["resume"].possible

FORK = Action(
    verb="fork",
    label="Fork…",
    title="Fork session",
    permission=RESTORE,
    possible=_EVERY,
    otherwise="",
    consequences=(
        "A new session is made that carries this one's state, and is paused there, ready to be resumed.",
        "This session stays as it is.",
    ),
)
UNDO = Action(
    verb="undo",
    label="Undo restore…",
    title="Undo the restore",
    permission=RESTORE,
    possible=RESTORE_CHECKPOINT.possible,
    otherwise=RESTORE_CHECKPOINT.otherwise,
    result=RESTORE_CHECKPOINT.result,
    results=RESTORE_CHECKPOINT.results,
    consequences=(
        "The session goes back to where it was before the last restore, and is paused there.",
        "This is a restore, too: a checkpoint of the present place is made, so that it can be undone.",
    ),
)
ALL: Mapping[str, Action] = {**ACTIONS, **{action.verb: action for action in (UNDO, FORK)}}
GOING_BACK = frozenset({"restore", "undo"})
FROM_CHECKPOINT = frozenset({"restore", "fork"})
DESTRUCTIVE = frozenset({"cancel", "delete"})

NEEDS_REVIEW = (
    "Here another person approves a changed context first. Ask for approval: in its Resume dialog, over HTTP "
    "by a POST to its changes, or by `manage.py session resume --ask`. Or resume it without a change."
)

_SHORT = {codename: short for short, codename in PERMISSIONS.items()}


@dataclass(frozen=True)
class Availability:
    """Whether a person may have this done to a session now, and if not, why."""

    action: Action
    why_not: str = ""

    @property
    def allowed(self) -> bool:
        return not self.why_not

    @property
    def verb(self) -> str:
        return self.action.verb

    @property
    def label(self) -> str:
        return self.action.label


def available(head: Head, permissions: Collection[str], unreadable: str = "") -> dict[str, Availability]:
    """For each verb. ``permissions``: which of view, operate, restore the person has. ``unreadable``: why
    its content cannot be read here; then it can only be deleted."""
    return {
        verb: Availability(action, _why_not(action, head, permissions, unreadable))
        for verb, action in ALL.items()
    }


def _why_not(action: Action, head: Head, permissions: Collection[str], unreadable: str) -> str:
    permission = permission_of(action)
    if permission not in permissions:
        return f"You have no permission to {MEANINGS[permission]}."
    if action.verb == "answer" and not head.counts["questions"]:
        return "No question is open."
    if action.verb == "restore" and not head.counts["checkpoints"]:
        return "It has no checkpoint yet."
    if action.verb == "undo" and not head.counts["restores"]:
        return "It was never restored."
    refused = refusal(action.verb, head.status, head.refuses)
    return action.why_not(head.status) or refused or (unreadable if action.verb != "delete" else "")


def permission_of(action: Action) -> str:
    """``operate`` or ``restore``."""
    return _SHORT[action.permission]


def at_hand(head: Head, acts: Mapping[str, Availability]) -> list[Availability]:
    """What stands beside the title, the one that most likely is wanted last; the others are in a menu."""
    verbs = [verb for verb in ("checkpoint", "restore", "cancel") if acts[verb].allowed]
    if acts["undo"].allowed and head.last_kind == EventKind.SESSION_RESTORED:
        verbs.append("undo")
    if head.status in _RESUMABLE:
        verbs.append("resume")
    elif head.status not in ENDED:
        verbs.append("pause")
    if acts["answer"].allowed:
        verbs.append("answer")
    return [acts[verb] for verb in verbs]


def in_menu(head: Head, acts: Mapping[str, Availability]) -> list[Availability]:
    """What is left; what cannot be taken back comes last."""
    beside = {act.verb for act in at_hand(head, acts)} | {"answer"}
    if not head.counts["restores"]:
        beside.add("undo")
    rest = [act for act in acts.values() if act.verb not in beside]
    return sorted(rest, key=lambda act: act.verb in DESTRUCTIVE)


def primary(head: Head, acts: Mapping[str, Availability]) -> str:
    """The verb that most likely is wanted next, or ""."""
    last = at_hand(head, acts)[-1:]
    return next((act.verb for act in last if act.allowed and act.verb in {"answer", "resume", "pause"}), "")


def title(action: Action, checkpoint: Checkpoint | None = None, seq: str = "") -> str:
    """What the dialog and its button say: the verb and its object."""
    if "{name}" in action.title:
        return action.title.format(name=checkpoint.name if checkpoint else "…")
    if action.verb == "fork" and checkpoint:
        return f"Fork from checkpoint “{checkpoint.name}”"
    if action.verb == "fork" and seq:
        return f"Fork from event {seq}"
    return action.title


def becomes(action: Action, head: Head) -> str:
    if action.verb == "fork":
        return f"{STATUSES[head.status].label}; the fork is paused"
    return action.becomes(head.status)


def consequences(action: Action, preview: RestorePreview | None = None) -> list[str]:
    """A sentence each. Going back says what exactly it does."""
    return [*(preview.sentences() if preview else ()), *action.consequences]


async def checkpoints_for(action: Action, manager: StateManager, session_id: str) -> list[Checkpoint]:
    """Those that can be chosen for it, the newest first."""
    if action.verb == "undo":
        before = await manager.checkpoint_before_restore(session_id)
        return [before] if before else []
    if action.verb not in FROM_CHECKPOINT:
        return []
    return newest_first(await manager.list_checkpoints(session_id))


async def questions_for(action: Action, manager: StateManager, session_id: str) -> list[Question]:
    """The open ones that can be chosen for it, the oldest first."""
    if action.verb != "answer":
        return []
    state = await manager.get_session_state(session_id)
    return [question for question in state.questions if question.status == "open"]


@dataclass(frozen=True)
class Given:
    """What a person adds to an act."""

    actor: str
    store: str
    reason: str = ""
    name: str = ""
    context: Mapping[str, Any] | None = None
    edited: Mapping[str, Any] | None = None
    """The whole context as it is to be, where the person edited it."""
    seq: int | None = None
    """The session's last event when they did so."""
    checkpoint: Checkpoint | None = None
    question: Question | None = None
    asked_at: datetime | None = None
    """When the question was asked that the person saw."""
    answer: Any = None
    new_session_id: str = ""
    expected_seq: int | None = None
    """Refuse where this is not the session's last event any more."""

    @property
    def after(self) -> int | None:
        """The event by which the person decided, where they say so; an edit always does."""
        return self.expected_seq if self.edited is None else self.seq

    @property
    def to_record(self) -> dict[str, Any]:
        """What every act is told: why, by whom, and after which event."""
        return {"reason": self.reason, "actor": self.actor, "expected_seq": self.after}


@dataclass(frozen=True)
class Done:
    """What to tell. ``session_id``: where to go on, where that is another session."""

    message: str
    session_id: str = ""
    is_logged: bool = True
    """Does the session's log tell of it?"""
    change: int = 0
    """The number of the one that was proposed."""


def refuse_unreviewed(head: Head, given: Given) -> None:
    """Raises TransitionError where another person is to approve a changed context first."""
    if settings.REVIEW_EDITS and (given.edited is not None or given.context):
        raise TransitionError(head.session_id, head.status, "resume", NEEDS_REVIEW)


async def _pause(manager: StateManager, head: Head, given: Given) -> Done:
    state = await manager.pause_execution(head.session_id, **given.to_record)
    if state.status == SessionStatus.PAUSED:
        return Done("The session is paused.")
    return Done("Pause requested. Each branch finishes its present step first.")


async def _resume(manager: StateManager, head: Head, given: Given) -> Done:
    refuse_unreviewed(head, given)
    changed: dict[str, Any] = {}
    removed: list[str] = []
    if given.edited is not None:
        changed, removed = await edit_of(manager, head.session_id, given.edited, given.seq)
    await manager.resume_execution(
        head.session_id,
        {**changed, **(given.context or {})} or None,
        remove_context=removed,
        **given.to_record,
    )
    return Done("Resume requested. It goes on as soon as an orchestrator takes it.")


async def _answer(manager: StateManager, head: Head, given: Given) -> Done:
    question = _needed(given.question, "question")
    await manager.answer(
        head.session_id,
        question.question_id,
        given.answer,
        actor=given.actor,
        asked_at=given.asked_at or question.asked_at,
        expected_seq=given.expected_seq,
    )
    return Done("The answer is recorded.")


async def _checkpoint(manager: StateManager, head: Head, given: Given) -> Done:
    await manager.create_checkpoint(head.session_id, given.name, **given.to_record)
    return Done(f"Checkpoint “{given.name}” is saved.")


async def _restore(manager: StateManager, head: Head, given: Given) -> Done:
    checkpoint = _needed(given.checkpoint, "checkpoint")
    state = await manager.restore_checkpoint(checkpoint.id, session_id=head.session_id, **given.to_record)
    if state.status == SessionStatus.PAUSED:
        return Done(f"The session is back at “{checkpoint.name}”, paused.")
    return Done(f"Going back to “{checkpoint.name}” requested. Each branch finishes its present step first.")


async def _undo(manager: StateManager, head: Head, given: Given) -> Done:
    state = await manager.undo_restore(head.session_id, **given.to_record)
    if state.status == SessionStatus.PAUSED:
        return Done("The restore is undone; the session is paused.")
    return Done("Undoing the restore requested. Each branch finishes its present step first.")


async def _cancel(manager: StateManager, head: Head, given: Given) -> Done:
    state = await manager.cancel_execution(head.session_id, **given.to_record)
    if state.status == SessionStatus.CANCELLED:
        return Done("The session is cancelled.")
    return Done("Cancellation requested. Each branch finishes its present step first.")


async def _fork(manager: StateManager, head: Head, given: Given) -> Done:
    new_id = await manager.fork_session(
        head.session_id,
        given.new_session_id or None,
        checkpoint_id=given.checkpoint.id if given.checkpoint else None,
        seq=given.seq,
        **given.to_record,
    )
    return Done(f"Forked as {new_id}, paused.", session_id=new_id)


async def _delete(manager: StateManager, head: Head, given: Given) -> Done:
    await manager.delete_session(head.session_id, expected_seq=given.expected_seq)
    await note_deletion(given.store, head, given.actor, given.reason)
    logger.warning("%s deleted session %s: %s", given.actor, head.session_id, given.reason)
    return Done(f"Session {head.session_id} is deleted.")


def _needed(chosen: T | None, what: str) -> T:
    if chosen is None:
        raise ValueError(f"a {what} is needed; the form asks for it")
    return chosen


DO: Mapping[str, Callable[[StateManager, Head, Given], Awaitable[Done]]] = {
    "pause": _pause,
    "resume": _resume,
    "answer": _answer,
    "checkpoint": _checkpoint,
    "restore": _restore,
    "undo": _undo,
    "cancel": _cancel,
    "fork": _fork,
    "delete": _delete,
}
