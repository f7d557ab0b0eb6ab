"""The page of who did what, over all sessions or of one, and the same as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Left
from django.db.models.lookups import Exact
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import require_safe

from marsys_dashboard import activity
from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.address import text_of
from marsys_dashboard.managers import StoreNotFound, store_names
from marsys_dashboard.models import ActivityEntry
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require
from marsys_dashboard.sealed import line, sealed
from marsys_dashboard.spans import read_moment
from state_core.exceptions import InvalidValue
from state_core.records import show_time

SHOWN = 100
EXPORTED = 100_000
"""Entries of one file at most."""
COLUMNS = (
    "at", "actor", "is_person", "verb", "kind", "reason", "before", "after", "detail",
    "store", "session_id", "seq",
)  # fmt: skip
TEXTS = ("actor", "verb", "session", "store", "who", "since", "until")
WHO = {"people": True, "programs": False}
WORDS = {"actor": "by", "verb": "did", "store": "in", "who": "of", "until": "before"}
"""How a filter reads on its pill, where its name does not say it."""

Values = AsyncIterator[dict[str, Any]]
"""Of the entries of a file."""


@dataclass(frozen=True)
class Asked:
    """What the address asks for."""

    actor: str = ""
    verb: str = ""
    session: str = ""
    store: str = ""
    who: str = ""
    since: str = ""
    until: str = ""
    before: int = 0
    """Only entries further down than this one."""

    @property
    def values(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in TEXTS if getattr(self, name)}

    def href(self, **changes: Any) -> str:
        values = {**self.values, **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})


def read_address(get: QueryDict) -> Asked:
    """Raises InvalidValue, StoreNotFound for what no link says."""
    texts = {name: text_of(get, name) for name in TEXTS}
    before = get.get("before", "")
    asked = Asked(**texts, before=int(before) if before.isdecimal() and len(before) < 19 else 0)
    if asked.verb and asked.verb not in activity.ALL_VERBS:
        raise InvalidValue(f"{asked.verb!r} is no verb here. Choose from {', '.join(activity.ALL_VERBS)}.")
    if asked.who and asked.who not in WHO:
        raise InvalidValue(f"{asked.who!r} is neither people nor programs.")
    if asked.store and asked.store not in store_names():
        raise StoreNotFound(asked.store)
    return asked


def entries(asked: Asked) -> QuerySet[ActivityEntry]:
    """The newest first."""
    found = Q()
    if asked.actor:
        found &= _by(asked.actor)
    if asked.verb:
        found &= Q(verb=asked.verb)
    if asked.session:
        found &= Q(session_id=asked.session)
    if asked.store:
        found &= Q(store=asked.store)
    if asked.who:
        found &= Q(is_person=WHO[asked.who])
    if asked.since:
        found &= Q(at__gte=read_moment(asked.since))
    if asked.until:
        found &= Q(at__lt=read_moment(asked.until))
    return ActivityEntry.objects.filter(found).order_by("-at", "-id")


def _by(actor: str) -> Q:
    """Also by their programs, and from a terminal. Not by LIKE, which takes Ana for ana on SQLite."""
    beginning = f"{actor} ("
    return Q(actor=actor) | Q(Exact(Left("actor", len(beginning)), Value(beginning)))


async def _behind(asked: Asked, found: QuerySet[ActivityEntry]) -> QuerySet[ActivityEntry]:
    last = await ActivityEntry.objects.filter(pk=asked.before).afirst() if asked.before else None
    if last is None:
        return found
    return found.filter(Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk))


@dataclass(frozen=True)
class Window:
    """The entries of one page, the newest first."""

    entries: list[ActivityEntry]
    next: int
    """What the page behind it is asked for by; 0 where there is none."""
    gathered: activity.Gathered


async def window(asked: Asked, budget: float) -> Window:
    """``budget``: seconds that may be spent on reading what is new before."""
    gathered = await activity.gather(budget)
    found = await _behind(asked, entries(asked))
    shown = [entry async for entry in found[: SHOWN + 1]]
    return Window(shown[:SHOWN], shown[SHOWN - 1].pk if len(shown) > SHOWN else 0, gathered)


def values_of(entry: ActivityEntry) -> dict[str, Any]:
    return {name: show_time(entry.at) if name == "at" else getattr(entry, name) for name in COLUMNS}


@require_safe
@require("view")
async def activities(request: HttpRequest) -> HttpResponse:
    asked = read_address(request.GET)
    again = FRAGMENT in request.headers
    shown = await window(asked, activity.BUDGET if again else activity.FIRST_BUDGET)
    context = {
        "section": "activity",
        "asked": asked,
        "entries": shown.entries,
        "next": asked.href(before=shown.next) if shown.next else "",
        "first": asked.href() if asked.before else "",
        "pills": [
            (WORDS.get(name, name), value, asked.href(**{name: ""})) for name, value in asked.values.items()
        ],
        "gathered": shown.gathered,
        "verbs": activity.ALL_VERBS,
        "stores": store_names(),
        "export": asked.href(),
    }
    template = "activity/_list.html" if again else "activity/activity.html"
    return await page(request, template, context)


# Files


@require_safe
@require("view")
async def export(request: HttpRequest, form: str) -> HttpResponse:
    """The newest EXPORTED entries of the same filter, written while they are read."""
    asked = read_address(request.GET)
    await activity.gather()
    write, kind = FORMS[form]
    response = StreamingHttpResponse(write(_values(entries(asked)[:EXPORTED])), content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="activity.{form}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


async def _values(found: QuerySet[ActivityEntry]) -> Values:
    async for entry in found.aiterator(chunk_size=500):
        yield values_of(entry)


async def _json_lines(values: Values) -> AsyncIterator[str]:
    async for entry in values:
        yield line(entry)


async def _csv_lines(values: Values) -> AsyncIterator[str]:
    yield csv_line(COLUMNS)
    async for entry in values:
        yield csv_line(entry.values())


def csv_line(values: Any) -> str:
    """What a spreadsheet would take for a formula is kept from being one."""
    line = io.StringIO()
    csv.writer(line).writerow([_no_formula(value) for value in values])
    return line.getvalue()


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


FORMS: dict[str, tuple[Callable[[Values], AsyncIterator[str]], str]] = {
    "csv": (_csv_lines, "text/csv; charset=utf-8"),
    "jsonl": (_json_lines, "application/jsonl"),
    "sealed.jsonl": (sealed, "application/jsonl"),
}

urlpatterns = [
    path("activity/", activities, name="activity"),
    path("activity/export.csv", export, {"form": "csv"}, name="activity-csv"),
    path("activity/export.jsonl", export, {"form": "jsonl"}, name="activity-jsonl"),
    path("activity/export.sealed.jsonl", export, {"form": "sealed.jsonl"}, name="activity-sealed"),
]
