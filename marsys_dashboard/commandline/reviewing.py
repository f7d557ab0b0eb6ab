"""`session changes`, `approve`, `decline`, `withdraw`: changed contexts that wait for approval."""

from __future__ import annotations

from argparse import ArgumentParser
from asyncio import Runner
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError

from marsys_dashboard import proposals
from marsys_dashboard.acts import ALL
from marsys_dashboard.commandline.finding import Session, find_session, name_of
from marsys_dashboard.commandline.terminal import Console, ask, is_yes, json_line, plain
from marsys_dashboard.commandline.who import Who
from marsys_dashboard.context_edit import Change, Line
from marsys_dashboard.deciding import CONSEQUENCES, DECIDE, ReasonForm, needs_reason, to_decide
from marsys_dashboard.forms import first_error
from marsys_dashboard.proposals import Undecided
from marsys_dashboard.templatetags.state import relative
from state_core.words import STATUSES

VALUES = 10
"""Of a change, so many at most."""
VALUE = 120
"""Characters of one."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("session", metavar="ID", nargs="?", help="of this session (of all)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each, with its values")


def add_deciding_arguments(parser: ArgumentParser, verb: str) -> None:
    parser.add_argument("session", metavar="ID", help="its id, or store:id")
    parser.add_argument("--change", type=int, metavar="N", help="which one, where several wait")
    parser.add_argument("--reason", metavar="TEXT", required=needs_reason(verb), help="why; it is recorded")
    parser.add_argument("--yes", action="store_true", help="do not ask")


# Looking


async def show(console: Console, options: Mapping[str, Any]) -> int:
    """1 where one of them is missing."""
    session = await find_session(options["session"]) if options["session"] else None
    found = await _waiting(session)
    if options["json"]:
        console.say_at_once(json_line(_document(waiting)) for waiting in found.waiting)
    else:
        for waiting in found.waiting:
            console.say_at_once(_lines(waiting))
    if found.more:
        console.note(f"These are the {proposals.MOST} that wait for longest.")
    for name, problem in found.problems.items():
        console.note(f"Without {plain(name)}: {plain(problem)}")
    return 1 if found.problems else 0


async def _waiting(session: Session | None) -> proposals.Found:
    where = {"store": session.store, "session_id": session.id} if session else {}
    return await proposals.find(**where)


def _document(waiting: Undecided) -> dict[str, Any]:
    change = waiting.change
    return {
        **waiting.facts,
        "values": change.values if change else None,
        "removed": change.removed if change else None,
        "note": waiting.note,
        "moved": waiting.moved,
    }


def _lines(waiting: Undecided) -> Iterator[str]:
    proposal = waiting.proposal
    name = name_of(proposal.store, proposal.session_id)
    yield (
        f"{proposal.pk}  {name}  {plain(proposal.proposer)} asks, {relative(proposal.created_at)}: "
        f"{plain(proposal.reason)}"
    )
    yield from _difference(waiting.change) if waiting.change else [f"    {plain(waiting.note)}"]
    if waiting.moved:
        yield f"    {plain(waiting.moved, 1000)}"


def _difference(change: Change) -> Iterator[str]:
    lines = change.lines[:VALUES]
    yield from map(_value, lines)
    if len(change) > len(lines):
        yield f"    … and {len(change) - len(lines)} more"


def _value(line: Line) -> str:
    name, before, after = plain(line.name, 60), plain(line.before.text, VALUE), plain(line.after.text, VALUE)
    if line.kind == "changed":
        return f"    {name}: {before} → {after}"
    return f"    - {name}: {before}" if line.kind == "removed" else f"    + {name}: {after}"


# Deciding


@dataclass(frozen=True)
class _Decision:
    """One that is possible and filled in."""

    session: Session
    waiting: Undecided
    verb: str
    actor: str
    reason: str

    @property
    def title(self) -> str:
        return f"{self.verb.capitalize()} the change"


def decide(runner: Runner, console: Console, who: Who, verb: str, options: Mapping[str, Any]) -> int:
    decision = runner.run(_intend(who, verb, options))
    _tell(console, decision)
    if not options["yes"]:
        ask(f"{decision.title}? [y/N] ", is_yes)  # outside of the loop, so that Ctrl-C ends it
    runner.run(_carry_out(console, decision))
    return 0


async def _intend(who: Who, verb: str, options: Mapping[str, Any]) -> _Decision:
    """Raises CommandError where it cannot be decided by them."""
    user = who.needed_user()
    session = await find_session(options["session"])
    number = await _only(session) if options["change"] is None else options["change"]
    waiting = await to_decide(number, session.store, session.id)
    if why_not := waiting.why_not(verb, user, who.permissions):
        raise CommandError(f"{session.name}: {plain(why_not, 1000)}")
    form = ReasonForm(verb, {"reason": options["reason"]})
    if not form.is_valid():
        raise CommandError(first_error(form))
    return _Decision(session, waiting, verb, who.actor, form.cleaned_data["reason"])


async def _only(session: Session) -> int:
    found = (await _waiting(session)).waiting
    if not found:
        raise CommandError(f"No change of {session.name} waits for approval.")
    if len(found) > 1:
        numbers = ", ".join(str(waiting.proposal.pk) for waiting in found)
        raise CommandError(f"Several changes wait. Say which by --change: {numbers}.")
    number: int = found[0].proposal.pk
    return number


def _tell(console: Console, decision: _Decision) -> None:
    head = decision.waiting.head
    console.say(f"{decision.title}: {decision.session.name}  {plain(head.title)}".rstrip())
    if decision.verb == "approve":
        console.say(f"{STATUSES[head.status].label} → {ALL['resume'].becomes(head.status)}")
    for line in _lines(decision.waiting):
        console.say(line)
    for sentence in CONSEQUENCES[decision.verb]:
        console.say(f"  - {sentence}")


async def _carry_out(console: Console, decision: _Decision) -> None:
    done = await DECIDE[decision.verb](decision.waiting, decision.actor, decision.reason)
    console.say_at_once([done.message])
