"""Links for answering: whoever has one answers one question, once, without signing in.

An address holds the random key of a row, signed; the row says which question it is, who gave it out and until
when. So one that was made up is refused without a look at any database, and one that was given out works only
while its question is open, and as long as whoever gave it out may answer themselves.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing

from marsys_dashboard.managers import manager
from marsys_dashboard.models import AnswerLink
from marsys_dashboard.permissions import amay
from state_core.control import open_question, refuse_if_not_taken
from state_core.exceptions import (
    InvalidValue,
    NotFound,
    QuestionAnswered,
    SessionNotFound,
    StateError,
    TransitionError,
)
from state_core.records import ENDED, Head, Question, utc_now

logger = logging.getLogger(__name__)

SALT = "marsys.answer-link"
MOST = 20
"""Links that work, of one question."""
KEPT = timedelta(days=30)
"""How long a row tells that its link has expired."""
LASTING = {"hour": ("1 hour", 3600), "day": ("1 day", 24 * 3600), "week": ("7 days", 7 * 24 * 3600)}
"""What people choose from, as far as ANSWER_LINK_AGE allows: words and seconds."""


@dataclass(frozen=True)
class Words:
    """What whoever opens a link is told where there is nothing to answer, and not more than they need."""

    title: str
    message: str
    status: int = 410
    icon: str = "warning"


UNKNOWN = Words(
    "This link does not work", "A part of it may be missing. Ask whoever sent it to you for another.", 404
)
ANSWERED = Words("This question was answered", "Nothing more is needed from you.", icon="completed")
WITHDRAWN = Words("This link was withdrawn", "Whoever sent it to you can tell you more.")
EXPIRED = Words("This link has expired", "Ask whoever sent it to you for another, if it still matters.")
MOVED_ON = Words("The session has moved on", "This question is no longer asked. Nothing is needed from you.")
UNREADABLE = Words(
    "The question cannot be shown at the moment",
    "Try again later. If it stays like this, tell whoever sent you the link.",
    503,
)


class Closed(Exception):
    """There is nothing to answer by this link."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.title)
        self.words = words


def lasting() -> dict[str, tuple[str, int]]:
    """What can be chosen; nothing where there are no links here."""
    return {name: choice for name, choice in LASTING.items() if choice[1] <= settings.ANSWER_LINK_AGE}


def token_of(link: AnswerLink) -> str:
    return signing.dumps(link.key, salt=SALT)


async def find(token: str) -> AnswerLink:
    """Raises Closed."""
    try:
        key = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        raise Closed(UNKNOWN) from None
    link = await AnswerLink.objects.select_related("shared_by").filter(key=key).afirst()
    if link is None:
        raise Closed(UNKNOWN)
    return link


# By whoever may answer


async def share(store: str, head: Head, question: Question, by: Any, *, to: str, seconds: int) -> AnswerLink:
    """Raises InvalidValue where too many are out already."""
    now = utc_now()
    if len(await given_out(store, head.session_id, question)) >= MOST:
        raise InvalidValue(f"{MOST} links for this question work already. Withdraw one of them first.")
    link = AnswerLink(
        key=secrets.token_urlsafe(16),
        store=store,
        session_id=head.session_id,
        question_id=question.question_id,
        asked_at=question.asked_at,
        shared_by=by,
        to=to,
        shared_at=now,
        until=now + timedelta(seconds=seconds),
    )
    await manager(store).record_link_shared(
        head.session_id, question.question_id, until=link.until, to=to, actor=by.get_username()
    )
    await link.asave()
    await AnswerLink.objects.filter(until__lt=now - KEPT).adelete()
    return link


async def given_out(store: str, session_id: str, question: Question) -> list[AnswerLink]:
    """Those that still work, the newest first."""
    links = AnswerLink.objects.select_related("shared_by").filter(
        store=store,
        session_id=session_id,
        question_id=question.question_id,
        asked_at=question.asked_at,
        answered_at=None,
        withdrawn_at=None,
    )
    return [link async for link in links.order_by("-shared_at") if link.ends_at > utc_now()]


async def withdraw(link: AnswerLink, by: Any) -> None:
    """The row first: the link ends even where the log cannot be written."""
    withdrawn = AnswerLink.objects.filter(pk=link.pk, withdrawn_at=None)
    if not await withdrawn.aupdate(withdrawn_at=utc_now()):
        return
    try:
        await manager(link.store).record_link_withdrawn(
            link.session_id, link.question_id, to=link.to, actor=by.get_username()
        )
    except SessionNotFound:
        logger.info("The session of a withdrawn link is gone: %s", link)


# By whoever has the link


@dataclass(frozen=True)
class Asked:
    """What a link shows."""

    head: Head
    question: Question


async def look(link: AnswerLink) -> Asked:
    """Raises Closed."""
    await _refuse_ended(link)
    with _told_to_strangers():
        of_store = manager(link.store)
        head = await of_store.get_head(link.session_id)
        if head.status in ENDED:
            raise Closed(MOVED_ON)
        refuse_if_not_taken(head, "answer")
        document = await of_store.log.document(link.session_id)
        question = open_question(document, link.question_id, link.asked_at)
        return Asked(head, Question.from_document(question))


async def answer(link: AnswerLink, value: Any) -> None:
    """Raises Closed; InvalidValue where the answer does not fit."""
    await _refuse_ended(link)
    with _told_to_strangers():
        await manager(link.store).answer(
            link.session_id, link.question_id, value, actor=link.actor, asked_at=link.asked_at
        )
    await AnswerLink.objects.filter(pk=link.pk).aupdate(answered_at=utc_now())


async def _refuse_ended(link: AnswerLink) -> None:
    if link.answered_at:
        raise Closed(ANSWERED)
    if link.withdrawn_at or not await _may_answer(link.shared_by):
        raise Closed(WITHDRAWN)
    if link.ends_at <= utc_now():
        raise Closed(EXPIRED)


async def _may_answer(user: Any) -> bool:
    return await amay(user, "view") and await amay(user, "operate")


@contextmanager
def _told_to_strangers() -> Iterator[None]:
    """The library's errors name people, sessions and keys."""
    try:
        yield
    except QuestionAnswered:
        raise Closed(ANSWERED) from None
    except (NotFound, TransitionError):
        raise Closed(MOVED_ON) from None
    except InvalidValue:
        raise
    except StateError as error:
        logger.exception("A question cannot be shown to who has a link")
        raise Closed(UNREADABLE) from error
