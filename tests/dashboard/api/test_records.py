from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import Client

from tests.dashboard.api.conftest import SESSION
from tests.dashboard.api.test_acts import do

pytestmark = pytest.mark.django_db


def get(client: Client, part: str) -> Any:
    response = client.get(part if part.startswith("/") else f"{SESSION}/{part}")
    assert response.status_code == 200, response.content
    return response.json()


def test_checkpoints_come_newest_first_and_each_once(anas: Client, manager):
    manager.sync.create_session("s")
    names = [f"c{number}" for number in range(5)]
    for name in names:
        manager.sync.create_checkpoint("s", name, reason="why")
    found, part = [], "checkpoints?limit=2"
    while part:
        answer = get(anas, part)
        found += answer["checkpoints"]
        part = answer["earlier"]
    assert [each["name"] for each in found] == names[::-1]
    assert (found[0]["kind"], found[0]["reason"]) == ("manual", "why")


def test_a_session_without_checkpoints_has_none(anas: Client, manager):
    manager.sync.create_session("s")
    assert get(anas, "checkpoints") == {"checkpoints": [], "earlier": None}
    assert anas.get("/api/v1/sessions/default/nowhere/checkpoints").status_code == 404


async def test_open_questions_are_told_of_one_session_and_of_all(manager, live_anas):
    async with manager.session("s") as session:
        branch = await session.open_branch("main")
        async with branch.step(agent="Asker") as step:
            asked = asyncio.ensure_future(step.ask("Go on?", choices=["yes", "no"]))
            while not (await manager.get_head("s")).counts["questions"]:
                await asyncio.sleep(0.01)
            (own,) = (await live_anas.get(f"{SESSION}/questions")).json()["questions"]
            (among_all,) = (await live_anas.get("/api/v1/questions")).json()["questions"]
            answer = {"question": own["question_id"], "answer": "yes"}
            await live_anas.post(own["answer_url"], answer, content_type="application/json")
            step.output = await asked
    assert own == among_all
    assert (own["prompt"], own["choices"], own["agent"]) == ("Go on?", ["yes", "no"], "Asker")
    assert step.output == "yes"
    assert (await live_anas.get("/api/v1/questions")).json()["questions"] == []


def test_lineage_tells_forks_and_restores(anas: Client, manager):
    manager.sync.create_session("s")
    checkpoint = manager.sync.create_checkpoint("s", "here")
    do(anas, "restore", {"checkpoint": checkpoint, "reason": "to try again"})
    do(anas, "fork", {"new_session_id": "fork"})
    found = get(anas, "lineage")
    assert [(each["session_id"], each["generation"], each["status"]) for each in found["forks"]] == [
        ("fork", 1, "paused")
    ]
    (restore,) = found["restores"]
    assert (restore["checkpoint_id"], restore["reason"]) == (checkpoint, "to try again")
    (origin,) = get(anas, "/api/v1/sessions/default/fork/lineage")["origins"]
    assert (origin["session_id"], origin["generation"]) == ("s", -1)


def test_activity_has_the_filters_and_pages_of_its_page(anas: Client, manager, monkeypatch):
    monkeypatch.setattr("marsys_dashboard.activity_views.SHOWN", 2)
    manager.sync.create_session("s")
    do(anas, "pause", {"reason": "a look"})
    do(anas, "resume")
    first = get(anas, "/api/v1/activity?session=s")
    assert [each["verb"] for each in first["activity"]] == ["resume", "pause"]
    assert [each["verb"] for each in get(anas, first["next"])["activity"]] == ["create"]
    (pause,) = get(anas, "/api/v1/activity?verb=pause&who=programs")["activity"]
    assert (pause["actor"], pause["reason"], pause["after"]) == ("ana (token nightly)", "a look", "paused")
    assert anas.get("/api/v1/activity?verb=nonsense").status_code == 400
