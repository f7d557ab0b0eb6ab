"""Sessions in Django's own database, and three people who may do more and more with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from state_core import StateManager
from state_core.storage import stores


@pytest.fixture
def manager(transactional_db: None) -> Iterator[StateManager]:
    yield StateManager(stores["default"], actor="tests")
    for store in stores.forget():
        async_to_sync(store.close)()


@pytest.fixture
def paused(manager: StateManager) -> str:
    """A paused session with a checkpoint before its only step."""

    async def make() -> None:
        async with manager.session("paused_1", title="Tides", on_pause="raise") as session:
            branch = await session.open_branch("collect")
            await session.checkpoint("before")
            async with branch.step(agent="Collector", input="tides") as step:
                step.output = "moon"
            await branch.add_message("assistant", "<script>alert(1)</script>", agent="Collector")
            await session.request_pause("look at it")
            await session.pause_point()

    async_to_sync(make)()
    return "paused_1"


@pytest.fixture
def completed(manager: StateManager) -> str:
    async def make() -> None:
        async with manager.session("completed_1"):
            pass

    async_to_sync(make)()
    return "completed_1"


@pytest.fixture
def client_with(transactional_db: None) -> Callable[..., Client]:
    """A member of staff who is signed in and has these permissions."""

    def make(*codenames: str) -> Client:
        user = get_user_model().objects.create_user("alice", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def viewer(client_with: Callable[..., Client]) -> Client:
    return client_with("view_session")


@pytest.fixture
def operator(client_with: Callable[..., Client]) -> Client:
    return client_with("view_session", "operate_session")


@pytest.fixture
def restorer(client_with: Callable[..., Client]) -> Client:
    return client_with("view_session", "operate_session", "restore_session")


def told(response: Any) -> list[str]:
    """The messages on the page that followed."""
    return [str(message) for message in response.context["messages"]]
