"""Programs of the cast of the pages: each with an access token of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client

from marsys_dashboard import managers, tokens
from state_core.manager import StateManager
from tests.dashboard.pages.conftest import DATABASE, MEMORY, manager, person, sign_in, use_stores

__all__ = ["manager", "sign_in", "use_stores"]

SESSION = "/api/v1/sessions/default/s"


def token_of(name: str, *, may_act: bool = True, called: str = "nightly") -> str:
    return tokens.make(person(name), called, may_act=may_act, expires_at=None)


@pytest.fixture
def program(db: None) -> Callable[..., Client]:
    """Call it with a name of the cast."""

    def made(name: str, *, may_act: bool = True) -> Client:
        token = token_of(name, may_act=may_act)
        return Client(headers={"authorization": f"Bearer {token}"})

    return made


@pytest.fixture
def anas(program: Callable[..., Client]) -> Client:
    """A program that may all."""
    return program("ana")


class LiveProgram(AsyncClient):
    """Django's asynchronous client keeps no headers."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def generic(self, *args: Any, headers: Mapping[str, str] | None = None, **given: Any) -> Any:
        headers = {"authorization": f"Bearer {self._token}", **(headers or {})}
        return super().generic(*args, headers=headers, **given)


@pytest.fixture
def live_anas(transactional_db: None) -> LiveProgram:
    """A program that may all, in a test that is itself asynchronous, as it must be to hold a session."""
    return LiveProgram(token_of("ana"))


@pytest.fixture(params=["memory", "files", "database", "postgres", "redis"])
def anywhere(request: pytest.FixtureRequest, use_stores: Callable[..., None], tmp_path: Path) -> StateManager:
    """Of the one store that is shown, of each kind; ``database`` is Django's own."""
    ask = request.getfixturevalue
    entries: dict[str, Callable[[], dict[str, Any]]] = {
        "memory": lambda: MEMORY,
        "files": lambda: {"URL": f"file:{tmp_path}/state"},
        "database": lambda: DATABASE,
        "postgres": lambda: {"URL": ask("postgres_url")},
        "redis": lambda: {
            "BACKEND": "state_core.storage.redis.RedisStorageBackend",
            "OPTIONS": {"url": ask("redis_server").url, "key_prefix": ask("redis_prefix")},
        },
    }
    use_stores(default=entries[request.param]())
    return managers.manager("default")
