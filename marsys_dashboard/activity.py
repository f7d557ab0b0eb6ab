"""Who did what, over all sessions, gathered from logs into a table with indexes.

A log says it all, but reading all logs at each look would cost more with each session. So every look reads
only what came since the last one, of the sessions that changed since: each event's header is read once in
its life. The table can be dropped at any time; the next looks make it anew, the newest first, a bounded
time at each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.dispatch import receiver

from marsys_dashboard import logwords
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.models import (
    LINK_OF,
    UNDECIDED,
    ActivityEntry,
    ActivityMark,
    ActivityPlace,
    Decision,
    Proposal,
)
from state_core.admin_actions import deleted
from state_core.events import EventKind, Header
from state_core.exceptions import StateError, StorageError
from state_core.fold import session_status_after
from state_core.records import Head, parse_time, show_time, utc_now
from state_core.storage.base import HeadQuery
from state_core.words import counted

K = EventKind
VERBS: dict[str, str] = {
    K.SESSION_CREATED: "create",
    K.SESSION_FORKED: "fork",
    K.SESSION_STARTED: "start",
    K.PAUSE_REQUESTED: "pause",
    K.SESSION_PAUSED: "pause",
    K.RESUME_REQUESTED: "resume",
    K.SESSION_RESUMED: "resume",
    K.CANCEL_REQUESTED: "cancel",
    K.SESSION_CANCELLED: "cancel",
    K.RESTORE_REQUESTED: "restore",
    K.SESSION_RESTORED: "restore",
    K.SESSION_COMPLETED: "complete",
    K.SESSION_FAILED: "fail",
    K.SESSION_INTERRUPTED: "interrupt",
    K.SESSION_SAVED: "save",
    K.INPUT_ANSWERED: "answer",
    K.LINK_SHARED: "share",
    K.LINK_WITHDRAWN: "withdraw",
    K.CHECKPOINT_CREATED: "checkpoint",
    K.CHECKPOINT_RENAMED: "checkpoint",
    K.CHECKPOINT_PINNED: "checkpoint",
    K.CHECKPOINT_DELETED: "checkpoint",
}
"""Kind of event → the verb that it belongs to; other kinds are work, not acts."""
DELETED = "session.deleted"
"""Of an entry for a session that is gone, and its log with it."""
REVIEW = "review"
"""The verb of what is done to a change that waits for approval; its approval stands in the session's log."""
ALL_VERBS = (*dict.fromkeys(VERBS.values()), REVIEW, "delete")
MOVES = frozenset({K.INPUT_REQUESTED, K.BRANCH_RESUMED, K.BRANCH_WAITING})
"""Kinds that are read only since they may change the session's status."""

PAGE = 25
"""Sessions that are read before the time is looked at again."""
OVERLAP = timedelta(minutes=2)
"""Sessions carry the time of the machine that wrote last; clocks may differ by this much."""
FIRST_BUDGET = 0.1
"""Seconds that are spent on gathering before the page is shown."""
BUDGET = 0.5
"""The same, at a further look of a page that is shown already."""
EVENTS = 2000
"""Headers read at once."""


@dataclass
class Gathered:
    """How complete the table is."""

    behind: set[str] = field(default_factory=set)
    """Stores whose older sessions have not all been read yet."""
    problems: dict[str, str] = field(default_factory=dict)
    """Store or session → why it is missing."""


async def gather(budget: float = BUDGET) -> Gathered:
    """Read what is new, then go back as far as the time allows."""
    gathered = Gathered()
    deadline = time.monotonic() + budget
    for store in store_names():
        try:
            mark = await _mark(store)
            await _forward(store, mark, gathered, deadline)
            await _back(store, mark, gathered, deadline)
            if not mark.complete:
                gathered.behind.add(store)
        except StorageError as error:
            gathered.problems[store] = str(error)
    return gathered


async def forget() -> None:
    """Drop what can be gathered anew."""
    await ActivityEntry.objects.exclude(kind=DELETED).exclude(verb=REVIEW).adelete()
    await ActivityPlace.objects.all().adelete()
    await ActivityMark.objects.all().adelete()


async def _mark(store: str) -> ActivityMark:
    mark, _ = await ActivityMark.objects.aget_or_create(store=store, defaults={"upto": utc_now()})
    return mark


async def _forward(store: str, mark: ActivityMark, gathered: Gathered, deadline: float) -> None:
    query = HeadQuery(since=mark.upto - OVERLAP, sort="updated_at", limit=PAGE)
    while heads := await manager(store).storage.heads(query):
        was_news = await _read_all(store, heads, gathered)
        mark.upto = max(mark.upto, heads[-1].updated_at or mark.upto)
        await mark.asave(update_fields=["upto"])
        query = replace(query, after=query.cursor(heads[-1]))
        if was_news and len(heads) == PAGE and time.monotonic() > deadline:
            gathered.behind.add(store)
            return


