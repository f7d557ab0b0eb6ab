"""Leases of a database's sessions: each is taken, renewed or given back in one short transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, Q

from state_core.exceptions import LeaseHeld, LeaseLost
from state_core.records import Head, Lease
from state_core.storage.clock import FREE, LASTS, seconds_from_now
from state_core.storage.headquery import head_of


def acquire(tables: Any, alias: str, session_id: str, owner: str, ttl: float) -> Lease:
    """Raises LeaseHeld, SessionNotFound."""
    heads = tables.session.objects.using(alias)
    values = {"owner": owner, "fence": F("fence") + 1, "lease_expires_at": seconds_from_now(ttl)}
    with transaction.atomic(using=alias):
        taken = heads.filter(FREE | Q(owner=owner), session_id=session_id).update(**values)
        head = head_of(heads, session_id)
    if not taken:
        raise LeaseHeld(session_id, head.owner, head.lease_expires_at)
    return _lease(head)


def renew(tables: Any, alias: str, session_id: str, fence: int, ttl: float) -> Lease:
    """Raises LeaseLost, SessionNotFound."""
    heads = tables.session.objects.using(alias)
    with transaction.atomic(using=alias):
        lasting = heads.filter(LASTS, session_id=session_id, fence=fence)
        renewed = lasting.update(lease_expires_at=seconds_from_now(ttl))
        head = head_of(heads, session_id)
    if not renewed:
        raise LeaseLost(session_id)
    return _lease(head)


def release(tables: Any, alias: str, session_id: str, fence: int) -> None:
    held = tables.session.objects.using(alias).filter(session_id=session_id, fence=fence)
    held.update(owner="", lease_expires_at=None)


def _lease(head: Head) -> Lease:
    assert head.lease_expires_at is not None  # noqa: S101
    return Lease(head.session_id, head.owner, head.fence, head.lease_expires_at)
