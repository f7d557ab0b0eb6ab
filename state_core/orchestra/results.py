"""What running a workflow gives."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from state_core.orchestra.agents import Handoff, response_of
from state_core.records import BranchStatus, Document, SessionStatus, StepStatus

FINAL = "final_response"
"""Name of the intermediate result that keeps the final response."""


@dataclass(frozen=True)
class OrchestraResult:
    """How a session stands when its orchestra let go of it.

    A failure is not a result: the agent's own exception is raised.
    """

    session_id: str
    status: SessionStatus
    """``completed``, ``paused`` or ``cancelled``."""
    final_response: Any = None
    """The last branch's response, or ``{branch name: response}`` of several; None before the end."""
    branch_results: dict[str, Any] = field(default_factory=dict)
    """Branch id → response, of those that completed."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The session's; agents change it as ``context.metadata``."""
    context: dict[str, Any] = field(default_factory=dict)
    total_steps: int = 0
    """Steps completed in the session so far."""
    duration: float = 0.0
    """Seconds that this call took."""
    error: str | None = None
    """Why it was not completed, in a line."""

    @property
    def success(self) -> bool:
        return self.status == SessionStatus.COMPLETED

    @classmethod
    def of(cls, document: Document, duration: float) -> OrchestraResult:
        status = SessionStatus(document["status"])
        ended_well = status == SessionStatus.COMPLETED
        final = document["intermediate_results"].get(FINAL) if ended_well else None
        return cls(
            session_id=document["session_id"],
            status=status,
            final_response=deepcopy(final),
            branch_results=deepcopy(_responses(document)),
            metadata=deepcopy(document["metadata"]),
            context=deepcopy(document["context"]),
            total_steps=_completed_steps(document),
            duration=duration,
            error=None if ended_well else document["error"] or document["reason"] or None,
        )


def recorded_response(branch: Document) -> Any:
    """The response of a completed branch: that of its last step."""
    steps = list(branch["steps"].values())
    response = response_of(steps[-1]["output"]) if steps else None
    return None if isinstance(response, Handoff) else response


def _responses(document: Document) -> dict[str, Any]:
    return {
        branch_id: recorded_response(branch)
        for branch_id, branch in document["branches"].items()
        if branch["status"] == BranchStatus.COMPLETED
    }


def _completed_steps(document: Document) -> int:
    return sum(
        step["status"] == StepStatus.COMPLETED
        for branch in document["branches"].values()
        for step in branch["steps"].values()
    )
