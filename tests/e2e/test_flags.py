"""What the session's page warns of, and wide fan-outs, in a browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Orchestrators, Server
from tests.e2e.pages import not_reloaded, open_live
from tests.e2e.seeding import History

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAN = """
async def main():
    async with manager.session("fan") as session:
        plan = await session.open_branch("plan")
        readers = [await session.open_branch(f"Reader-{n}", parent=plan) for n in range(42)]
        merge = await session.open_branch("merge", parent=readers, status=BranchStatus.WAITING)
        await plan.complete()
        for reader in readers[1:]:
            await reader.complete()
            await merge.joined(reader, last=False)
        debate = await session.open_branch("debate", parent=plan)
        for n in range(100_000):
            async with debate.step(["Writer", "Critic"][n % 2]) as step:
                await debate.add_message("assistant", "Let us improve it.", agent="Writer")
            await asyncio.sleep(0.3)
"""


async def test_what_goes_in_circles_is_flagged_while_it_happens(
    signed_in_page: Page, server: Server, orchestrator: Orchestrators, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("fan")
    await open_live(page, f"{server.url}/sessions/default/fan/")
    orchestrator.start(FAN)
    flag = page.locator('#flags [data-branch-id="debate"]')
    await expect(flag.filter(has_text="Writer and Critic have taken turns")).to_be_visible(timeout=60_000)
    await expect(flag.filter(has_text="The same message")).to_be_visible()
    graph = page.locator("#graph")
    await expect(graph.locator(".textpoint").filter(has_text="⚠ ◐ debate")).to_have_count(1)
    await flag.first.get_by_role("link", name="debate").click()
    await expect(page.locator("#inspector h2")).to_have_text("debate")

    note = page.locator(".chart-note >> nth=0")
    await expect(note).to_contain_text("41 of 42 arrived at merge, waiting for Reader-0, ")
    group = graph.locator(".textpoint").filter(has_text="Reader ×42")
    await expect(group).to_have_count(1)
    await group.click(force=True)
    await expect(group).to_have_count(0)
    await expect(graph.locator(".textpoint").filter(has_text="Reader-").first).to_be_visible()
    await page.get_by_role("button", name="Fold the groups that were unfolded").click()
    await expect(group).to_have_count(1)


async def test_a_branch_that_fell_silent_is_flagged(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    past = History(minutes_ago=30)
    past.add("session.created")
    past.add("session.started")
    past.open("reading")
    for _ in range(12):
        past.step("reading", "Reader", "page", "text", 2)
    past.add("step.started", branch_id="reading", step_id="reading:99", agent="Reader", data={"attempt": 1})
    await manager.log.append("silent", past.events)
    await open_live(signed_in_page, f"{server.url}/sessions/default/silent/")
    flag = signed_in_page.locator('#flags [data-rule="stalled"]')
    await expect(flag).to_contain_text("reading seems stuck.")
    await expect(flag).to_contain_text("95 of 100 of this branch's pauses were under")


async def test_a_branch_that_falls_silent_is_flagged_while_somebody_looks(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    """Nothing happens then that could tell of it: the page knows the moment."""
    page = signed_in_page
    await manager.create_session("silence")
    await open_live(page, f"{server.url}/sessions/default/silence/")
    past = History(minutes_ago=0)
    past.add("session.started")
    past.open("reading")
    for _ in range(12):
        past.step("reading", "Reader", "page", "text", 0.1)
    past.add("step.started", branch_id="reading", step_id="reading:99", agent="Reader", data={"attempt": 1})
    await manager.log.append("silence", past.events)
    flag = page.locator('#flags [data-rule="stalled"]')
    await expect(flag).to_contain_text("reading seems stuck.", timeout=60_000)
    assert await not_reloaded(page)
