"""Who is here: in one process, and in several that share a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from marsys_dashboard import neighbours
from marsys_dashboard import presence as module
from marsys_dashboard.models import Present
from marsys_dashboard.presence import Presence

pytestmark = pytest.mark.django_db(transaction=True)

TOPIC = ("default", "s")
OTHER = ("default", "other")


@pytest.fixture
def heard(monkeypatch) -> list[dict]:
    monkeypatch.setattr(module, "BEAT", 0.0)
    return []


@pytest.fixture
async def presence(heard) -> AsyncIterator[Presence]:
    made = Presence(lambda topic, text: heard.append(json.loads(text)))
    yield made
    leave_all(made)
    await made.ended()


@pytest.fixture
async def elsewhere(heard, monkeypatch) -> AsyncIterator[Presence]:
    """The one of another process."""
    monkeypatch.setattr(neighbours, "BEAT", 0.01)
    made = Presence(lambda topic, text: None)
    yield made
    leave_all(made)
    await made.ended()


def leave_all(made: Presence) -> None:
    for topic, name in made._visits():
        while name in made._here.get(topic, ()):
            made.leave(topic, name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


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


async def test_people_in_another_process_are_here_too_until_they_leave(presence, elsewhere, heard):
    presence.enter(TOPIC, "ana")
    elsewhere.enter(TOPIC, "bo")
    elsewhere.enter(OTHER, "cy")
    await until(lambda: presence.people(TOPIC) == ["ana", "bo"])
    await until(lambda: elsewhere.people(TOPIC) == ["ana", "bo"])
    await until(lambda: bool(heard) and heard[-1]["people"] == ["ana", "bo"])
    elsewhere.leave(TOPIC, "bo")
    await until(lambda: presence.people(TOPIC) == ["ana"])
    await until(lambda: heard[-1]["people"] == ["ana"])
    assert elsewhere.people(OTHER) == ["cy"]


async def test_who_looks_in_two_processes_is_named_once(presence, elsewhere, heard):
    presence.enter(TOPIC, "ana")
    elsewhere.enter(TOPIC, "ana")
    elsewhere.enter(TOPIC, "bo")
    await until(lambda: presence.people(TOPIC) == ["ana", "bo"])


async def test_what_a_killed_process_has_written_runs_out_and_goes(presence):
    for name, seconds in (("dora", -1), ("eve", 60)):
        moment = timezone.now() + timedelta(seconds=seconds)
        await Present.objects.acreate(
            process="gone", store="default", session_id="s", name=name, until=moment
        )
    presence.enter(TOPIC, "ana")
    await until(lambda: presence.people(TOPIC) == ["ana", "eve"])
    assert not await Present.objects.filter(name="dora").aexists()


async def test_nothing_is_written_or_asked_when_nobody_looks(presence, elsewhere):
    presence.enter(TOPIC, "ana")
    presence.leave(TOPIC, "ana")
    await presence.ended()
    assert not await Present.objects.aexists()


async def test_a_database_that_is_away_leaves_those_of_this_process(presence, elsewhere, monkeypatch, caplog):
    def away(self, *args, **kwargs):
        raise OperationalError("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(neighbours.Neighbours, "_tell_and_ask", away)
        presence.enter(TOPIC, "ana")
        await until(lambda: "is not known for now" in caplog.text)
        assert presence.people(TOPIC) == ["ana"]
    elsewhere.enter(TOPIC, "bo")
    await until(lambda: presence.people(TOPIC) == ["ana", "bo"])
