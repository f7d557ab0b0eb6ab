"""The dialog of an act on many sessions: what is chosen, what follows, and what the person adds."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import QueryDict

from marsys_dashboard.acts import available
from marsys_dashboard.clean_up import CLEAN_UP
from marsys_dashboard.forms import LONGEST_REASON, first_error
from marsys_dashboard.jsontext import read_object
from marsys_dashboard.listing import count, read_address
from marsys_dashboard.managers import manager
from state_core.exceptions import InvalidValue, SessionNotFound
from state_core.records import Head, check_id
from state_core.words import Action

MOST_TARGETS = 500
"""Sessions that can be selected one by one; more are chosen by a filter."""

Target = tuple[str, str]
"""(store, session id)"""


@dataclass
class Chosen:
    """Which sessions an act is for, and what it would do to them."""

    targets: list[Target] = field(default_factory=list)
    query: str | None = None
    """The list's address, where all that match are meant."""
    possible: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Why not → how many."""

    @property
    def total(self) -> int:
        return self.possible + sum(self.skipped.values())


def read_targets(values: Collection[str]) -> list[Target]:
    """From ``store/session id``. Raises InvalidValue, InvalidId, StoreNotFound."""
    if len(values) > MOST_TARGETS:
        raise InvalidValue(
            f"{len(values)} sessions are too many to be selected one by one; {MOST_TARGETS} at most. "
            "Choose all that match a filter instead."
        )
    targets = []
    for value in dict.fromkeys(values):
        store, _, session_id = value.partition("/")
        manager(store)
        targets.append((store, check_id(session_id)))
    return targets


async def choose(sent: QueryDict, action: Action, permissions: Collection[str]) -> Chosen:
    """What the list sent. Raises InvalidValue where nothing is chosen."""
    if sent.get("all") == "1":
        return await _matching(sent.get("query", "").removeprefix("?"), action)
    targets = read_targets(sent.getlist("target"))
    if not targets:
        raise InvalidValue("No session is selected. Select some in the list, or all that match its filter.")
    chosen = Chosen(targets=targets)
    for why_not in await asyncio.gather(*(_why_not(target, action, permissions) for target in targets)):
        _tally(chosen, why_not, 1)
    return chosen


async def _why_not(target: Target, action: Action, permissions: Collection[str]) -> str:
    store, session_id = target
    try:
        head: Head = await manager(store).get_head(session_id)
    except SessionNotFound:
        return "It is gone."
    return available(head, permissions)[action.verb].why_not


async def _matching(query: str, action: Action) -> Chosen:
    asked = read_address(QueryDict(query))
    counts = (await count(asked)).counts
    chosen = Chosen(query=query)
    for status, number in counts.items():
        if not asked.statuses or status in asked.statuses:
            _tally(chosen, action.why_not(status), number)
    return chosen


def _tally(chosen: Chosen, why_not: str, number: int) -> None:
    if why_not:
        chosen.skipped[why_not] = chosen.skipped.get(why_not, 0) + number
    else:
        chosen.possible += number


class JobForm(forms.Form):
    """Only the fields that the act takes."""

    name = forms.CharField(label="Name", max_length=200)
    context = forms.CharField(label="Additional context", required=False, strip=False)
    confirm = forms.CharField(label="Number of sessions", max_length=20)
    reason = forms.CharField(label="Reason", max_length=LONGEST_REASON)

    def __init__(self, action: Action, total: int, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="act-%s", initial={"name": "checkpoint"})
        self.total = total
        self.fields["reason"].required = action.reason_required
        if not action.takes_context or settings.REVIEW_EDITS:
            del self.fields["context"]
        if action.verb != "checkpoint":
            del self.fields["name"]
        if action.verb not in {"delete", CLEAN_UP}:
            del self.fields["confirm"]

    def clean_context(self) -> dict[str, Any]:
        return read_object(self.cleaned_data["context"])

    def clean_confirm(self) -> str:
        typed = "".join(self.cleaned_data["confirm"].split())
        if typed != str(self.total):
            raise ValidationError(f"Type {self.total} to confirm.")
        return typed

    def first_error(self) -> str:
        return first_error(self)

    @property
    def given(self) -> dict[str, Any]:
        """What a job keeps of it."""
        kept = {name: self.cleaned_data.get(name) for name in ("name", "context")}
        return {name: value for name, value in kept.items() if value}


def title_of(action: Action) -> str:
    """What the dialog and its button say for many sessions."""
    return "Save checkpoints" if action.verb == "checkpoint" else f"{action.title}s"
