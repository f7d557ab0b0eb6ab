"""How a session stands, in words that promise nothing which the log does not say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from state_core.records import BRANCH_ENDED, HELD, Document, Head, SessionStatus, parse_time
from state_core.words import STATUSES, StatusWord


@dataclass(frozen=True, slots=True)
class Standing:
    status: str
    detail: str = ""
    """What stands behind the status word."""
    since: datetime | None = None
    """Since when, where the page counts the seconds."""
    hint: str = ""
    """What helps, once it has lasted for some seconds."""

    @property
    def word(self) -> StatusWord:
        return STATUSES[self.status]

    @property
    def is_held(self) -> bool:
        return self.status in HELD


def standing(document: Document, head: Head) -> Standing:
    status = SessionStatus(document["status"])
    if status in {SessionStatus.PAUSING, SessionStatus.CANCELLING}:
        return _stopping(status, document)
    if status == SessionStatus.RESUMING:
        hint = (
            "Somebody has to run it: a worker, a program that waits at its pause point, or "
            f'OrchestraInstance.resume_session("{head.session_id}").'
        )
        since = parse_time(document["updated_at"])
        return Standing(status, "no orchestrator has taken it yet", since, hint)
    if status == SessionStatus.WAITING:
        return Standing(status, counted(head.counts["questions"], "question", "open"))
    if status == SessionStatus.RUNNING and head.agents:
        return Standing(status, some(head.agents))
    return Standing(status)


def _stopping(status: SessionStatus, document: Document) -> Standing:
    opened = [b for b in document["branches"].values() if b["status"] not in BRANCH_ENDED]
    began = [
        [step["started_at"] for step in branch["steps"].values() if step["status"] == "running"]
        for branch in opened
    ]
    busy = [times for times in began if times]
    if not busy:
        return Standing(status, "no branch is in a step any more")
    detail = f"{len(busy)} of {counted(len(opened), 'branch')} still in a step"
    return Standing(status, detail, parse_time(min(min(times) for times in busy)))


def counted(number: int, noun: str, suffix: str = "") -> str:
    """``3 branches``, ``1 question open``."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return " ".join(part for part in (str(number), plural, suffix) if part)


def some(names: list[str], most: int = 3) -> str:
    """The first few names and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more
