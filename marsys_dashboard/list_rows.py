"""The rows of the list of sessions, for the first paint and for live frames alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.template.loader import get_template
from django.urls import reverse
from django.utils.safestring import SafeString

from marsys_dashboard import logwords
from marsys_dashboard.managers import store_names
from state_core.records import HELD, Head, SessionStatus

LIVE = HELD | {SessionStatus.RESUMING}
"""Statuses in which something may happen at any moment."""


def render_row(head: Head, store: str) -> SafeString:
    return render_rows([(head, store)])[0]


def render_rows(found: Iterable[tuple[Head, str]]) -> list[SafeString]:
    """Of heads, and the stores that they are in."""
    template = get_template("sessions/_row.jinja", using="jinja2")
    shared = {"sessions_href": reverse("sessions"), "show_store": len(store_names()) > 1}
    # Escaped by its engine, which gives plain text.
    return [SafeString(template.render({**shared, **_context(head, store)})) for head, store in found]


def _context(head: Head, store: str) -> dict[str, Any]:
    live = head.status in LIVE
    return {
        "head": head,
        "store": store,
        "live": live,
        "ticks": head.started_at if live else None,
        "done": head.counts["steps_completed"],
        "steps": head.counts["steps"],
        "failed": head.counts["steps_failed"],
        "questions": head.counts["questions"],
        "created": head.created_at.isoformat() if head.created_at else "",
        "tags_json": json.dumps(head.tags),
        "last_event": logwords.title(head.last_kind),
    }
