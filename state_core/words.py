"""What people read of statuses and actions: the same words in the dashboard, the admin and commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from state_core.records import ENDED, HELD, SessionStatus

S = SessionStatus


def counted(number: int, noun: str) -> str:
    """``3 branches``, ``1 step``, ``12 431 events``."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {plural}".replace(",", "\u202f")


MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """842 ms, 12.4 s, 3 m 07 s, 2 h 15 m, 3 d 4 h."""
    seconds = max(0.0, float(seconds))
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return _long(round(seconds))


def _long(whole: int) -> str:
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} m"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def size(count: int | None) -> str:
    """Bytes: 842 B, 12.4 kB, 1.8 MB."""
    value = float(count or 0)
    if value < 1000:
        return f"{int(value)} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


@dataclass(frozen=True)
class StatusWord:
    """A status as people see it: never by colour alone."""

    label: str
    icon: str
    """One character that stands beside the label."""
    colour: str
    """The name of the colour: a status of its own, or the one that a transition moves to."""
    meaning: str

    @property
    def is_transition(self) -> bool:
        return self.colour != self.label.lower()


STATUSES: Mapping[str, StatusWord] = {
    "pending": StatusWord("Pending", "◷", "pending", "Created, not started."),
    "running": StatusWord("Running", "◐", "running", "Work is in progress."),
    "pausing": StatusWord(
        "Pausing", "❚❚", "paused", "A pause was asked for; branches finish their present step."
    ),
    "waiting": StatusWord("Waiting", "?", "waiting", "A person's answer, or a sibling, is needed."),
    "paused": StatusWord("Paused", "❚❚", "paused", "Held until somebody resumes it."),
    "resuming": StatusWord(
        "Resuming", "▶", "running", "A resume was asked for; no orchestrator has taken it yet."
    ),
    "cancelling": StatusWord(
        "Cancelling", "⊘", "cancelled", "A cancellation was asked for; branches finish their present step."
    ),
    "completed": StatusWord("Completed", "✓", "completed", "Ended well."),
    "failed": StatusWord("Failed", "✕", "failed", "Ended badly."),
    "cancelled": StatusWord("Cancelled", "⊘", "cancelled", "Stopped on purpose."),
    "interrupted": StatusWord("Interrupted", "⚡", "interrupted", "The lease of who ran it ran out."),
}
"""Of sessions, branches and steps."""

OPERATE = "state_core.operate_session"
RESTORE = "state_core.restore_session"
VIEW = "state_core.view_session"


@dataclass(frozen=True)
class Action:
    """Something that a person can have done to a session."""

    verb: str
    label: str
    """What its button says; "…" means that a dialog follows."""
    title: str
    """What the dialog and its confirming button say. ``{name}`` is the checkpoint, where there is one."""
    permission: str
    possible: frozenset[SessionStatus]
    otherwise: str
    """Why it cannot be done in another status."""
    results: Mapping[SessionStatus, str] = field(default_factory=dict)
    """Present status → what follows, where it is not ``result``."""
    result: str = ""
    consequences: tuple[str, ...] = ()
    reason_required: bool = False
    takes_context: bool = False

    def becomes(self, status: SessionStatus | str) -> str:
        """The statuses that follow from this one, in words; the same status where nothing changes."""
        present = SessionStatus(status)
        return self.results.get(present) or self.result or STATUSES[present].label

    def why_not(self, status: SessionStatus | str) -> str:
        """Why it cannot be done to a session of this status; empty where it can."""
        present = SessionStatus(status)
        if present in self.possible:
            return ""
        return f"It is {STATUSES[present].label.lower()}. {self.otherwise}"


_EVERY = frozenset(SessionStatus)
_OPEN = _EVERY - ENDED

