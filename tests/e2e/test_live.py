"""The page of a session while a program in another process works on it. No test reloads a page."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Route, WebSocket, expect

from state_core.events import Event, EventKind
from state_core.manager import StateManager
from tests.e2e.conftest import CUT_OFF, Complaints, Line, Orchestrators, Server, sign_in
from tests.e2e.pages import not_reloaded, open_live, until, violations

pytestmark = pytest.mark.asyncio(loop_scope="session")

STEPS = """
async def main():
    async with manager.session(sys.argv[1]) as session:
        branches = [await session.open_branch(f"branch-{n}") for n in range(6)]
        for number in range(3):
            for branch in branches:
                async with branch.step("Worker", {"number": number}) as step:
                    await asyncio.sleep(0.25)
                    step.output = f"done {number}"
"""

WITNESS = """
window.seen = {};
document.addEventListener("state:frame", ({ detail }) => {
  for (const event of detail.events) {
    const after = (Date.now() - Date.parse(event.at)) / 1000;
    (window.seen[event.seq] ??= []).push({ after, kind: event.kind });
  }
});
"""
"""Notes when each event reached the page. Both processes run on this machine, so their clocks are one."""


async def open_session(page: Page, url: str, session_id: str, query: str = "") -> None:
    await page.add_init_script(WITNESS)
    await open_live(page, f"{url}/sessions/default/{session_id}/{query}")


async def seen(page: Page) -> dict[int, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = await page.evaluate("window.seen")
    return {int(seq): times for seq, times in found.items()}


def contexts(count: int) -> list[Event]:
    return [
        Event(kind=EventKind.CONTEXT_CHANGED, changes=[["set", ["context", "n"], n]]) for n in range(count)
    ]


async def test_each_step_of_another_process_is_on_the_page_within_a_second(
    signed_in_page: Page, server: Server, manager: StateManager, orchestrator: Orchestrators
) -> None:
    page = signed_in_page
    await manager.create_session("steps")
    await open_session(page, server.url, "steps", "?tab=steps")
    orchestrator.start(STEPS, "steps")
    await expect(page.locator("main")).to_have_attribute("data-status", "completed", timeout=60_000)
    rows = page.locator('[data-list="steps"] > tr')
    await expect(rows).to_have_count(18)
    await expect(page.locator('[data-list="steps"] > tr[data-status="completed"]')).to_have_count(18)
    events = await seen(page)
    last = (await manager.get_head("steps")).last_seq
    assert sorted(events) == list(range(2, last + 1))
    assert all(len(times) == 1 for times in events.values())
    delays = sorted(times[0]["after"] for times in events.values() if times[0]["kind"].startswith("step."))
    assert delays[int(len(delays) * 0.95) - 1] < 1, delays
    assert await not_reloaded(page)


async def test_after_ten_seconds_off_the_line_everything_is_there_once_and_in_order(
    page_by_line: Page, line: Line, manager: StateManager
) -> None:
    page = page_by_line
    await manager.create_session("cut")
    await open_session(page, line.url, "cut", "?tab=log")
    await line.cut()
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    badge = page.locator("#live-badge")
    await expect(badge).to_contain_text("Offline")
    await expect(badge).to_contain_text("retrying")
    for _ in range(20):
        await manager.log.append("cut", contexts(25))
        await asyncio.sleep(0.5)
    await line.restore()
    await expect(badge).to_have_attribute("data-state", "live", timeout=30_000)
    await expect(page.locator("main")).to_have_attribute("data-seq", "501")
    assert len(sockets) == 1, "sockets that fail make the browser hold the next one back"
    events = await seen(page)
    assert list(events) == list(range(2, 502))
    assert all(len(times) == 1 for times in events.values())
    keys = await page.locator('[data-list="log"] > tr').evaluate_all(
        "rows => rows.map((r) => +r.dataset.key)"
    )
    assert keys == list(range(501 - len(keys) + 1, 502))
    assert 50 <= len(keys) <= 80
    assert await not_reloaded(page)


async def test_charts_that_a_cut_line_kept_away_come_when_it_is_back(
    page_by_line: Page, line: Line, manager: StateManager
) -> None:
    page, cut = page_by_line, asyncio.Event()

    async def never_arrives(route: Route) -> None:
        await cut.wait()
        await route.abort("connectionrefused")

    async with manager.session("kept-away") as session:
        await session.open_branch("work")
    await page.route("**/plotly.min.js", never_arrives, times=1)
    await page.goto(f"{line.url}/sessions/default/kept-away/", wait_until="domcontentloaded")
    badge = page.locator("#live-badge")
    await expect(badge).to_have_attribute("data-state", "live")
    await line.cut()
    await expect(badge).to_have_attribute("data-state", "offline")
    cut.set()
    await expect(page.locator("#graph .chart-error")).to_contain_text("The charts could not be drawn")
    await line.restore()
    await expect(page.locator("#graph .main-svg").first).to_be_visible(timeout=60_000)
    await expect(page.locator("#graph .chart-error")).to_be_empty()


def steps(branch: str, count: int) -> list[Event]:
    return [
        Event(kind=kind, branch_id=branch, step_id=f"{branch}:{n}", agent="Worker", status=status)
        for n in range(count)
        for kind, status in ((EventKind.STEP_STARTED, "running"), (EventKind.STEP_COMPLETED, "completed"))
    ]


async def test_after_much_was_missed_the_newest_is_there_and_what_was_before_can_be_scrolled_to(
    page_by_line: Page, context: BrowserContext, line: Line, manager: StateManager
) -> None:
    page = page_by_line
    await manager.create_session("much")
    opened = [
        Event(kind=EventKind.BRANCH_OPENED, branch_id=b, status="running", data={"name": b}) for b in "ab"
    ]
    await manager.log.append("much", [*opened, *steps("a", 30)])
    await open_session(page, line.url, "much", "?tab=steps")
    reader = await context.new_page()
    await open_session(reader, line.url, "much", "?tab=steps")
    scroller = reader.locator('[data-scroller="steps"]')
    await scroller.evaluate("(scroller) => { scroller.scrollTop = 0; }")
    await line.cut()
    for each in (page, reader):
        await expect(each.locator("#live-badge")).to_have_attribute("data-state", "offline")
    await manager.log.append("much", steps("b", 200))
    await line.restore()
    last = (await manager.get_head("much")).last_seq
    for each in (page, reader):
        await expect(each.locator("#main")).to_have_attribute("data-seq", str(last))
    rows = page.locator('[data-list="steps"] > tr')
    assert await _step_ids(page) == [f"b:{n}" for n in range(120, 200)]
    await expect(rows.last).to_be_in_viewport()
    await page.locator('[data-scroller="steps"] .earlier button').click()
    await expect(rows.first).not_to_have_attribute("data-step-id", "b:120")
    shown = await _step_ids(page)
    assert shown == [f"b:{n}" for n in range(120 - 50, 120 - 50 + len(shown))]
    # Whoever reads further up stays there, and is told how much came.
    assert await _step_ids(reader) == [f"a:{n}" for n in range(30)]
    await expect(reader.locator(".jump")).to_contain_text("200 new")
    await reader.locator(".jump").click()
    await expect(reader.locator('[data-list="steps"] > tr').last).to_have_attribute("data-step-id", "b:199")


async def _step_ids(page: Page) -> list[str]:
    found: list[str] = await page.locator('[data-list="steps"] > tr').evaluate_all(
        "rows => rows.map((row) => row.dataset.stepId)"
    )
    return found


HIDE_AS_IT_CONNECTS = """
const Socket = WebSocket;
window.WebSocket = class extends Socket {
  constructor(address) {
    super(address);
    queueMicrotask(() => dispatchEvent(new PageTransitionEvent("pagehide")));
  }
};
"""


async def test_a_page_that_is_left_while_it_still_connects_complains_of_nothing(
    page: Page, server: Server, context: BrowserContext
) -> None:
    """The fixture reads the console; the page never closes a line that is not open yet."""
    await sign_in(context, server, "ana")
    await page.add_init_script(HIDE_AS_IT_CONNECTS)
    await page.goto(f"{server.url}/sessions/")
    await expect(page.locator("#live-badge")).to_have_attribute("data-state", "live")


async def test_a_server_that_restarts_is_found_again(
    page: Page,
    context: BrowserContext,
    tmp_path_factory: pytest.TempPathFactory,
    complaints: Complaints,
    orchestrator: Orchestrators,
    django_db_blocker: Any,
) -> None:
    complaints.expected = CUT_OFF
    server = Server(tmp_path_factory.mktemp("restarted"))
    server.prepare()
    server.start()
    own = Orchestrators(server)
    try:
        create = 'async def main():\n    await manager.create_session("restarted")\n'
        assert own.start(create).wait(30) == 0
        await sign_in(context, server, "ana")
        await open_session(page, server.url, "restarted", "?tab=log")
        server.stop()
        await expect(page.locator("#live-badge")).to_have_attribute("data-state", "offline")
        add = 'async def main():\n    await manager.create_checkpoint("restarted", "while away")\n'
        assert own.start(add).wait(30) == 0
        server.start()
        await expect(page.locator("main")).to_have_attribute("data-seq", "2", timeout=30_000)
        await expect(page.locator("#checkpoints")).to_contain_text("while away")
    finally:
        own.stop()
        server.stop()


HELD = """
async def main():
    quick = StateManager(manager.storage, config=StateManagerConfig(lease_ttl=2))
    async with quick.session(sys.argv[1]) as session:
        branch = await session.open_branch("long")
        async with branch.step("Worker"):
            await asyncio.sleep(300)