async def _back(store: str, mark: ActivityMark, gathered: Gathered, deadline: float) -> None:
    query = HeadQuery(sort="-updated_at", limit=PAGE)
    if mark.back:
        query = replace(query, after=(parse_time(mark.back[0]), mark.back[1]))
    while not mark.complete:
        heads = await manager(store).storage.heads(query)
        await _read_all(store, heads, gathered)
        mark.complete = len(heads) < PAGE
        if heads:
            mark.back = [show_time(heads[-1].updated_at), heads[-1].session_id]
            query = replace(query, after=query.cursor(heads[-1]))
        await mark.asave(update_fields=["back", "complete"])
        if time.monotonic() > deadline:
            return


async def _read_all(store: str, heads: Sequence[Head], gathered: Gathered) -> bool:
    """Had any of them something new? What was read is written for all of them at once."""
    places = await _places(store, heads)
    entries: list[ActivityEntry] = []
    news = [(head, place) for head, place in zip(heads, places, strict=True) if place.seq < head.last_seq]
    for head, place in news:
        try:
            await _read(head, place, entries)
        except StateError as error:
            gathered.problems[f"{store} / {head.session_id}"] = str(error)
    await _keep(entries, [place for _, place in news])
    return bool(news)


async def _places(store: str, heads: Sequence[Head]) -> list[ActivityPlace]:
    """How far each has been read; not at all where it was deleted since and another has its id."""
    ids = [head.session_id for head in heads]
    known = {p.session_id: p async for p in ActivityPlace.objects.filter(store=store, session_id__in=ids)}
    return [
        place
        if (place := known.get(head.session_id)) and place.born == head.created_at
        else ActivityPlace(store=store, session_id=head.session_id, born=head.created_at)
        for head in heads
    ]


async def _read(head: Head, place: ActivityPlace, entries: list[ActivityEntry]) -> None:
    """Add what is new, and move the place on behind it."""
    kinds = [*VERBS, *MOVES]
    while place.seq < head.last_seq:
        events = await manager(place.store).log.read(
            head.session_id,
            after=place.seq,
            before=head.last_seq + 1,
            limit=EVENTS,
            kinds=kinds,
            bodies=False,
        )
        entries += _entries(place, events)
        place.seq = events[-1].seq if len(events) == EVENTS else head.last_seq


async def _keep(entries: list[ActivityEntry], places: Iterable[ActivityPlace]) -> None:
    """Another process may be at the same sessions: then both write the same."""
    people = await _people({entry.actor for entry in entries}) if entries else set()
    for entry in entries:
        entry.is_person = entry.actor in people or entry.actor.startswith(LINK_OF)
    await ActivityEntry.objects.abulk_create(entries, ignore_conflicts=True)
    rows = [
        ActivityPlace(store=p.store, session_id=p.session_id, born=p.born, seq=p.seq, status=p.status)
        for p in places
    ]
    await ActivityPlace.objects.abulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["store", "session_id"],
        update_fields=["born", "seq", "status"],
    )


async def _people(names: Iterable[str]) -> set[str]:
    users = get_user_model()._default_manager.filter(username__in=list(names))
    return {name async for name in users.values_list("username", flat=True)}


def _entries(place: ActivityPlace, events: Iterable[Header]) -> Iterable[ActivityEntry]:
    for event in events:
        before = place.status
        place.status = session_status_after(event) or before
        if event.kind in VERBS:
            yield _entry(place, event, before)


def _entry(place: ActivityPlace, event: Header, before: str) -> ActivityEntry:
    moves = before != place.status
    return ActivityEntry(
        store=place.store,
        session_id=place.session_id,
        born=place.born,
        seq=event.seq,
        at=event.at,
        actor=event.actor,
        verb=VERBS[event.kind],
        kind=str(event.kind),
        reason=str(event.data.get("reason", ""))[:1000],
        before=before if moves else "",
        after=place.status if moves else "",
        detail=logwords.detail(_without_reason(event))[:1000],
    )


def _without_reason(event: Header) -> Header:
    return replace(event, data={name: value for name, value in event.data.items() if name != "reason"})


@receiver(deleted)
async def _note_deletion_by_the_admin(
    *, store: str, head: Head, actor: str, reason: str, **sent: object
) -> None:
    await note_deletion(store, head, actor, reason)


async def note_deletion(store: str, head: Head, actor: str, reason: str) -> None:
    """The one act that no log can tell of. What was to be approved goes with the session."""
    waiting = Proposal.objects.filter(store=store, session_id=head.session_id, decision__in=UNDECIDED)
    await waiting.aupdate(decision=Decision.GONE, decided_by=actor, decided_at=utc_now(), change=b"")
    steps, checkpoints = head.counts["steps"], head.counts["checkpoints"]
    await ActivityEntry.objects.acreate(
        store=store,
        session_id=head.session_id,
        born=head.created_at,
        seq=head.last_seq + 1,
        at=utc_now(),
        actor=actor,
        is_person=bool(await _people([actor])),
        verb="delete",
        kind=DELETED,
        reason=reason[:1000],
        before=str(head.status),
        detail=f"{counted(steps, 'step')}, {counted(checkpoints, 'checkpoint')}",
    )
