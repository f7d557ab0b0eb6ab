from __future__ import annotations

import asyncio
import time

import pytest
from django.test import Client

from marsys_dashboard.api import events
from marsys_dashboard.feed import feed
from state_core import new_encryption_key
from state_core.manager import StateManager
from tests.dashboard.api.conftest import SESSION

pytestmark = pytest.mark.django_db

EVENTS = f"{SESSION}/events"


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    """A manager that has a session "s" of five events."""
    manager.sync.create_session("s", context={"topic": "tides"})
    for name in ("one", "two", "three", "four"):
        manager.sync.create_checkpoint("s", name)
    return manager


def seqs(answer) -> list[int]:
    return [event["seq"] for event in answer["events"]]


def test_events_come_in_order_and_each_once(anas: Client, session):
    first = anas.get(f"{EVENTS}?limit=2").json()
    second = anas.get(first["next"]).json()
    third = anas.get(second["next"]).json()
    assert [seqs(first), seqs(second), seqs(third)] == [[1, 2], [3, 4], [5]]
    assert (first["seq"], first["first_seq"], first["status"]) == (5, 1, "pending")
    assert anas.get(third["next"]).json()["events"] == []
    assert first["events"][1]["data"]["name"] == "one"
    assert first["events"][0]["changes"] is None


def test_changes_come_where_they_are_asked_for(anas: Client, session):
    first = anas.get(f"{EVENTS}?changes=true&limit=1").json()["events"][0]
    assert ["set", ["context", "topic"], "tides"] in first["changes"]


def test_an_answer_with_changes_is_bounded_by_its_size(anas: Client, manager, monkeypatch):
    monkeypatch.setattr(events, "MOST_BYTES", 5_000)
    manager.sync.create_session("s", context={"text": "x" * 9_000})
    for number in range(4):
        manager.sync.pause_execution("s", {f"n{number}": "x" * 2_000})
    found, address = [], f"{EVENTS}?changes=true"
    while not found or found[-1]:
        answer = anas.get(address).json()
        found.append(seqs(answer))
        address = answer["next"]
    assert found == [[1], [2, 3], [4, 5], []]


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        f"after={10**30}",
        "limit=0",
        "limit=1001",
        "wait=-1",
        "wait=61",
        "wait=x",
        "changes=maybe",
    ],
)
def test_what_is_beyond_its_bounds_is_refused(anas: Client, session, query):
    response = anas.get(f"{EVENTS}?{query}")
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]


def test_of_a_session_that_is_not_there_nothing_is_waited_for(anas: Client, manager):
    assert anas.get(f"{EVENTS}?wait=60").status_code == 404


def test_an_encrypted_log_is_told_by_its_headers_alone(anas: Client, manager):
    hidden = StateManager(manager.storage, encryption_key=new_encryption_key())
    hidden.sync.create_session("s", context={"secret": 1})
    assert seqs(anas.get(EVENTS).json()) == [1]
    response = anas.get(f"{EVENTS}?changes=true")
    assert response.status_code == 422
    assert response.json()["title"] == "Its content cannot be read here"


async def test_who_waits_in_vain_is_told_so_in_time(session, live_anas):
    began = time.monotonic()
    answer = (await live_anas.get(f"{EVENTS}?after=5&wait=1")).json()
    assert answer["events"] == []
    assert 0.9 < time.monotonic() - began < 10
    assert not feed.running
    assert not events.waiting


async def test_who_waits_is_answered_as_soon_as_something_happens(anywhere, live_anas):
    await anywhere.create_session("s")
    asking = asyncio.ensure_future(live_anas.get(f"{EVENTS}?after=1&wait=60"))
    while not events.waiting:
        await asyncio.sleep(0.01)
    await anywhere.create_checkpoint("s", "here")
    answer = (await asyncio.wait_for(asking, 20)).json()
    assert [event["kind"] for event in answer["events"]] == ["checkpoint.created"]
    assert not feed.running
    await feed.ended()


async def test_who_waits_is_told_when_the_session_goes(session, live_anas):
    asking = asyncio.ensure_future(live_anas.get(f"{EVENTS}?after=5&wait=60"))
    while not events.waiting:
        await asyncio.sleep(0.01)
    await session.delete_session("s")
    assert (await asyncio.wait_for(asking, 20)).status_code == 404


async def test_not_more_wait_than_the_process_bears(session, live_anas, monkeypatch):
    monkeypatch.setattr(events, "MOST_WAITING", 0)
    response = await live_anas.get(f"{EVENTS}?after=5&wait=60")
    assert response.status_code == 429
    assert "without wait=" in response.json()["detail"]
