"""What waits for a person, over all sessions of all stores: open questions, and sessions that nobody runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from marsys_dashboard.contents import MESSAGE_PREVIEW, Text, Unread, as_text, question_values, read_contents
from marsys_dashboard.feed import feed
from marsys_dashboard.forms import answer_fields
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.outlines import Outline
from state_core.events import Event
from state_core.exceptions import SessionNotFound, StateError, StorageError
from state_core.fold import open_questions
from state_core.records import ENDED, Document, Head, Question, SessionStatus, utc_now
from state_core.storage.base import HeadQuery

MOST = 100
"""Sessions with questions that are read, in each store: those that have been quiet for longest."""
MOST_LEFT = 50
"""Sessions that nobody runs, in each store: those that stopped last."""
FAILED_FOR = timedelta(days=7)
"""How long a failed session is shown as waiting for somebody."""
PATIENCE = timedelta(seconds=60)
"""How long a session may be resuming before it says that nobody takes it."""
LEFT = (SessionStatus.INTERRUPTED, SessionStatus.FAILED, SessionStatus.RESUMING)

OPEN = frozenset(SessionStatus) - ENDED


@dataclass(frozen=True)
class Waiting:
    """An open question."""

    store: str
    head: Head
    question: Question
    branch_name: str = ""
    prompt: Text = field(default_factory=lambda: Text("", 0))
    note: str = ""
    """Why it cannot be read here, or ""."""

    @property
    def key(self) -> str:
        asked = f"@{self.question.asked_at.isoformat()}" if self.question.asked_at else ""
        return f"{self.store}/{self.head.session_id}/{self.question.question_id}{asked}"

    @property
    def form(self) -> dict[str, Any]:
        return answer_fields(self.question)


@dataclass(frozen=True)
class Left:
    """A session that stopped and that nobody has taken up."""

    store: str
    head: Head


@dataclass
class Needs:
    questions: list[Waiting] = field(default_factory=list)
    """The one that has waited for longest first."""
    left: list[Left] = field(default_factory=list)
    """The one that stopped last first."""
    more_questions: bool = False
    """Are there sessions with questions beyond those that were read?"""
    more_left: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    """Store or session → why it is missing."""


def question_query() -> HeadQuery:
    return HeadQuery(statuses=OPEN, questions=True, sort="updated_at", limit=MOST + 1)


async def find() -> Needs:
    """A store that cannot be reached is told of, and the others are shown."""
    needs = Needs()
    for store, answer in await _of_every_store(needs, _asking):
        needs.more_questions |= len(answer) > MOST
        for head in answer[:MOST]:
            needs.questions += await _questions(needs, store, head)
    for store, answer in await _of_every_store(needs, _left):
        needs.more_left |= len(answer) > MOST_LEFT
        needs.left += [Left(store, head) for head in answer[:MOST_LEFT]]
    needs.questions.sort(key=lambda waiting: (waiting.question.asked_at or utc_now(), waiting.key))
    needs.left.sort(key=lambda left: left.head.updated_at or utc_now(), reverse=True)
    return needs


async def _of_every_store(
    needs: Needs, ask: Callable[[str], Awaitable[list[Head]]]
) -> list[tuple[str, list[Head]]]:
    names = store_names()
    answers = await asyncio.gather(*map(ask, names), return_exceptions=True)
    found = []
    for store, answer in zip(names, answers, strict=True):
        if isinstance(answer, StorageError):
            needs.problems[store] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append((store, answer))
    return found


async def _asking(store: str) -> list[Head]:
    return await manager(store).storage.heads(question_query())


async def _left(store: str) -> list[Head]:
    now = utc_now()
    query = HeadQuery(statuses=LEFT, since=now - FAILED_FOR, limit=MOST_LEFT + 1)
    heads = await manager(store).storage.heads(query)
    return [head for head in heads if not _may_still_be_taken(head, now)]


def _may_still_be_taken(head: Head, now: datetime) -> bool:
    is_recent = head.updated_at is not None and now - head.updated_at < PATIENCE
    return head.status == SessionStatus.RESUMING and is_recent


async def _questions(needs: Needs, store: str, head: Head) -> Iterable[Waiting]:
    try:
        outline = await feed.cache.outline(store, manager(store), head.session_id)
        return await _read(store, head, outline)
    except SessionNotFound:
        return []
    except StateError as error:
        needs.problems[f"{store} / {head.session_id}"] = str(error)
        return []


async def _read(store: str, head: Head, outline: Outline) -> list[Waiting]:
    asked = {question["question_id"]: question for question in open_questions(outline.document)}
    places = [place for i, place in outline.questions.items() if i in asked]
    contents = await read_contents(manager(store), head.session_id, places)
    if any(question_id not in outline.questions for question_id in asked):
        # A fork carries questions that no event of its own asks.
        whole = await manager(store).log.document(head.session_id, outline.seq)
        asked = {question["question_id"]: question for question in open_questions(whole)}
    found = []
    for question_id, document in asked.items():
        place = outline.questions.get(question_id)
        found.append(_waiting(store, head, outline, document, contents.get(place.seq) if place else None))
    return found


def _waiting(
    store: str, head: Head, outline: Outline, document: Document, content: Event | Unread | None
) -> Waiting:
    values = question_values(content) if isinstance(content, Event) else {}
    question = Question.from_document({**document, **values})
    branch = outline.document["branches"].get(question.branch_id) or {}
    return Waiting(
        store,
        head,
        question,
        branch.get("name", ""),
        as_text(question.prompt, MESSAGE_PREVIEW),
        content.why if isinstance(content, Unread) else "",
    )
