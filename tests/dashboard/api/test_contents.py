from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import Client

from marsys_dashboard.api import contents
from state_core import new_encryption_key
from state_core.manager import StateManager
from tests.dashboard.api.conftest import SESSION

pytestmark = pytest.mark.django_db


async def run(manager: StateManager, steps: int = 3) -> None:
    """A session "s": branch "main" with some steps and messages, and "side" with one that fails."""
    async with manager.session("s", context={"topic": "tides"}) as session:
        main = await session.open_branch("main", branch_id="main")
        for number in range(steps):
            async with main.step(agent="Reader", step_id=f"r{number}", input={"n": number}) as step:
                step.output = f"read {number}"
            await main.add_message("assistant", f"message {number}", agent="Reader")
        side = await session.open_branch("side", branch_id="side", parent="main")
        await side.add_message("user", "to the side", agent="Writer")


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    asyncio.run(run(manager))
    return manager


def get(client: Client, part: str) -> Any:
    response = client.get(part if part.startswith("/") else f"{SESSION}/{part}")
    assert response.status_code == 200, response.content
    return response.json()


def test_the_state_is_what_the_library_reads(anas: Client, session):
    assert get(anas, "state") == session.sync.get_session_state("s").to_document()


def test_the_state_as_of_an_event_and_of_a_checkpoint(anas: Client, session):
    assert get(anas, "state?at=1")["branches"] == {}
    checkpoint = session.sync.create_checkpoint("s", "here")
    session.sync.create_checkpoint("s", "later")
    place = session.sync.get_checkpoint(checkpoint).seq
    assert get(anas, f"state?at={checkpoint}") == session.sync.get_session_state("s", place).to_document()
    assert anas.get(f"{SESSION}/state?at=999").status_code == 400
    assert anas.get(f"{SESSION}/state?at=nowhere").status_code == 404


def test_a_state_that_is_too_large_is_not_told_as_a_whole(anas: Client, session, monkeypatch):
    monkeypatch.setattr(contents, "LARGEST_STATE", 10)
    response = anas.get(f"{SESSION}/state")
    assert response.status_code == 413
    assert "Ask for its branches" in response.json()["detail"]


def test_branches_follow_each_other_in_pages(anas: Client, session):
    first = get(anas, "branches?limit=1")
    (main,) = first["branches"]
    assert (main["name"], main["status"], main["steps"], main["messages"]) == ("main", "completed", 3, 3)
    second = get(anas, first["next"])
    assert [(each["branch_id"], each["parent_ids"]) for each in second["branches"]] == [("side", ["main"])]
    assert second["next"] is None
    assert get(anas, "branches?at=1") == {"branches": [], "seq": 1, "next": None}


def test_steps_come_with_their_content_the_newest_first_page_first(anas: Client, session):
    newest = get(anas, "steps?limit=2")
    assert [(each["step_id"], each["input"], each["output"]) for each in newest["steps"]] == [
        ("r1", {"n": 1}, "read 1"),
        ("r2", {"n": 2}, "read 2"),
    ]
    earlier = get(anas, newest["earlier"])
    assert [each["step_id"] for each in earlier["steps"]] == ["r0"]
    assert earlier["earlier"] is None
    assert get(anas, "steps?branch=side")["steps"] == []
    assert get(anas, "steps?active=true")["steps"] == []


def test_a_step_too_large_for_a_list_is_told_by_itself(anas: Client, manager):
    large = "x" * 300_000

    async def run_large() -> None:
        async with manager.session("s") as session:
            branch = await session.open_branch("main")
            async with branch.step(agent="Reader") as step:
                step.output = large

    asyncio.run(run_large())
    (listed,) = get(anas, "steps")["steps"]
    assert listed["output"] is None
    assert "too large" in listed["note"]
    whole = get(anas, listed["url"])
    assert (whole["output"], whole["note"]) == (large, "")


def test_a_step_that_is_not_there_is_named(anas: Client, session):
    response = anas.get(f"{SESSION}/steps/main/nothing")
    assert response.status_code == 404
    assert response.json()["detail"].startswith("Branch 'main' has no step 'nothing'.")


def test_messages_are_read_backwards_in_pages(anas: Client, session):
    newest = get(anas, "messages?limit=2")
    assert [each["content"] for each in newest["messages"]] == ["message 2", "to the side"]
    earlier = get(anas, newest["earlier"])
    assert [each["content"] for each in earlier["messages"]] == ["message 0", "message 1"]
    assert earlier["earlier"] is None
    assert [each["agent"] for each in get(anas, "messages?agent=Writer")["messages"]] == ["Writer"]
    assert len(get(anas, "messages?branch=main")["messages"]) == 3


def test_a_fork_tells_the_messages_that_it_carries(anas: Client, session):
    session.sync.fork_session("s", "fork")
    found = get(anas, "/api/v1/sessions/default/fork/messages")["messages"]
    assert [each["content"] for each in found if each["branch_id"] == "main"] == [
        "message 0",
        "message 1",
        "message 2",
    ]


@pytest.mark.parametrize(
    "query",
    [
        "steps?limit=51",
        "messages?limit=0",
        "branches?limit=1001",
        "steps?before=0",
        "branches?after=-1",
        f"branches?after={2**63}",
    ],
)
def test_no_page_is_larger_than_it_may_be(anas: Client, session, query):
    assert anas.get(f"{SESSION}/{query}").status_code == 400


def test_without_the_key_what_is_in_the_clear_is_told(anas: Client, manager):
    hidden = StateManager(manager.storage, encryption_key=new_encryption_key())
    asyncio.run(run(hidden, steps=1))
    (step,) = get(anas, "steps")["steps"]
    assert (step["agent"], step["output"]) == ("Reader", None)
    assert "a key that this dashboard does not have" in step["note"]
    assert "a key" in get(anas, "messages")["messages"][0]["note"]
    assert len(get(anas, "branches")["branches"]) == 2
    assert anas.get(f"{SESSION}/state").status_code == 422
    assert "encrypted with a key" in get(anas, SESSION)["unreadable"]
