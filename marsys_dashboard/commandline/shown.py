"""`session show`: one session, now or as of an earlier event."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from marsys_dashboard.acts import Availability, available
from marsys_dashboard.checkpoint_windows import newest_first
from marsys_dashboard.commandline.finding import Session, find_session
from marsys_dashboard.commandline.listed import status_words
from marsys_dashboard.commandline.terminal import INDENT, Console, json_line, plain, table
from marsys_dashboard.contents import as_text, read_contents
from marsys_dashboard.outlines import Outline, StepKey
from marsys_dashboard.rows import Row, step_row
from marsys_dashboard.standing import standing
from marsys_dashboard.templatetags.state import exact, relative
from marsys_dashboard.travel import head_at, outline_at, place_named
from state_core.exceptions import DamagedError, EncryptionKeyError
from state_core.fold import open_questions
from state_core.managers import why_unreadable
from state_core.records import (
    BRANCH_ENDED,
    ENDED,
    HELD,
    BranchStatus,
    Checkpoint,
    Document,
    Head,
    Question,
    StepStatus,
    parse_time,
    utc_now,
)
from state_core.words import STATUSES, counted, duration

BRANCHES, STEPS, QUESTIONS, CHECKPOINTS = 20, 10, 10, 10
"""So many at most."""
PROMPT = 400
"""Characters of a question."""
VALUE = 80
"""Characters of an answer that can be chosen."""


@dataclass(frozen=True)
class Picture:
    """What is shown, to people and to programs."""

    session: Session
    at: int | None
    head: Head
    outline: Outline
    steps: Sequence[Row]
    questions: Sequence[Question]
    checkpoints: Sequence[Checkpoint]
    acts: Mapping[str, Availability]
    unreadable: str

    @property
    def now(self) -> datetime:
        """When it stood so."""
        return (self.at and self.head.updated_at) or utc_now()

    @property
    def branches(self) -> list[Document]:
        """Those that are at work first, then those that ended last."""
        opened = list(self.outline.document["branches"].values())
        return sorted(opened, key=lambda branch: branch["status"] in BRANCH_ENDED)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("session", metavar="ID", help="its id, or store:id")
    parser.add_argument("--at", metavar="SEQ|CHECKPOINT", help="as it stood after this event, or there")
    parser.add_argument("--json", action="store_true", help="as one line of JSON, without contents")


async def show(console: Console, permissions: Collection[str], options: Mapping[str, Any]) -> int:
    session = await find_session(options["session"])
    picture = await _picture(session, permissions, options["at"])
    if options["json"]:
        console.say(json_line(_document(picture)))
    else:
        _show(console, picture)
    return 0


async def _picture(session: Session, permissions: Collection[str], asked: str | None) -> Picture:
    manager, head = session.manager, session.head
    checkpoints = await manager.list_checkpoints(session.id)
    at = await place_named(checkpoint_id(asked, checkpoints), manager, head) if asked else None
    outline = await outline_at(session.store, manager, head, at)
    unreadable = await why_unreadable(manager, session.id)
    return Picture(
        session,
        at,
        head_at(head, outline.document) if at else head,
        outline,
        await _steps(session, outline),
        await _questions(session, outline),
        newest_first(checkpoints),
        available(head, permissions, unreadable),
        unreadable,
    )


def checkpoint_id(asked: str, checkpoints: Sequence[Checkpoint]) -> str:
    """Of the newest that has this name; otherwise as it is."""
    return next((each.id for each in newest_first(checkpoints) if each.name == asked), asked)


async def _steps(session: Session, outline: Outline) -> list[Row]:
    keys: list[StepKey] = outline.newest_steps(limit=STEPS)
    places = [place for key in keys for place in outline.steps[key]]
    contents = await read_contents(session.manager, session.id, places)
    return [step_row(outline, key, contents) for key in keys]


async def _questions(session: Session, outline: Outline) -> list[Question]:
    """The open ones, the oldest first; without what is asked where that cannot be read."""
    asked = open_questions(outline.document)
    if not asked or outline.document["status"] in ENDED:
        return []
    try:
        whole = await session.manager.log.document(session.id, outline.seq)
    except (DamagedError, EncryptionKeyError):
        whole = outline.document
    return [Question.from_document(question) for question in open_questions(whole)]


# For programs


def _document(picture: Picture) -> dict[str, Any]:
    return {
        "store": picture.session.store,
        "at": picture.at,
        **asdict(picture.head),
        "branches": [_branch_document(branch) for branch in picture.branches],
        "open_questions": [asdict(question) for question in picture.questions],
        "checkpoints": [asdict(checkpoint) for checkpoint in picture.checkpoints],
        "acts": {
            verb: {"possible": act.allowed, "why_not": act.why_not} for verb, act in picture.acts.items()
        },
    }


CONTENTS = frozenset({"input", "output", "metadata"})


def _branch_document(branch: Document) -> Document:
    steps = [_without(step, CONTENTS) for step in branch["steps"].values()]
    return {**_without(branch, {"memory", "metadata"}), "steps": steps}


def _without(document: Document, names: Collection[str]) -> Document:
    return {name: value for name, value in document.items() if name not in names}


# For people


def _show(console: Console, picture: Picture) -> None:
    for line in _heading(picture):
        console.say(line)
    console.section("Open questions", _question_lines(picture))
    for title, rows, flexible, of in (
        ("Branches", _branch_rows(picture), (2,), len(picture.branches)),
        ("Last steps", _step_rows(picture), (1, 2, 5), picture.head.counts["steps"]),
        ("Checkpoints", _checkpoint_rows(picture), (0,), len(picture.checkpoints)),
    ):
        console.section(title, _tabled(console, rows, flexible, of))
    if picture.at is None:
        console.section("Possible now", _possible(picture))
        console.section("Not now", table(_not_now(picture), None))


def _tabled(
    console: Console, rows: Sequence[Sequence[str]], flexible: Sequence[int], of: int
) -> Iterator[str]:
    yield from table(rows, console.width and console.width - len(INDENT), flexible)
    if of > len(rows):
        yield f"… and {of - len(rows)} more"


def _heading(picture: Picture) -> Iterator[str]:
    head = picture.head
    yield f"{picture.session.name}  {plain(head.title)}".rstrip()
    yield f"{_status(picture)}; {_when(head, picture.now)}"
    if picture.at is not None:
        last = picture.session.head.last_seq
        yield f"As it stood after event {picture.at} of {last}, {exact(head.updated_at)}."
    for label, text in (("Error", head.error), ("Reason", head.reason), ("Forked from", head.origin)):
        if text:
            yield f"{label}: {plain(text, 1000)}"
    counts = head.counts
    yield (
        f"{counted(counts['steps'], 'step')}, {counts['steps_completed']} completed, "
        f"{counts['steps_failed']} failed; {counted(counts['branches'], 'branch')}; "
        f"{counted(counts['messages'], 'message')}; {counted(head.last_seq, 'event')}"
    )
    if head.owner and head.status in HELD:
        yield f"Held by {plain(head.owner)}"
    if picture.unreadable:
        yield picture.unreadable


def _status(picture: Picture) -> str:
    stands = standing(picture.outline.document, picture.head)
    return ": ".join(part for part in (status_words(picture.head), plain(stands.detail)) if part)


def _when(head: Head, now: datetime) -> str:
    if head.started_at is None:
        return f"created {relative(head.created_at)}"
    lasts = duration(((head.ended_at or now) - head.started_at).total_seconds())
    ended = f", ended {relative(head.ended_at)}" if head.ended_at else ""
    return f"started {relative(head.started_at)}{ended}, {lasts}; last event {relative(head.updated_at)}"


def _question_lines(picture: Picture) -> Iterator[str]:
    for question in picture.questions[:QUESTIONS]:
        yield asked_line(question)
        if question.choices:
            yield f"    one of {', '.join(map(value_text, question.choices[:8]))}"
    if len(picture.questions) > QUESTIONS:
        yield f"… and {len(picture.questions) - QUESTIONS} more"


def asked_line(question: Question) -> str:
    asked = plain(as_text(question.prompt, PROMPT, flat=True).text, PROMPT) or "(cannot be read here)"
    who = plain(question.agent or question.branch_id or "", 60)
    return f"{question.question_id}  {who} asks, {relative(question.asked_at)}: {asked}"


def value_text(value: Any) -> str:
    """A choice, or an answer."""
    return plain(as_text(value, VALUE, flat=True).text, VALUE)


def _branch_rows(picture: Picture) -> list[tuple[str, ...]]:
    return [
        (plain(branch["name"], 40), _label(branch["status"]), plain(doing(branch, picture.now)))
        for branch in picture.branches[:BRANCHES]
    ]


def doing(branch: Document, now: datetime) -> str:
    """What a branch is at."""
    if branch["error"]:
        return str(branch["error"])
    steps = list(branch["steps"].values())
    if branch["status"] not in BRANCH_ENDED:
        for step in reversed(steps):
            if step["status"] == StepStatus.RUNNING:
                return f"{_named(step)}, since {duration(_seconds(step, now))}"
        if branch["status"] == BranchStatus.WAITING and len(branch["parent_ids"]) > 1:
            return f"{len(branch['joined_ids'])} of {counted(len(branch['parent_ids']), 'branch')} arrived"
    return f"{counted(len(steps), 'step')}, the last by {_named(steps[-1])}" if steps else "no step yet"


def _named(step: Document) -> str:
    again = f", attempt {step['attempt']}" if step["attempt"] > 1 else ""
    return f"{step['agent'] or step['step_id']}{again}"


def _seconds(step: Document, now: datetime) -> float:
    began = parse_time(step["started_at"])
    return (now - began).total_seconds() if began else 0.0


def _step_rows(picture: Picture) -> list[tuple[str, ...]]:
    return [_step_cells(row.values, picture.now) for row in picture.steps]


def _step_cells(values: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    step, preview = values["step"], values["preview"]
    took = step["duration"] if step["duration"] is not None else _seconds(step, now)
    return (
        _label(step["status"]),
        plain(_named(step), 40),
        plain(values["branch_name"], 40),
        relative(values["started_at"]),
        duration(took),
        plain(preview.text or preview.note),
    )


def _checkpoint_rows(picture: Picture) -> list[tuple[str, ...]]:
    return [
        (plain(each.name, 80), f"event {each.seq}", relative(each.created_at), each.id)
        for each in picture.checkpoints[:CHECKPOINTS]
    ]


def _possible(picture: Picture) -> Iterator[str]:
    verbs = [act.verb for act in picture.acts.values() if act.allowed]
    if verbs:
        yield ", ".join(verbs)


def _not_now(picture: Picture) -> list[tuple[str, str]]:
    return [(act.verb, plain(act.why_not)) for act in picture.acts.values() if not act.allowed]


def _label(status: str) -> str:
    return STATUSES[status].label if status in STATUSES else plain(status, 20)
