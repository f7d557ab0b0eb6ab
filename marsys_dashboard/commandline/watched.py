"""`session watch`: the log of one session as it grows."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from datetime import UTC
from typing import Any

from marsys_dashboard import logwords
from marsys_dashboard.commandline.finding import Session, find_session
from marsys_dashboard.commandline.following import follow
from marsys_dashboard.commandline.listed import status_words
from marsys_dashboard.commandline.terminal import Console, fitted, json_line, plain
from state_core.events import Event
from state_core.records import ENDED, Head, SessionStatus
from state_core.words import STATUSES, duration

BEFORE = 10
"""Events that are shown of what was before."""
CODES = {SessionStatus.COMPLETED: 0, SessionStatus.FAILED: 3, SessionStatus.CANCELLED: 4}
"""How the session ended → how the command ends."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("session", metavar="ID", help="its id, or store:id")
    parser.add_argument(
        "--after", type=int, metavar="N", help=f"begin behind this event (with the last {BEFORE})"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each event")


async def watch(console: Console, options: Mapping[str, Any]) -> int:
    """Until the session ends."""
    session = await find_session(options["session"])
    after = _beginning(session, options["after"])
    console.note(
        f"{session.name}: {status_words(session.head)}. Times are UTC. Ctrl-C ends only the watching."
    )
    async with aclosing(follow(session, after, console.note)) as news:
        async for head, events in news:
            console.say_at_once(_lines(console, events, options["json"]))
            after = events[-1].seq if events else after
            if after >= head.last_seq and head.status in ENDED:
                console.note(_ended(session, head))
                return CODES[head.status]
    raise AssertionError("following ends with the session, or by an error")


def _beginning(session: Session, after: int | None) -> int:
    head = session.head
    wanted = head.last_seq - BEFORE if after is None else min(after, head.last_seq)
    return max(wanted, head.first_seq - 1)


def _lines(console: Console, events: Iterable[Event], as_json: bool) -> Iterable[str]:
    if as_json:
        return (json_line(_document(event)) for event in events)
    width = console.width
    return (_line(event) if width is None else fitted(_line(event), width) for event in events)


def _document(event: Event) -> dict[str, Any]:
    """The header."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "at": event.at,
        "actor": event.actor,
        "branch_id": event.branch_id,
        "step_id": event.step_id,
        "agent": event.agent,
        "status": event.status,
        "duration": event.duration,
        "data": dict(event.data),
    }


def _line(event: Event) -> str:
    took = duration(event.duration) if event.duration is not None else ""
    said = (event.agent or event.branch_id, logwords.detail(event), took, event.actor)
    rest = " · ".join(plain(part) for part in said if part)
    title = plain(logwords.title(event.kind), 40)
    return f"{event.seq:>6}  {event.at.astimezone(UTC):%H:%M:%S}  {title:<20}  {rest}".rstrip()


def _ended(session: Session, head: Head) -> str:
    why = plain(head.error or head.reason)
    return f"{session.name}: {STATUSES[head.status].label}{f', {why}' if why else ''}."
