from __future__ import annotations

import asyncio
import json

import pytest

from marsys_dashboard import presence as module
from marsys_dashboard.presence import Presence

TOPIC = ("default", "s")


@pytest.fixture
def heard(monkeypatch) -> list[dict]:
    monkeypatch.setattr(module, "BEAT", 0.0)
    return []


@pytest.fixture
def presence(heard) -> Presence:
    return Presence(lambda topic, text: heard.append(json.loads(text)))


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_comes_is_told_who_is_here_and_the_others_that_they_came(presence, heard):
    presence.enter(TOPIC, "ana")
    assert json.loads(presence.enter(TOPIC, "bo"))["people"] == ["ana", "bo"]
    await settled()
    assert heard[-1]["people"] == ["ana", "bo"]
    presence.leave(TOPIC, "ana")
    await settled()
    assert heard[-1]["people"] == ["bo"]


async def test_a_second_window_of_one_person_is_no_news(presence, heard):
    presence.enter(TOPIC, "ana")
    await settled()
    told = len(heard)
    for _ in range(50):
        presence.enter(TOPIC, "ana")
    presence.leave(TOPIC, "ana")
    await settled()
    assert len(heard) == told
    assert presence.people(TOPIC) == ["ana"]


async def test_many_who_come_at_once_are_told_of_together_and_counted(presence, heard):
    for n in range(100):
        presence.enter(TOPIC, f"person-{n:03d}")
    await settled()
    assert len(heard) == 1
    assert len(heard[0]["people"]) == module.NAMED
    assert heard[0]["more"] == 100 - module.NAMED


async def test_nothing_is_kept_of_a_session_that_nobody_looks_at(presence, heard):
    presence.enter(TOPIC, "ana")
    presence.leave(TOPIC, "ana")
    await settled()
    assert heard == []
    assert presence.people(TOPIC) == []
