"""Who did what, live, and who else is here: two people, two stores, a program."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browsers import CALM
from tests.e2e.across_stores.conftest import Stores, TwoStores, asking, look, open_page
from tests.e2e.conftest import Complaints, Orchestrators, sign_in
from tests.e2e.pages import act, confirm, dialog

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_people_and_programs_do_appears_while_it_is_looked_at_and_is_filtered(
    page: Page,
    context: BrowserContext,
    complaints: Complaints,
    two_stores: TwoStores,
    stores: Stores,
    programs: Orchestrators,
):
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/activity/")
    await stores.files.create_session("told")
    other = await context.new_page()
    complaints.watch(other)
    await open_page(other, two_stores, "/sessions/files/told/")
    await act(other, "pause").click()
    await dialog(other).get_by_label("Reason").fill("to look at it")
    await confirm(other).click()
    line = page.locator('tr[data-actor="ana"]', has_text="told").first
    await expect(line).to_contain_text("pending → paused")
    await expect(line).to_contain_text("to look at it")
    programs.start(asking("acts", choices=["a"]))
    await expect(page.locator("tr[data-verb='start']", has_text="acts")).to_be_visible()
    await look(page, "activity")
    await page.get_by_label("Actors").select_option("People")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("tbody tr").first).to_be_visible()
    await expect(page.locator("tr[data-verb='start']")).to_have_count(0)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="JSON lines", exact=True).click()
    assert (await download.value).suggested_filename == "activity.jsonl"
    await other.get_by_role("link", name="Activity").last.click()
    await expect(other.locator("tbody tr", has_text="told").first).to_be_visible()
    await expect(other.locator("tbody tr", has_text="acts")).to_have_count(0)
    await stores.default.answer("acts", "plan:1.q1", "a")  # so that no other test's inbox has it


async def test_who_else_looks_at_a_session_is_named_until_they_leave(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, complaints: Complaints
):
    await stores.default.create_session("visited")
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/default/visited/")
    await expect(page.locator("#presence")).to_be_hidden()
    theirs = await context.browser.new_context(**CALM)
    await sign_in(theirs, two_stores, "vera")
    other = await theirs.new_page()
    complaints.watch(other)
    await open_page(other, two_stores, "/sessions/default/visited/")
    await expect(page.locator("#presence")).to_have_text("vera is here")
    await expect(other.locator("#presence")).to_have_text("ana is here")
    await theirs.close()
    await expect(page.locator("#presence")).to_be_hidden()


async def test_who_looks_in_another_process_of_the_dashboard_is_named_too(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, complaints: Complaints
):
    await stores.files.create_session("visited-too")
    beside = TwoStores(two_stores.folder, cookies=two_stores.cookies)
    beside.start()
    try:
        await sign_in(context, two_stores, "ana")
        await open_page(page, two_stores, "/sessions/files/visited-too/")
        theirs = await context.browser.new_context(**CALM)
        await sign_in(theirs, beside, "vera")
        other = await theirs.new_page()
        complaints.watch(other)
        await open_page(other, beside, "/sessions/files/visited-too/")
        await expect(page.locator("#presence")).to_have_text("vera is here")
        await expect(other.locator("#presence")).to_have_text("ana is here")
        await theirs.close()
        await expect(page.locator("#presence")).to_be_hidden()
    finally:
        beside.stop()
