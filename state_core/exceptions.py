"""What can go wrong.

StateError
├── NotFound (LookupError)
│   ├── SessionNotFound
│   ├── CheckpointNotFound
│   ├── BranchNotFound
│   └── QuestionNotFound
│       ├── QuestionAnswered
│       └── QuestionReplaced
├── InvalidId (ValueError)
├── InvalidValue (ValueError)
│   ├── HistoryCompacted
│   └── TooLarge
├── SessionExists (ValueError)
├── TransitionError (RuntimeError)
├── ConflictError (RuntimeError)
│   └── EventGone
├── Diverged (RuntimeError)
├── LeaseError (RuntimeError)
│   ├── LeaseHeld
│   └── LeaseLost
├── StorageError (OSError)
│   ├── StorageUnavailable (ConnectionError)
│   ├── MigrationNeeded
│   └── QuotaExceeded
├── DamagedError (ValueError)
├── EncryptionKeyError (ValueError)
├── ConfigurationError (ValueError)
│   └── MissingExtra (ImportError)
└── OrchestraError (RuntimeError)
    ├── TopologyError (ValueError)
    ├── AgentNotFound (LookupError)
    └── StepTimeout (TimeoutError)

Control flow, not an error, and therefore outside the tree: PauseRequested, CancelRequested.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


class StateError(Exception):
    """The base of everything that this library raises on purpose."""


# Something that was named does not exist…


class NotFound(StateError, LookupError):
    """A named thing does not exist in this store."""


class SessionNotFound(NotFound):
    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"There is no session {session_id!r} in this store. "
            "List what is there with `await state_manager.list_sessions()`."
        )
        self.session_id = session_id


class CheckpointNotFound(NotFound):
    def __init__(self, checkpoint_id: str, session_id: str | None = None) -> None:
        where = f"session {session_id!r}" if session_id else "this store"
        super().__init__(
            f"There is no checkpoint {checkpoint_id!r} in {where}. "
            "List what is there with `await state_manager.list_checkpoints(session_id)`."
        )
        self.checkpoint_id = checkpoint_id


class BranchNotFound(NotFound):
    def __init__(self, branch_id: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(list(known)[:8]) or "none"
        super().__init__(f"There is no branch {branch_id!r} in this session. Branches: {names}.")
        self.branch_id = branch_id


class QuestionNotFound(NotFound):
    def __init__(self, question_id: str) -> None:
        super().__init__(f"There is no open question {question_id!r} in this session.")
        self.question_id = question_id


class QuestionAnswered(QuestionNotFound):
    """Somebody else answered first; their answer stands."""

    def __init__(self, question_id: str, by: str, at: str | None = None) -> None:
        super().__init__(question_id)
        when = f" at {at[:19].replace('T', ' ')} UTC" if at else ""
        who = by or "Somebody"
        self.args = (
            f"{who} answered this question{when}; that answer stands, and yours was not recorded. To change "
            "it, restore a checkpoint that lies before the answer.",
        )
        self.by = by
        self.at = at


class QuestionReplaced(QuestionNotFound):
    """What has this question's id now was asked later than the one that was meant."""

    def __init__(self, question_id: str) -> None:
        super().__init__(question_id)
        self.args = (
            f"Question {question_id!r} was asked anew since; your answer was not recorded. Read what is "
            "asked now, and answer that.",
        )


# What was given cannot be taken…


class InvalidId(StateError, ValueError):
    """An id is not made of 1 to 128 letters, digits and ``- _ . :``."""


class InvalidValue(StateError, ValueError):
    """A value cannot be stored, or does not fit what was asked for."""


class HistoryCompacted(InvalidValue):
    """A place in a log that was asked for was compacted away."""

    def __init__(self, session_id: str, seq: int, first_seq: int, compacted_at: str = "") -> None:
        when = f" on {compacted_at[:10]}" if compacted_at else ""
        super().__init__(
            f"Session {session_id!r} was compacted{when}: its log begins at event {first_seq}, so that "
            f"there is no state at {seq} any more. Ask for {first_seq} or a later one."
        )
        self.session_id = session_id
        self.first_seq = first_seq


class TooLarge(InvalidValue):
    """One append, or one value in it, exceeds the limit of its store or of the configuration."""


class SessionExists(StateError, ValueError):
    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"Session {session_id!r} exists already. Choose another id, resume that one with "
            f"`resume_session({session_id!r})`, or delete it first."
        )
        self.session_id = session_id


class TransitionError(StateError, RuntimeError):
    """What was asked for does not fit the session's present status."""

    def __init__(self, session_id: str, status: str, verb: str, remedy: str) -> None:
        super().__init__(f"Cannot {verb} session {session_id!r}: it is {status}. {remedy}")
        self.session_id = session_id
        self.status = status


