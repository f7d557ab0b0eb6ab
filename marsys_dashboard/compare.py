"""The page that compares two places, of one session or of two, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_safe

from marsys_dashboard.checkpoint_windows import newest_first, offered
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.differences import shown
from marsys_dashboard.managers import manager
from marsys_dashboard.pages import json_file, page
from marsys_dashboard.permissions import require
from state_core.diff import StateDiff
from state_core.exceptions import CheckpointNotFound, DamagedError, EncryptionKeyError
from state_core.manager import StateManager
from state_core.records import Checkpoint, Head, check_id
from state_core.storage.base import HeadQuery

NOW = "now"
FAMILY = 30
"""Forks of one session that are offered to be compared with."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A session that is compared."""

    store: str
    head: Head
    checkpoints: tuple[Checkpoint, ...]
    """The newest first."""

    @property
    def session_id(self) -> str:
        return self.head.session_id

    @property
    def key(self) -> str:
        """As ``with`` names it in the address."""
        return f"{self.store}/{self.session_id}"

    @property
    def manager(self) -> StateManager:
        return manager(self.store)

    def place(self, name: str) -> str | int:
        """For `StateManager.diff`. Raises CheckpointNotFound, InvalidId."""
        if name == NOW:
            return self.head.last_seq
        if _is_seq(name):
            return int(name)
        if all(check_id(name) != checkpoint.id for checkpoint in self.checkpoints):
            raise CheckpointNotFound(name, self.session_id)
        return name


async def subject(store: str, session_id: str) -> Subject:
    """Raises StoreNotFound, InvalidId, SessionNotFound."""
    chosen = manager(store)
    head = await chosen.get_head(check_id(session_id))
    return Subject(store, head, tuple(newest_first(await chosen.list_checkpoints(session_id))))


@dataclass(frozen=True, slots=True)
class Asked:
    """The two places as the address names them: a checkpoint's id, an event's number, or ``now``."""

    a: str
    b: str
    of_a: Subject
    of_b: Subject

    @property
    def is_of_two(self) -> bool:
        return self.of_a.key != self.of_b.key

    @property
    def query(self) -> str:
        return _query(self.a, self.b, self.of_b if self.is_of_two else None)

    @property
    def swapped(self) -> str:
        here = reverse("compare", args=[self.of_b.store, self.of_b.session_id])
        return f"{here}?{_query(self.b, self.a, self.of_a if self.is_of_two else None)}"


def _query(a: str, b: str, other: Subject | None) -> str:
    return urlencode({**({"with": other.key} if other else {}), "a": a, "b": b}, safe="/")


async def read_address(request: HttpRequest, store: str, session_id: str) -> Asked:
    """Of one session, its newest checkpoint, or first event, and now; of two, now and now."""
    first = await subject(store, session_id)
    other_store, _, other_id = request.GET.get("with", "").rpartition("/")
    second = await subject(other_store or store, other_id) if other_id else first
    newest = first.checkpoints[0].id if first.checkpoints else "1"
    usual = newest if second is first else NOW
    return Asked(
        request.GET.get("a", "")[:128] or usual, request.GET.get("b", "")[:128] or NOW, first, second
    )


async def find(asked: Asked) -> StateDiff:
    """Raises CheckpointNotFound, InvalidValue, EncryptionKeyError, DamagedError."""
    first, second = asked.of_a, asked.of_b
    return await first.manager.diff(
        first.place(asked.a),
        second.place(asked.b),
        session_id=first.session_id,
        other_session_id=second.session_id,
        other=second.manager,
    )


def _is_seq(name: str) -> bool:
    return name.isdecimal() and len(name) < 16


# What can be chosen


def events(chosen: str, of: Subject, other: Subject) -> dict[str, str]:
    """Seq → words: the one that is chosen, and those at which one of the two was forked."""
    found = {str(seq): f"Event {seq} · {words}" for seq, words in _partings(of, other)}
    if _is_seq(chosen):
        found.setdefault(chosen, f"Event {chosen}")
    return found


def _partings(of: Subject, other: Subject) -> Iterator[tuple[int, str]]:
    first = of.head.first_seq
    if of.head.origin and first == 1:
        yield 1, "where it was forked"
    parent, _, seq = other.head.origin.rpartition("@")
    if parent == of.session_id and of.store == other.store and _is_seq(seq) and int(seq) >= first:
        yield int(seq), "where the other was forked"


async def family(of: Subject, other: Subject) -> list[tuple[str, Head]]:
    """What it may be compared with: the other session, where it comes from, forks, forks of its origin."""
    storage = of.manager.storage
    parent = of.head.origin.rpartition("@")[0]
    found = [(other.key, other.head)]
    for origin in (of.session_id, parent):
        if origin:
            heads = await storage.heads(HeadQuery(origin=origin, sort="-created_at", limit=FAMILY))
            found += [(f"{of.store}/{head.session_id}", head) for head in heads]
    if parent:
        found += [(f"{of.store}/{parent}", Head(parent))]
    return [(key, head) for key, head in dict(reversed(found)).items() if key != of.key]


# The addresses


@require_safe
@require("view")
async def compare(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    asked = await read_address(request, store, session_id)
    context: dict[str, Any] = {
        "section": "sessions",
        "store": store,
        "session_id": session_id,
        "head": asked.of_a.head,
        "asked": asked,
        "events_a": events(asked.a, asked.of_a, asked.of_b),
        "events_b": events(asked.b, asked.of_b, asked.of_a),
        "offered_a": offered(asked.of_a.checkpoints, asked.a),
        "offered_b": offered(asked.of_b.checkpoints, asked.b),
        "family": await family(asked.of_a, asked.of_b),
        "json": f"{reverse('compare-json', args=[store, session_id])}?{asked.query}",
    }
    try:
        context.update(shown(await find(asked)))
    except (EncryptionKeyError, DamagedError) as error:
        context["unreadable"] = str(error)
    return await page(request, "session/compare.html", context)


@require_safe
@require("view")
async def compare_json(request: HttpRequest, store: str, session_id: str) -> HttpResponse:
    asked = await read_address(request, store, session_id)
    found = await find(asked)
    name = "-".join([session_id, str(found.old.seq), *([asked.of_b.session_id] * asked.is_of_two)])
    return json_file(found.to_document(), f"{name}-{found.new.seq}-diff.json")


urlpatterns = [
    path(f"{OF_SESSION}/compare/", compare, name="compare"),
    path(f"{OF_SESSION}/compare.json", compare_json, name="compare-json"),
]
