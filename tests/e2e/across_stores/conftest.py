"""A dashboard of two stores, one in a database and one in files, and programs that write to them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Locator, Page

from state_core import DatabaseStorageBackend, FileStorageBackend
from state_core.manager import StateManager
from tests.e2e.conftest import Orchestrators, Server, on_the_loop
from tests.e2e.pages import COLOURS, open_live, violations


class TwoStores(Server):
    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "STATE_STORES": f"files=file:{self.files}"}


@pytest.fixture(scope="session")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoStores]:
    made = TwoStores(tmp_path_factory.mktemp("two-stores"))
    made.prepare()
    made.start()
    yield made
    made.stop()


@dataclass
class Stores:
    """The server's stores, opened in this process."""

    default: StateManager
    files: StateManager

    def __getitem__(self, name: str) -> StateManager:
        found: StateManager = getattr(self, name)
        return found


@on_the_loop
async def stores(two_stores: TwoStores, django_db_blocker: Any) -> AsyncIterator[Stores]:
    with django_db_blocker.unblock():
        made = Stores(
            StateManager(DatabaseStorageBackend(two_stores.database), actor="tests"),
            StateManager(FileStorageBackend(two_stores.files), actor="tests"),
        )
        yield made
        await made.default.close()
        await made.files.close()


@pytest.fixture
def programs(two_stores: TwoStores) -> Iterator[Orchestrators]:
    made = Orchestrators(two_stores)
    yield made
    made.stop()


ON_FILES = (
    "from state_core.storage.file import FileStorageBackend\n"
    "manager = StateManager(FileStorageBackend(os.path.join(os.environ['STATE_VAR'], 'files')))\n"
)


def asking(session_id: str, *, files: bool = False, **given: Any) -> str:
    """A program whose only step asks, and puts out the answer."""
    return (
        (ON_FILES if files else "")
        + f"""
async def main():
    async with manager.session({session_id!r}, title="Trip of {session_id}") as session:
        branch = await session.open_branch("plan")
        await branch.add_message("assistant", "Three days are left.", agent="Planner")
        async with branch.step(agent="Planner") as step:
            step.output = await step.ask({"What about " + session_id + "?"!r}, **{given!r})
"""
    )


async def open_page(page: Page, server: Server, path: str) -> Page:
    await open_live(page, f"{server.url}{path}")
    return page


def card(page: Page, session_id: str) -> Locator:
    return page.locator(f'#inbox [data-session-id="{session_id}"]')


async def look(page: Page, name: str) -> None:
    """axe-core finds nothing wrong, in light and, by colours, in dark. Where PICTURES names a folder, there
    are pictures then, wide and as wide as a phone."""
    folder = os.environ.get("PICTURES")
    looks: tuple[tuple[Literal["light", "dark"], tuple[str, ...]], ...] = (("dark", COLOURS), ("light", ()))
    for scheme, rules in looks:
        await page.emulate_media(color_scheme=scheme)
        assert await violations(page, *rules) == [], f"{name}, {scheme}"
        for width, height in ((390, 844), (1280, 900)) if folder else ():
            await page.set_viewport_size({"width": width, "height": height})
            await page.wait_for_timeout(150)
            await page.screenshot(path=f"{folder}/{name}-{scheme}-{width}.png", full_page=True)
