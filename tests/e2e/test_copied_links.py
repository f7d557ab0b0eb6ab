"""A link to one thing of a session: copied here, opened elsewhere, it shows that thing."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Server
from tests.e2e.pages import open_live

pytestmark = pytest.mark.asyncio(loop_scope="session")

COPIED = "navigator.clipboard.readText()"
SELECT = "detail => { document.dispatchEvent(new CustomEvent('state:select', { detail })); }"


async def test_a_link_to_a_message_a_step_a_branch_and_a_checkpoint_shows_each_of_them(
    signed_in_page: Page, context: BrowserContext, server: Server, manager: StateManager
) -> None:
    page, session_id = signed_in_page, "links"
    async with manager.session(session_id) as session:
        branch = await session.open_branch("work")
        first = await session.checkpoint("before")
        async with branch.step("Researcher", step_id="first") as step:
            step.output = "the output of the first"
        for _ in range(60):
            async with branch.step("Researcher"):
                pass
        for number in range(120):
            await branch.add_message("assistant", f"message {number}", agent="Researcher")
        for number in range(30):
            await session.checkpoint(f"later {number}")
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    url = f"{server.url}/sessions/default/{session_id}/"
    opened = await context.new_page()

    await open_live(page, f"{url}?tab=messages")
    scroller = page.locator('[data-scroller="messages"]')
    await scroller.locator(".earlier button").click()
    message = scroller.locator(".message", has_text="message 61")
    await message.get_by_title("Copy a link to this message").click()
    await expect(page.locator("#toasts")).to_contain_text("The link to this message is copied.")
    await opened.goto(await page.evaluate(COPIED))
    await expect(opened.locator('[data-list="messages"] .message.is-found')).to_contain_text("message 61")
    await expect(opened.locator('[data-list="messages"] .message.is-found')).to_be_in_viewport()

    await open_live(page, f"{url}?tab=steps&branch=work&step=first")
    await page.locator("#inspector").get_by_role("link", name="Copy link").click()
    await expect(page.locator("#toasts")).to_contain_text("The link to this step is copied.")
    await opened.goto(await page.evaluate(COPIED))
    await expect(opened.locator("#inspector")).to_contain_text("the output of the first")
    await expect(opened.locator('[data-list="steps"] tr.is-selected')).to_be_in_viewport()
    await opened.get_by_role("button", name="Jump to live").click()
    await expect(opened.locator('[data-list="steps"] tr').last).to_contain_text("Researcher")
    await expect(opened.locator('[data-list="steps"] [data-step-id="first"]')).to_have_count(0)
    await opened.get_by_role("link", name="Timeline & graph").click()
    await opened.evaluate(SELECT, {"branch": None, "step": None})
    await opened.evaluate(SELECT, {"branch": "work", "step": "first"})
    await opened.get_by_role("link", name="Steps", exact=True).click()
    await expect(opened.locator('[data-list="steps"] tr.is-selected')).to_be_in_viewport()

    await open_live(page, f"{url}?checkpoint={first}")
    picked = page.locator("#checkpoints .checkpoint.is-selected")
    await expect(picked).to_contain_text("before")
    await picked.get_by_role("link", name="Copy link").click()
    await expect(page.locator("#toasts")).to_contain_text("The link to this checkpoint is copied.")
    assert await page.evaluate(COPIED) == f"{url}?checkpoint={first}"


async def test_a_link_that_is_copied_in_the_past_leads_into_the_past(
    signed_in_page: Page, context: BrowserContext, server: Server, manager: StateManager
) -> None:
    page, session_id = signed_in_page, "links-of-the-past"
    async with manager.session(session_id) as session:
        branch = await session.open_branch("work")
        await branch.add_message("assistant", "early", agent="Researcher")
        at = (await manager.get_head(session_id)).last_seq
        await branch.add_message("assistant", "late", agent="Researcher")
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(f"{server.url}/sessions/default/{session_id}/?tab=messages&at={at}")
    await page.locator('[data-list="messages"]').get_by_title("Copy a link to this message").click()
    await expect(page.locator("#toasts")).to_contain_text("is copied")
    assert await page.evaluate(COPIED) == (
        f"{server.url}/sessions/default/{session_id}/?tab=messages&around={at}&at={at}"
    )
