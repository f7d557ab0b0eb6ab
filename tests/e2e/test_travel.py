"""Travelling in time, comparing and going back, in a browser, while other processes work."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from playwright.async_api import Page, Route, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Orchestrators, Server
from tests.e2e.pages import act, confirm, dialog, not_reloaded, open_live, until
from tests.e2e.seeding import History

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROGRAM = """
async def main():
    async with manager.session(sys.argv[1], context={"n": 0}) as session:
        one = await session.open_branch("one")
        for number in range(1, 100_000):
            async with one.step("Writer") as step:
                await one.add_message("assistant", f"said {number}", agent="Writer")
                await session.set_context(n=number)
                step.output = f"made {number}"
            if number == 3:
                await session.checkpoint("third")
            if number == 6:
                await session.checkpoint("sixth")
                two = await session.open_branch("two", parent=one)
            # Slower once tests have seen enough: the page shows the newest fifty.
            await asyncio.sleep(0.1 if number < 20 else 3)
"""

WITNESS = """
window.places = [];
document.addEventListener("travel:moved", ({ detail }) => places.push(detail.at));
"""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_site")
    return found


def on(*sites: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", sites, indirect=True)


class Travel:
    """The page of a session that a program works on."""

    def __init__(self, page: Page, server: Server, manager: StateManager, session_id: str) -> None:
        self.page = page
        self.manager = manager
        self.session_id = session_id
        self.url = f"{server.url}/sessions/{server.store}/{session_id}/"
        self.banner = page.locator("#travel .past")
        self.steps = page.locator('[data-list="steps"] > tr')

    async def last_seq(self) -> int:
        return (await self.manager.get_head(self.session_id)).last_seq

    async def place_of(self, name: str) -> int:
        found = {c.name: c.seq for c in await self.manager.list_checkpoints(self.session_id)}
        return found[name]

    async def gets_to(self, steps: int) -> None:
        async def is_there() -> bool:
            heads = await self.manager.list_sessions(text=self.session_id)
            return bool(heads) and heads[0].counts["steps_completed"] >= steps

        await until(is_there)


@pytest.fixture
def travel(
    request: pytest.FixtureRequest,
    server: Server,
    manager: StateManager,
    orchestrator: Orchestrators,
    signed_in_page: Page,
) -> Travel:
    session_id = request.node.originalname.removeprefix("test_")[:60]
    orchestrator.start(PROGRAM, session_id)
    return Travel(signed_in_page, server, manager, session_id)


@on("sqlite", "postgres", "files", "redis")
async def test_what_is_looked_at_stays_while_the_session_goes_on(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(0)
    await open_live(page, f"{travel.url}?tab=steps")
    await travel.gets_to(7)
    await expect(page.locator("#checkpoints .checkpoint")).to_have_count(2)
    await page.keyboard.press("[")
    sixth = await travel.place_of("sixth")
    await expect(travel.banner).to_contain_text(f"You are looking at event {sixth} of")
    await expect(travel.banner).to_contain_text("checkpoint “sixth”")
    await expect(travel.steps).to_have_count(6)
    assert f"at={sixth}" in page.url
    await page.keyboard.press("[")
    third = await travel.place_of("third")
    await expect(travel.banner).to_contain_text(f"event {third} of")
    await expect(travel.steps).to_have_count(3)
    await expect(page.locator('[data-list="conversation"] > article')).to_have_count(3)
    await expect(page.locator("#standing .facts")).to_contain_text("3 / 3")

    before = await travel.last_seq()
    await travel.gets_to(14)
    of = page.locator("#travel [data-of]")
    await until(lambda: _is_more(of, before))
    await expect(travel.steps).to_have_count(3)
    await page.get_by_role("link", name="Timeline & graph").click()
    await expect(page.locator("#graph")).to_have_attribute("data-seq", str(third))
    await page.keyboard.press("]")
    await expect(page.locator("#graph")).to_have_attribute("data-seq", str(sixth))

    await page.get_by_role("link", name="Back to live").click()
    await expect(travel.banner).to_have_count(0)
    assert "at=" not in page.url
    await page.get_by_role("link", name="Steps", exact=True).click()
    await until(lambda: _has_more_than(travel, 14))
    assert await not_reloaded(page)


async def test_charts_that_were_still_on_their_way_show_the_event_that_was_gone_to(travel: Travel) -> None:
    page, gone, answered = travel.page, asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        """First what was asked for first: how it is at present."""
        await (answered if "at=" in route.request.url else gone).wait()
        await route.continue_()

    await travel.gets_to(7)
    await page.route("**/charts.json*", answer_late)
    page.on("requestfinished", lambda request: answered.set() if "charts.json" in request.url else None)
    await open_live(page, travel.url)
    await expect(page.locator("#checkpoints .checkpoint")).to_have_count(2)
    await page.keyboard.press("[")
    await expect(travel.banner).to_be_visible()
    gone.set()
    sixth = await travel.place_of("sixth")
    await expect(page.locator("#graph")).to_have_attribute("data-seq", str(sixth))


async def _is_more(locator, before: int) -> bool:  # type: ignore[no-untyped-def]
    return int((await locator.inner_text()).replace("\u202f", "")) > before


async def _has_more_than(travel: Travel, steps: int) -> bool:
    return await travel.steps.count() > steps


async def test_an_address_leads_to_an_event_and_the_bar_from_there(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(7)
    third = await travel.place_of("third")
    await open_live(page, f"{travel.url}?tab=steps&at={third}")
    await expect(travel.steps).to_have_count(3)
    bar = page.get_by_label("Event that is looked at")
    await expect(bar).to_have_value(str(third))
    await page.keyboard.press(",")
    await expect(travel.banner).to_contain_text(f"event {third - 1} of")
    await bar.focus()
    for _ in range(4):
        await page.keyboard.press("ArrowRight")
    await expect(travel.banner).to_contain_text(f"event {third + 3} of")
    await expect(travel.steps).to_have_count(4)
    await page.get_by_role("link", name="Log", exact=True).click()
    await page.locator('[data-list="log"] [data-travel="2"]').click()
    await expect(travel.banner).to_contain_text("event 2 of")
    await expect(page.locator('[data-list="log"] > tr')).to_have_count(2)


async def test_a_replay_ends_at_the_present_within_seconds(
    travel: Travel, orchestrator: Orchestrators
) -> None:
    page = travel.page
    await page.emulate_media(reduced_motion="no-preference")
    await travel.gets_to(8)
    orchestrator.stop()
    await open_live(page, f"{travel.url}?tab=messages&at={await travel.last_seq() // 2}")
    await page.evaluate(WITNESS)
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_role("button", name="Pause the replay")).to_be_visible()
    await expect(page.get_by_role("button", name="Replay", exact=True)).to_be_visible(timeout=20_000)
    last = await page.locator("main").get_attribute("data-at")
    assert int(last or 0) >= await travel.last_seq() - 1
    places = await page.evaluate("places")
    assert places == sorted(places)
    assert len(set(places)) > 5
    shown = page.locator('[data-panel="messages"] article')
    await expect(shown).to_have_count(await _messages(travel))


async def _messages(travel: Travel) -> int:
    return (await travel.manager.get_head(travel.session_id)).counts["messages"]


@on("postgres", "files")
async def test_two_checkpoints_are_compared_and_downloaded(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(7)
    await open_live(page, travel.url)
    row = page.locator(".checkpoint").filter(has_text="third")
    await row.locator("[data-pick]").click()
    await row.get_by_role("link", name="Compare…").click()
    await expect(page.get_by_label("From")).to_have_value(await _checkpoint(travel, "third"))
    await page.wait_for_load_state()  # what submits the form is loaded
    await page.get_by_label("To", exact=True).select_option(await _checkpoint(travel, "sixth"))
    await page.wait_for_url("**/compare/**b=cp-*")
    await expect(page.locator('[data-branch-id="one"] [data-step-id]')).to_have_count(3)
    await expect(page.locator('[data-part="Context"]')).to_contain_text("3")
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="Download as JSON").click()
    found = json.loads((await (await downloading.value).path()).read_text())
    assert found["context"]["items"][0]["new"]["value"] == 6
    await page.get_by_role("link", name="Swap").click()
    await expect(page.get_by_label("To", exact=True)).to_have_value(await _checkpoint(travel, "third"))


async def _checkpoint(travel: Travel, name: str) -> str:
    found = {c.name: c.id for c in await travel.manager.list_checkpoints(travel.session_id)}
    return found[name]


@on("postgres", "redis")
async def test_going_back_says_what_it_does_and_is_undone(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(7)
    await open_live(page, f"{travel.url}?tab=steps")
    await act(page, "pause").click()
    await confirm(page).click()
    await expect(page.locator("#standing .status")).to_have_attribute("data-status", "paused")
    before = (await travel.manager.get_head(travel.session_id)).counts["steps"]
    row = page.locator(".checkpoint").filter(has_text="third")
    await row.locator("[data-pick]").click()
    await row.locator('[data-act="restore"]').click()
    await expect(dialog(page)).to_contain_text(f"Set aside: {before - 3} steps: ")
    await expect(dialog(page)).to_contain_text("1 branch: two")
    await expect(dialog(page)).to_contain_text("Executed again when it is resumed: ")
    await dialog(page).get_by_label("Reason").fill("another way")
    await confirm(page).click()
    await expect(travel.steps).to_have_count(3)

    await act(page, "undo").click()
    await expect(dialog(page)).to_contain_text(f"Comes back: {before - 3} steps")
    await confirm(page).click()
    await expect(travel.steps).to_have_count(before)
    await page.get_by_role("link", name="Lineage").click()
    await expect(page.locator(".restores > li")).to_have_count(2)
    await expect(page.locator(".restores > li").last).to_contain_text("another way")


@on("postgres", "files", "redis")
async def test_a_fork_from_the_past_is_a_session_of_its_own_in_the_family(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(5)
    third = await travel.place_of("third")
    await open_live(page, f"{travel.url}?at={third - 1}")
    await page.get_by_role("button", name="Fork from here…").click()
    await expect(confirm(page)).to_have_text(f"Fork from event {third - 1}")
    await dialog(page).get_by_label("Id of the new session").fill(f"{travel.session_id}.again")
    await confirm(page).click()
    await page.wait_for_url(f"**/{travel.session_id}.again/")
    state = await travel.manager.get_session_state(f"{travel.session_id}.again")
    assert state.context == {"n": 3}
    await page.get_by_role("link", name="Lineage").click()
    await page.locator(".relative").get_by_role("link", name=travel.session_id, exact=True).click()
    await page.get_by_role("link", name="Lineage").click()
    await expect(page.locator(".relative").last).to_contain_text(f"forked at event {third - 1} by ana")


async def test_a_search_leads_to_the_message_and_to_the_step(travel: Travel) -> None:
    page = travel.page
    await travel.gets_to(12)
    await open_live(page, travel.url)
    await page.keyboard.press("/")
    await expect(page.get_by_label("Search inside this session")).to_be_focused()
    await page.keyboard.type("SAID 3")
    await page.keyboard.press("Enter")
    hits = page.locator(".hit")
    await expect(hits.last.locator("mark")).to_have_text("said 3")
    assert "q=SAID+3" in page.url
    await hits.last.locator(".snippet").click()
    found = page.locator("#conversation .is-found")
    await expect(found).to_contain_text("said 3")
    await expect(found).to_be_in_viewport()
    await page.get_by_label("Search inside this session").fill("made 2")
    await page.keyboard.press("Enter")
    await expect(hits.first).to_contain_text("output")
    await hits.last.locator(".snippet").click()
    await expect(page.locator('#inspector [data-step-id="one:2"]')).to_contain_text("made 2")
    assert await not_reloaded(page)


async def test_a_long_conversation_is_read_in_both_directions_in_a_page_that_stays_small(
    signed_in_page: Page, server: Server, manager: StateManager
) -> None:
    page = signed_in_page
    past = History(minutes_ago=30)
    past.add("session.created")
    past.open("talk")
    for number in range(300):
        past.say("talk", ["Writer", "Critic"][number % 2], f"said {number}")
    await manager.log.append("long-talk", past.events)
    await open_live(page, f"{server.url}/sessions/default/long-talk/?tab=messages")
    articles = page.locator('[data-panel="messages"] article')
    scroller = page.locator('[data-panel="messages"] .scroller')
    await expect(articles.last).to_contain_text("said 299")

    async def reads(edge: str, wanted: str) -> bool:
        await scroller.evaluate(f"s => {{ s.scrollTop = {edge}; }}")
        assert await articles.count() <= 100
        return await articles.filter(has_text=re.compile(rf"{wanted}\b")).count() > 0

    await until(lambda: reads("0", "said 40"))
    await until(lambda: reads("s.scrollHeight", "said 299"))
    await page.get_by_label("Conversation of").select_option("Critic")
    await expect(page.locator('[data-panel="messages"] [data-agent="Writer"]')).to_have_count(0)
    await expect(articles.last).to_contain_text("said 299")
    assert "agent=Critic" in page.url
