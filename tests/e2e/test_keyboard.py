"""What the keyboard does, and that it does nothing by itself."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Server
from tests.e2e.pages import dialog, open_live, row

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_palette_goes_to_a_session_by_its_name(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("far-away", title="Tides of the north")
    await open_live(page, f"{server.url}/sessions/?q=nothing-here")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("tides of")
    await expect(page.locator('#commands [aria-selected="true"]')).to_contain_text("Tides of the north")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/sessions/default/far-away/")


async def test_the_palette_opens_the_dialogs_of_the_open_session_and_says_why_it_cannot(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("acted-on")
    await open_live(page, f"{server.url}/sessions/default/acted-on/?tab=log")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("restore")
    chosen = page.locator("#commands [role=option]").first
    await expect(chosen).to_have_attribute("aria-disabled", "true")
    await page.keyboard.press("Enter")
    await expect(page.locator("#commands")).to_be_visible()
    await page.keyboard.press("Control+a")
    await page.keyboard.type("pause")
    await page.keyboard.press("Enter")
    await expect(dialog(page)).to_be_visible()
    assert str((await manager.get_head("acted-on")).status) == "pending"


async def test_the_palette_goes_to_pages_and_parts_and_closes_by_escape(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("parts")
    await open_live(page, f"{server.url}/sessions/default/parts/")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("check")
    await page.keyboard.press("Escape")
    await expect(page.locator("#commands")).to_be_hidden()
    await page.keyboard.press("Control+k")
    await page.keyboard.type("log")
    await page.locator("#commands [role=option]", has_text="Part of this session").click()
    await expect(page.locator('[data-panel="log"]')).to_be_visible()


async def test_shortcuts_can_be_switched_off_and_stay_off(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("quiet-keys")
    await open_live(page, f"{server.url}/sessions/?q=quiet-keys")
    await page.keyboard.press("?")
    await page.get_by_label("Shortcuts of one key").uncheck()
    await page.keyboard.press("Escape")
    await page.reload()
    await expect(page.locator("#live-badge")).to_have_attribute("data-state", "live")
    await page.keyboard.press("l")
    await page.keyboard.press("j")
    await expect(page.locator("#live-badge")).to_have_attribute("data-state", "live")
    await expect(row(page, "quiet-keys").locator(".name > a")).not_to_be_focused()
    await page.keyboard.press("Control+k")
    await expect(page.locator("#commands")).to_be_visible()


async def test_a_changed_status_is_said_once_and_not_more_often_than_it_can_be_listened_to(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    for name in ("said-1", "said-2"):
        await manager.create_session(name)
    await open_live(page, f"{server.url}/sessions/?q=said-")
    await page.evaluate(
        "window.said = []; new MutationObserver(() => said.push([Date.now(), announcer.textContent]))"
        ".observe(announcer, { childList: true })"
    )
    for _ in range(2):
        for name in ("said-1", "said-2"):
            await manager.pause_execution(name)
            await manager.resume_execution(name)
    await expect(row(page, "said-2")).to_have_attribute("data-status", "resuming")
    await expect(page.locator("#announcer")).to_contain_text("resuming")
    said = await page.evaluate("said")
    assert all("is" in text for _, text in said)
    assert all(later[0] - earlier[0] >= 2900 for earlier, later in zip(said, said[1:], strict=False))


async def test_f_shows_the_charts_in_full_screen_and_back(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("full")
    await open_live(page, f"{server.url}/sessions/default/full/")
    await expect(page.locator("#graph")).to_have_attribute("data-seq", "1")
    await page.keyboard.press("f")
    await expect(page.locator('[data-panel="graph"]:fullscreen')).to_have_count(1)
    await page.keyboard.press("f")
    await expect(page.locator(":fullscreen")).to_have_count(0)


async def test_the_column_at_the_side_is_widened_by_keys_and_by_dragging_and_stays_so(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("widened")
    await open_live(page, f"{server.url}/sessions/default/widened/?tab=log")
    divider, side = (
        page.get_by_role("separator", name="Width of the column at the side"),
        page.locator(".side"),
    )
    width = "side => Math.round(side.getBoundingClientRect().width)"
    assert await side.evaluate(width) == 360
    await divider.focus()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    assert await side.evaluate(width) == 408
    await expect(divider).to_have_attribute("aria-valuenow", "408")
    box = await divider.bounding_box()
    assert box
    await page.mouse.move(box["x"] + 8, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] - 92, box["y"] + 20, steps=4)
    await page.mouse.up()
    await expect(divider).to_have_attribute("aria-valuenow", "508")
    await page.reload()
    assert await side.evaluate(width) == 508
    await divider.dblclick()
    assert await side.evaluate(width) == 360
