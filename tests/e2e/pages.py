"""What tests do on the dashboard's pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from playwright.async_api import Locator, Page, expect


async def open_live(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.locator("#live-badge")).to_have_attribute("data-state", "live")
    await page.evaluate("window.stayed = true")


async def not_reloaded(page: Page) -> bool:
    """Since `open_live`."""
    return bool(await page.evaluate("window.stayed === true"))


def row(page: Page, session_id: str) -> Locator:
    return page.locator(f'tr[data-session-id="{session_id}"]')


def act(page: Page, verb: str) -> Locator:
    return page.locator(f'[data-acts] [data-act="{verb}"]')


def dialog(page: Page) -> Locator:
    return page.locator("#act-dialog")


def confirm(page: Page) -> Locator:
    return dialog(page).locator("[data-confirm]")


AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
RUN = """async (options) => (await axe.run(document, options)).violations.flatMap((found) =>
  found.nodes.map((node) => `${found.id}: ${node.target.join(" ")} ${node.html.slice(0, 120)}`))"""

STANDS_STILL = """() => Promise.all(document.getAnimations()
  .filter((each) => each.effect.getComputedTiming().endTime !== Infinity).map((each) => each.finished))"""
"""What fades in has less contrast until it is there."""


COLOURS = ("color-contrast", "link-in-text-block")
"""The rules that can find something in a dark page which its light one does not have."""


async def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core finds wrong with the page for people who do not see, hear or point as others do: by these
    rules, or by all that it has."""
    await page.evaluate(AXE)
    await page.evaluate(STANDS_STILL)
    chosen = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found: list[str] = await page.evaluate(RUN, {"resultTypes": ["violations"], **chosen})
    return found


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)
