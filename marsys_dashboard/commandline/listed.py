"""`session list`: the page of sessions, by the same words."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from django.http import QueryDict

from marsys_dashboard.commandline.finding import name_of
from marsys_dashboard.commandline.terminal import Console, json_line, plain, table
from marsys_dashboard.commandline.who import at_terminal
from marsys_dashboard.listing import DEFAULT_SORT, Asked, Found, Listing, find, read_address
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.standing import some
from marsys_dashboard.templatetags.state import relative
from state_core.exceptions import StorageError
from state_core.records import Head
from state_core.storage.base import SORTS
from state_core.words import STATUSES, counted, duration

FILTERS: Mapping[str, tuple[str, str, str]] = {
    "status": ("status", "STATUS", f"one of {', '.join(STATUSES)}; may be repeated"),
    "text": ("q", "TEXT", "part of id, title or workflow"),
    "tag": ("tag", "TAG", "has this tag"),
    "agent": ("agent", "NAME", "this agent has worked in it"),
    "owner": ("owner", "TEXT", "part of the name of who holds it, or held it last"),
    "error": ("error", "TEXT", "part of its error"),
    "store": ("store", "ALIAS", "in this store alone"),
    "since": ("since", "TIME", "updated since: 24h ago, 7d, or 2026-11-25T14:30"),
    "until": ("until", "TIME", "updated before"),
    "longer": ("longer", "SPAN", "has lasted at least so long: 90s, 15m, 24h"),
    "shorter": ("shorter", "SPAN", "has lasted at most so long"),
}
"""Option → its word in the page's address, what it takes, and what it means."""
HEADINGS = ("SESSION", "STATUS", "STEPS", "LASTS", "UPDATED", "TITLE", "AT WORK")
FLEXIBLE = (5, 6)
SHOWN = 50


def add_arguments(parser: ArgumentParser) -> None:
    for option, (_, metavar, meaning) in FILTERS.items():
        action = "append" if option == "status" else "store"
        parser.add_argument(f"--{option}", metavar=metavar, help=meaning, action=action)
    parser.add_argument("--questions", action="store_true", help="has an open question")
    parser.add_argument(
        "--sort",
        default=DEFAULT_SORT,
        metavar="FIELD",
        help=f"one of {', '.join(SORTS)}; descending as --sort=-FIELD ({DEFAULT_SORT})",
    )
    parser.add_argument("--limit", type=int, default=SHOWN, metavar="N", help=f"at most so many ({SHOWN})")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")


async def show(console: Console, options: Mapping[str, Any]) -> int:
    """1 where a store could not be asked."""
    asked = _asked(options)
    for store in asked.stores():
        with suppress(StorageError):  # one that is away is told of when it is asked for its sessions
            await manager(store).interrupt_expired(actor=at_terminal())
    listing = await _find(asked, max(1, options["limit"]))
    if options["json"]:
        console.say_at_once(json_line(_document(found)) for found in listing.rows)
    else:
        _show(console, listing)
    for store, problem in listing.problems.items():
        console.note(f"Without store {store}: {plain(problem)}")
    return 1 if listing.problems else 0


def _asked(options: Mapping[str, Any]) -> Asked:
    query = QueryDict(mutable=True)
    for option, (word, _, _) in FILTERS.items():
        given = options[option]
        if given is not None:
            query.setlist(word, given if isinstance(given, list) else [given])
    query["questions"] = "1" if options["questions"] else ""
    query["sort"] = options["sort"]
    return read_address(query)


async def _find(asked: Asked, limit: int) -> Listing:
    """Page after page, as far as is asked for."""
    listing = page = await find(asked)
    while len(listing.rows) < limit and page.next_trail:
        page = await find(replace(asked, trail=page.next_trail[-1:]))
        listing.rows += page.rows
        listing.problems |= page.problems
    listing.rows = listing.rows[:limit]
    return listing


def _document(found: Found) -> dict[str, Any]:
    return {"store": found.store, **asdict(found.head), "duration_seconds": found.head.duration_seconds}


def _show(console: Console, listing: Listing) -> None:
    rows = [HEADINGS, *(_row(found) for found in listing.rows)]
    if listing.rows:
        console.say_at_once(table(rows, console.width, FLEXIBLE))
    console.say(_how_many(len(listing.rows), listing.shown_total))


def _row(found: Found) -> tuple[str, ...]:
    head = found.head
    failed = head.counts["steps_failed"]
    steps = f"{head.counts['steps_completed']}/{head.counts['steps']}"
    return (
        name_of(found.store, head.session_id) if len(store_names()) > 1 else head.session_id,
        status_words(head),
        f"{steps}, {failed} failed" if failed else steps,
        duration(head.duration_seconds) if head.started_at else "",
        relative(head.updated_at),
        plain(head.title, 80),
        plain(some(head.agents), 80),
    )


def status_words(head: Head) -> str:
    word = STATUSES[head.status].label
    questions = head.counts["questions"]
    return f"{word}, {counted(questions, 'question')}" if questions else word


def _how_many(shown: int, total: int) -> str:
    if not total:
        return "No session matches."
    if shown >= total:
        return f"{counted(shown, 'session')}."
    return (
        f"{shown} of {counted(total, 'session')}; {total - shown} more: raise --limit, or ask for fewer by "
        "--status, --text, --since …"
    )
