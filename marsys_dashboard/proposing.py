"""Asking another person to approve a changed context, once and once more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from marsys_dashboard.acts import Done, Given
from marsys_dashboard.context_edit import Change, edit_of
from marsys_dashboard.models import Decision, Proposal
from marsys_dashboard.proposals import CannotDecide, get, look, record, told, why_not_resumed
from state_core.codec import plain
from state_core.exceptions import InvalidValue, TransitionError
from state_core.manager import StateManager
from state_core.records import Head
from state_core.words import counted

NEEDS_REASON = "Reason: say why, for the person who is to approve it."


async def propose(of_store: StateManager, head: Head, given: Given, user: Any) -> Done:
    """In the place of what this person proposed for the session before. Raises StateError."""
    if not given.reason:
        raise InvalidValue(NEEDS_REASON)
    if why_not := why_not_resumed(head):
        raise TransitionError(head.session_id, head.status, "resume", why_not)
    seq, change = await _asked_for(of_store, head.session_id, given)
    if not change:
        raise InvalidValue("Nothing in the context is changed, so nothing is to be approved. Edit it first.")
    body, encoding = of_store.log.codec.seal_snapshot(head.session_id, seq, plain(asdict(change), "context"))
    proposal = Proposal(
        store=given.store,
        session_id=head.session_id,
        born=head.created_at,
        seq=seq,
        change=body,
        encoding=encoding,
        reason=given.reason,
        proposer=given.actor,
        user=user,
    )
    await _keep(proposal, counted(len(change), "value"))
    message = "Approval is asked for. The session stays as it is until another person approves the change."
    return Done(message, is_logged=False, change=proposal.pk)


async def _asked_for(of_store: StateManager, session_id: str, given: Given) -> tuple[int, Change]:
    """Raises ConflictError where the session moved on since the context was edited."""
    state = await of_store.get_session_state(session_id)
    seq = state.seq if given.after is None else given.after
    edited = {**(state.context if given.edited is None else given.edited), **(given.context or {})}
    values, removed = await edit_of(of_store, session_id, edited, seq)
    before = {name: state.context[name] for name in (*values, *removed) if name in state.context}
    return seq, Change(values, removed, before)


@sync_to_async
def _keep(proposal: Proposal, what: str) -> None:
    with transaction.atomic():
        mine = Proposal.objects.filter(
            store=proposal.store,
            session_id=proposal.session_id,
            user=proposal.user,
            decision=Decision.WAITING,
        )
        mine.update(decision=Decision.REPLACED, decided_at=timezone.now(), change=b"")
        proposal.save()
        record(proposal, "proposed", proposal.proposer, proposal.reason, f"change {proposal.pk}: {what}")


async def to_propose_again(number: int, store: str, session_id: str, user: Any) -> tuple[Proposal, Change]:
    """What this person proposed, and what has not been decided. Raises StateError."""
    proposal = await get(number, store, session_id)
    found = await look(proposal)
    if found is None or found.change is None:
        raise CannotDecide(found.note if found else told(proposal))
    if not found.is_own(user):
        raise CannotDecide(f"Only {proposal.proposer} can propose this again.")
    return proposal, found.change