PAUSE = Action(
    verb="pause",
    label="Pause…",
    title="Pause session",
    permission=OPERATE,
    possible=_OPEN - {S.PAUSED, S.PAUSING, S.CANCELLING},
    otherwise="A session can be paused until it has ended, unless it is paused already.",
    result="Paused",
    results=dict.fromkeys(HELD, "Pausing, then paused"),
    consequences=(
        "Each branch finishes the step that it is in; no further step begins.",
        "Nothing is lost. Completed steps are not executed again when it is resumed.",
    ),
)

RESUME = Action(
    verb="resume",
    label="Resume…",
    title="Resume session",
    permission=OPERATE,
    possible=frozenset({S.PAUSED, S.INTERRUPTED, S.FAILED}),
    otherwise="Paused, interrupted and failed sessions can be resumed.",
    result="Resuming, then running",
    consequences=(
        "It is resuming until an orchestrator takes it.",
        "Completed steps keep their results. A step that was under way or failed is executed again.",
        "Additional context is merged into the session's context and recorded.",
    ),
    takes_context=True,
)

ANSWER = Action(
    verb="answer",
    label="Answer…",
    title="Answer question",
    permission=OPERATE,
    possible=_OPEN,
    otherwise="Nobody waits for an answer any more.",
    results={S.WAITING: "Running, once no other question is open"},
    consequences=("The answer is recorded with your name; what asked goes on with it.",),
)

CHECKPOINT = Action(
    verb="checkpoint",
    label="Save checkpoint…",
    title="Save checkpoint",
    permission=OPERATE,
    possible=_EVERY,
    otherwise="",
    consequences=("The present place in the log gets a name. The session goes on as it is.",),
)

RESTORE_CHECKPOINT = Action(
    verb="restore",
    label="Restore checkpoint…",
    title="Restore checkpoint “{name}”",
    permission=RESTORE,
    possible=_EVERY - {S.CANCELLING},
    otherwise="It is about to end; restore it afterwards.",
    result="Paused",
    results=dict.fromkeys(HELD, "Pausing, then paused"),
    consequences=(
        "The session goes back to the checkpoint and is paused there, ready to be resumed.",
        "Steps after the checkpoint no longer count.",
        "Nothing is destroyed: a checkpoint of the present place is made, so that this can be undone.",
        "What steps did outside this session (files, messages sent) is not undone.",
    ),
    reason_required=True,
)

CANCEL = Action(
    verb="cancel",
    label="Cancel…",
    title="Cancel session",
    permission=OPERATE,
    possible=_OPEN - {S.CANCELLING},
    otherwise="There is nothing to stop.",
    result="Cancelled",
    results=dict.fromkeys(HELD - {S.CANCELLING}, "Cancelling, then cancelled"),
    consequences=(
        "Each branch finishes the step that it is in, then the session ends for good.",
        "It cannot be resumed. Its log and checkpoints stay; restoring a checkpoint brings it back, paused.",
    ),
    reason_required=True,
)

DELETE = Action(
    verb="delete",
    label="Delete…",
    title="Delete session",
    permission=RESTORE,
    possible=_EVERY - HELD,
    otherwise="An orchestrator holds it; pause or cancel it first.",
    result="Gone",
    consequences=(
        "Its log, checkpoints and messages are removed from the store for good.",
        "This cannot be undone.",
    ),
    reason_required=True,
)

REFUSED = "The program that runs it does not take this command from here: it is recorded from outside."


def refusal(verb: str, status: SessionStatus | str, refuses: Collection[str]) -> str:
    """Why a session whose driver refuses these verbs (`Head.refuses`) cannot have this done; else empty.

    One that nobody runs any more can be cancelled all the same: then nobody has to act on it.
    """
    if verb not in refuses or (verb == "cancel" and SessionStatus(status) not in HELD):
        return ""
    return REFUSED


ACTIONS: Mapping[str, Action] = {
    action.verb: action for action in (PAUSE, RESUME, ANSWER, CHECKPOINT, RESTORE_CHECKPOINT, CANCEL, DELETE)
}
