"""What the HTTP API takes and answers of changes that wait for approval."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from marsys_dashboard.api.schemas import LARGEST
from marsys_dashboard.forms import LONGEST_REASON


class DecisionOut(Schema):
    """What can be decided about it, and whether this caller can."""

    verb: str
    allowed: bool
    why_not: str
    reason_required: bool
    consequences: list[str]
    url: str


class ChangeOut(Schema):
    """A changed context that another person is to approve; then the session is resumed with it."""

    number: int
    store: str
    session_id: str
    seq: int = Field(description="The session's last event when it was proposed.")
    proposer: str
    reason: str
    proposed_at: datetime
    sets: list[str] = Field(description="Names that it adds or changes.")
    removes: list[str] = Field(description="Names that it takes out.")
    note: str = Field(description="Why the change cannot be read here, or empty.")
    moved: str = Field(description="What happened in the session since, or empty. Then it is not approved.")
    decisions: list[DecisionOut]
    url: str = Field(description="The change with all of its values.")


class WaitingChange(ChangeOut):
    values: dict[str, Any] | None = Field(None, description="What it sets.")
    before: dict[str, Any] | None = Field(None, description="What stands there now.")


class Changes(Schema):
    changes: list[ChangeOut] = Field(description="The one that waits longest first.")
    more: bool = Field(description="Are there more than were read?")
    problems: dict[str, str] = Field(description="Session → why its change is missing.")


class SentChange(Schema):
    model_config = {"extra": "forbid"}

    reason: str = Field("", max_length=LONGEST_REASON, description="For the person who is to approve it.")
    context: dict[str, Any] = Field({}, description="Merged into the session's context.")
    edited: dict[str, Any] | None = Field(
        None, description="The whole context as it is to be; needs `expected_seq`."
    )
    expected_seq: int | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="Refuse with 409 where this is not the session's last event any more.",
    )


class Proposed(Schema):
    message: str
    change: int = Field(description="Its number.")


class SentDecision(Schema):
    model_config = {"extra": "forbid"}

    reason: str = Field("", max_length=LONGEST_REASON, description="Recorded with your name.")
