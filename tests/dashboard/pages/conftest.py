"""A store of the dashboard's own, and the cast: Ana may all, Bo may operate, Cy may view, Dora nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import AsyncClient, Client

from marsys_dashboard import managers
from state_core.manager import StateManager
from state_core.storage import stores

CAST = {
    "ana": ("view_session", "operate_session", "restore_session"),
    "bo": ("view_session", "operate_session"),
    "cy": ("view_session",),
    "dora": (),
}
MEMORY = {"BACKEND": "state_core.storage.memory.MemoryStorageBackend"}
DATABASE = {"BACKEND": "state_core.storage.database.DatabaseStorageBackend"}


def forget() -> None:
    managers.forget()
    for made in stores.forget():
        async_to_sync(made.close)()


@pytest.fixture
def use_stores(settings: Any) -> Iterator[Callable[..., None]]:
    """Call it with alias=entry of STATE_STORES."""

    def use(**entries: Any) -> None:
        settings.STATE_STORES = entries
        forget()

    yield use
    forget()


@pytest.fixture
def manager(use_stores: Callable[..., None]) -> StateManager:
    """Of the dashboard's one store, in memory and empty."""
    use_stores(default=MEMORY)
    return managers.manager("default")


def person(name: str) -> Any:
    user, _ = get_user_model().objects.get_or_create(username=name)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="state_core", codename__in=CAST[name])
    )
    return user


@pytest.fixture
def sign_in(db: None) -> Callable[[str], Client]:
    def signed_in(name: str) -> Client:
        client = Client()
        client.force_login(person(name))
        return client

    return signed_in


@pytest.fixture
def ana(sign_in: Callable[[str], Client]) -> Client:
    return sign_in("ana")


@pytest.fixture
def live_ana(transactional_db: None) -> AsyncClient:
    """Ana in a test that is itself asynchronous, as it must be to hold a session."""
    client = AsyncClient()
    client.force_login(person("ana"))
    return client