# Somebody else was there…


class ConflictError(StateError, RuntimeError):
    """The session moved on between reading it and writing to it."""

    def __init__(self, session_id: str, expected: int | None, actual: int) -> None:
        super().__init__(
            f"Session {session_id!r} has moved on: event {actual} is its last, this write was made for "
            f"{expected}. Read the state again and repeat the change on it."
        )
        self.session_id = session_id
        self.expected = expected
        self.actual = actual


class EventGone(ConflictError):
    """An event that was to be rewritten is not there any more, or another stands in its place."""

    def __init__(self, session_id: str, seq: int) -> None:
        StateError.__init__(
            self,
            f"Session {session_id!r}: event {seq} is not the one that was read; the session was compacted, "
            "or deleted and created again, meanwhile. Nothing was written. Read it again and repeat.",
        )
        self.session_id = session_id
        self.expected = self.actual = self.seq = seq


class Diverged(StateError, RuntimeError):
    """Two stores hold different things under one session id."""

    def __init__(self, session_id: str, what: str) -> None:
        super().__init__(
            f"Session {session_id!r} is not the same in both stores: {what} differs. Nothing in the source "
            "was changed. Keep one of the two: delete it in the target and copy again, or leave it out."
        )
        self.session_id = session_id
        self.what = what


class LeaseError(StateError, RuntimeError):
    """Who may write to a session, and who may not."""


class LeaseHeld(LeaseError):
    """Another owner holds the session."""

    def __init__(self, session_id: str, owner: str, expires_at: datetime | None = None) -> None:
        until = f" until {expires_at:%Y-%m-%d %H:%M:%S} UTC unless renewed" if expires_at else ""
        super().__init__(
            f"Session {session_id!r} is held by {owner!r}{until}. "
            "Pause it there first, or wait for its lease to run out."
        )
        self.session_id = session_id
        self.owner = owner
        self.expires_at = expires_at


class LeaseLost(LeaseError):
    """This owner's lease ran out, or another owner has taken the session since."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"The lease on session {session_id!r} is lost: nothing was written. Somebody else may have "
            "continued it; read its state, then resume it if it is interrupted."
        )
        self.session_id = session_id


# The store or what it holds is not well…


class StorageError(StateError, OSError):
    """A store refused or failed."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StorageUnavailable(StorageError, ConnectionError):
    """The store cannot be reached at present. Nothing that was acknowledged is lost; try again."""


class MigrationNeeded(StorageError):
    """The tables are older than this version of the library."""


class QuotaExceeded(StorageError):
    """The store holds more than ``max_storage_size_mb``: nothing new begins, what is under way goes on."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(
            f"The store holds {used / 1e6:.1f} MB, more than its quota of {limit / 1e6:.1f} MB; nothing was "
            "written. Delete sessions that are not needed (`manage.py prune` shows which could go), or raise "
            "max_storage_size_mb."
        )
        self.used = used
        self.limit = limit


class DamagedError(StateError, ValueError):
    """Stored bytes are not the bytes that were written."""

    def __init__(self, session_id: str, what: str, why: str) -> None:
        super().__init__(
            f"Session {session_id!r}: {what} is damaged ({why}). It is not used. "
            "Restore the store from a backup, or restore a checkpoint that lies before it."
        )
        self.session_id = session_id
        self.what = what


class EncryptionKeyError(StateError, ValueError):
    """The key for an encrypted body is missing or is not the one that it was written with."""


class ConfigurationError(StateError, ValueError):
    """An option has a value that cannot work."""


class MissingExtra(ConfigurationError, ImportError):
    """A package that only one part of this library needs is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} is not installed, which this adapter needs. Install the extra `{extra}`: "
            f'pip install "marsys-dashboard[{extra}]", or pip install -e ".[{extra}]" in a checkout.'
        )


# Orchestration…


class OrchestraError(StateError, RuntimeError):
    """A workflow cannot be run as it was described."""


class TopologyError(OrchestraError, ValueError):
    """The topology has a hole, a circle or a name twice."""


class AgentNotFound(OrchestraError, LookupError):
    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"No agent is registered as {name!r} (registered: {names}). "
            f'Decorate a function with @agent("{name}") or pass agents={{"{name}": function}}.'
        )
        self.name = name


class StepTimeout(OrchestraError, TimeoutError):
    """A step took longer than its time-out."""


# Control flow…


class PauseRequested(BaseException):
    """Raised at a step boundary when the session is to pause. Let it pass: the session records the rest.

    It derives from BaseException, like ``asyncio.CancelledError``, so that an agent's own
    ``except Exception`` does not swallow it.
    """


class CancelRequested(BaseException):
    """Raised at a step boundary when the session is to be cancelled. Let it pass."""
