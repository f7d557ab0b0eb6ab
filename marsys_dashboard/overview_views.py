"""The overview: figures as tables, which the browser draws as charts too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_safe

from marsys_dashboard.actions import FRAGMENT
from marsys_dashboard.managers import StoreNotFound, store_names
from marsys_dashboard.overview import RANGES, TOP, Overview, overview
from marsys_dashboard.pages import page
from marsys_dashboard.permissions import require
from marsys_dashboard.templatetags.state import duration, number
from state_core.exceptions import InvalidValue
from state_core.records import ENDED
from state_core.words import STATUSES, size

DEFAULT = "24h"
TOLD_FROM = 10
"""Seconds from which on a chart says how old it is."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what people read, and the value that is drawn."""

    text: str
    value: float | str | None = None
    href: str = ""


@dataclass(frozen=True)
class Series:
    """A column that is drawn."""

    label: str
    colour: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture and its table twin: the picture is drawn from the table."""

    name: str
    title: str
    kind: str
    """``stacked`` bars over time, ``grouped`` or ``ranked`` bars by name."""
    head: str
    series: list[Series]
    rows: list[tuple[Cell, list[Cell]]] = field(default_factory=list)
    note: str = ""
    unit: str = ""
    empty: str = "Nothing in this time."

    @property
    def is_empty(self) -> bool:
        return not any(cell.value for _, cells in self.rows for cell in cells)


@require_safe
@require("view")
async def overview_page(request: HttpRequest) -> HttpResponse:
    chosen, store = request.GET.get("range") or DEFAULT, request.GET.get("store", "")
    if chosen not in RANGES:
        raise InvalidValue(f"{chosen[:20]!r} is no range. Choose from {', '.join(RANGES)}.")
    if store and store not in store_names():
        raise StoreNotFound(store)
    again = FRAGMENT in request.headers
    found = await overview(chosen, [store] if store else store_names(), again=again)
    context = {
        "section": "overview",
        "found": found,
        "charts": charts(found),
        "tiles": tiles(found, store),
        "ranges": [(name, _href(name, store), name == chosen) for name in RANGES],
        "stores": [(name, _href(chosen, "" if name == store else name), name == store) for name in _stores()],
        "here": _href(chosen, store),
    }
    template = "overview/_figures.html" if again else "overview/overview.html"
    return await page(request, template, context)


def _stores() -> list[str]:
    names = store_names()
    return names if len(names) > 1 else []


def _href(chosen: str, store: str) -> str:
    values = {"range": "" if chosen == DEFAULT else chosen, "store": store}
    return "?" + urlencode({name: value for name, value in values.items() if value})


def _list_href(**asked: Any) -> str:
    query = urlencode({name: value for name, value in asked.items() if value}, doseq=True)
    return reverse("sessions") + (f"?{query}" if query else "")


def tiles(found: Overview, store: str) -> list[dict[str, Any]]:
    """The figures at the top, each with the list that it counts."""
    open_ones = [status for status in found.now if status not in ENDED]
    asked = {"since": found.range, "store": store}
    steps = found.step_count
    return [
        {"label": "Sessions", "value": number(found.total), "href": _list_href(**asked)},
        {
            "label": "Not ended",
            "value": number(sum(found.now[status] for status in open_ones)),
            "href": _list_href(status=sorted(open_ones), **asked),
        },
        {
            "label": "Failed",
            "value": number(found.now["failed"]),
            "href": _list_href(status="failed", **asked),
        },
        {"label": "Ask a person", "value": number(found.questions), "href": reverse("needs")},
        {
            "label": "Steps ended",
            "value": number(steps) + ("+" if found.steps_are_sampled else ""),
            "href": "",
        },
        {"label": "Stored", "value": size(sum(u.bytes for u in found.usage.values())), "href": ""},
    ]


def charts(found: Overview) -> list[Chart]:
    return [
        _sessions(found),
        _steps(found),
        _durations(found),
        _failures(found),
        _storage(found),
        _largest(found),
        _checkpoints(found),
    ]


def _sampled(found: Overview) -> str:
    if not found.steps_are_sampled:
        return ""
    read, of = number(found.steps_read_of), number(max(found.total, found.with_steps))
    rest = "more are being read." if found.goes_on else "for others choose a shorter time or one store."
    return f"From the {read} sessions that changed last, of {of}; {rest}"


def _sessions(found: Overview) -> Chart:
    statuses = [status for status in STATUSES if any(c[status] for c in found.sessions.values())]
    return Chart(
        "sessions",
        "Sessions by status, at their last event",
        "stacked",
        "From (UTC)",
        [Series(STATUSES[status].label, STATUSES[status].colour) for status in statuses],
        [_moment_row(at, [counts[status] for status in statuses]) for at, counts in found.sessions.items()],
        _counted(found),
    )


def _counted(found: Overview) -> str:
    age = (found.until - found.counted_at).total_seconds()
    return f"Counted {age:.0f} s ago." if age >= TOLD_FROM else ""


def _moment_row(at: Any, values: Iterable[float]) -> tuple[Cell, list[Cell]]:
    first = Cell(f"{at:%d %b %H:%M}", at.isoformat())
    return first, [Cell(number(int(v)) if v == int(v) else f"{v:.1f}", v) for v in values]


def _steps(found: Overview) -> Chart:
    return Chart(
        "steps",
        "Steps ended per minute",
        "stacked",
        "From (UTC)",
        [Series("Completed", "completed"), Series("Failed", "failed")],
        [
            _moment_row(at, [counts[name] / found.bucket_minutes for name in ("completed", "failed")])
            for at, counts in found.steps.items()
        ],
        _sampled(found),
    )


def _durations(found: Overview) -> Chart:
    busiest = sorted(found.agents.items(), key=lambda item: item[1].steps, reverse=True)[:TOP]
    return Chart(
        "durations",
        "How long steps take, by agent",
        "grouped",
        "Agent",
        [Series("p50", "accent"), Series("p95", "muted")],
        [
            (Cell(name[:80], name[:80]), [Cell(duration(a.p50), a.p50), Cell(duration(a.p95), a.p95)])
            for name, a in busiest
        ],
        _sampled(found) or _of(len(busiest), len(found.agents), "agents with the most steps"),
        unit="s",
        empty="No step ended in this time.",
    )


def _of(shown: int, total: int, what: str) -> str:
    return f"The {number(shown)} {what}, of {number(total)}." if shown < total else ""


def _failures(found: Overview) -> Chart:
    common = found.failures.most_common(TOP)
    return Chart(
        "failures",
        "Failures, by agent and error",
        "ranked",
        "Agent and error",
        [Series("Steps that failed", "failed")],
        [
            (Cell(f"{agent}: {error}", f"{agent}: {error}"), [Cell(number(times), times)])
            for (agent, error), times in common
        ],
        _sampled(found) or _of(len(common), len(found.failures), "most common"),
        empty="No step failed in this time.",
    )


def _storage(found: Overview) -> Chart:
    return Chart(
        "storage",
        "What the stores hold",
        "ranked",
        "Store",
        [Series("Bytes", "accent")],
        [
            (
                Cell(
                    f"{store} ({number(usage.sessions)} sessions, {number(usage.events)} events, "
                    f"{number(usage.checkpoints)} checkpoints)",
                    store,
                    _list_href(store=store),
                ),
                [Cell(size(usage.bytes), usage.bytes)],
            )
            for store, usage in found.usage.items()
        ],
        "Whatever the time.",
        unit="B",
        empty="The stores are empty.",
    )


def _session_rows(found: list[Any], name: str, show: Any) -> list[tuple[Cell, list[Cell]]]:
    return [
        (
            Cell(
                f"{head.session_id} ({store})",
                head.session_id,
                reverse("session", args=[store, head.session_id]),
            ),
            [Cell(show(head.counts[name]), head.counts[name])],
        )
        for store, head in found
    ]


def _largest(found: Overview) -> Chart:
    return Chart(
        "largest",
        "Largest sessions",
        "ranked",
        "Session",
        [Series("Bytes of state", "accent")],
        _session_rows(found.largest, "state_bytes", size),
        "Whatever the time.",
        unit="B",
        empty="There is no session yet.",
    )


def _checkpoints(found: Overview) -> Chart:
    return Chart(
        "checkpoints",
        "Most checkpoints",
        "ranked",
        "Session",
        [Series("Checkpoints", "paused")],
        _session_rows(found.checkpoints, "checkpoints", number),
        _of(found.heads_read, found.total, "sessions that changed last"),
        empty="No session of this time has a checkpoint.",
    )


urlpatterns = [path("overview/", overview_page, name="overview")]
