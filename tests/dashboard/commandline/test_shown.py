from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from marsys_dashboard.commandline.shown import doing
from state_core import StateManager, new_encryption_key
from state_core.storage import stores
from tests.dashboard.commandline.conftest import run, work
from tests.dashboard.pages.conftest import MEMORY

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_it_shows_branches_steps_checkpoints_and_what_can_be_done(manager):
    asyncio.run(work(manager, title="Tides"))
    told = run("show", "s")
    assert told.code == 0
    assert told.out.startswith("default:s  Tides\nCompleted; started just now, ended just now, ")
    assert "2 steps, 2 completed, 0 failed; 1 branch; 0 messages; 10 events" in told.out
    assert "main  Completed  2 steps, the last by Reader" in told.out
    assert "the moon" in told.out
    assert "early  event 4  just now  cp-" in told.out
    assert "Possible now\n  checkpoint, restore, delete, fork\n" in told.out
    assert "pause   It is completed." in told.out


def test_it_shows_it_as_of_an_event_or_a_checkpoint(manager):
    asyncio.run(work(manager))
    for at in ("4", "early"):
        told = run("show", "s", "--at", at).out
        assert "As it stood after event 4 of 10" in told
        assert "0 steps" in told and "Possible now" not in told
    assert "has events 1 to 10, not 99" in run("show", "s", "--at", "99").err
    assert "no checkpoint 'late'" in run("show", "s", "--at", "late").err


def test_programs_get_it_as_one_line(manager):
    asyncio.run(work(manager))
    (line,) = run("show", "s", "--json").out.splitlines()
    told = json.loads(line)
    assert (told["store"], told["session_id"], told["status"]) == ("default", "s", "completed")
    assert [step["status"] for step in told["branches"][0]["steps"]] == ["completed", "completed"]
    assert told["checkpoints"][0]["name"] == "early"
    assert told["acts"]["fork"] == {"possible": True, "why_not": ""}


async def test_questions_stand_on_top_with_their_choices_and_do_nothing_to_the_terminal(manager):
    async with manager.session("s", on_pause="raise") as session:
        branch = await session.open_branch("main")
        async with branch.step(agent="Asker") as step:
            asking = asyncio.create_task(step.ask("Go\x1b[5m on?", choices=["yes", "no"]))
            while not (await manager.get_head("s")).counts["questions"]:
                await asyncio.sleep(0.01)
            told = (await asyncio.to_thread(run, "show", "s")).out
            assert "Open questions\n" in told
            assert "Asker asks, just now: Go\\x1b[5m on?\n      one of yes, no\n" in told
            assert "Waiting, 1 question" in told
            assert "Held by " in told
            answered = await asyncio.to_thread(run, "answer", "s", "--answer", "yes", "--yes")
            assert answered.out.endswith("The answer is recorded.\n")
            assert await asking == "yes"


@pytest.mark.parametrize(
    ("branch", "told"),
    [
        ({"steps": {}}, "no step yet"),
        ({"status": "completed", "error": "It broke."}, "It broke."),
        ({"status": "waiting", "parent_ids": ["a", "b"], "joined_ids": ["a"]}, "1 of 2 branches arrived"),
        ({"steps": {"1": {}}}, "Reader, attempt 2, since 12.0 s"),
        ({"steps": {"1": {"status": "completed"}}}, "1 step, the last by Reader, attempt 2"),
    ],
)
def test_a_branch_says_what_it_is_at(branch, told):
    step = {
        "step_id": "1",
        "agent": "Reader",
        "status": "running",
        "attempt": 2,
        "started_at": (NOW - timedelta(seconds=12)).isoformat(),
    }
    steps = {key: step | changes for key, changes in branch.get("steps", {}).items()}
    whole = {"status": "running", "error": None, "parent_ids": [], "joined_ids": []}
    assert doing(whole | branch | {"steps": steps}, NOW) == told


def test_without_the_key_it_shows_what_headers_tell_and_offers_to_delete(use_stores):
    use_stores(default=MEMORY)
    writer = StateManager(stores["default"], encryption_key=new_encryption_key())
    asyncio.run(work(writer))
    told = run("show", "s").out
    assert "main  Completed  2 steps, the last by Reader" in told
    assert "Possible now\n  delete\n" in told
    assert "STATE_ENCRYPTION_KEY" in told
    assert run("watch", "s").code == 0
