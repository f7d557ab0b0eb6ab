"""Branches that seem stuck or go in circles, on several stores."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import AsyncClient

from marsys_dashboard.flags import SHOWN, circle
from state_core import Message, StateManager, StorageBackend, new_encryption_key
from state_core.changes import append_items
from state_core.events import Event
from state_core.records import utc_now
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import serve, signed_in, text

pytestmark = pytest.mark.django_db(transaction=True)


class Past:
    """Events that happened some time ago, one after another."""

    def __init__(self, manager: StateManager, minutes_ago: float) -> None:
        self.manager = manager
        self.at: datetime = utc_now() - timedelta(minutes=minutes_ago)
        self.events: list[Event] = []
        self.add("session.created")
        self.add("session.started")
        self.open("one", "<b>One</b>")

    def open(self, branch: str, name: str) -> None:
        """What follows happens in it."""
        self.branch = branch
        self.add("branch.opened", branch_id=branch, status="running", data={"name": name})

    def add(self, kind: str, changes: Any = (), **header: Any) -> None:
        self.events.append(Event(kind=kind, at=self.at, changes=list(changes), **header))

    def begin(self, number: int, agent: str = "Agent") -> None:
        self.add(
            "step.started",
            branch_id=self.branch,
            step_id=f"{self.branch}:{number}",
            agent=agent,
            status="running",
            data={"attempt": 1},
        )

    def end(self, number: int, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.add(
            "step.completed", branch_id=self.branch, step_id=f"{self.branch}:{number}", status="completed"
        )

    def steps(self, *agents: str, seconds: float = 1) -> None:
        for number, agent in enumerate(agents):
            self.begin(number, agent)
            self.end(number, seconds)

    def say(self, content: str, role: str = "assistant") -> None:
        message = Message(role, content, agent="Agent", created_at=self.at).to_document()
        self.at += timedelta(milliseconds=10)
        changes = [append_items(["branches", "one", "memory"], [message])]
        self.add(
            "message.added", changes, branch_id="one", agent="Agent", size=len(content), data={"role": role}
        )

    async def record(self) -> None:
        await self.manager.log.append(SESSION, self.events)


async def shown(visitor: AsyncClient, **query: Any) -> str:
    return await text(visitor, f"/sessions/default/{SESSION}/panels/flags/", **query)


async def test_a_branch_that_is_silent_for_longer_than_is_usual_seems_stuck(
    served: StateManager, visitor: AsyncClient
) -> None:
    past = Past(served, minutes_ago=12)
    past.steps(*["Agent"] * 12, seconds=2)
    past.begin(99)
    await past.record()
    page = await shown(visitor)
    assert 'data-rule="stalled"' in page
    assert "No event for 11 m" in page
    assert "were under 2.0 s" in page
    assert "&lt;b&gt;One&lt;/b&gt;" in page


@pytest.mark.parametrize(
    "reason", ["it is usual", "too little is known", "no step is under way", "it is paused"]
)
async def test_a_branch_is_not_stuck_where(served: StateManager, visitor: AsyncClient, reason: str) -> None:
    past = Past(served, minutes_ago=12)
    past.steps(*["Agent"] * (2 if reason == "too little is known" else 12), seconds=50)
    if reason != "it is usual":
        past.at -= timedelta(minutes=5)
    if reason != "no step is under way":
        past.begin(99)
    if reason == "it is paused":
        past.add("session.paused")
    await past.record()
    assert "data-rule" not in await shown(visitor)


async def test_where_all_branches_are_stuck_some_are_told_of_in_words_and_each_is_marked(
    served: StateManager, visitor: AsyncClient
) -> None:
    past = Past(served, minutes_ago=60)
    names = [f"b{n}" for n in range(SHOWN + 3)]
    for name in names:
        past.open(name, name)
        past.steps(*["Agent"] * 10, seconds=2)
        past.begin(10)
    await past.record()
    page = await shown(visitor)
    assert page.count("seems stuck") == SHOWN
    assert "And 3 more, marked in graph and timeline." in page
    marked = json.loads(unescape(page.partition('data-more="')[2].partition('"')[0]))
    assert [branch for branch, _ in marked] == names[SHOWN:]


async def test_the_page_is_told_when_to_ask_again(served: StateManager, visitor: AsyncClient) -> None:
    past = Past(served, minutes_ago=1)
    past.steps(*["Agent"] * 11, seconds=5)
    past.begin(99)
    await past.record()
    assert 'data-due="' in await shown(visitor)


async def test_the_same_message_again_and_again_is_told(served: StateManager, visitor: AsyncClient) -> None:
    past = Past(served, minutes_ago=1)
    for _ in range(4):
        past.say("call: search tides", "assistant")
        past.say("error: no network", "tool")
    await past.record()
    page = await shown(visitor)
    assert 'data-rule="repeats"' in page
    assert "The same 2 messages 4 times in a row." in page


async def test_messages_of_the_same_size_are_not_the_same(served: StateManager, visitor: AsyncClient) -> None:
    past = Past(served, minutes_ago=1)
    for number in range(4):
        past.say(f"page {number}")
    await past.record()
    assert "data-rule" not in await shown(visitor)


async def test_without_the_key_the_words_say_what_was_compared(
    store: StorageBackend, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past(StateManager(store, encryption_key=new_encryption_key()), minutes_ago=1)
    for _ in range(3):
        past.say("again")
    await past.record()
    serve(StateManager(store), monkeypatch)
    page = await shown(visitor)
    assert "The same message 3 times in a row. They cannot be read here: the sizes are the same." in page


async def test_two_agents_that_hand_over_to_and_fro_are_told(
    served: StateManager, visitor: AsyncClient
) -> None:
    past = Past(served, minutes_ago=1)
    past.steps("Planner", *["Writer", "Critic"] * 3)
    await past.record()
    page = await shown(visitor)
    assert 'data-rule="ping-pong"' in page
    assert "Writer and Critic have taken turns 3 times" in page


async def test_of_the_past_nothing_is_said(served: StateManager, visitor: AsyncClient) -> None:
    past = Past(served, minutes_ago=1)
    past.steps(*["Writer", "Critic"] * 3)
    await past.record()
    assert "data-rule" in await shown(visitor)
    assert "data-rule" not in await shown(visitor, at=len(past.events))


async def test_who_may_not_look_is_not_told(served: StateManager) -> None:
    nobody = await signed_in()
    assert (await nobody.get(f"/sessions/default/{SESSION}/panels/flags/")).status_code == 403


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ("", (0, 0)),
        ("a", (0, 0)),
        ("aa", (0, 0)),
        ("aaa", (1, 3)),
        ("xaaaa", (1, 4)),
        ("ababab", (2, 3)),
        ("xyababab", (2, 3)),
        ("abab", (0, 0)),
        ("abcabcabc", (3, 3)),
        ("aaab", (0, 0)),
    ],
)
def test_a_circle_is_found_at_the_end(signs: str, expected: tuple[int, int]) -> None:
    assert circle(list(signs)) == expected
