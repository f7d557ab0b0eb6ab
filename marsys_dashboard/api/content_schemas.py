"""What the HTTP API answers of what is in sessions, and of who did what to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from marsys_dashboard.activity import ALL_VERBS
from marsys_dashboard.api.schemas import CheckpointOut, QuestionOut, one_of


class State(Schema):
    """All that a session is at one place in its log."""

    session_id: str
    status: str
    seq: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str
    error: str | None
    context: dict[str, Any]
    metadata: dict[str, Any]
    agent_memories: dict[str, list[dict[str, Any]]]
    intermediate_results: dict[str, Any]
    branches: dict[str, Any] = Field(description="By id, each with its steps and its memory.")
    questions: dict[str, Any] = Field(description="By id, open and answered ones.")


class Branch(Schema):
    branch_id: str
    name: str
    branch_type: str
    status: str
    agent: str | None
    parent_ids: list[str]
    joined_ids: list[str] = Field(description="The parents that have arrived at the join.")
    opened_at: datetime | None
    ended_at: datetime | None
    error: str | None
    steps: int
    messages: int


class Branches(Schema):
    branches: list[Branch] = Field(description="In the order in which they were opened.")
    seq: int = Field(description="The event that this is as of.")
    next: str | None = Field(description="Address of those that follow.")


class Step(Schema):
    branch_id: str
    step_id: str
    agent: str | None
    status: str
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    duration: float | None
    error: str | None
    input: Any
    output: Any
    metadata: dict[str, Any]
    note: str = Field("", description="Why some of its content is missing.")
    url: str = Field(description="The step with all of its content.")


class Steps(Schema):
    steps: list[Step] = Field(description="In the order in which they began.")
    seq: int = Field(description="The event that this is as of.")
    earlier: str | None = Field(description="Address of those before them.")


class MessageOut(Schema):
    seq: int = Field(description="The event that it came with.")
    branch_id: str
    agent: str
    role: str
    name: str
    content: Any
    created_at: datetime | None
    note: str = Field("", description="Why its content is missing, or what else is to be said.")


class Messages(Schema):
    messages: list[MessageOut] = Field(description="The oldest first.")
    seq: int = Field(description="The event that this is as of.")
    earlier: str | None = Field(description="Address of those before them.")


class Checkpoints(Schema):
    checkpoints: list[CheckpointOut] = Field(description="The newest first.")
    earlier: str | None = Field(description="Address of those before them.")


class WaitingQuestion(QuestionOut):
    store: str
    session_id: str
    note: str = Field(description="Why it cannot be read here, or empty.")
    answer_url: str = Field(description="Where the answer is sent to.")


class WaitingQuestions(Schema):
    questions: list[WaitingQuestion] = Field(description="The one that waits longest first.")
    more: bool = Field(description="Are there sessions with questions beyond those that were read?")
    problems: dict[str, str] = Field(description="Store or session → why it is missing.")


class RelativeOut(Schema):
    session_id: str
    seq: int = Field(description="The event of the older one at which the younger began.")
    generation: int = Field(description="-1: where it comes from; 1: a fork of it; 2: a fork of a fork.")
    status: str | None = Field(description="null where it is there no more.")
    at: datetime | None
    actor: str
    reason: str


class RestoreOut(Schema):
    seq: int
    to: int
    checkpoint_id: str
    at: datetime
    actor: str
    reason: str


class LineageOut(Schema):
    origins: list[RelativeOut] = Field(description="The eldest first.")
    forks: list[RelativeOut] = Field(description="Each followed by its own forks.")
    restores: list[RestoreOut] = Field(description="The oldest first.")
    is_cut: bool = Field(description="There are more than are told.")


class ActivityOut(Schema):
    at: datetime
    actor: str
    is_person: bool
    verb: str
    kind: str
    reason: str
    before: str = Field(description="The session's status, where it changed.")
    after: str
    detail: str
    store: str
    session_id: str
    seq: int


class ActivityFilter(Schema):
    """The same words as in the address of the dashboard's page."""

    actor: str = ""
    who: str = Field(
        "", description="`people` or `programs`.", json_schema_extra=one_of(["", "people", "programs"])
    )
    verb: str = Field("", json_schema_extra=one_of(["", *ALL_VERBS]))
    session: str = Field("", description="A session's id.")
    store: str = ""
    since: str = Field("", description="`24h`, `7d`, or a moment (ISO 8601).")
    until: str = ""
    before: str = Field("", description="Where the page begins, from `next` of the one before.")


class Activities(Schema):
    activity: list[ActivityOut] = Field(description="The newest first.")
    behind: list[str] = Field(description="Stores of which not all has been read yet; ask again.")
    problems: dict[str, str] = Field(description="Store or session → why it is missing.")
    next: str | None = Field(description="Address of the next page.")
