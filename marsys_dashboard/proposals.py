"""Changes of a session's context that another person approves before the session is resumed with them.

A row of the dashboard's database holds a change until it is decided. Approving it is the command that resumes
any session, refused where something happened in it since; so of two people who approve, one wins. Whether it
was done, the log says: by it a row is settled that a process left behind in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone

from marsys_dashboard import logwords
from marsys_dashboard.activity import REVIEW
from marsys_dashboard.acts import ALL, Done
from marsys_dashboard.context_edit import Change
from marsys_dashboard.managers import manager
from marsys_dashboard.models import UNDECIDED, ActivityEntry, Decision, Proposal
from marsys_dashboard.permissions import MEANINGS, amay
from marsys_dashboard.templatetags.state import relative
from state_core.events import EventKind, Header
from state_core.exceptions import (
    ConflictError,
    DamagedError,
    EncryptionKeyError,
    NotFound,
    SessionNotFound,
    StateError,
    StorageUnavailable,
)
from state_core.manager import StateManager
from state_core.records import Document, Head
from state_core.words import refusal

MOST = 100
"""Proposals that one page lists: those that have waited for longest."""
MOVES = 3
"""Events that are named where a session moved on."""
CLAIM = timedelta(seconds=30)
"""After so long somebody who was approving is taken to be gone."""


class ProposalNotFound(NotFound):
    """No change with that number was proposed for that session."""


class CannotDecide(ConflictError):
    """Somebody else decided, or the session moved on."""

    def __init__(self, message: str) -> None:
        StateError.__init__(self, message)


@dataclass(frozen=True)
class Undecided:
    """A proposal that nobody has decided, and how its session stands."""

    proposal: Proposal
    head: Head
    change: Change | None
    note: str
    """Why its change cannot be read here, or ""."""
    moved: str
    """What happened in the session since, or ""."""
    may_propose: bool
    """Has the proposer still the permission?"""

    @property
    def facts(self) -> dict[str, Any]:
        """What programs are told of any proposal, by name."""
        proposal = self.proposal
        return {
            "number": proposal.pk,
            "store": proposal.store,
            "session_id": proposal.session_id,
            "seq": proposal.seq,
            "proposer": proposal.proposer,
            "reason": proposal.reason,
            "proposed_at": proposal.created_at,
        }

    @property
    def key(self) -> str:
        return f"{self.proposal.store}/{self.head.session_id}/change-{self.proposal.pk}"

    @property
    def seen(self) -> int:
        """The last event that what is told of it depends on."""
        return min(self.head.last_seq, self.last_seen)

    @property
    def last_seen(self) -> int:
        return self.proposal.seq + MOVES + 1

    def is_own(self, user: Any) -> bool:
        return bool(self.proposal.user_id == user.pk)

    def why_not(self, verb: str, user: Any, permissions: Collection[str]) -> str:
        """Why this person cannot do that, or ""."""
        if "operate" not in permissions:
            return f"You have no permission to {MEANINGS['operate']}."
        return WHY_NOT[verb](self, self.is_own(user))

    def _why_not_approve(self, own: bool) -> str:
        if own:
            return "You proposed this; another person has to approve it."
        if not self.may_propose:
            lost = f"{self.proposal.proposer} has no permission to {MEANINGS['operate']} any more."
            return f"{lost} Decline it, or propose it yourself."
        return self.note or self.moved or why_not_resumed(self.head)

    def _why_not_decline(self, own: bool) -> str:
        return "You proposed this; withdraw it instead." if own else ""

    def _why_not_withdraw(self, own: bool) -> str:
        return "" if own else f"Only {self.proposal.proposer} can withdraw it; decline it instead."


WHY_NOT = {
    "approve": Undecided._why_not_approve,
    "decline": Undecided._why_not_decline,
    "withdraw": Undecided._why_not_withdraw,
}


def why_not_resumed(head: Head) -> str:
    return ALL["resume"].why_not(head.status) or refusal("resume", head.status, head.refuses)


# Looking


@dataclass
class Found:
    waiting: list[Undecided] = field(default_factory=list)
    """The one that has waited for longest first."""
    more: bool = False
    """Are there more than were read?"""
    problems: dict[str, str] = field(default_factory=dict)
    """Session → why its change is missing."""


async def find(**where: str) -> Found:
    """Those of a store and session, or of all."""
    rows = Proposal.objects.filter(decision__in=UNDECIDED, **where).select_related("user")
    proposals = [row async for row in rows.order_by("created_at", "pk")[: MOST + 1]]
    found = Found(more=len(proposals) > MOST)
    for proposal in proposals[:MOST]:
        try:
            waiting = await look(proposal)
        except StateError as error:
            found.problems[f"{proposal.store} / {proposal.session_id}"] = str(error)
        else:
            found.waiting += [waiting] if waiting else []
    return found


async def count() -> tuple[int, str]:
    """How many there are, and a text that is another one as soon as others are."""
    rows = Proposal.objects.filter(decision__in=UNDECIDED)
    found = await rows.aaggregate(number=Count("pk"), last=Max("pk"))
    return found["number"], f"{found['number']}-{found['last'] or 0}"


async def get(number: int, store: str, session_id: str) -> Proposal:
    """Raises ProposalNotFound."""
    rows = Proposal.objects.filter(pk=number, store=store, session_id=session_id)
    if proposal := await rows.select_related("user").afirst():
        return proposal
    raise ProposalNotFound(f"No change {number} was proposed for session {session_id}.")


async def look(proposal: Proposal) -> Undecided | None:
    """None where it is decided. Raises StateError where the store cannot be asked."""
    of_store = manager(proposal.store)
    head = await _head(of_store, proposal)
    await _settle(of_store, proposal, head)
    if head is None or proposal.decision not in UNDECIDED:
        return None
    change, note = _opened(of_store, proposal)
    may = proposal.user is not None and await amay(proposal.user, "operate")
    return Undecided(proposal, head, change, note, await _moved(of_store, proposal, head), may)


async def _head(of_store: StateManager, proposal: Proposal) -> Head | None:
    """None where the session is gone, or another one has its id."""
    try:
        head = await of_store.get_head(proposal.session_id)
    except SessionNotFound:
        return None
    return head if head.created_at == proposal.born else None


async def _settle(of_store: StateManager, proposal: Proposal, head: Head | None) -> None:
    """By what the log says."""
    if proposal.decision not in UNDECIDED:
        return
    if head is None:
        await _decide(proposal, Decision.GONE, "")
    elif proposal.decision != Decision.APPROVING or proposal.decided_at is None:
        return
    elif await _was_approved(of_store, proposal, head):
        await _decide(proposal, Decision.APPROVED, proposal.decided_by)
    elif timezone.now() - proposal.decided_at > CLAIM:
        await _release(proposal)


async def _was_approved(of_store: StateManager, proposal: Proposal, head: Head) -> bool:
    """Has who is approving it had the session resumed with it?"""
    approval = _approval(proposal, proposal.decided_by)
    return any(
        event.kind == EventKind.RESUME_REQUESTED
        and event.actor == proposal.decided_by
        and str(event.data.get("reason", "")).startswith(approval)
        for event in await _since(of_store, proposal, head, 1)
    )


async def _since(of_store: StateManager, proposal: Proposal, head: Head, most: int) -> Iterable[Header]:
    if head.last_seq == proposal.seq:
        return []
    return await of_store.log.read(proposal.session_id, after=proposal.seq, limit=most, bodies=False)


async def _moved(of_store: StateManager, proposal: Proposal, head: Head) -> str:
    events = await _since(of_store, proposal, head, MOVES)
    if not events:
        return ""
    more = " …" if head.last_seq - proposal.seq > MOVES else "."
    return f"The session has moved on since: {'; '.join(map(_words, events))}{more}"


def _words(event: Header) -> str:
    by = f" by {event.actor}" if event.actor else ""
    return f"{logwords.title(event.kind)}{by} {logwords.detail(event)}".strip()[:200]


def _opened(of_store: StateManager, proposal: Proposal) -> tuple[Change | None, str]:
    try:
        document: Document = of_store.log.codec.open_snapshot(
            proposal.session_id, proposal.seq, bytes(proposal.change), proposal.encoding
        )
    except (EncryptionKeyError, DamagedError) as error:
        return None, str(error)
    return Change(**document), ""


# Deciding


def told(proposal: Proposal) -> str:
    """Who decided it, or "" while nobody has."""
    words = TOLD.get(Decision(proposal.decision), "")
    when = relative(proposal.decided_at)
    return words.format(by=proposal.decided_by, who=proposal.proposer, when=when)


TOLD = {
    Decision.APPROVING: "{by} is approving this change just now.",
    Decision.APPROVED: "{by} approved this change {when}.",
    Decision.DECLINED: "{by} declined this change {when}.",
    Decision.WITHDRAWN: "{who} withdrew this change {when}.",
    Decision.REPLACED: "{who} proposed another change in the place of this one {when}.",
    Decision.GONE: "The session of this change was deleted.",
}


async def approve(waiting: Undecided, actor: str, reason: str) -> Done:
    """Resume the session with the change. Raises StateError."""
    proposal, change = waiting.proposal, waiting.change
    if change is None:
        raise CannotDecide(waiting.note)
    await _claim(proposal, actor)
    try:
        await manager(proposal.store).resume_execution(
            proposal.session_id,
            change.values or None,
            reason=": ".join(filter(None, (_approval(proposal, actor), reason or proposal.reason))),
            actor=actor,
            remove_context=change.removed,
            expected_seq=proposal.seq,
        )
    except StorageUnavailable:
        raise  # whether it was done is not known: the log tells
    except StateError as error:
        await _release(proposal)
        raise await _refusal(proposal, error) from error
    await _decide(proposal, Decision.APPROVED, actor, reason)
    return Done("Approved: a resume with the changed context is requested.")


def _approval(proposal: Proposal, actor: str) -> str:
    return f"Change {proposal.pk} proposed by {proposal.proposer}, approved by {actor}"


async def _refusal(proposal: Proposal, error: StateError) -> StateError:
    """Who was first, or what moved, where that is why."""
    found = await look(proposal) if isinstance(error, ConflictError) else None
    if not isinstance(error, ConflictError) or (found and not found.moved):
        return error
    return CannotDecide(f"Nothing was changed. {found.moved if found else told(proposal)}")


async def decline(waiting: Undecided, actor: str, reason: str) -> Done:
    await _end(waiting.proposal, Decision.DECLINED, actor, reason)
    return Done("The change is declined. The session stays as it is.", is_logged=False)


async def withdraw(waiting: Undecided, actor: str, reason: str) -> Done:
    await _end(waiting.proposal, Decision.WITHDRAWN, actor, reason)
    return Done("The change is withdrawn. The session stays as it is.", is_logged=False)


async def _end(proposal: Proposal, decision: Decision, actor: str, reason: str) -> None:
    is_free = proposal.decision == Decision.WAITING
    if not is_free or not await _decide(proposal, decision, actor, reason, note=True):
        await _refuse(proposal)


async def _claim(proposal: Proposal, actor: str) -> None:
    """Nobody else decides it meanwhile. Raises CannotDecide."""
    rows = Proposal.objects.filter(pk=proposal.pk, decision=Decision.WAITING)
    if not await rows.aupdate(decision=Decision.APPROVING, decided_by=actor, decided_at=timezone.now()):
        await _refuse(proposal)
    await proposal.arefresh_from_db(fields=["decision", "decided_by", "decided_at"])


async def _refuse(proposal: Proposal) -> None:
    await proposal.arefresh_from_db()
    raise CannotDecide(told(proposal) or "This was decided just now. Look again.")


async def _release(proposal: Proposal) -> None:
    """It waits again, if it is still as it was read."""
    rows = Proposal.objects.filter(
        pk=proposal.pk, decision=Decision.APPROVING, decided_at=proposal.decided_at
    )
    await rows.aupdate(decision=Decision.WAITING, decided_by="", decided_at=None)
    await proposal.arefresh_from_db(fields=["decision", "decided_by", "decided_at"])


@sync_to_async
def _decide(
    proposal: Proposal, decision: Decision, actor: str, reason: str = "", *, note: bool = False
) -> bool:
    """False where it is not as it was read any more."""
    decided = {"decision": decision, "decided_by": actor, "decided_at": timezone.now()}
    with transaction.atomic():
        rows = Proposal.objects.filter(pk=proposal.pk, decision=proposal.decision)
        is_done = bool(rows.update(**decided, decision_reason=reason, change=b""))
        if is_done and note:
            detail = f"change {proposal.pk}, proposed by {proposal.proposer}"
            record(proposal, str(decision), actor, reason, detail)
    proposal.refresh_from_db(fields=["decision", "decided_by", "decided_at"])
    return is_done


def record(proposal: Proposal, done: str, actor: str, reason: str, detail: str) -> None:
    """In the activity: no log tells of it."""
    ActivityEntry.objects.create(
        store=proposal.store,
        session_id=proposal.session_id,
        born=proposal.born,
        seq=proposal.seq,
        at=timezone.now(),
        actor=actor,
        is_person=True,
        verb=REVIEW,
        kind=f"change.{done}",
        reason=reason,
        detail=detail,
    )
