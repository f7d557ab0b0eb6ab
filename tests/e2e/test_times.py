"""Moments as whoever reads chose to have them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from playwright.async_api import Browser, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Complaints, Server, sign_in
from tests.e2e.pages import open_live

pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAWN_AHEAD = """() => {
  const chart = document.querySelector('[data-chart="sessions"]');
  const listed = Date.parse(chart.querySelector("tbody td, tbody th").dataset.value);
  return (chart.querySelector("[data-plot]").data[0].x[0] - listed) / 1000;
}"""
"""By how many seconds the chart's times are ahead of UTC."""


async def test_times_are_how_long_ago_local_or_utc_with_24_hours_or_12_and_stay_so(
    browser: Browser, server: Server, manager: StateManager, complaints: Complaints
) -> None:
    await manager.create_session("moments")
    context = await browser.new_context(timezone_id="Asia/Kathmandu")
    await sign_in(context, server, "ana")
    page = await context.new_page()
    complaints.watch(page)
    await open_live(page, f"{server.url}/sessions/?q=moments")
    shown = page.locator("#sessions tbody tr .last time")
    at = datetime.fromisoformat(await shown.get_attribute("datetime") or "")
    await expect(shown).to_have_text(re.compile("just now| ago"))

    await page.locator(".top .menu > summary").click()
    await page.get_by_label("Times").select_option(label="UTC")
    await expect(shown).to_have_text(re.compile(f"(, |^){at:%H:%M:%S} UTC$"))
    await page.get_by_label("Times").select_option(label="local")
    local = at + timedelta(hours=5, minutes=45)
    await expect(shown).to_have_text(re.compile(f"(, |^){local:%H:%M:%S}$"))
    await page.get_by_label("Clock").select_option(label="12 hours")
    half = "am" if local.hour < 12 else "pm"
    twelve = re.compile(f"(, |^){local.hour % 12 or 12}:{local:%M:%S} {half}$")
    await expect(shown).to_have_text(twelve)

    await open_live(page, f"{server.url}/sessions/default/moments/?tab=log")
    await expect(page.locator('[data-list="log"] time').first).to_have_text(twelve)
    await page.reload()
    await expect(page.locator('[data-list="log"] time').first).to_have_text(twelve)

    await open_live(page, f"{server.url}/overview/?range=1h")
    ticks = page.locator('[data-chart="sessions"] .xtick')
    await expect(ticks.first).to_have_text(re.compile(r"^\d+:\d\d [AP]M"))
    assert await page.evaluate(DRAWN_AHEAD) == timedelta(hours=5, minutes=45).total_seconds()
    await page.locator(".top .menu > summary").click()
    await page.get_by_label("Times").select_option(label="UTC")
    await page.wait_for_function(f"() => ({DRAWN_AHEAD})() === 0")
    await context.close()
