"""A folder or a database that this user may not write: said at once, and not waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from state_core import StateManager
from state_core.storage import from_url

ATTEMPTS = """
import asyncio, json, os, sys
from state_core import StateManager
from state_core.storage import from_url

async def attempt(url):
    manager = StateManager(from_url(url))
    for act in (manager.create_session("other"), manager.create_checkpoint("s"), manager.delete_session("s")):
        try:
            await act
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error)]))

async def load_all_modules(url):  # whoever has no rights left may not be able to read Python's own files
    manager = StateManager(from_url(url))
    await manager.create_session("s")
    await manager.close()

asyncio.run(load_all_modules(sys.argv[2]))
if os.geteuid() == 0:  # root may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(attempt(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture(params=["file:{}", "sqlite:///{}/state.db"], ids=["file", "sqlite"])
async def url(request, folder, django_db_blocker):
    url = request.param.format(folder)
    with django_db_blocker.unblock():
        manager = StateManager(from_url(url))
        async with manager.session("s") as session:
            await session.open_branch("b")
        await manager.close()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield url
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        again = StateManager(from_url(url))
        assert (await again.get_session_state("s")).branches[0].branch_id == "b"
        await again.close()


async def test_what_may_not_be_written_is_named_and_nothing_is_lost(url, folder, tmp_path):
    elsewhere = url.replace(str(folder), str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, url, elsewhere], capture_output=True, text=True, timeout=60
    )
    errors = [json.loads(line) for line in answer.stdout.splitlines()]
    assert len(errors) == 3, answer.stderr
    for name, text in errors:
        assert name == "StorageError", text
        assert str(folder) in text
        assert "cannot be written" in text
        assert "Give this user the right" in text
