"""The records that people and programs read: sessions, branches, steps, messages, checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from state_core.exceptions import InvalidId

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

Document = dict[str, Any]
"""A session's state as plain JSON values: what the fold makes and a snapshot holds."""


def check_id(value: str, what: str = "session id") -> str:
    """Return ``value``, or raise InvalidId. Ids become folders, keys, groups and addresses."""
    if isinstance(value, str) and _ID.fullmatch(value) and value not in {".", ".."}:
        return value
    shown = repr(value if not isinstance(value, str) else value[:140])
    raise InvalidId(f"{shown} is not a {what}. Use 1 to 128 letters, digits, '-', '_', '.' or ':'.")


def utc_now() -> datetime:
    return datetime.now(UTC)


def parse_time(value: str | datetime | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def show_time(value: datetime | None) -> str | None:
    if type(value) is datetime and value.tzinfo is UTC:
        return orjson.dumps(value)[1:-1].decode()  # The same text, in a third of the time.
    return value.isoformat() if value else None


class SessionStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    """A pause was asked for; branches finish their present step."""
    WAITING = "waiting"
    """A person's answer is needed."""
    PAUSED = "paused"
    RESUMING = "resuming"
    """A resume was asked for; no orchestrator has taken the session yet."""
    CANCELLING = "cancelling"
    """A cancellation was asked for; branches finish their present step."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The lease of who ran it ran out."""


HELD = frozenset(
    {SessionStatus.RUNNING, SessionStatus.PAUSING, SessionStatus.WAITING, SessionStatus.CANCELLING}
)
"""Statuses in which an orchestrator holds the session."""
ENDED = frozenset({SessionStatus.COMPLETED, SessionStatus.FAILED, SessionStatus.CANCELLED})
RESUMABLE = frozenset(
    {
        SessionStatus.PENDING,
        SessionStatus.PAUSED,
        SessionStatus.RESUMING,
        SessionStatus.INTERRUPTED,
        SessionStatus.FAILED,
    }
)


class BranchStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    """For a person or for a sibling."""
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


BRANCH_ENDED = frozenset({BranchStatus.COMPLETED, BranchStatus.FAILED, BranchStatus.CANCELLED})


class BranchType(StrEnum):
    MAIN = "main"
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    NESTED = "nested"
    """Opened at run time from inside a step."""


class StepStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class CheckpointKind(StrEnum):
    MANUAL = "manual"
    AUTO = "auto"
    COMPLETION = "completion"
    ERROR = "error"
    PRE_RESTORE = "pre_restore"


CHECKPOINT_KINDS = {str(kind): kind for kind in CheckpointKind}
"""By their text. Looking one up here takes a fifth of what `CheckpointKind` takes, which lists feel."""


@dataclass
class Message:
    """One entry of a branch's or an agent's memory."""

    role: str
    content: Any
    agent: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Message:
        values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        values["created_at"] = parse_time(values.get("created_at"))
        return cls(**{"role": "", "content": None, **values})

    def to_document(self) -> Document:
        """Only what is set, so that a message costs no more bytes than it says. The content is not copied."""
        document: Document = {"role": self.role, "content": self.content}
        if self.agent is not None:
            document["agent"] = self.agent
        if self.name is not None:
            document["name"] = self.name
        if self.created_at is not None:
            document["created_at"] = show_time(self.created_at)
        if self.metadata:
            document["metadata"] = self.metadata
        return document


@dataclass
class StepState:
    """One invocation of an agent in a branch."""

    step_id: str
    agent: str | None = None
    status: StepStatus = StepStatus.RUNNING
    attempt: int = 1
    input: Any = None
    output: Any = None
    error: str | None = None
    """The traceback, or the message where there is none."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    """Seconds, measured by the orchestrator's monotonic clock; of the last attempt."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> StepState:
        values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        values["status"] = StepStatus(values["status"])
        for name in ("started_at", "ended_at"):
            values[name] = parse_time(values.get(name))
        return cls(**values)

    def to_document(self) -> Document:
        return {
            **asdict(self),
            "status": str(self.status),
            "started_at": show_time(self.started_at),
            "ended_at": show_time(self.ended_at),
        }


@dataclass
class BranchState:
    """One line of execution in a session."""

    branch_id: str
    branch_type: BranchType = BranchType.SEQUENTIAL
    status: BranchStatus = BranchStatus.RUNNING
    parent_id: str | None = None
    """The first of ``parent_ids``."""
    child_ids: list[str] = field(default_factory=list)

    # Execution trace
    steps: list[StepState] = field(default_factory=list)
    current_step_index: int = -1
    """Index of the newest step in ``steps``; -1 before the first."""

    # Branch-specific data
    memory: list[Message] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    name: str = ""
    agent: str | None = None
    parent_ids: list[str] = field(default_factory=list)
    """More than one where branches join."""
    joined_ids: list[str] = field(default_factory=list)
    """The parents that have arrived at the join."""
    opened_at: datetime | None = None
    ended_at: datetime | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> BranchState:
        values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        values["branch_type"] = BranchType(values["branch_type"])
        values["status"] = BranchStatus(values["status"])
        values["steps"] = [StepState.from_document(step) for step in document["steps"].values()]
        values["memory"] = [Message.from_document(message) for message in document["memory"]]
        values["current_step_index"] = len(values["steps"]) - 1
        values["parent_id"] = next(iter(document["parent_ids"]), None)
        for name in ("child_ids", "parent_ids", "joined_ids", "metadata"):
            values[name] = type(values[name])(values[name])
        for name in ("opened_at", "ended_at"):
            values[name] = parse_time(values.get(name))
        return cls(**values)

    def to_document(self) -> Document:
        parents = self.parent_ids or ([self.parent_id] if self.parent_id else [])
        return {
            "branch_id": self.branch_id,
            "name": self.name or self.branch_id,
            "branch_type": str(self.branch_type),
            "status": str(self.status),
            "agent": self.agent,
            "parent_ids": list(parents),
            "child_ids": list(self.child_ids),
            "joined_ids": list(self.joined_ids),
            "opened_at": show_time(self.opened_at),
            "ended_at": show_time(self.ended_at),
            "error": self.error,
            "steps": {step.step_id: step.to_document() for step in self.steps},
            "memory": [message.to_document() for message in self.memory],
            "message_count": len(self.memory),
            "metadata": dict(self.metadata),
        }


@dataclass
class Question:
    """Something that a step asks a person."""

    question_id: str
    prompt: Any = None
    branch_id: str | None = None
    step_id: str | None = None
    agent: str | None = None
    schema: dict[str, Any] | None = None
    """A JSON Schema that the answer must satisfy."""
    choices: list[Any] | None = None
    asked_at: datetime | None = None
    status: str = "open"
    """``open`` or ``answered``."""
    answer: Any = None
    answered_by: str = ""
    answered_at: datetime | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Question:
        values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        for name in ("asked_at", "answered_at"):
            values[name] = parse_time(values.get(name))
        return cls(**values)

    def to_document(self) -> Document:
        return {
            **asdict(self),
            "asked_at": show_time(self.asked_at),
            "answered_at": show_time(self.answered_at),
        }


@dataclass(slots=True)
class Checkpoint:
    """A named place in a session's log. It costs one small row, whatever the state's size."""

    id: str
    session_id: str
    name: str
    seq: int
    """State restored from it is the state after this event."""
    created_at: datetime
    size_bytes: int = 0
    """Size of the content of the state that it stands for, as JSON. Bytes."""
    kind: CheckpointKind = CheckpointKind.MANUAL
    actor: str = ""
    reason: str = ""
    pinned: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    """branches, steps, messages … of the state that it stands for."""


@dataclass
class SessionState:
    """Everything that a session is at one place in its log."""

    session_id: str
    status: SessionStatus = SessionStatus.PENDING
    branches: list[BranchState] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    checkpoint_ids: list[str] = field(default_factory=list)

    # Execution metrics, computed from the branches when the state is read
    total_steps: int = 0
    completed_steps: int = 0
    failed_steps: int = 0

    # Memory snapshots
    agent_memories: dict[str, list[Message]] = field(default_factory=dict)

    # Partial results
    intermediate_results: dict[str, Any] = field(default_factory=dict)

    seq: int = 0
    """The event after which this is the state; `save_session_state` compares it with the log."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    error: str | None = None
    questions: list[Question] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def branch(self, branch_id: str) -> BranchState | None:
        return next((b for b in self.branches if b.branch_id == branch_id), None)

    @classmethod
    def from_document(
        cls, document: Mapping[str, Any], checkpoints: list[Checkpoint] | None = None
    ) -> SessionState:
        branches = [BranchState.from_document(b) for b in document["branches"].values()]
        steps = [step for branch in branches for step in branch.steps]
        places = checkpoints or []
        return cls(
            session_id=document["session_id"],
            status=SessionStatus(document["status"]),
            branches=branches,
            context=document["context"],
            metadata=document["metadata"],
            created_at=parse_time(document["created_at"]) or utc_now(),
            updated_at=parse_time(document["updated_at"]) or utc_now(),
            checkpoint_ids=[place.id for place in places],
            total_steps=len(steps),
            completed_steps=sum(step.status == StepStatus.COMPLETED for step in steps),
            failed_steps=sum(step.status == StepStatus.FAILED for step in steps),
            agent_memories={
                agent: [Message.from_document(m) for m in memory]
                for agent, memory in document["agent_memories"].items()
            },
            intermediate_results=document["intermediate_results"],
            seq=document["seq"],
            started_at=parse_time(document["started_at"]),
            ended_at=parse_time(document["ended_at"]),
            reason=document["reason"],
            error=document["error"],
            questions=[Question.from_document(q) for q in document["questions"].values()],
            checkpoints=places,
        )

    def to_document(self) -> Document:
        return {
            "session_id": self.session_id,
            "status": str(self.status),
            "seq": self.seq,
            "created_at": show_time(self.created_at),
            "updated_at": show_time(self.updated_at),
            "started_at": show_time(self.started_at),
            "ended_at": show_time(self.ended_at),
            "reason": self.reason,
            "error": self.error,
            "context": dict(self.context),
            "metadata": dict(self.metadata),
            "agent_memories": {
                agent: [m.to_document() for m in memory] for agent, memory in self.agent_memories.items()
            },
            "intermediate_results": dict(self.intermediate_results),
            "branches": {b.branch_id: b.to_document() for b in self.branches},
            "questions": {q.question_id: q.to_document() for q in self.questions},
        }

    def to_visualization_format(self) -> Document:
        """JSON for external tools: ``nodes`` and ``edges`` of the branch graph, ``timeline`` bars,
        ``checkpoints``. Times are ISO 8601 in UTC, durations seconds."""
        return {
            "session": {
                "id": self.session_id,
                "status": str(self.status),
                "seq": self.seq,
                "created_at": show_time(self.created_at),
                "updated_at": show_time(self.updated_at),
                "steps": {
                    "total": self.total_steps,
                    "completed": self.completed_steps,
                    "failed": self.failed_steps,
                },
            },
            "nodes": [_node(branch) for branch in self.branches],
            "edges": [
                {"source": parent, "target": branch.branch_id, "joined": parent in branch.joined_ids}
                for branch in self.branches
                for parent in branch.parent_ids
            ],
            "timeline": [_bar(branch, step) for branch in self.branches for step in branch.steps],
            "checkpoints": [
                {
                    "id": place.id,
                    "name": place.name,
                    "seq": place.seq,
                    "kind": str(place.kind),
                    "created_at": show_time(place.created_at),
                    "size_bytes": place.size_bytes,
                }
                for place in self.checkpoints
            ],
        }


def _node(branch: BranchState) -> Document:
    return {
        "id": branch.branch_id,
        "label": branch.name or branch.branch_id,
        "type": str(branch.branch_type),
        "status": str(branch.status),
        "agent": branch.agent,
        "steps": len(branch.steps),
        "messages": len(branch.memory),
    }


def _bar(branch: BranchState, step: StepState) -> Document:
    return {
        "step_id": step.step_id,
        "branch_id": branch.branch_id,
        "agent": step.agent,
        "status": str(step.status),
        "attempt": step.attempt,
        "started_at": show_time(step.started_at),
        "ended_at": show_time(step.ended_at),
        "duration": step.duration,
    }


@dataclass(frozen=True)
class Lease:
    """The right to write to a session, until it expires by the store's clock."""

    session_id: str
    owner: str
    fence: int
    expires_at: datetime


COUNTS = (
    "branches",
    "branches_ended",
    "steps",
    "steps_completed",
    "steps_failed",
    "messages",
    "questions",
    "checkpoints",
    "restores",
    "state_bytes",
    "stored_bytes",
)
"""What a head counts. ``questions`` are the open ones; ``state_bytes`` is the size of the present
state's content as JSON, ``stored_bytes`` what its log takes in the store."""


@dataclass
class Head:
    """What a store tells of a session without its history."""

    session_id: str
    status: SessionStatus = SessionStatus.PENDING
    first_seq: int = 1
    """The log begins here: higher than 1 where it was compacted."""
    last_seq: int = 0
    last_kind: str = ""
    title: str = ""
    workflow: str = ""
    tags: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    """Names of the agents at work."""
    worked: list[str] = field(default_factory=list)
    """Names of the agents that have begun a step in it, the first first; `heads.MOST_WORKED` at most."""
    refuses: list[str] = field(default_factory=list)
    """Verbs (``pause``, ``resume`` …) that the program which runs it does not carry out, as where it is
    only recorded from outside."""
    reason: str = ""
    error: str = ""
    origin: str = ""
    """For a fork: ``<session id>@<seq>``."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    owner: str = ""
    fence: int = 0
    lease_expires_at: datetime | None = None

    @property
    def event_count(self) -> int:
        """Of those that are kept."""
        return self.last_seq - self.first_seq + 1

    @property
    def duration_seconds(self) -> float:
        """From start to end, or to now while it lasts."""
        if self.started_at is None:
            return 0.0
        return max(0.0, ((self.ended_at or utc_now()) - self.started_at).total_seconds())


@dataclass(frozen=True)
class SessionMetrics:
    session_id: str
    status: SessionStatus
    duration_seconds: float
    steps_total: int
    steps_completed: int
    steps_failed: int
    branches: int
    messages: int
    storage_bytes: int
    state_bytes: int
    checkpoint_count: int
    events: int


@dataclass(frozen=True)
class StorageMetrics:
    total_sessions: int
    active_sessions: int
    """Those that an orchestrator holds at present, or that wait to be resumed."""
    total_bytes: int
    total_events: int
    total_checkpoints: int
    by_status: dict[str, int]