"""


async def test_a_program_that_is_killed_leaves_an_interrupted_session(
    signed_in_page: Page, server: Server, manager: StateManager, orchestrator: Orchestrators
) -> None:
    page = signed_in_page
    await manager.create_session("killed")
    await open_session(page, server.url, "killed", "?tab=steps")
    program = orchestrator.start(HELD, "killed")
    await expect(page.locator('[data-list="steps"] > tr[data-status="running"]')).to_have_count(1)
    await expect(page.locator("#standing")).to_contain_text("Held by")
    program.kill()
    await expect(page.locator("main")).to_have_attribute("data-status", "interrupted", timeout=20_000)
    await expect(page.locator('[data-list="steps"] > tr[data-status="failed"]')).to_have_count(1)
    await expect(page.locator('.session-head [data-act="resume"]')).not_to_have_attribute(
        "aria-disabled", "true"
    )
    await expect(page.locator("#standing")).not_to_contain_text("Held by")


async def test_selection_scroll_and_focus_survive_what_happens(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    async with manager.session("place") as session:
        branch = await session.open_branch("reading")
        for number in range(60):
            async with branch.step("Reader", {"page": number}) as step:
                step.output = f"page {number}"
        await open_session(page, server.url, "place", "?tab=steps")
        chosen = page.locator('[data-list="steps"] > tr[data-step-id="reading:20"]')
        await chosen.scroll_into_view_if_needed()
        await chosen.locator("a").click()
        await expect(page.locator("#inspector .inspected")).to_have_attribute("data-step-id", "reading:20")
        await expect(page.locator("#inspector")).to_contain_text("page 19")
        scroller = page.locator('[data-scroller="steps"]')
        before = await scroller.evaluate("s => s.scrollTop")
        for number in range(60, 75):
            async with branch.step("Reader", {"page": number}) as step:
                step.output = f"page {number}"
        await expect(page.locator('[data-step-id="reading:75"][data-status="completed"]')).to_have_count(1)
        assert await scroller.evaluate("s => s.scrollTop") == before
        await expect(chosen).to_have_class("is-selected")
        await expect(chosen.locator("a")).to_be_focused()
        assert "step=reading%3A20" in page.url
        await expect(page.locator(".jump")).to_contain_text("15 new")
        await page.locator(".jump").click()
        await expect(page.locator('[data-step-id="reading:75"]')).to_be_in_viewport()


async def test_what_the_address_selects_is_there_when_the_page_opens(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    async with manager.session("address") as session:
        for name in ("one", "two"):
            branch = await session.open_branch(name)
            async with branch.step("Agent") as step:
                await branch.add_message("assistant", f"said in {name}", agent="Agent")
                step.output = f"made in {name}"
    await open_session(page, server.url, "address", "?tab=messages&branch=two&step=two%3A1")
    await expect(page.locator("#inspector")).to_contain_text("made in two")
    await expect(page.locator('[data-list="messages"]')).to_contain_text("said in two")
    await expect(page.locator('[data-list="messages"]')).not_to_contain_text("said in one")
    await page.keyboard.press("Escape")
    await expect(page.locator("#inspector")).to_be_hidden()
    await expect(page.locator('[data-list="messages"]')).to_contain_text("said in one")
    await open_live(page, f"{server.url}/sessions/default/address/?active=1")
    await expect(page.get_by_label("Active only")).to_be_checked()
    await page.get_by_label("Active only").uncheck()
    await expect(page).to_have_url(f"{server.url}/sessions/default/address/")


async def test_a_session_without_branches_says_how_the_first_is_recorded_until_there_is_one(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("nothing-yet")
    await open_session(page, server.url, "nothing-yet")
    empty = page.locator('[data-panel="graph"] .empty')
    await expect(empty.get_by_role("heading")).to_have_text("No branch yet")
    await expect(empty).to_contain_text("run_worker")
    assert await violations(page) == []
    async with manager.session("nothing-yet") as session:
        await expect(empty).not_to_contain_text("run_worker", use_inner_text=True)
        await session.open_branch("first")
        await expect(page.locator("#timeline .lane-name")).to_have_text("◐  first")
        await expect(page.locator("#graph .main-svg").first).to_be_visible()
        await expect(empty).to_be_hidden()


async def test_a_switch_leaves_steps_under_way_alone_in_the_list_while_others_end(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    rows = page.locator('[data-list="steps"] > tr')
    async with manager.session("active") as session:
        branch = await session.open_branch("one")
        async with branch.step("First"):
            pass
        async with branch.step("Second"):
            await open_session(page, server.url, "active", "?tab=steps")
            await expect(rows).to_have_count(2)
            await page.keyboard.press("a")
            await expect(rows).to_have_text([re.compile("Second")])
            assert page.url.endswith("?tab=steps&active=1")
        await expect(page.get_by_text("No step is under way")).to_be_visible()
        async with branch.step("Third"):
            await expect(rows).to_have_text([re.compile("Third")])
            await page.get_by_role("checkbox", name="Active only").uncheck()
            await expect(rows).to_have_count(3)
            await page.get_by_role("checkbox", name="Active only").check()
            await expect(rows).to_have_count(1)
    await expect(rows).to_have_count(0)
    await page.get_by_role("link", name="Timeline & graph").click()
    await expect(page.get_by_role("checkbox", name="Active only")).to_be_checked()


async def test_what_agents_write_is_text_and_nothing_else(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    nasty = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'
    async with manager.session("nasty", context={nasty: nasty}) as session:
        await open_session(page, server.url, "nasty", "?tab=messages")
        branch = await session.open_branch(nasty, branch_id="b")
        async with branch.step(nasty, nasty) as step:
            await branch.add_message(nasty, nasty, agent=nasty)
            step.output = nasty
        await session.checkpoint(nasty)
        await expect(page.locator('[data-list="messages"]')).to_contain_text("window.hacked = 1")
    for tab in ("Steps", "Log", "State", "Checkpoints"):
        await page.get_by_role("link", name=tab, exact=True).click()
        await expect(page.locator(f'[data-panel="{tab.lower()}"]')).to_contain_text("window.hacked")
    assert await page.evaluate("window.hacked") is None


async def test_a_question_appears_and_goes_when_it_is_answered(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    async with manager.session("asks") as session:
        branch = await session.open_branch("review")
        await open_session(page, server.url, "asks")
        async with branch.step("Reviewer") as step:
            asking = asyncio.create_task(step.ask("Publish it?", choices=["yes", "no"]))
            question = page.locator("#questions .question")
            await expect(question).to_contain_text("Publish it?")
            await expect(page.locator("main")).to_have_attribute("data-status", "waiting")
            await manager.answer("asks", (await question.get_attribute("data-question-id")) or "", "yes")
            assert await asking == "yes"
            step.output = "published"
        await expect(page.locator("#questions .question")).to_have_count(0)


async def test_a_frozen_page_stands_still_and_catches_up(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("frozen")
    await open_session(page, server.url, "frozen", "?tab=log")
    await page.keyboard.press("l")
    badge = page.locator("#live-badge")
    await expect(badge).to_have_attribute("data-state", "frozen")
    await manager.log.append("frozen", contexts(10))
    await expect(badge).to_contain_text("10 behind")
    await expect(page.locator('[data-list="log"] > tr')).to_have_count(1)
    await page.keyboard.press("l")
    await expect(page.locator('[data-list="log"] > tr')).to_have_count(11)
    await expect(badge).to_have_attribute("data-state", "live")


HIDDEN = """
Object.defineProperty(document, "hidden", { get: () => Boolean(window.away) });
window.leave = (away) => { window.away = away; document.dispatchEvent(new Event("visibilitychange")); };
"""


async def test_a_hidden_tab_idles_and_catches_up_when_somebody_looks(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await page.add_init_script(HIDDEN)
    await manager.create_session("hidden")
    await open_session(page, server.url, "hidden", "?tab=log")
    icon = await page.locator('link[rel="icon"]').get_attribute("href")
    await page.evaluate("window.leave(true)")
    await manager.log.append("hidden", contexts(10))
    await manager.pause_execution("hidden")
    await expect(page.locator('link[rel="icon"]')).not_to_have_attribute("href", icon or "")
    await expect(page.locator('[data-list="log"] > tr')).to_have_count(1)
    await page.evaluate("window.leave(false)")
    await expect(page.locator('[data-list="log"] > tr')).to_have_count(12)
    await expect(page.locator("main")).to_have_attribute("data-status", "paused")


NOTIFIED = """
window.notified = [];
window.Notification = class {
  static permission = "default";
  static async requestPermission() { return this.permission = window.answer ?? "granted"; }
  constructor(title, { body }) { window.notified.push(`${title}: ${body}`); }
  addEventListener() {}
};
"""
"""There is no desktop here."""


async def test_a_hidden_tab_tells_the_desktop_of_questions_and_when_its_session_stops(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await page.add_init_script(HIDDEN + NOTIFIED)
    await manager.create_session("notified", title="Notified <b>")
    await open_session(page, server.url, "notified")
    await page.locator(".top .menu > summary").click()
    wanted = page.get_by_label("Desktop notifications")
    await page.evaluate("window.answer = 'denied'")
    await wanted.click()
    await expect(page.locator(".toast")).to_contain_text("does not allow notifications")
    await expect(wanted).not_to_be_checked()
    await page.evaluate("window.answer = 'granted'")
    await wanted.check()

    await manager.pause_execution("notified")
    await expect(page.locator("main")).to_have_attribute("data-status", "paused")
    await page.evaluate("window.leave(true)")
    await manager.resume_execution("notified")
    await manager.cancel_execution("notified", reason="enough")
    await manager.create_session("notified-asks")
    opened = Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "b"})
    asked = Event(kind=EventKind.INPUT_REQUESTED, branch_id="b", data={"question": "q", "session": "waiting"})
    await manager.log.append("notified-asks", [opened, asked])
    await page.wait_for_function("() => window.notified.length === 2")
    session, questions = sorted(await page.evaluate("window.notified"), reverse=True)
    assert session == "Notified <b>: It is cancelled."
    assert re.fullmatch(r"A person is asked: \d+ waits? for an answer or an approval", questions)
    await manager.answer("notified-asks", "q", "yes")


async def test_earlier_rows_can_be_loaded_and_the_page_stays_small(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("long")
    await manager.log.append("long", contexts(999))
    await open_session(page, server.url, "long", "?tab=log")
    rows = page.locator('[data-list="log"] > tr')
    await expect(rows).to_have_count(50)
    for first in (901, 851, 801):
        await page.locator('[data-panel="log"] .earlier button').click()
        await expect(rows.first).to_have_attribute("data-key", str(first))
        await expect(rows).to_have_count(80)
    keys = await rows.evaluate_all("rows => rows.map((r) => +r.dataset.key)")
    assert keys == list(range(801, 881))
    await page.locator(".jump").click()
    await expect(rows).to_have_count(50)
    await expect(rows.last).to_have_attribute("data-key", "1000")


async def test_the_state_can_be_downloaded(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("files", context={"topic": "codes"})
    await open_session(page, server.url, "files", "?tab=state")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download as JSON").click()
    saved = await (await download.value).path()
    assert json.loads(saved.read_text())["context"] == {"topic": "codes"}


async def test_a_session_that_is_deleted_says_so(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await manager.create_session("deleted")
    await open_session(page, server.url, "deleted")
    await manager.delete_session("deleted")
    await expect(page.locator("#trouble")).to_contain_text("was deleted")


async def test_who_may_only_look_is_offered_nothing_else(
    page: Page, context: BrowserContext, server: Server, manager: StateManager
) -> None:
    await sign_in(context, server, "vera")
    await manager.create_session("looking")
    await manager.create_checkpoint("looking", "a place")
    await open_session(page, server.url, "looking")
    await page.locator("#checkpoints [data-pick]").click()
    await expect(page.locator("#checkpoints .picked")).to_contain_text("0 steps")
    await expect(page.locator('#checkpoints [data-act="restore"]')).to_be_hidden()
    await expect(page.locator('.session-head [data-act="pause"]')).to_have_attribute("aria-disabled", "true")


async def test_closing_the_browser_changes_nothing_of_a_run(
    signed_in_page: Page, server: Server, manager: StateManager, orchestrator: Orchestrators
) -> None:
    """Nobody who looks owns what runs."""
    await manager.create_session("unwatched")
    await open_session(signed_in_page, server.url, "unwatched")
    program = orchestrator.start(STEPS, "unwatched")
    status = signed_in_page.locator("#standing .status")
    await expect(status).not_to_have_attribute("data-status", "pending")
    await signed_in_page.context.close()

    async def has_ended() -> bool:
        return program.poll() is not None

    await until(has_ended, 60)
    assert program.returncode == 0
    head = await manager.get_head("unwatched")
    assert (head.status, head.counts["steps_completed"]) == ("completed", 18)


async def test_a_part_that_cannot_be_loaded_says_so_and_offers_to_try_again(
    signed_in_page: Page, server: Server, manager: StateManager, complaints: Complaints
) -> None:
    page = signed_in_page
    complaints.expected = ("503",)
    await manager.create_session("apart", context={"topic": "tides"})
    await open_session(page, server.url, "apart")
    await page.route("**/panels/state/", lambda route: route.fulfill(status=503))
    await page.get_by_role("link", name="State", exact=True).click()
    state = page.locator('[data-panel="state"]')
    await expect(state).to_contain_text("This part could not be loaded. The server answered 503.")
    await page.unroute("**/panels/state/")
    await state.get_by_role("button", name="Retry").click()
    await expect(state).to_contain_text("tides")
