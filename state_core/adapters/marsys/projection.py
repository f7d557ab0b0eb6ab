"""What lists and graphs show of a saved MARSYS state, as events: branches, steps and statuses.

Only for sessions that nobody records live; content stays where it was saved, and is not told twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from state_core.compose import make_event
from state_core.events import Event, EventKind
from state_core.heads import short
from state_core.records import (
    BRANCH_ENDED,
    BranchStatus,
    BranchType,
    Document,
    SessionStatus,
    StepStatus,
    utc_now,
)
from state_core.saving import BRANCH_KINDS

_TYPES = {"nested": BranchType.NESTED, "aggregation": BranchType.NESTED}
_STATUSES = {status.value: status for status in BranchStatus}
_SESSION_KINDS = {
    SessionStatus.PAUSED: EventKind.SESSION_PAUSED,
    SessionStatus.COMPLETED: EventKind.SESSION_COMPLETED,
    SessionStatus.FAILED: EventKind.SESSION_FAILED,
}


def as_id(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", text).strip("-.")[:128] or "branch"


def projected(document: Document, state: Document, actor: str) -> list[Event]:
    """The events that make a session's outline tell what the saved state says."""
    return [
        *_branches(document, state, actor),
        *_status(document, state, actor),
    ]


def _branches(document: Document, state: Document, actor: str) -> Iterator[Event]:
    there = set(document["branches"])
    for name, branch in _dicts(state.get("branches")):
        branch_id = as_id(name)
        known = document["branches"].get(branch_id)
        status = BranchStatus(known["status"]) if known else BranchStatus.RUNNING
        if not known:
            yield _opened(there, branch_id, branch, actor)
            there.add(branch_id)
        yield from _steps(known, branch_id, state.get("branch_results", {}).get(name), actor)
        wanted = _wanted(branch, state.get("branch_results", {}).get(name))
        if wanted in BRANCH_KINDS and wanted != status:
            error = short((branch.get("state") or {}).get("error") or "")
            data = {"error": error, "reopened": status in BRANCH_ENDED or ""}
            kind = BRANCH_KINDS[wanted]
            yield make_event(kind, actor=actor, branch_id=branch_id, status=str(wanted), data=data)


def _opened(there: set[str], branch_id: str, branch: Document, actor: str) -> Event:
    parent = as_id(branch["parent_branch"]) if branch.get("parent_branch") else ""
    kind = _TYPES.get(str(branch.get("type")), BranchType.PARALLEL if parent else BranchType.MAIN)
    began = (branch.get("state") or {}).get("start_time")
    return make_event(
        EventKind.BRANCH_OPENED,
        actor=actor,
        branch_id=branch_id,
        agent=str((branch.get("topology") or {}).get("current_agent") or ""),
        status=str(BranchStatus.RUNNING),
        data={
            "name": short(branch.get("name") or branch_id, 128),
            "type": str(kind),
            "parents": [parent] if parent in there else [],
        },
        at=datetime.fromtimestamp(began, UTC) if began else utc_now(),
    )


def _steps(known: Document | None, branch_id: str, result: Document | None, actor: str) -> Iterator[Event]:
    recorded = len(known["steps"]) if known else 0
    trace = (result or {}).get("execution_trace") or []
    for number, step in enumerate(trace[recorded:], start=recorded + 1):
        header: dict[str, Any] = {
            "actor": actor,
            "branch_id": branch_id,
            "step_id": f"{branch_id[:120]}:{number}",
            "agent": str(step.get("agent_name") or ""),
        }
        yield make_event(
            EventKind.STEP_STARTED, status=str(StepStatus.RUNNING), data={"attempt": 1}, **header
        )
        if step.get("success"):
            yield make_event(EventKind.STEP_COMPLETED, status=str(StepStatus.COMPLETED), **header)
        else:
            data = {"error": short(step.get("error") or "failed"), "attempt": 1}
            yield make_event(EventKind.STEP_FAILED, status=str(StepStatus.FAILED), data=data, **header)


def _wanted(branch: Document, result: Document | None) -> BranchStatus | None:
    if result:
        return BranchStatus.COMPLETED if result.get("success") else BranchStatus.FAILED
    return _STATUSES.get(str((branch.get("state") or {}).get("status")))


def _status(document: Document, state: Document, actor: str) -> Iterator[Event]:
    present = SessionStatus(document["status"])
    wanted = _session_status(state)
    if document["started_at"] is None:
        yield make_event(EventKind.SESSION_STARTED, actor=actor)
        present = SessionStatus.RUNNING
    if wanted == present:
        return
    kind = _SESSION_KINDS.get(wanted, EventKind.SESSION_RESUMED)
    errors = [r.get("error") for _, r in _dicts(state.get("branch_results")) if r.get("error")]
    failed = wanted == SessionStatus.FAILED and errors
    yield make_event(kind, actor=actor, data={"error": short(errors[0])} if failed else {})


def _session_status(state: Document) -> SessionStatus:
    if (state.get("metadata") or {}).get("paused"):
        return SessionStatus.PAUSED
    if state.get("active_branches") or not state.get("completed_branches"):
        return SessionStatus.RUNNING
    results = dict(_dicts(state.get("branch_results")))
    is_well = not results or any(result.get("success") for result in results.values())
    return SessionStatus.COMPLETED if is_well else SessionStatus.FAILED


def _dicts(value: Any) -> Iterator[tuple[str, Document]]:
    """Names and dicts; what is of another shape is no branch."""
    if isinstance(value, dict):
        yield from ((str(name), part) for name, part in value.items() if isinstance(part, dict))
