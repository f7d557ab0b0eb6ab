"""What is on the screen can be trusted: every view says the same, and says when it stands still."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from state_core.events import Event, EventKind
from state_core.manager import StateManager
from tests.e2e.conftest import Line, Server
from tests.e2e.pages import not_reloaded, open_live, row
from tests.e2e.test_live import HIDDEN, WITNESS, contexts, seen

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEWS = """() => {
  const row = document.querySelector('#list tr[data-session-id="agree"]');
  const standing = document.querySelector("#standing .status");
  const table = [...document.querySelectorAll("#graph .chart-table tbody tr")];
  return {
    list: row && [row.dataset.status, row.querySelector(".steps .num")?.firstChild.data.trim() ?? "0 / 0"],
    head: standing && [standing.dataset.status, document.querySelector("#standing .facts b").textContent],
    graph: table.map((line) => [0, 1, 2].map((cell) => line.cells[cell].textContent)),
    timeline: [...document.querySelectorAll("#timeline .chart-table tbody tr")].map((line) =>
      [0, 1, 4].map((cell) => line.cells[cell].textContent)),
    steps: [...document.querySelectorAll('[data-list="steps"] > tr')].map((line) => line.dataset.status),
    seq: document.getElementById("graph")?.dataset.seq,
  };
}"""
"""What each part of a page says of the session, in its words."""


async def _views(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(VIEWS)
    return found


async def _agree(
    manager: StateManager, pages: dict[str, Page], server: Server, context: BrowserContext
) -> None:
    """List, head, graph, timeline, steps and admin say what the log says, soon, without a reload."""
    head = await manager.get_head("agree")
    counts = f"{head.counts['steps_completed']} / {head.counts['steps']}"
    stands = [str(head.status), counts]
    for name in ("graph", "steps"):
        await expect(pages[name].locator("#main")).to_have_attribute("data-seq", str(head.last_seq))
    await expect(pages["graph"].locator("#graph")).to_have_attribute("data-seq", str(head.last_seq))
    await expect(row(pages["list"], "agree")).to_have_attribute("data-seq", str(head.last_seq))
    listed = (await _views(pages["list"]))["list"]
    drawn = await _views(pages["graph"])
    steps = await _views(pages["steps"])
    assert listed == drawn["head"] == steps["head"] == stands
    assert drawn["graph"] == drawn["timeline"]
    state = await manager.get_session_state("agree")
    assert [int(line[2]) for line in drawn["graph"]] == [len(branch.steps) for branch in state.branches]
    assert [line[1].split()[-1].lower() for line in drawn["graph"]] == [str(b.status) for b in state.branches]
    assert steps["steps"].count("completed") == head.counts["steps_completed"]
    answer = await context.request.get(f"{server.url}/admin/state_core/session/?q=agree")
    assert f">{head.status}<".lower() in (await answer.text()).lower()


async def test_list_head_graph_timeline_steps_and_admin_say_the_same(
    signed_in_page: Page, context: BrowserContext, server: Server, manager: StateManager
) -> None:
    await manager.create_session("agree")
    pages = {"list": signed_in_page, "graph": await context.new_page(), "steps": await context.new_page()}
    await open_live(pages["list"], f"{server.url}/sessions/?q=agree")
    await open_live(pages["graph"], f"{server.url}/sessions/default/agree/")
    await open_live(pages["steps"], f"{server.url}/sessions/default/agree/?tab=steps")
    async with manager.session("agree") as session:
        first = await session.open_branch("first")
        for summary in await pages["graph"].locator(".chart-table summary").all():
            await summary.click()
        async with first.step(agent="Worker") as step:
            second = await session.open_branch("second", parent=first)
            await _agree(manager, pages, server, context)
            step.output = "done"
        await _agree(manager, pages, server, context)
        with pytest.raises(RuntimeError):
            async with second.step(agent="Worker"):
                raise RuntimeError("it went wrong")
        await _agree(manager, pages, server, context)
        await first.complete()
        checkpoint = await session.checkpoint("here")
        await second.complete()
        await session.complete()
    await _agree(manager, pages, server, context)
    await manager.restore_checkpoint(checkpoint.id if hasattr(checkpoint, "id") else checkpoint)
    await _agree(manager, pages, server, context)
    for page in pages.values():
        assert await not_reloaded(page)


async def test_two_thousand_events_missed_off_the_line_are_there_within_a_second_of_its_return(
    page_by_line: Page, line: Line, manager: StateManager
) -> None:
    page = page_by_line
    await manager.create_session("missed")
    await page.add_init_script(WITNESS)
    await open_live(page, f"{line.url}/sessions/default/missed/?tab=log")
    await line.cut()
    await expect(page.locator("#live-badge")).to_have_attribute("data-state", "offline")
    await manager.log.append("missed", contexts(2000))
    # Long enough for the pauses between its tries to be as long as they become.
    await expect(page.locator("#live-badge")).to_contain_text("Offline 4 s")
    began = time.monotonic()
    await line.restore()
    await expect(page.locator("#main")).to_have_attribute("data-seq", "2001")
    took = time.monotonic() - began
    events = await seen(page)
    assert list(events) == list(range(2, 2002))
    assert took < 3, took  # 1 s on a machine that does nothing else
    assert await not_reloaded(page)


async def test_a_hidden_list_is_told_nothing_and_catches_up_when_somebody_looks(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await page.add_init_script(HIDDEN)
    for name in ("away-1", "away-2"):
        await manager.create_session(name)
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(str(text))))
    await open_live(page, f"{server.url}/sessions/?q=away-")
    await page.evaluate("window.leave(true)")
    await manager.pause_execution("away-1")
    await manager.delete_session("away-2")
    await manager.create_session("away-3")
    # A second page sees it all, so that the server has told it to whoever listens.
    other = await page.context.new_page()
    await open_live(other, f"{server.url}/sessions/?q=away-")
    await expect(row(other, "away-3")).to_have_count(1)
    await expect(row(page, "away-1")).to_have_attribute("data-status", "pending")
    told = [row for text in frames for row in json.loads(text).get("rows", [])]
    assert ("away-1", "paused") not in [(row["id"], row["status"]) for row in told]
    await page.evaluate("window.leave(false)")
    await expect(row(page, "away-1")).to_have_attribute("data-status", "paused")
    await expect(row(page, "away-2")).to_have_count(0)
    await expect(row(page, "away-3")).to_have_count(1)
    assert await not_reloaded(page)


async def test_a_frozen_list_stands_still_says_how_many_changed_and_goes_on_where_one_was(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    for name in ("still-1", "still-2"):
        await manager.create_session(name)
    await open_live(page, f"{server.url}/sessions/?q=still-")
    await row(page, "still-1").locator(".name > a").focus()
    await page.keyboard.press("l")
    badge = page.locator("#live-badge")
    await expect(badge).to_have_attribute("data-state", "frozen")
    await manager.pause_execution("still-1")
    await manager.pause_execution("still-2")
    await expect(badge).to_contain_text("2 changed")
    await expect(row(page, "still-1")).to_have_attribute("data-status", "pending")
    await page.keyboard.press("l")
    await expect(row(page, "still-1")).to_have_attribute("data-status", "paused")
    await expect(badge).to_have_attribute("data-state", "live")
    await expect(row(page, "still-1").locator(".name > a")).to_be_focused()
    assert await not_reloaded(page)


async def test_a_row_of_a_page_further_on_goes_when_its_session_is_deleted(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    for number in range(60):
        event = Event(kind=EventKind.SESSION_CREATED, data={"tags": ["deep"]})
        await manager.log.append(f"deep-{number:02}", [event])
    await open_live(page, f"{server.url}/sessions/?tag=deep&sort=session_id")
    await page.get_by_role("link", name="Next").click()
    await expect(row(page, "deep-55")).to_have_count(1)
    await manager.delete_session("deep-55")
    await expect(row(page, "deep-55")).to_have_count(0)
    assert await not_reloaded(page)


async def test_the_badge_tells_when_something_was_last_applied(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("told")
    await open_live(page, f"{server.url}/sessions/default/told/")
    badge = page.locator("#live-badge")
    await manager.log.append("told", contexts(1))
    await expect(badge).to_contain_text("updated just now")
    await expect(badge).to_contain_text("updated 2 s ago")
    await manager.log.append("told", contexts(1))
    await expect(badge).to_contain_text("updated just now")
    await expect(badge).to_contain_text("event 3")


async def test_a_program_that_saves_often_has_the_page_read_its_parts_now_and_then(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/panels/" in request.url else None)
    await manager.create_session("saves")
    await open_live(page, f"{server.url}/sessions/default/saves/?tab=state")
    began = time.monotonic()
    for number in range(40):
        changes = [["set", ["metadata", "n"], f"value-{number}"]]
        await manager.log.append("saves", [Event(kind=EventKind.SESSION_SAVED, changes=changes)])
        await asyncio.sleep(0.03)
    await expect(page.locator('[data-panel="state"]')).to_contain_text("value-39")
    head = await manager.get_head("saves")
    await expect(page.locator("#main")).to_have_attribute("data-seq", str(head.last_seq))
    assert head.last_seq > 40
    reloads = len([url for url in asked if "/panels/conversation/" in url])
    assert 1 <= reloads <= 2 * (time.monotonic() - began) + 2
