"""`session pause`, `resume` … : the acts, with the words, checks and consequences of their dialogs."""

from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser
from asyncio import Runner
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError

from marsys_dashboard.acts import DESTRUCTIVE, DO, Done, Given, becomes, refuse_unreviewed, title
from marsys_dashboard.commandline.finding import Session, find_session, nearest
from marsys_dashboard.commandline.following import follow
from marsys_dashboard.commandline.shown import asked_line, checkpoint_id, value_text
from marsys_dashboard.commandline.terminal import Console, ask, is_yes, plain
from marsys_dashboard.commandline.who import Who
from marsys_dashboard.forms import ActForm
from marsys_dashboard.proposing import NEEDS_REASON, propose
from marsys_dashboard.standing import Standing, standing
from marsys_dashboard.subjects import Subject, subject_of
from state_core.records import Checkpoint, Head, Question, SessionStatus, utc_now
from state_core.words import STATUSES, Action, duration

LONGEST_SENTENCE = 1_000

S = SessionStatus
GOALS: Mapping[str, frozenset[SessionStatus]] = {
    "pause": frozenset({S.PAUSED}),
    "resume": frozenset({S.RUNNING, S.WAITING, S.COMPLETED}),
    "restore": frozenset({S.PAUSED}),
    "undo": frozenset({S.PAUSED}),
    "cancel": frozenset({S.CANCELLED}),
}
"""Verb → the statuses by which it is seen that it has happened, not only been asked for."""
WAITS = ("The session stays as it is until another user approves the changed context.",)
ON_THE_WAY = frozenset({S.PAUSING, S.RESUMING, S.CANCELLING})


