"""Large sessions in a browser: the page stays small whatever is looked at. `make bench-ui` has full sizes."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from benchmarks.ui.histories import history, record
from state_core.changes import set_value
from state_core.events import Event, EventKind
from state_core.manager import StateManager
from tests.e2e.conftest import Server
from tests.e2e.pages import open_live

pytestmark = pytest.mark.asyncio(loop_scope="session")

ELEMENTS = "document.querySelectorAll('*').length"
SENT = """performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
  .filter((entry) => !entry.name.includes("plotly")).reduce((sum, entry) => sum + entry.transferSize, 0)"""


async def test_the_page_of_a_large_session_stays_small_whatever_is_looked_at(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await record(manager, "large", history(300, 3000, 3000))
    await open_live(page, f"{server.url}/sessions/default/large/")
    await expect(page.locator("#graph[data-seq]")).to_have_count(1)
    assert await page.evaluate(SENT) < 1_000_000
    seen = [await page.evaluate(ELEMENTS)]
    for tab in ("Steps", "Messages", "Log"):
        await page.get_by_role("link", name=tab, exact=True).click()
        await expect(page.locator(f'[data-panel="{tab.lower()}"] [data-list] > *')).to_have_count(50)
        seen.append(await page.evaluate(ELEMENTS))
    await page.get_by_role("link", name="Timeline & graph").click()
    await expect(page.locator("#timeline .main-svg").first).to_be_visible()
    seen.append(await page.evaluate(ELEMENTS))
    assert max(seen) < 2000, seen


async def test_a_tab_that_is_read_further_up_is_as_it_was_when_somebody_comes_back(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    await record(manager, "place-kept", history(3, 200, 0))
    await open_live(page, f"{server.url}/sessions/default/place-kept/?tab=steps")
    await page.locator('[data-panel="steps"] .earlier button').click()
    first = page.locator('[data-list="steps"] > tr').first
    await expect(first).to_have_attribute("data-step-id", "s100")
    await page.locator('[data-scroller="steps"]').evaluate("scroller => { scroller.scrollTop = 0; }")
    for tab in ("Log", "Timeline & graph", "Steps"):
        await page.get_by_role("link", name=tab, exact=True).click()
    await expect(first).to_have_attribute("data-step-id", "s100")


async def test_of_very_many_checkpoints_the_page_shows_some_and_leads_to_all(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page, session_id = signed_in_page, "many-checkpoints"
    await manager.create_session(session_id)
    ids = [await manager.create_checkpoint(session_id, f"turn {n}") for n in range(130)]
    await open_live(page, f"{server.url}/sessions/default/{session_id}/?tab=checkpoints")
    aside = page.locator("#checkpoints .checkpoint")
    listed = page.locator('[data-panel="checkpoints"] .checkpoint')
    await expect(aside).to_have_count(12)
    await expect(listed).to_have_count(50)
    await expect(listed.first).to_contain_text("turn 129")

    await listed.last.scroll_into_view_if_needed()
    await page.locator('[data-panel="checkpoints"] .earlier button').click()
    await expect(listed).to_have_count(80)
    await expect(listed.first).to_contain_text("turn 109")
    await expect(listed.last).to_contain_text("turn 30")
    await manager.create_checkpoint(session_id, "while reading")
    await expect(aside.first).to_contain_text("while reading")
    await expect(listed.first).to_contain_text("turn 109")
    await page.get_by_role("button", name="Newest checkpoints · 1 new").click()
    await expect(listed.first).to_contain_text("while reading")
    await expect(listed).to_have_count(50)

    seventh = (await manager.get_checkpoint(ids[6])).seq
    await page.goto(f"{server.url}/sessions/default/{session_id}/?at={seventh}")
    await page.keyboard.press("[")
    await page.keyboard.press("[")
    await expect(page.locator("#travel .past")).to_contain_text("checkpoint “turn 4”")
    await expect(page.locator("#checkpoints .checkpoint.is-selected")).to_contain_text("turn 4")
    await page.keyboard.press("]")
    await expect(page.locator("#travel .past")).to_contain_text("checkpoint “turn 5”")


async def test_of_very_many_questions_the_next_comes_up_when_one_is_answered(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page, session_id = signed_in_page, "many-questions"
    await manager.create_session(session_id)
    asked = [event for n in range(25) for event in asking(f"q{n}")]
    await manager.log.append(session_id, asked)
    await open_live(page, f"{server.url}/sessions/default/{session_id}/?tab=log")
    shown = page.locator("#questions .question")
    await expect(shown).to_have_count(20)
    await expect(page.locator("#questions")).to_contain_text("5 more questions wait for an answer.")
    await manager.answer(session_id, "q0", "yes")
    await expect(page.locator('#questions [data-question-id="q20"]')).to_be_visible()
    await expect(page.locator('#questions [data-question-id="q0"]')).to_have_count(0)
    await expect(shown).to_have_count(20)
    await expect(page.locator("#questions")).to_contain_text("4 more questions wait for an answer.")


def asking(name: str) -> list[Event]:
    """A branch that waits in its first step."""
    place = {"branch_id": name, "step_id": f"{name}:1"}
    values = {"prompt": f"May {name} go on?", "branch_id": name, "step_id": f"{name}:1", "agent": "Asker"}
    return [
        Event(kind=EventKind.BRANCH_OPENED, branch_id=name, status="running", data={"name": name}),
        Event(kind=EventKind.STEP_STARTED, **place, agent="Asker", status="running"),
        Event(
            kind=EventKind.INPUT_REQUESTED,
            **place,
            agent="Asker",
            status="waiting",
            data={"question": name, "session": "waiting"},
            changes=tuple(set_value(["questions", name, key], value) for key, value in values.items()),
        ),
    ]
