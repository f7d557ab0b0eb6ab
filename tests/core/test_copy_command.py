"""`manage.py copy_sessions`, as a person runs it."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from state_core import HeadQuery, StateManager, walk
from state_core.storage import from_url, stores
from tests.stored.sessions import COMPRESSED, write_sessions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def full(tmp_path):
    """The URL of a file store with sessions."""
    return filled(f"file:{tmp_path}/full")


def filled(url, write=write_sessions):
    asyncio.run(with_store(url, write))
    return url


async def with_store(url, use):
    store = from_url(url)
    try:
        return await use(store)
    finally:
        await store.close()


def ids(url):
    async def listed(store):
        return [head.session_id for head in await store.heads(HeadQuery(sort="session_id"))]

    return asyncio.run(with_store(url, listed))


def run(*arguments, out=None, **options):
    out = out or io.StringIO()
    call_command("copy_sessions", *arguments, stdout=out, stderr=out, no_color=True, **options)
    return out.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_it_copies_from_url_to_url_and_says_what_it_verified(full, sqlite_url):
    told = run(full, sqlite_url)
    assert "compressed  copied, 34 events\n" in told
    assert "pending  copied, 1 event\n" in told
    assert "Sessions: 7 copied.\n" in told
    assert "Verified: 7 sessions with 133 events, their heads and their checkpoints are the same" in told
    assert len(ids(sqlite_url)) == 7
    assert "Sessions: 7 there already.\n" in run(full, sqlite_url)


def test_it_copies_to_an_alias(full, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(stores, "_made", {})
    kept = "state_core.storage.file.FileStorageBackend"
    settings.STATE_STORES = {"archive": {"BACKEND": kept, "OPTIONS": {"base_path": f"{tmp_path}/archive"}}}
    assert "Sessions: 1 copied." in run(full, "archive", session=["plain"])
    assert ids(f"file:{tmp_path}/archive") == ["plain"]
    with pytest.raises(CommandError, match="no 'elsewhere'. It has: 'archive'"):
        run(full, "elsewhere")


def test_a_dry_run_copies_nothing(full, tmp_path):
    told = run(full, f"file:{tmp_path}/new", dry_run=True)
    assert "Sessions: 7 to copy.\n" in told and "Verified" not in told
    assert ids(f"file:{tmp_path}/new") == []


def test_a_failure_is_told_and_the_command_fails(full, tmp_path):
    out = io.StringIO()
    with pytest.raises(CommandError, match="could not be copied"):
        run(full, f"file:{tmp_path}/new", session=["nobody", "plain"], out=out)
    assert "nobody  failed: There is no session 'nobody'" in out.getvalue()
    assert "Sessions: 1 copied, 1 failed." in out.getvalue()
    assert ids(f"file:{tmp_path}/new") == ["plain"]


def test_a_running_session_is_skipped_without_failing(tmp_path):
    async def hold(store):
        await StateManager(store).create_session("s")
        await store.acquire("s", "an orchestrator", 600)

    source = filled(f"file:{tmp_path}/full", hold)
    assert "s  skipped: 'an orchestrator' runs it at present" in run(source, f"file:{tmp_path}/new")
    assert "s  copied, 1 event" in run(source, f"file:{tmp_path}/new", include_running=True)


def test_a_bar_is_drawn_on_a_terminal_only_and_wiped(full, tmp_path):
    out = Terminal()
    told = run(full, f"file:{tmp_path}/new", out=out)
    assert "\r[##" in told and "] 100%  session 7 of 7: plain, event 34 of 34" in told
    assert told.rpartition("\r")[2].startswith("compressed  copied")
    assert "[##" not in run(full, f"file:{tmp_path}/other")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("memory:", "gone when this command ends"),
        ("mysql://me:hush@host/db", "connection string"),
        ("postgresql://me:hush@127.0.0.1:1/db?connect_timeout=2", "cannot be reached.*start again to go on"),
        ("redis://:hush@127.0.0.1:1/0", "cannot be reached"),
        ("redis://:hush@127.0.0.1:port/0", "cannot be read"),
    ],
)
def test_a_target_that_cannot_work_is_one_sentence_without_its_password(
    full, target, says, django_db_blocker
):
    out = io.StringIO()
    with django_db_blocker.unblock(), pytest.raises(CommandError, match=says) as caught:
        run(full, target, out=out)
    assert "hush" not in str(caught.value) + out.getvalue()


def test_a_store_is_not_copied_to_itself(full):
    with pytest.raises(CommandError, match="are the same store"):
        run(full, full)


def test_a_damaged_session_does_not_hold_up_the_others(full, tmp_path):
    log = tmp_path / "full/sessions/mixed/log.state"
    log.write_bytes(log.read_bytes().replace(b'"seq":7', b'"seq":8', 1))
    out = io.StringIO()
    with pytest.raises(CommandError):
        run(full, f"file:{tmp_path}/new", out=out)
    assert "mixed  failed: Session 'mixed': event 7" in out.getvalue()
    assert "Sessions: 6 copied, 1 failed." in out.getvalue()


def test_killed_in_the_middle_and_started_again_it_goes_on(tmp_path, monkeypatch):
    async def write(store):
        async with StateManager(store, config=COMPRESSED).session("long") as session:
            branch = await session.open_branch("a")
            for number in range(30):
                await branch.add_message("user", str(number))

    source, target = filled(f"file:{tmp_path}/full", write), f"file:{tmp_path}/new"
    killed_after = (
        "import os, signal, sys, django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from state_core import walk\n"
        "from state_core.storage.file import FileStorageBackend\n"
        "walk.MOST_EVENTS = 4\n"
        "append = FileStorageBackend.append\n"
        "async def append_and_die(*args, **kwargs):\n"
        "    seq = await append(*args, **kwargs)\n"
        "    if seq == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return seq\n"
        "FileStorageBackend.append = append_and_die\n"
        "call_command('copy_sessions', *sys.argv[1:])\n"
    )
    environment = {**os.environ, "STATE_VAR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", killed_after, source, target], env=environment, timeout=60, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    monkeypatch.setattr(walk, "MOST_EVENTS", 4)
    assert "long  copied, the last 23 of 35 events\n" in run(source, target)
