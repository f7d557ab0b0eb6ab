"""A store whose content is encrypted, shown by a dashboard that has the key, and by one that has not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from marsys_dashboard import managers
from state_core.codec import new_encryption_key
from state_core.manager import StateManager
from state_core.storage import stores
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db

KEY = new_encryption_key()
PAGE = "/sessions/default/secret/"
SECRET = "Berlin at noon"
PARTS = ["steps", "messages", "checkpoints", "state", "log"]


async def record(manager: StateManager) -> None:
    async with manager.session("secret") as session:
        branch = await session.open_branch("collect")
        async with branch.step(agent="Collector", input=SECRET) as step:
            step.output = SECRET
        await branch.add_message("assistant", SECRET)
        await session.checkpoint("collected")
    await manager.create_session("held")
    await manager.pause_execution("held")


@pytest.fixture
def shown(use_stores: Callable[..., None]) -> Callable[..., StateManager]:
    """The same content, shown with these keys."""

    def show(*keys: str) -> StateManager:
        use_stores(default={**MEMORY, "ENCRYPTION_KEY": list(keys)})
        async_to_sync(record)(StateManager(stores["default"], encryption_key=KEY))
        return managers.manager("default")

    return show


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, response.content
    return response.content.decode()


@pytest.mark.parametrize("keys", [[KEY], [new_encryption_key(), KEY]], ids=["the key", "a newer key first"])
def test_a_dashboard_with_the_key_shows_the_content(shown, ana: Client, keys: list[str]) -> None:
    shown(*keys)
    for part in ("steps", "messages"):
        assert SECRET in text(ana, f"{PAGE}?tab={part}")
    assert "data-unreadable" not in text(ana, PAGE)


@pytest.mark.parametrize("keys", [[], [new_encryption_key()]], ids=["no key", "another key"])
def test_without_the_key_everything_else_is_shown_and_it_says_so(shown, ana: Client, keys: list[str]) -> None:
    shown(*keys)
    assert "secret" in text(ana, "/sessions/")
    for part in PARTS:
        page = text(ana, f"{PAGE}?tab={part}&branch=collect")
        assert SECRET not in page
        assert "data-unreadable" in page
        assert "STATE_ENCRYPTION_KEY" in page
    assert "Collector" in text(ana, f"{PAGE}?tab=steps")
    assert "collected" in text(ana, f"{PAGE}?tab=checkpoints")
    picture = ana.get(f"{PAGE}charts.json").json()
    shown = picture["timeline"]
    assert shown["lanes"]["id"] == ["collect"]
    assert [shown["names"][status] for status in shown["bars"]["status"]] == ["completed"]


@pytest.mark.parametrize("verb", ["resume", "checkpoint", "restore", "cancel", "fork", "answer"])
def test_without_the_key_an_act_is_refused_before_anything_is_appended(shown, ana: Client, verb: str) -> None:
    manager = shown()
    before = manager.sync.get_head("held").last_seq
    address = f"/sessions/default/held/{verb}/"
    assert ana.get(address).status_code == 200
    response = ana.post(
        address, {"reason": "because", "name": "named"}, headers={"accept": "application/json"}
    )
    assert response.status_code == 409
    assert "STATE_ENCRYPTION_KEY" in response.json()["error"]
    assert manager.sync.get_head("held").last_seq == before


def test_without_the_key_a_session_can_be_deleted(shown, ana: Client) -> None:
    shown()
    sent = {"reason": "no longer needed", "confirm": "held"}
    answer = ana.post("/sessions/default/held/delete/", sent, headers={"accept": "application/json"})
    assert answer.json()["ok"]


def test_with_the_key_acts_are_done_and_what_they_record_is_encrypted(shown, ana: Client) -> None:
    manager = shown(KEY)
    sent = {"context": '{"where": "Vienna at dusk"}'}
    response = ana.post("/sessions/default/held/resume/", sent, headers={"accept": "application/json"})
    assert response.json()["ok"], response.json()
    records = async_to_sync(manager.storage.read_events)("held")
    assert not any(b"Vienna" in (record.body or b"") for record in records)
    assert manager.sync.get_session_state("held").context["where"] == "Vienna at dusk"


def test_files_say_what_is_missing(shown, ana: Client) -> None:
    shown()
    response = ana.get(f"{PAGE}state.json")
    assert response.status_code == 422
    assert "encrypted" in response.content.decode()
