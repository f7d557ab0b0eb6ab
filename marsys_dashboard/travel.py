"""Travel in time: which event is asked for, and the session as it was then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from marsys_dashboard import logwords
from marsys_dashboard.checkpoint_windows import neighbours
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.feed import feed
from marsys_dashboard.glance import glance
from marsys_dashboard.managers import manager
from marsys_dashboard.outlines import Outline
from marsys_dashboard.panels import View
from marsys_dashboard.past import PastOutlines
from marsys_dashboard.permissions import require
from marsys_dashboard.rows import about
from state_core.exceptions import CheckpointNotFound, InvalidValue
from state_core.fold import state_counts
from state_core.log import Range
from state_core.manager import StateManager
from state_core.records import Checkpoint, Document, Head, SessionStatus, check_id, parse_time

MOMENTS = 2_000
"""Moments of one session that a page is told of at most."""

past = PastOutlines()


async def asked_place(request: HttpRequest, chosen: StateManager, head: Head) -> int | None:
    """The event of ``?at=``; None for the present. Raises CheckpointNotFound, InvalidValue."""
    asked = request.GET.get("at", "")[:128]
    return await place_named(asked, chosen, head) if asked else None


async def place_named(asked: str, chosen: StateManager, head: Head) -> int:
    """The event of this number, or of the checkpoint of this id. Raises CheckpointNotFound, InvalidValue."""
    if asked.isdecimal() and len(asked) < 16:
        return _within(head, int(asked))
    checkpoint = await chosen.get_checkpoint(asked)
    if checkpoint.session_id != head.session_id:
        raise CheckpointNotFound(asked, head.session_id)
    return checkpoint.seq


def _within(head: Head, seq: int) -> int:
    if not head.first_seq <= seq <= head.last_seq:
        raise InvalidValue(
            f"Session {head.session_id!r} has events {head.first_seq} to {head.last_seq}, not {seq}."
        )
    return seq


async def outline_at(store: str, chosen: StateManager, head: Head, at: int | None) -> Outline:
    """As of an event, or the present."""
    if at is None:
        return await feed.cache.outline(store, chosen, head.session_id)
    return await past.outline(store, chosen, head, at)


async def at_a_glance(store: str, chosen: StateManager, head: Head) -> Outline | None:
    """The present as far as head and newest messages tell it; None where the whole is soon at hand."""
    return await glance(store, chosen, head, feed.cache)


def head_at(head: Head, document: Document) -> Head:
    """What the head said when the session stood so."""
    return replace(
        head,
        status=SessionStatus(document["status"]),
        last_seq=document["seq"],
        reason=document["reason"] or "",
        error=document["error"] or "",
        started_at=parse_time(document["started_at"]),
        ended_at=parse_time(document["ended_at"]),
        updated_at=parse_time(document["updated_at"]),
        counts={**head.counts, **state_counts(document)},
        owner="",
        agents=[],
    )


async def place(view: View) -> dict[str, Any]:
    """What the line says that tells where one is."""
    at = view.at
    events = await view.manager.log.read(
        view.session_id, after=(at or view.now) - 1, before=(at or view.now) + 1, bodies=False
    )
    checkpoints = await view.manager.list_checkpoints(view.session_id) if at else []
    return {
        "first": view.head.first_seq,
        "now": view.now,
        "event": events[0] if events else None,
        "title": logwords.title(events[0].kind) if events else "",
        "detail": logwords.detail(events[0]) if events else "",
        "about": about(view.outline, events[0]) if events else "",
        "checkpoint": next((c for c in checkpoints if c.seq == at), None),
    }


@require_safe
@require("view")
async def moments(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """When events happened, as ``[[seq, milliseconds since 1970], …]``; of a long log, some of them."""
    chosen = manager(store)
    head = await chosen.get_head(check_id(session_id))
    every = max(1, (head.last_seq - head.first_seq) // MOMENTS)
    span = Range(head.first_seq - 1, head.last_seq)
    found = [
        (event.seq, int(event.at.timestamp() * 1000))
        async for event in chosen.log.iterate(session_id, span, bodies=False)
        if event.seq % every == 0 or event.seq in (head.first_seq, head.last_seq)
    ]
    return JsonResponse({"moments": found})


@require_safe
@require("view")
async def nearest(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    """Those next to the event of ``?to=``, as ``{"previous": {"id", "seq"} or null, "next": …}``."""
    asked = request.GET.get("to", "")
    if not (asked.isdecimal() and len(asked) < 16):
        raise InvalidValue(f"{asked[:40]!r} is no event. Ask for ?to= and its number.")
    found = await manager(store).list_checkpoints(check_id(session_id))
    previous, following = neighbours(found, int(asked))
    return JsonResponse({"previous": _brief(previous), "next": _brief(following)})


def _brief(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    return {"id": checkpoint.id, "seq": checkpoint.seq} if checkpoint else None


urlpatterns = [
    path(f"{OF_SESSION}/moments.json", moments, name="moments"),
    path(f"{OF_SESSION}/nearest.json", nearest, name="nearest-checkpoints"),
]
