"""Two sessions side by side, from the list and from the family of one of them."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.across_stores.conftest import Stores, TwoStores, look, open_page
from tests.e2e.conftest import sign_in
from tests.e2e.pages import row

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_sessions_of_two_stores_are_compared_from_the_list_by_who_may_only_look(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    await stores.default.create_session("same-1", context={"topic": "tides"})
    await stores.files.create_session("same-2", context={"topic": "rivers"})
    await sign_in(context, two_stores, "vera")
    await open_page(page, two_stores, "/sessions/?q=same-")
    compare = page.locator("[data-compare-two]")
    await row(page, "same-1").locator(".pick input").check()
    await expect(compare).to_have_attribute("title", "Select two sessions to compare them")
    await row(page, "same-2").locator(".pick input").check()
    await look(page, "compare-selected")
    await compare.click()
    await expect(page.get_by_role("heading", name="Compare two sessions")).to_be_visible()
    await expect(page.locator('[data-part="Context"] del')).to_have_text("tides")
    await expect(page.locator('[data-part="Context"] ins')).to_have_text("rivers")
    await look(page, "compare-two")
    await page.get_by_role("link", name="Swap").click()
    await expect(page.locator('[data-part="Context"] del')).to_have_text("rivers")


async def test_a_fork_is_compared_with_where_it_comes_from_and_with_another_fork(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    manager = stores.files
    await manager.create_session("origin", context={"way": "none"})
    for way in ("left", "right"):
        await manager.fork_session("origin", f"origin.{way}")
        async with manager.session(f"origin.{way}") as session:
            await session.set_context(way=way)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/files/origin/?tab=lineage")
    left = page.locator('.relative[data-session-id="origin.left"]')
    await left.get_by_role("link", name="Compare…").click()
    await expect(page.locator('[data-part="Context"] ins')).to_have_text("left")
    await page.get_by_role("link", name="Swap").click()
    await expect(page.locator('[data-part="Context"] del')).to_have_text("left")
    await page.wait_for_load_state()
    await page.get_by_label("With", exact=True).select_option("files/origin.right")
    await expect(page.locator('[data-part="Context"] ins')).to_have_text("right")
    await expect(page.locator('[data-part="Context"] del')).to_have_text("left")