def _add_reason(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument(
        "--reason", metavar="TEXT", required=action.reason_required, help="why; it is recorded"
    )


def _add_checkpoint(parser: ArgumentParser, action: Action) -> None:
    needed = action.verb != "fork"
    parser.add_argument("--checkpoint", metavar="NAME|ID", required=needed, help="from which")


def _add_name(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument("--name", metavar="TEXT", help="of the checkpoint (checkpoint-1, -2 …)")


def _add_seq(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument("--seq", metavar="N", help="from this event, instead of a checkpoint or the present")


def _add_context(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument(
        "--context", metavar="KEY=JSON", action="append", help="merged into the context; may be repeated"
    )


def _add_question(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument("--question", metavar="ID", help="which one, where several are open")


def _add_answer(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument(
        "--answer", metavar="JSON|TEXT", required=True, help="one of its choices, JSON by its schema, or text"
    )


def _add_new_session_id(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument("--new-session-id", metavar="ID", help="of the fork (made up)")


def _add_expected_seq(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument(
        "--expected-seq", metavar="N", help="refuse where this is not its last event any more"
    )


OPTIONS: Mapping[str, Callable[[ArgumentParser, Action], None]] = {
    "reason": _add_reason,
    "checkpoint": _add_checkpoint,
    "name": _add_name,
    "seq": _add_seq,
    "context": _add_context,
    "question": _add_question,
    "answer": _add_answer,
    "new_session_id": _add_new_session_id,
    "expected_seq": _add_expected_seq,
}
"""Field of the dialog → the option that fills it in. ``edited`` needs an editor, ``confirm`` is asked for."""


def fields_of(action: Action) -> tuple[str, ...]:
    """Those of its dialog that are options here. Where a context can be edited, the event goes with that."""
    fields = ActForm.FIELDS[action.verb]
    without = {"seq"} if "edited" in fields else set()
    return tuple(field for field in fields if field in OPTIONS and field not in without)


def add_arguments(parser: ArgumentParser, action: Action) -> None:
    parser.add_argument("session", metavar="ID", help="its id, or store:id")
    for field in fields_of(action):
        OPTIONS[field](parser, action)
    if action.takes_context:
        parser.add_argument(
            "--ask", action="store_true", help="ask another user to approve the changed context first"
        )
    if action.verb in GOALS:
        parser.add_argument(
            "--wait", type=float, metavar="SECONDS", help="until it has happened, at most so long"
        )
    parser.add_argument("--yes", action="store_true", help="do not ask")


@dataclass(frozen=True)
class Intent:
    """An act that is possible and filled in."""

    session: Session
    subject: Subject
    given: Given
    consequences: Sequence[str]
    proposer: Any = None
    """The user who asks another one to approve it first, where one does."""

    @property
    def action(self) -> Action:
        return self.subject.action

    @property
    def title(self) -> str:
        if self.proposer:
            return "Ask for approval"
        seq = "" if self.given.seq is None else str(self.given.seq)
        return plain(title(self.action, self.given.checkpoint, seq))


def act(runner: Runner, console: Console, who: Who, action: Action, options: Mapping[str, Any]) -> int:
    intent = runner.run(_intend(who, action, options))
    _tell(console, intent)
    if not options["yes"]:
        _ask(intent)  # outside of the loop, so that Ctrl-C ends it
    return runner.run(_carry_out(console, intent, options.get("wait")))


async def _intend(who: Who, action: Action, options: Mapping[str, Any]) -> Intent:
    """Raises CommandError where it cannot be done, or something that was given does not fit."""
    session = await find_session(options["session"])
    subject = await subject_of(session.store, session.id, action.verb)
    why_not = subject.availability(who.permissions).why_not
    if why_not:
        raise CommandError(f"{session.name}: {why_not}")
    form = _filled_in(session, subject, options)
    if not form.is_valid():
        raise CommandError(form.first_error())
    values = {name: form.cleaned_data[name] for name in form.cleaned_data if name != "confirm"}
    given = Given(actor=who.actor, store=session.store, **values)
    if options.get("ask"):
        return Intent(session, subject, given, WAITS, _proposer(who, options))
    refuse_unreviewed(subject.head, given)
    place = given.checkpoint or subject.checkpoint("")
    return Intent(session, subject, given, await subject.consequences(place))


def _proposer(who: Who, options: Mapping[str, Any]) -> Any:
    if options["wait"] is not None:
        raise CommandError("With --ask there is nothing to wait for: leave out --wait.")
    if not options["reason"]:
        raise CommandError(NEEDS_REASON)
    return who.needed_user()


def _filled_in(session: Session, subject: Subject, options: Mapping[str, Any]) -> ActForm:
    action = subject.action
    data = {name: options[name] for name in fields_of(action) if options[name] is not None}
    data["confirm"] = session.id
    data.setdefault("expected_seq", subject.told_at)
    if "name" in fields_of(action):
        data.setdefault("name", f"checkpoint-{subject.head.counts['checkpoints'] + 1}")
    if "context" in data:
        data["context"] = json.dumps(dict(map(_pair, data["context"])))
    if "checkpoint" in data:
        data["checkpoint"] = _checkpoint(data["checkpoint"], subject.checkpoints, session)
    if action.verb == "answer":
        question = _question(data.get("question"), subject.questions)
        data |= {"question": question.question_id, "answer": _answer(question, data["answer"])}
    return ActForm(action, session.id, subject.checkpoints, subject.questions, data=data)


def _pair(text: str) -> tuple[str, Any]:
    """What is no JSON is text."""
    key, found, value = text.partition("=")
    if not (key and found):
        raise CommandError(f"{plain(text)!r} is no KEY=JSON, such as --context 'budget=20'.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _checkpoint(asked: str, checkpoints: Sequence[Checkpoint], session: Session) -> str:
    found = checkpoint_id(asked, checkpoints)
    if found in {each.id for each in checkpoints}:
        return found
    near = nearest(asked, {each.name: plain(each.name) for each in checkpoints})
    remedy = f"Did you mean {near}?" if near else f"`session show {session.name}` lists them."
    raise CommandError(f"{session.name} has no checkpoint {plain(asked)!r}. {remedy}")


def _question(asked: str | None, questions: Sequence[Question]) -> Question:
    found = [question for question in questions if asked in (None, question.question_id)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(question.question_id for question in questions) or "none"
    if asked is None:
        raise CommandError(f"Several questions are open. Say which by --question: {ids}.")
    raise CommandError(f"No question {plain(asked)!r} is open. Open are: {ids}.")


def _answer(question: Question, text: str) -> str:
    """As the dialog sends it: of a choice, its number."""
    if not question.choices:
        return text
    for number, choice in enumerate(question.choices):
        if text == choice or text == json.dumps(choice):
            return str(number)
    raise CommandError(f"Choose one of the answers: {', '.join(map(value_text, question.choices))}.")


def _tell(console: Console, intent: Intent) -> None:
    head = intent.subject.head
    console.say(f"{intent.title}: {intent.session.name}  {plain(head.title)}".rstrip())
    if not intent.proposer:
        console.say(f"{STATUSES[head.status].label} → {becomes(intent.action, head)}")
    if intent.given.question:
        console.say(asked_line(intent.given.question))
        console.say(f"    answer: {value_text(intent.given.answer)}")
    for sentence in intent.consequences:
        console.say(f"  - {plain(sentence, LONGEST_SENTENCE)}")


def _ask(intent: Intent) -> None:
    session_id = intent.session.id
    if intent.action.verb in DESTRUCTIVE:
        ask(f"Type {session_id} to confirm: ", lambda answer: answer == session_id)
    else:
        ask(f"{intent.title}? [y/N] ", is_yes)


async def _carry_out(console: Console, intent: Intent, wait: float | None) -> int:
    verb, session = intent.action.verb, intent.session
    done = await _perform(intent)
    console.say_at_once([plain(done.message)])
    if wait is None:
        return 0
    try:
        async with asyncio.timeout(wait):
            head = await _until_settled(console, session)
    except TimeoutError:
        raise CommandError(
            f"It has not happened within {duration(wait)}. It stays asked for; "
            f"`session show {session.name}` tells how far it is."
        ) from None
    word = STATUSES[head.status].label.lower()
    if head.status not in GOALS[verb]:
        raise CommandError(f"{session.name} is {word} instead. {plain(head.error or head.reason)}".rstrip())
    console.say(f"{session.name} is {word}.")
    return 0


async def _perform(intent: Intent) -> Done:
    manager, head = intent.session.manager, intent.subject.head
    if intent.proposer:
        return await propose(manager, head, intent.given, intent.proposer)
    return await DO[intent.action.verb](manager, head, intent.given)


async def _until_settled(console: Console, session: Session) -> Head:
    """Until nothing of what was asked for is still to happen; how far it is is told meanwhile."""
    told = ""
    async with aclosing(follow(session, session.head.last_seq, console.note)) as news:
        async for head, _ in news:
            if head.status not in ON_THE_WAY:
                return head
            stands = standing(await session.manager.log.outline(session.id), head)
            if stands.detail != told:
                console.note(_progress(stands))
            told = stands.detail
    raise AssertionError("following ends with the session, or by an error")


def _progress(stands: Standing) -> str:
    since = f", for {duration((utc_now() - stands.since).total_seconds())}" if stands.since else ""
    return f"{stands.word.label}: {plain(stands.detail)}{since}"
