"""The list of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from marsys_dashboard.acts import ALL, permission_of
from marsys_dashboard.failures import wants_json
from marsys_dashboard.job_acts import BULK
from marsys_dashboard.list_rows import render_rows
from marsys_dashboard.listing import DEFAULT_SORT, FURTHER, Asked, Listing, count, find, href, read_address
from marsys_dashboard.managers import store_names
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import permissions_of, require
from marsys_dashboard.saved_views import views_of
from state_core.records import ENDED
from state_core.words import STATUSES

COLUMNS = (
    ("Session", "session_id"),
    ("Status", "status"),
    ("At work", ""),
    ("Steps", "-steps"),
    ("Started", "-started_at"),
    ("Duration", "-duration"),
    ("Last event", "-updated_at"),
)
"""Title, and how a first click on it sorts."""
FILTER_WORDS = {
    "agent": "agent",
    "owner": "held by",
    "error": "error",
    "since": "last event since",
    "until": "last event before",
    "longer": "longer than",
    "shorter": "shorter than",
}
"""How a filter reads on its pill."""
SORTED_BY = (
    ("-created_at", "Newest first"),
    ("created_at", "Oldest first"),
    ("-updated_at", "Last event, newest first"),
    ("updated_at", "Last event, oldest first"),
    ("-started_at", "Started, newest first"),
    ("started_at", "Started, oldest first"),
    ("-duration", "Longest duration first"),
    ("duration", "Shortest duration first"),
    ("session_id", "By id"),
    ("-session_id", "By id, descending"),
    ("status", "By status"),
    ("-status", "By status, descending"),
    ("-steps", "Most steps first"),
    ("steps", "Fewest steps first"),
    ("-state_bytes", "Largest first"),
    ("state_bytes", "Smallest first"),
)
CHIPS = (
    "running", "waiting", "pausing", "paused", "resuming", "pending",
    "interrupted", "failed", "cancelling", "cancelled", "completed",
)  # fmt: skip


ACTIVE = tuple(status for status in CHIPS if status not in ENDED)
"""What has not ended."""


@dataclass(frozen=True)
class Link:
    """Something of the list that can be chosen: a chip, a column, a page."""

    label: str
    href: str
    value: str = ""
    count: int = 0
    chosen: bool = False
    direction: str = ""


@require_safe
@require("view")
async def sessions(request: HttpRequest) -> HttpResponse:
    asked = read_address(request.GET)
    if wants_json(request):
        return JsonResponse(counts_json(await count(asked)))
    # The stores have threads of their own; meanwhile the request's asks for the views.
    listing, views = await asyncio.gather(find(asked), views_of(request))
    context = _context(listing, await permissions_of(request.user))
    return await page(request, "sessions/list.html", {**context, **views})


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """For pages that name none, such as the admin's: browsers ask for it at this address."""
    return redirect(static("icons/favicon.svg"))


def counts_json(listing: Listing) -> dict[str, Any]:
    return {"ok": True, "counts": listing.counts, "questions": listing.questions}


def _context(listing: Listing, permissions: Collection[str]) -> dict[str, Any]:
    asked = listing.asked
    return {
        "section": "sessions",
        "listing": listing,
        "bulk": [ALL[verb] for verb in BULK if permission_of(ALL[verb]) in permissions],
        "asked": asked,
        "rows": render_rows((found.head, found.store) for found in listing.rows),
        "columns": [_column(asked, title, sort) for title, sort in COLUMNS],
        "chips": list(_chips(listing)),
        "stores": list(_stores(asked)),
        "everything": Link("All", href(asked, status=(), trail=()), count=listing.total),
        "active": _active(listing),
        "needs_answer": Link(
            "Needs an answer",
            href(asked, questions="" if asked.questions else "1", trail=()),
            count=listing.questions,
            chosen=asked.questions,
        ),
        "pills": list(_pills(asked)),
        "further": [(name, getattr(asked, name)) for name in FURTHER if getattr(asked, name)],
        "further_words": [
            f"{FILTER_WORDS[name]} {getattr(asked, name)}" for name in FURTHER if getattr(asked, name)
        ],
        "sorts": SORTED_BY,
        "sorted_by": dict(SORTED_BY).get(asked.sort, "").lower(),
        "is_default_sort": asked.sort == DEFAULT_SORT,
        "first": href(asked, trail=()) if asked.trail else "",
        "previous": href(asked, trail=asked.trail[:-1]) if asked.trail else "",
        "next": href(asked, trail=listing.next_trail) if listing.next_trail else "",
    }


def _is_active_only(asked: Asked) -> bool:
    return set(asked.statuses) == set(ACTIVE)


def _active(listing: Listing) -> Link:
    chosen = _is_active_only(listing.asked)
    return Link(
        "Active",
        href(listing.asked, status=() if chosen else ACTIVE, trail=()),
        value=" ".join(ACTIVE),
        count=sum(listing.counts.get(status, 0) for status in ACTIVE),
        chosen=chosen,
    )


def _chips(listing: Listing) -> Iterable[Link]:
    """Where all that is active is chosen, each of them narrows it to one."""
    chosen = () if _is_active_only(listing.asked) else listing.asked.statuses
    for status in CHIPS:
        others = tuple(s for s in chosen if s != status)
        yield Link(
            STATUSES[status].label,
            href(listing.asked, status=others if status in chosen else (*chosen, status), trail=()),
            value=status,
            count=listing.counts.get(status, 0),
            chosen=status in chosen,
        )


def _stores(asked: Asked) -> Iterable[Link]:
    names = store_names()
    for name in names if len(names) > 1 else ():
        chosen = name == asked.store
        yield Link(name, href(asked, store="" if chosen else name, trail=()), value=name, chosen=chosen)


def _column(asked: Asked, title: str, sort: str) -> Link:
    if not sort:
        return Link(title, "")
    opposite = sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
    chosen = asked.sort in {sort, opposite}
    return Link(
        title,
        href(asked, sort=opposite if asked.sort == sort else sort, trail=()),
        chosen=chosen,
        direction=("descending" if asked.sort.startswith("-") else "ascending") if chosen else "",
    )


def _pills(asked: Asked) -> Iterable[Link]:
    """The filters that are on, each a link that takes it off."""
    if asked.text:
        yield Link(f"“{asked.text}”", href(asked, q="", trail=()))
    if asked.tag:
        yield Link(f"tag {asked.tag}", href(asked, tag="", trail=()))
    for name, words in FILTER_WORDS.items():
        value = getattr(asked, name)
        if value:
            yield Link(f"{words} {value}", href(asked, **{name: ""}, trail=()))
