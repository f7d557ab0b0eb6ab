"""The address from which the browser gets what it draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from state_core.manager import StateManager

ADDRESS = "/sessions/default/drawn/charts.json"


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    async_to_sync(record)(manager)
    return manager


async def record(manager: StateManager) -> None:
    async with manager.session("drawn") as session:
        first = await session.open_branch("collect")
        async with first.step(agent="Collector"):
            pass
        await session.checkpoint("collected")
        second = await session.open_branch("report", parent=first)
        async with second.step(agent="Writer"):
            pass


def test_it_gives_the_graph_the_timeline_and_the_checkpoints(session: StateManager, ana: Client) -> None:
    picture = ana.get(ADDRESS).json()
    assert picture["timeline"]["lanes"]["id"] == ["collect", "report"]
    assert picture["graph"]["of"] == [[0], [1]]
    assert picture["graph"]["edges"] == [0, 1]
    assert {"Collector", "Writer"} <= set(picture["timeline"]["names"])
    assert [place["name"] for place in picture["checkpoints"]] == ["collected"]
    assert picture["status"] == "completed"
    assert picture["pauses"] == []
    assert picture["server_time"] >= picture["ended"]


def test_pauses_of_the_part_that_a_restore_set_aside_are_not_shown(
    session: StateManager, ana: Client
) -> None:
    (place,) = async_to_sync(session.list_checkpoints)("drawn")
    restore = async_to_sync(session.restore_checkpoint)
    restore(place.id, reason="try again")
    async_to_sync(session.resume_execution)("drawn")
    async_to_sync(session.pause_execution)("drawn", reason="set aside below")
    assert [pause["why"] for pause in ana.get(ADDRESS).json()["pauses"]] == ["restored"]
    restore(place.id, session_id="drawn", reason="and again")
    picture = ana.get(ADDRESS).json()
    assert len(picture["pauses"]) == 1
    (turn,) = picture["turns"]
    assert (turn["what"], turn["to"]) == ("restored", place.seq)
    assert turn["at"] == picture["pauses"][0]["start"]


def test_a_fork_says_where_it_began(session: StateManager, ana: Client) -> None:
    async_to_sync(session.fork_session)("drawn", "forked")
    (turn,) = ana.get(ADDRESS.replace("drawn", "forked")).json()["turns"]
    assert turn["what"] == "forked"


def test_an_unchanged_session_is_not_sent_again(session: StateManager, ana: Client) -> None:
    tag = ana.get(ADDRESS).headers["ETag"]
    again = ana.get(ADDRESS, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert ana.get(f"{ADDRESS}?groups=open", headers={"If-None-Match": tag}).status_code == 200
    async_to_sync(session.create_checkpoint)("drawn", "later")
    changed = ana.get(ADDRESS, headers={"If-None-Match": tag})
    assert [place["name"] for place in changed.json()["checkpoints"]] == ["collected", "later"]


def test_a_session_made_anew_under_the_same_id_is_another_one(session: StateManager, ana: Client) -> None:
    tag = ana.get(ADDRESS).headers["ETag"]
    async_to_sync(session.delete_session)("drawn")
    async_to_sync(record)(session)
    assert ana.get(ADDRESS, headers={"If-None-Match": tag}).status_code == 200


def test_pauses_and_restores_are_told(session: StateManager, ana: Client) -> None:
    places = async_to_sync(session.list_checkpoints)("drawn")
    async_to_sync(session.restore_checkpoint)(places[0].id)
    picture = ana.get(ADDRESS).json()
    assert picture["timeline"]["lanes"]["id"] == ["collect"]
    assert [(pause["why"], pause["end"]) for pause in picture["pauses"]] == [("restored", None)]


def test_a_session_that_is_not_there_is_not_found(session: StateManager, ana: Client) -> None:
    answer = ana.get("/sessions/default/other/charts.json", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert "other" in answer.json()["error"]


@pytest.mark.parametrize("name", ["cy", "bo"])
def test_who_may_view_sees_it(session: StateManager, sign_in: Callable[[str], Client], name: str) -> None:
    assert sign_in(name).get(ADDRESS).status_code == 200


def test_who_may_not_view_does_not_see_it(session: StateManager, sign_in: Callable[[str], Client]) -> None:
    assert sign_in("dora").get(ADDRESS).status_code == 403


def test_who_is_not_signed_in_does_not_see_it(session: StateManager, db: None) -> None:
    assert Client().get(ADDRESS).status_code == 302
