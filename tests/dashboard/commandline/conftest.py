"""Running `manage.py session` within the test, on stores of its own."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marsys_dashboard import managers
from marsys_dashboard.commandline import terminal
from state_core.manager import StateManager
from state_core.storage.base import StorageBackend
from tests.dashboard.pages.conftest import manager, use_stores

__all__ = ["manager", "use_stores"]


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str


def run(*arguments: str, err: io.StringIO | None = None) -> Told:
    out, err = io.StringIO(), err or io.StringIO()
    code = 0
    try:
        call_command("session", *arguments, stdout=out, stderr=err, no_color=True)
    except CommandError as error:
        err.write(str(error))
        code = error.returncode
    except SystemExit as ended:
        code = int(ended.code or 0)
    return Told(code, out.getvalue(), err.getvalue())


@pytest.fixture
def anywhere(storage: StorageBackend, monkeypatch: pytest.MonkeyPatch) -> StateManager:
    """Of the one store that is shown, of each kind."""
    made = StateManager(storage, actor="tests")
    monkeypatch.setitem(managers._made, "default", made)
    return made


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Call it with what somebody types at the terminal; returns what they are asked, as it comes."""

    def types(answer: str) -> list[str]:
        asked: list[str] = []

        def answered(question: str) -> str:
            asked.append(question)
            return answer

        monkeypatch.setattr("builtins.input", answered)
        monkeypatch.setattr(terminal.sys, "stdin", _Terminal())
        return asked

    return types


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Beside:
    """The command while it runs in a thread of its own."""

    def __init__(self, *arguments: str) -> None:
        self._err = io.StringIO()
        self._running = asyncio.create_task(asyncio.to_thread(run, *arguments, err=self._err))

    async def notes(self, text: str) -> None:
        """Until it has said so."""
        async with asyncio.timeout(20):
            while text not in self._err.getvalue():
                await asyncio.sleep(0.01)

    async def ended(self) -> Told:
        async with asyncio.timeout(20):
            return await self._running


async def work(made: StateManager, session_id: str = "s", **options: Any) -> None:
    """A session that completes, with a checkpoint before its two steps."""
    async with made.session(session_id, **options) as session:
        branch = await session.open_branch("main")
        await session.checkpoint("early")
        for _ in range(2):
            async with branch.step(agent="Reader", input="tides") as step:
                step.output = "the moon"
