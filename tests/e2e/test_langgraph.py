"""A real graph in a real process, watched, paused, answered, restored and forked in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from state_core import StateManager
from state_core.adapters.langgraph.threads import TAG
from tests.e2e.conftest import Orchestrators, Server
from tests.e2e.langgraph_program import WORKFLOW
from tests.e2e.pages import act, confirm, dialog, not_reloaded, open_live, until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROGRAM = "tests.e2e.langgraph_program"


async def is_shown_as(page: Page, status: str) -> None:
    shown = page.locator("#standing .status")
    await expect(shown).to_have_attribute("data-status", status, timeout=30_000)


async def do(page: Page, verb: str, **given: str) -> None:
    await act(page, verb).click()
    for name, text in given.items():
        await dialog(page).locator(f'[name="{name}"]').fill(text)
    await confirm(page).click()
    await expect(dialog(page)).to_be_hidden()


async def answer(page: Page, choice: str) -> None:
    await page.locator('#questions .primary[data-act="answer"]').click()
    await expect(dialog(page)).to_contain_text("Publish the survey?")
    await dialog(page).get_by_label(choice, exact=True).check()
    await confirm(page).click()
    await expect(dialog(page)).to_be_hidden()


async def opened(page: Page, server: Server, manager: StateManager, session_id: str) -> None:
    await manager.create_session(session_id, workflow=WORKFLOW, tags=[TAG])
    await open_live(page, f"{server.url}/sessions/default/{session_id}/?tab=steps")


async def test_a_graph_takes_every_command(
    signed_in_page: Page, server: Server, manager: StateManager, orchestrator: Orchestrators, tmp_path: Path
) -> None:
    page, gate = signed_in_page, tmp_path / "gate"
    await opened(page, server, manager, "graph-tides")
    orchestrator.start_module(PROGRAM, "graph-tides", str(gate))
    steps = page.locator('[data-list="steps"] > tr')
    await expect(steps.first).to_have_attribute("data-status", "running", timeout=30_000)
    await do(page, "pause", reason="let me see")
    await is_shown_as(page, "pausing")
    gate.touch()
    await is_shown_as(page, "paused")
    paused = await manager.get_session_state("graph-tides")
    assert (paused.branches[0].steps[0].agent, paused.branches[0].steps[0].status) == ("plan", "completed")
    assert not paused.questions

    await do(page, "checkpoint", name="planned")
    await do(page, "resume")
    await is_shown_as(page, "waiting")
    state = await manager.get_session_state("graph-tides")
    assert [branch.name for branch in state.branches] == ["graph", "research", "research"]
    await answer(page, "no")
    await is_shown_as(page, "completed")
    assert (await said(manager, "graph-tides"))[-1] == "Verdict: no <b>bold</b>"
    await page.locator('[data-tab="messages"], a[href*="tab=messages"]').first.click()
    await expect(page.locator('[data-list="messages"]').first).to_contain_text("<b>bold</b>")

    await do(page, "restore", reason="think again")
    await is_shown_as(page, "paused")
    await do(page, "resume")
    await is_shown_as(page, "waiting")
    await answer(page, "yes")
    await is_shown_as(page, "completed")
    assert (await said(manager, "graph-tides"))[-1] == "Verdict: yes <b>bold</b>"
    assert await not_reloaded(page)

    checkpoint = next(c for c in await manager.list_checkpoints("graph-tides") if c.name == "planned")
    fork = await manager.fork_session("graph-tides", "graph-fork", checkpoint_id=checkpoint.id)
    await open_live(page, f"{server.url}/sessions/default/{fork}/?tab=steps")
    await is_shown_as(page, "paused")
    await do(page, "resume")
    await is_shown_as(page, "waiting")
    await answer(page, "no")
    await is_shown_as(page, "completed")
    assert (await said(manager, fork))[-1] == "Verdict: no <b>bold</b>"
    assert (await said(manager, "graph-tides"))[-1] == "Verdict: yes <b>bold</b>"


async def said(manager: StateManager, session_id: str) -> list[str]:
    state = await manager.get_session_state(session_id)
    return [str(message.content) for message in state.branches[0].memory]


async def test_a_graph_that_is_only_recorded_says_why_nobody_can_pause_or_answer(
    signed_in_page: Page, server: Server, manager: StateManager, orchestrator: Orchestrators, tmp_path: Path
) -> None:
    page, gate = signed_in_page, tmp_path / "gate"
    gate.touch()
    await opened(page, server, manager, "graph-recorded")
    program = orchestrator.start_module(PROGRAM, "graph-recorded", str(gate), "recorded")
    await is_shown_as(page, "waiting")
    await until(lambda: ended(program))
    await page.reload()
    button = page.locator('[data-act="pause"]').first
    await expect(button).to_be_disabled()
    await expect(page.locator("main")).to_contain_text("does not take this command")


async def ended(program: object) -> bool:
    return program.poll() is not None  # type: ignore[attr-defined]
