"""The overview in a browser: drawn from its tables, kept up, the time in the address."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.across_stores.conftest import ON_FILES, Stores, TwoStores, look, open_page
from tests.e2e.conftest import Orchestrators, sign_in
from tests.e2e.pages import not_reloaded

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORK = """
async def one(session_id, agent, n):
    try:
        async with manager.session(session_id) as session:
            branch = await session.open_branch("b")
            for i in range(n):
                async with branch.step(agent=agent) as step:
                    await asyncio.sleep(0.01 * (i % 5))
                    if i == 7:
                        raise ValueError("no more <b>moons</b>")
            await session.checkpoint("end")
    except ValueError:
        pass

async def main():
    for k in range(6):
        await one(f"whole-{sys.argv[1]}-{k}", f"Agent-{k % 3}", 4 + k)
"""


async def test_charts_are_drawn_from_their_tables_and_follow_what_happens(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, programs: Orchestrators
):
    programs.start(WORK, "db").wait(60)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/overview/?range=1h")
    for name in ("sessions", "steps", "durations", "failures", "storage", "largest", "checkpoints"):
        await expect(page.locator(f'[data-chart="{name}"] .plotly .bars path').first).to_be_attached()
    failures = page.locator('[data-chart="failures"]')
    await expect(failures.locator(".plot")).to_contain_text("ValueError: no more <b>m…")
    await failures.get_by_text("As a table").click()
    await expect(failures.locator("tbody")).to_contain_text("ValueError: no more <b>moons</b>")
    await look(page, "overview")
    steps = page.locator(".tile", has_text="Steps ended").locator("dd")
    before = await steps.text_content()
    programs.start(ON_FILES + WORK, "files").wait(60)
    await expect(steps).not_to_have_text(before or "")
    await expect(failures.locator("details")).to_have_attribute("open", "")
    assert await not_reloaded(page)
    await page.get_by_role("link", name="last 7d").click()
    await expect(page).to_have_url(f"{two_stores.url}/overview/?range=7d")
