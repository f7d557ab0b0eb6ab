"""Branches that seem to be stuck or to go in circles, each with the rule that says so.

The rules look at headers. What headers make likely of messages, their contents confirm, where those can be
read; where not, the words say that only sizes were compared.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from marsys_dashboard.contents import messages_in, read_one
from marsys_dashboard.panels import View
from marsys_dashboard.templatetags.state import duration
from state_core.events import Event, EventKind, Header
from state_core.manager import StateManager
from state_core.records import BRANCH_ENDED, Document, SessionStatus, parse_time, utc_now

SHOWN = 20
"""Flags in words; where a provider hangs all branches may be stuck. Graph and timeline mark every one."""
LOOKED_AT = 1_000
"""Newest events in which rules look for circles."""
FEWEST = 8
"""Pauses between a branch's events, without which nothing is usual for it."""
NEWEST = 400
"""Pauses that are looked at."""
FACTOR = 3
"""So many times as long as 95 of 100 of its pauses is not usual for a branch …"""
SHORTEST = timedelta(seconds=10)
"""… and never less than this."""
TIMES = 3
"""Repetitions that make a circle."""
LONGEST_CIRCLE = 3
"""Messages of one turn of a circle at most."""


@dataclass(frozen=True, slots=True)
class Flag:
    branch_id: str
    name: str
    rule: str
    """``stalled``, ``repeats`` or ``ping-pong``."""
    words: str


async def flags(view: View) -> dict[str, Any]:
    """Of a session at work; of the past, and of one that is held, nothing is said."""
    if view.at is not None or view.document["status"] != SessionStatus.RUNNING:
        return {"flags": [], "more": [], "more_json": "[]", "due": None}
    events = await view.manager.log.read(
        view.session_id, before=view.outline.seq + 1, limit=LOOKED_AT, bodies=False, newest_first=True
    )
    by_branch = _by_branch(reversed(events))
    open_ones = [b for b in view.document["branches"].values() if b["status"] not in BRANCH_ENDED]
    found: list[Flag] = []
    dues: list[datetime] = []
    now = utc_now()
    for branch in open_ones:
        own = by_branch.get(branch["branch_id"], [])
        due = stalls_at(branch, own)
        if due and due <= now:
            found.append(_stalled(branch, own, now))
        elif due:
            dues.append(due)
        found += [flag for flag in (ping_pong(branch, own), await _repeats(view, branch, own)) if flag]
    more = found[SHOWN:]
    return {
        "flags": found[:SHOWN],
        "more": more,
        "more_json": json.dumps([[flag.branch_id, flag.words] for flag in more]),
        "due": min(dues, default=None),
    }


def _by_branch(events: Iterable[Event]) -> Mapping[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.branch_id].append(event)
    return found


# Stalled


def stalls_at(branch: Document, events: Sequence[Header]) -> datetime | None:
    """When a branch at work will have been silent for unusually long; None where nothing is usual yet."""
    if not any(step["status"] == "running" for step in branch["steps"].values()):
        return None
    usual = usual_pause(branch)
    last = _last(branch, events)
    return last + max(SHORTEST, FACTOR * usual) if usual is not None and last else None


def usual_pause(branch: Document) -> timedelta | None:
    """95 of 100 pauses between the events of its steps were no longer."""
    moments = sorted(_moments(branch))[-NEWEST - 1 :]
    pauses = [(b - a).total_seconds() for a, b in zip(moments, moments[1:], strict=False)]
    if len(pauses) < FEWEST:
        return None
    return timedelta(seconds=statistics.quantiles(pauses, n=20, method="inclusive")[-1])


def _moments(branch: Document) -> Iterable[datetime]:
    for step in branch["steps"].values():
        for moment in (parse_time(step["started_at"]), parse_time(step["ended_at"])):
            if moment:
                yield moment


def _last(branch: Document, events: Sequence[Header]) -> datetime | None:
    return max([*_moments(branch), *(event.at for event in events)], default=None)


def _stalled(branch: Document, events: Sequence[Header], now: datetime) -> Flag:
    last, usual = _last(branch, events) or now, usual_pause(branch) or SHORTEST
    words = (
        f"No event for {duration((now - last).total_seconds())}; 95 of 100 of this branch's pauses were "
        f"under {duration(usual.total_seconds())}. Flagged from {FACTOR} times that on, "
        f"and from {SHORTEST.seconds} s."
    )
    return Flag(branch["branch_id"], branch["name"], "stalled", words)


# Circles


def circle(signs: Sequence[Any]) -> tuple[int, int]:
    """Length and turns of the shortest circle that ``signs`` end with; (0, 0) where there is none."""
    for length in range(1, LONGEST_CIRCLE + 1):
        turns = 1
        while len(signs) >= length * (turns + 1) and _turn(signs, length, turns) == _turn(signs, length, 0):
            turns += 1
        if turns >= TIMES:
            return length, turns
    return 0, 0


def _turn(signs: Sequence[Any], length: int, back: int) -> Sequence[Any]:
    """So many turns before the last one."""
    end = len(signs) - length * back
    return signs[end - length : end]


def ping_pong(branch: Document, events: Sequence[Header]) -> Flag | None:
    """Two agents that hand a branch to and fro."""
    agents = [event.agent for event in events if event.kind == EventKind.STEP_STARTED]
    length, turns = circle(agents)
    if length != 2:
        return None
    first, second = agents[-2:]
    words = f"{first} and {second} have taken turns {turns} times, and nobody else was asked."
    return Flag(branch["branch_id"], branch["name"], "ping-pong", words)


async def _repeats(view: View, branch: Document, events: Sequence[Event]) -> Flag | None:
    """The same messages, a tool's call and its result for example, again and again."""
    said = [event for event in events if event.kind == EventKind.MESSAGE_ADDED]
    length, turns = circle([(event.agent, event.data.get("role"), event.size) for event in said])
    if not length:
        return None
    contents = await _contents(view.manager, view.session_id, said[-length * TIMES :])
    if contents and circle(contents) == (0, 0):
        return None
    what = "message" if length == 1 else f"{length} messages"
    doubt = "" if contents else " They cannot be read here: the sizes are the same."
    words = f"The same {what} {turns} times in a row.{doubt}"
    return Flag(branch["branch_id"], branch["name"], "repeats", words)


async def _contents(manager: StateManager, session_id: str, events: Sequence[Header]) -> list[Any]:
    """What the messages say, without when; nothing where one of them cannot be read."""
    found = []
    for event in events:
        whole = await read_one(manager, session_id, event.seq)
        if not isinstance(whole, Event):
            return []
        found.append([{**message, "created_at": None} for message in messages_in(whole)])
    return found
