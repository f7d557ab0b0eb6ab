"""Selecting rows and acting on them together, in two stores, while a server dies and a browser is closed."""

from __future__ import annotations

import signal

import pytest
from playwright.async_api import BrowserContext, Page, expect

from state_core.events import Event, EventKind
from tests.e2e.across_stores.conftest import Stores, TwoStores, look, open_page
from tests.e2e.conftest import Complaints, sign_in
from tests.e2e.pages import confirm, dialog, row, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def make(stores: Stores, prefix: str, number: int) -> list[str]:
    names = [f"{prefix}-{n:03d}" for n in range(number)]
    for n, name in enumerate(names):
        await stores["files" if n % 2 else "default"].create_session(name)
    return names


async def statuses(stores: Stores, names: list[str]) -> list[str]:
    found = {}
    for store in (stores.default, stores.files):
        for head in await store.list_sessions(text=names[0].rpartition("-")[0], limit=1000):
            found[head.session_id] = str(head.status)
    return [found.get(name, "gone") for name in names]


async def test_rows_of_two_stores_are_selected_with_keys_and_a_range_and_paused_together(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    names = await make(stores, "pick", 6)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/?q=pick-&sort=session_id")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await expect(page.locator("#bulk")).to_contain_text("1 selected")
    await row(page, names[3]).locator(".pick input").click(modifiers=["Shift"])
    await expect(page.locator("#bulk")).to_contain_text("4 selected")
    await look(page, "bulk")
    await page.locator("#bulk").get_by_role("button", name="Pause…").click()
    await expect(dialog(page)).to_contain_text("Selected: 4 sessions")
    await dialog(page).get_by_label("Reason").fill("night")
    await look(page, "bulk-dialog")
    await confirm(page).click()
    await expect(page.locator("[data-label]")).to_have_text("Completed")
    await expect(page.locator('tr[data-outcome="done"]')).to_have_count(4)
    await look(page, "job")
    assert await statuses(stores, names) == ["paused"] * 4 + ["pending"] * 2


async def test_all_that_match_are_deleted_once_their_number_is_typed(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    names = await make(stores, "many", 60)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/?q=many-&sort=session_id")
    await page.get_by_label("Select all on this page").check()
    await expect(page.locator("#bulk")).to_contain_text("50 selected")
    await page.get_by_role("button", name="Select all 60 matching").click()
    await page.locator("#bulk").get_by_role("button", name="Delete…").click()
    await dialog(page).get_by_label("Reason").fill("tidy")
    await dialog(page).get_by_label("to confirm").fill("50")
    await confirm(page).click()
    await expect(dialog(page).locator("[data-problem]")).to_have_text("Type 60 to confirm.")
    await dialog(page).get_by_label("to confirm").fill("60")
    await confirm(page).click()
    await expect(page.locator("[data-label]")).to_have_text("Completed")
    assert set(await statuses(stores, names)) == {"gone"}


async def test_a_job_goes_on_without_the_browser_and_is_continued_after_the_server_was_killed(
    page: Page,
    context: BrowserContext,
    complaints: Complaints,
    two_stores: TwoStores,
    stores: Stores,
):
    names = await make(stores, "kill", 200)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/?q=kill-&sort=session_id")
    await page.get_by_label("Select all on this page").check()
    await page.get_by_role("button", name="Select all 200 matching").click()
    await page.locator("#bulk").get_by_role("button", name="Cancel…").click()
    await dialog(page).get_by_label("Reason").fill("stop")
    await confirm(page).click()
    await expect(page.locator("[data-job-status]")).to_be_attached()
    job = page.url
    await page.goto("about:blank")

    async def some_are_done() -> bool:
        return "cancelled" in await statuses(stores, names)

    await until(some_are_done)
    assert two_stores.process
    two_stores.process.send_signal(signal.SIGKILL)
    two_stores.process.wait(20)
    assert "pending" in await statuses(stores, names)
    two_stores.start()
    complaints.expected = ("ERR_CONNECTION", "WebSocket")
    await page.goto(job)
    await expect(page.locator("[data-job-status]")).to_have_attribute(
        "data-job-status", "interrupted", timeout=40_000
    )
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("[data-label]")).to_have_text("Completed", timeout=30_000)
    assert set(await statuses(stores, names)) == {"cancelled"}
    await expect(page.locator('[data-outcome="failed"] b')).to_have_text("0")


async def test_a_filter_is_set_saved_and_taken_off_and_what_changes_is_asked_of_the_store(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    for name in ("find-1", "find-2"):
        await stores.files.create_session(name)
    await stores.files.log.append("find-1", [broken("no moon")])
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/?q=find-")
    await page.get_by_text("Filters").click()
    await page.get_by_label("Error").fill("moon")
    await look(page, "filters")
    await page.get_by_role("button", name="Filter", exact=True).last.click()
    await expect(page).to_have_url(f"{two_stores.url}/sessions/?q=find-&error=moon")
    await expect(row(page, "find-1")).to_be_visible()
    await expect(row(page, "find-2")).to_have_count(0)
    await stores.files.log.append("find-2", [broken("no moon either")])
    await expect(row(page, "find-2")).to_be_visible()
    await page.get_by_text("Views", exact=True).click()
    await page.get_by_label("Save what is shown as").fill("Moonless")
    await look(page, "views")
    await page.get_by_role("button", name="Save view").click()
    await expect(page.locator(".toast")).to_have_text("The view “Moonless” is saved.")
    await page.locator(".chip.pill", has_text="moon").click()
    await expect(page).to_have_url(f"{two_stores.url}/sessions/?q=find-")


def broken(error: str) -> Event:
    return Event(kind=EventKind.SESSION_FAILED, data={"error": error})
