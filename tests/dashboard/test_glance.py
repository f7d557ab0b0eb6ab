"""The page of a long session is painted before its log has been folded."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.test import AsyncClient

from marsys_dashboard import glance, outlines
from state_core.events import Event
from state_core.manager import StateManager
from state_core.records import SessionStatus
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import serve, signed_in, text

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/sessions/default/{SESSION}/"


@pytest.fixture
async def manager(monkeypatch: pytest.MonkeyPatch) -> StateManager:
    """Its store has a session of two branches, which is long."""
    manager = StateManager(MemoryStorageBackend(), actor="tests")
    async with manager.session(SESSION, context={"topic": "codes"}) as session:
        parent = None
        for name in ("one", "two"):
            parent = await session.open_branch(name, parent=parent)
            async with parent.step("Agent", {"for": name}) as step:
                await parent.add_message("assistant", f"said in {name}", agent="Agent")
                step.output = f"made in {name}"
        await session.checkpoint("halfway")
    serve(manager, monkeypatch)
    monkeypatch.setattr(glance, "LONG_FROM", 1)
    return manager


@pytest.fixture
async def client() -> AsyncClient:
    return await signed_in("view")


async def test_it_shows_the_newest_messages_without_folding(
    manager: StateManager, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(outlines, "fold_outline", None)
        first = await text(client, PAGE)
    assert "said in two" in first
    await text(client, f"{PAGE}panels/conversation/")
    with monkeypatch.context() as patch:
        patch.setattr(glance, "LONG_FROM", 1_000_000)
        assert _still(first) == _still(await text(client, PAGE))


def _still(page: str) -> str:
    """Without what differs from one answer to the next."""
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"|data-now="[^"]+"|\d+ s ago|just now', "", page)


@pytest.mark.parametrize("query", [{"branch": "one"}, {"tab": "steps"}, {"at": "3"}, {"around": "5"}])
async def test_what_the_newest_messages_do_not_tell_is_folded(
    manager: StateManager, client: AsyncClient, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr(glance, "_document", None)
    await text(client, PAGE, **query)


async def test_a_session_that_is_folded_already_is_shown_from_that(manager: StateManager) -> None:
    cache = outlines.OutlineCache()
    await cache.outline("default", manager, SESSION)
    head = await manager.get_head(SESSION)
    assert await glance.glance("default", manager, head, cache) is None


@pytest.mark.parametrize("status", [SessionStatus.PAUSING, SessionStatus.WAITING, SessionStatus.RESUMING])
async def test_one_whose_standing_is_told_by_its_branches_is_folded(
    manager: StateManager, status: SessionStatus
) -> None:
    head = replace(await manager.get_head(SESSION), status=status)
    assert await glance.glance("default", manager, head, outlines.OutlineCache()) is None


async def test_one_whose_log_does_not_simply_go_on_is_folded(manager: StateManager) -> None:
    (place,) = await manager.list_checkpoints(SESSION)
    fork = await manager.fork_session(SESSION, "forked")
    await manager.restore_checkpoint(place.id, reason="once more")
    for name in (fork, SESSION):
        head = await manager.get_head(name)
        assert await glance.glance("default", manager, head, outlines.OutlineCache()) is None


async def test_one_that_is_damaged_is_folded_so_that_it_says_so(manager: StateManager) -> None:
    message = Event(kind="message.added", branch_id="nowhere", data={"count": 1})
    await manager.log.append(SESSION, [message])
    head = await manager.get_head(SESSION)
    assert await glance.glance("default", manager, head, outlines.OutlineCache()) is None
