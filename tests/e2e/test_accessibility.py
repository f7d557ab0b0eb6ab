"""Every page by axe-core, light and dark; other colours, less motion, a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from marsys_dashboard.tokens import PATTERN
from state_core.manager import StateManager
from tests.browsers import CALM
from tests.e2e.conftest import COOKIE, Complaints, Server, on_the_loop
from tests.e2e.pages import COLOURS, act, dialog, violations
from tests.e2e.seeding import seed

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSION = "accessible"
PAGES = {
    "list": "/sessions/",
    "no match": "/sessions/?q=nothing+is+called+that",
    "graph": f"/sessions/default/{SESSION}/",
    "empty": "/sessions/default/blank/",
    "steps": f"/sessions/default/{SESSION}/?tab=steps&branch=Researcher-2",
    "messages": f"/sessions/default/{SESSION}/?tab=messages",
    "checkpoints": f"/sessions/default/{SESSION}/?tab=checkpoints",
    "state": f"/sessions/default/{SESSION}/?tab=state",
    "log": f"/sessions/default/{SESSION}/?tab=log",
    "past": f"/sessions/default/{SESSION}/?tab=steps&at=412",
    "lineage": f"/sessions/default/{SESSION}/?tab=lineage",
    "search": f"/sessions/default/{SESSION}/?tab=search&q=codes",
    "compare": f"/sessions/default/{SESSION}/compare/",
    "needs you": "/needs-you/",
    "jobs": "/jobs/",
    "clean up": "/jobs/clean-up/",
    "views": "/sessions/views/",
    "activity": "/activity/",
    "overview": "/overview/",
    "access tokens": "/access-tokens/",
    "API reference": "/api-reference/",
    "missing": "/sessions/default/there-is-none/",
}


@on_the_loop
async def seeded(server: Server, manager: StateManager) -> None:
    if not await manager.list_sessions(text=SESSION):
        await seed(server.database, SESSION)
        await manager.create_session("blank")


@on_the_loop
async def visitor(
    browser: Browser, server: Server, complaints: Complaints, seeded: None
) -> AsyncIterator[Page]:
    complaints.expected = ("404",)
    context = await browser.new_context(**CALM, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    await context.add_cookies([{"name": COOKIE, "value": server.cookies["ana"], "url": server.url}])
    page = await context.new_page()
    complaints.watch(page)
    yield page
    await context.close()


async def test_no_page_asks_another_server_for_anything(visitor: Page, server: Server) -> None:
    """Scripts, styles, fonts and pictures come with the dashboard; nothing is told to anybody."""
    asked: set[str] = set()
    visitor.on("request", lambda request: asked.add(request.url))
    visitor.on("websocket", lambda socket: asked.add(socket.url))
    for path in (*PAGES.values(), "/admin/state_core/session/"):
        await visitor.goto(f"{server.url}{path}", wait_until="load")
    await visitor.goto(f"{server.url}{PAGES['graph']}")
    await expect(visitor.locator("#graph .main-svg").first).to_be_visible()
    elsewhere = {url for url in asked if urlsplit(url).netloc != urlsplit(server.url).netloc}
    assert not {url for url in elsewhere if not url.startswith(("data:", "blob:"))}
    assert any("plotly" in url for url in asked)


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", COLOURS)])
async def test_no_page_has_a_violation(
    visitor: Page, server: Server, scheme: Literal["light", "dark"], rules: tuple[str, ...]
) -> None:
    await visitor.emulate_media(color_scheme=scheme)
    found = {}
    for name, address in PAGES.items():
        await visitor.goto(f"{server.url}{address}")
        if name == "graph":
            await expect(visitor.locator("#graph[data-seq]")).to_have_count(1)
        found[name] = await violations(visitor, *rules)
    assert {name: lines for name, lines in found.items() if lines} == {}


async def test_an_access_token_that_was_just_made_is_copied(visitor: Page, server: Server) -> None:
    await visitor.goto(f"{server.url}/access-tokens/")
    await visitor.get_by_label("Name").fill("nightly")
    await visitor.get_by_role("button", name="Make token").click()
    await expect(visitor.get_by_label("Copy it now")).to_have_value(PATTERN)
    assert await violations(visitor) == []
    await visitor.get_by_role("button", name="Copy").click()
    await expect(visitor.get_by_text("The token is copied.")).to_be_visible()


async def test_neither_dialogs_nor_the_palette_have_a_violation(visitor: Page, server: Server) -> None:
    found = {}
    await visitor.goto(f"{server.url}{PAGES['log']}")
    await act(visitor, "restore").evaluate("button => button.click()")
    await expect(dialog(visitor)).to_be_visible()
    found["dialog"] = await violations(visitor)
    await visitor.keyboard.press("Escape")
    await visitor.keyboard.press("Control+k")
    await visitor.locator("#commands input").fill(SESSION)
    await expect(visitor.locator("#commands li").first).to_contain_text(SESSION)
    found["palette"] = await violations(visitor)
    await visitor.keyboard.press("Escape")
    await visitor.keyboard.press("?")
    found["shortcuts"] = await violations(visitor)
    assert {name: lines for name, lines in found.items() if lines} == {}


async def test_signing_in_has_no_violation(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/accounts/login/")
    assert await violations(page) == []


async def test_a_phone_shows_the_session_and_pauses_it_without_scrolling_sideways(
    visitor: Page, server: Server
) -> None:
    await visitor.set_viewport_size({"width": 390, "height": 844})
    for name in ("list", "no match", "missing", "compare", "empty", "graph", "log"):
        await visitor.goto(f"{server.url}{PAGES[name]}")
        assert await visitor.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    await act(visitor, "pause").click()
    await expect(dialog(visitor)).to_be_visible()
    assert await violations(visitor) == []
    assert await visitor.evaluate("document.getElementById('act-dialog').offsetWidth <= innerWidth")


@pytest.mark.parametrize("media", [{"forced_colors": "active"}, {"contrast": "more"}])
async def test_with_colours_of_ones_own_what_is_chosen_can_still_be_seen(
    visitor: Page, server: Server, media: dict[str, str]
) -> None:
    await visitor.emulate_media(**media)  # type: ignore[arg-type]
    await visitor.goto(f"{server.url}{PAGES['steps']}")
    assert await violations(visitor) == []
    tab = visitor.locator('.tabs [aria-current="page"]')
    if "forced_colors" in media:
        assert await tab.evaluate("tab => getComputedStyle(tab).outlineStyle") == "solid"
    await visitor.goto(f"{server.url}{PAGES['graph']}")
    words = visitor.locator("#graph .main-svg text").first
    await expect(words).to_be_visible()
    ink = await words.evaluate("text => getComputedStyle(text).fill")
    boxes = visitor.locator("#graph .shapelayer path")
    fills = await boxes.evaluate_all(
        "all => all.map((path) => getComputedStyle(path))"
        ".filter(({ fillOpacity }) => fillOpacity !== '0').map(({ fill }) => fill)"
    )
    assert fills
    assert ink not in fills


async def test_the_focus_is_seen_wherever_it_goes(visitor: Page, server: Server) -> None:
    await visitor.goto(f"{server.url}{PAGES['list']}")
    seen = []
    for _ in range(12):
        await visitor.keyboard.press("Tab")
        seen.append(
            await visitor.evaluate(
                "() => { const e = document.activeElement, s = getComputedStyle(e);"
                " const p = getComputedStyle(e.parentElement);"
                " return [e.tagName, s.outlineStyle, s.boxShadow, p.outlineStyle, p.boxShadow]; }"
            )
        )
    blind = [
        each for each in seen if each[1] == "none" and each[2] == "none" and each[3:] == ["none", "none"]
    ]
    assert blind == []
