"""A change of a context that one person proposes and another approves, each in a browser of their own."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browsers import CALM
from tests.e2e.across_stores.conftest import Stores, TwoStores, card, look, open_page
from tests.e2e.conftest import Complaints, sign_in
from tests.e2e.pages import act, confirm, dialog, not_reloaded

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def ask_for_approval(page: Page, reason: str) -> None:
    await dialog(page).get_by_label("Reason").fill(reason)
    await dialog(page).get_by_role("button", name="Ask for approval").click()
    await expect(dialog(page)).to_be_hidden()


async def test_a_changed_context_is_proposed_overtaken_proposed_again_and_approved(
    page: Page,
    context: BrowserContext,
    browser: Browser,
    complaints: Complaints,
    two_stores: TwoStores,
    stores: Stores,
):
    await stores.files.create_session("two-eyes", title="Tides", context={"topic": "tides", "drop": 1})
    await stores.files.pause_execution("two-eyes", actor="ana")
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/sessions/files/two-eyes/")
    other = await browser.new_context(**CALM, viewport={"width": 1280, "height": 900})
    await sign_in(other, two_stores, "otto")
    ottos = await other.new_page()
    complaints.watch(ottos)
    await open_page(ottos, two_stores, "/needs-you/")

    await act(page, "resume").click()
    await dialog(page).get_by_text("Edit the present context").click()
    await dialog(page).locator("#act-edited").fill('{"topic": "moon", "new": [1]}')
    await look(page, "propose")
    await ask_for_approval(page, "it is the moon")
    own, waiting = page.locator("#proposals .proposal"), card(ottos, "two-eyes")
    await expect(own.locator('[data-act="approve"]')).to_have_attribute("aria-disabled", "true")
    await expect(own).to_contain_text("another person has to approve it")
    await expect(waiting).to_contain_text("ana asks for approval")
    await expect(ottos.locator("[data-needs-count]")).to_have_text("1")
    await look(page, "proposed")
    await look(ottos, "approval")

    await stores.files.create_checkpoint("two-eyes", "meanwhile", actor="vera")
    await expect(waiting).to_contain_text("Checkpoint created by vera “meanwhile”")
    await expect(waiting.locator('[data-act="approve"]')).to_have_attribute("aria-disabled", "true")
    await own.get_by_role("button", name="Propose again…").click()
    await expect(dialog(page).locator("[data-changes] li")).to_have_count(3)
    await ask_for_approval(page, "still the moon")
    await expect(own).to_contain_text("still the moon")

    waiting = waiting.filter(has_text="still the moon")
    await waiting.get_by_role("button", name="Approve…").click()
    await expect(dialog(ottos).locator(".difference li")).to_have_count(3)
    await look(ottos, "approve")
    await confirm(ottos).click()
    await expect(waiting).to_have_count(0)
    await expect(own).to_have_count(0)
    await expect(page.locator("#standing .status")).to_have_attribute("data-status", "resuming")
    state = await stores.files.get_session_state("two-eyes")
    assert state.context == {"topic": "moon", "new": [1]}
    assert await not_reloaded(page)
    assert await not_reloaded(ottos)
    await other.close()
