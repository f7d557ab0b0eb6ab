"""A clean-up as a job: what its plan keeps of each session, and what is done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.template.defaultfilters import pluralize

from marsys_dashboard.activity import note_deletion
from marsys_dashboard.models import Job, JobItem, Outcome
from marsys_dashboard.templatetags.state import number
from state_core.compaction import Compaction
from state_core.manager import StateManager
from state_core.records import SessionStatus, parse_time, show_time
from state_core.retention import CheckpointRemoval, CleanupReport, Limits, SessionRemoval
from state_core.words import size

CLEAN_UP = "clean-up"
"""The verb of such a job."""


def limits(given: Mapping[str, Any]) -> Limits:
    """From days and megabytes, None for no limit, and the moment for which the plan was made."""

    def days(name: str) -> timedelta | None:
        number = given.get(name)
        return None if number is None else timedelta(days=number)

    most = given.get("max_mb")
    return Limits(
        session_age=days("session_age_days"),
        checkpoint_age=days("checkpoint_age_days"),
        history_age=days("history_age_days"),
        max_bytes=None if most is None else int(most * 1_000_000),
        at=parse_time(given.get("at")),
    )


# What a plan keeps of each session


def sessions_in(plan: CleanupReport) -> dict[str, dict[str, Any]]:
    """Session id → what is to be done to it, as JSON: it goes, or it loses checkpoints and history."""
    found: dict[str, dict[str, Any]] = {}
    for session_id, data in _parts(plan):
        found.setdefault(session_id, {}).update(data)
    return found


def _parts(plan: CleanupReport) -> Iterator[tuple[str, dict[str, Any]]]:
    for removal in plan.sessions:
        data = {"why": removal.why, "status": str(removal.status), "bytes": removal.bytes}
        yield removal.session_id, {**_place(removal), **data}
    for loss in plan.checkpoints:
        yield loss.session_id, {**_place(loss), "checkpoints": list(loss.checkpoint_ids)}
    for compaction in plan.compactions:
        yield compaction.session_id, {"compaction": asdict(compaction)}


def _place(removal: SessionRemoval | CheckpointRemoval) -> dict[str, Any]:
    return {"last_seq": removal.last_seq, "updated_at": show_time(removal.updated_at)}


def _plan_of(item: JobItem) -> CleanupReport:
    data, plan = item.data, CleanupReport(dry_run=True)
    updated_at = parse_time(data.get("updated_at"))
    if "why" in data:
        status = SessionStatus(data["status"])
        removal = SessionRemoval(
            item.session_id, data["why"], status, data["last_seq"], updated_at, data["bytes"]
        )
        plan.sessions.append(removal)
    if "checkpoints" in data:
        ids = tuple(data["checkpoints"])
        plan.checkpoints.append(CheckpointRemoval(item.session_id, ids, data["last_seq"], updated_at))
    if "compaction" in data:
        plan.compactions.append(Compaction(**data["compaction"]))
    return plan


# Carrying it out


async def clean_up(of_store: StateManager, job: Job, item: JobItem) -> None:
    """Do to a session what was planned, and write the outcome into the item."""
    head = await of_store.get_head(item.session_id)
    report = await of_store.retention.carry_out(_plan_of(item))
    if report.does_nothing:
        item.end(Outcome.SKIPPED, "It changed since the clean-up was planned, or is gone already.")
        return
    if report.sessions:
        await note_deletion(item.store, head, job.actor, job.reason)
    item.end(Outcome.DONE, " ".join(told(report)))


def told(report: CleanupReport) -> Iterator[str]:
    if report.sessions:
        yield "The session is deleted."
    if report.checkpoint_count:
        several = report.checkpoint_count != 1
        yield f"{number(report.checkpoint_count)} checkpoint{'s are' if several else ' is'} deleted."
    for compaction in report.compactions:
        events = f"{number(compaction.events)} event{pluralize(compaction.events)}"
        yield f"{events} of its history became one; {size(compaction.bytes_saved)} are free."
