"""Stores, and their sessions."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from ninja import Query, Router

from marsys_dashboard.acts import available
from marsys_dashboard.api.schemas import (
    OF_SESSION,
    SessionFilter,
    Sessions,
    SessionWithActs,
    Store,
    act_of,
    session_of,
)
from marsys_dashboard.listing import find, href, read_address
from marsys_dashboard.managers import manager, store_names
from state_core.managers import why_unreadable

router = Router(tags=["Sessions"])


@router.get(
    "stores",
    response=list[Store],
    operation_id="list_stores",
    summary="The stores that are shown",
    url_name="stores",
)
async def stores(request: HttpRequest) -> list[dict[str, str]]:
    sessions_url = reverse("api:sessions")
    return [{"name": name, "url": f"{sessions_url}?store={name}"} for name in store_names()]


@router.get(
    "sessions",
    response=Sessions,
    operation_id="list_sessions",
    summary="Sessions of all stores or one, a page of fifty",
    url_name="sessions",
)
async def sessions(request: HttpRequest, asked: Query[SessionFilter]) -> dict[str, Any]:
    """Filters, sorting and pages are those of the dashboard's list. A store that cannot be reached is told
    of under `problems`."""
    listing = await find(read_address(request.GET))
    trail = listing.next_trail
    return {
        "sessions": [session_of(found.store, found.head) for found in listing.rows],
        "counts": listing.counts,
        "questions": listing.questions,
        "problems": {store: str(error) for store, error in listing.problems.items()},
        "next": reverse("api:sessions") + href(listing.asked, trail=trail[-1:]) if trail else None,
    }


@router.get(
    OF_SESSION,
    response=SessionWithActs,
    operation_id="get_session",
    summary="One session, and what can be done to it now",
    url_name="session",
)
async def session(request: HttpRequest, store: str, session_id: str) -> dict[str, Any]:
    of_store = manager(store)
    head = await of_store.get_head(session_id)
    unreadable = await why_unreadable(of_store, session_id)
    acts = available(head, request.auth.permissions, unreadable)
    return {
        **session_of(store, head),
        "acts": [act_of(store, head, act) for act in acts.values()],
        "unreadable": unreadable,
    }
