"""The inbox, with programs that really ask, in two stores, and two people who answer."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from state_core.events import Event, EventKind
from tests.browsers import CALM
from tests.e2e.across_stores.conftest import Stores, TwoStores, asking, card, look, open_page
from tests.e2e.conftest import Complaints, Orchestrators, sign_in
from tests.e2e.pages import act, confirm, dialog, not_reloaded, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAILED = Event(kind=EventKind.SESSION_FAILED, data={"error": "out of money"})
SCHEMA = {
    "type": "object",
    "required": ["days"],
    "properties": {
        "days": {"type": "integer", "minimum": 1, "title": "Days"},
        "hotel": {"enum": ["Sole", "Luna"], "title": "Hotel"},
    },
}


async def answer_of(stores: Stores, store: str, session_id: str):
    async def is_there() -> bool:
        return (await stores[store].get_head(session_id)).status == "completed"

    await until(is_there)
    state = await stores[store].get_session_state(session_id)
    return state.questions[0].answer, state.questions[0].answered_by


async def test_questions_of_two_stores_appear_live_and_are_answered_in_place(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, programs: Orchestrators
):
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/needs-you/")
    programs.start(asking("trip-1", choices=["Rome", "Oslo"]))
    programs.start(asking("trip-2", files=True, schema=SCHEMA))
    programs.start(asking("trip-3"))
    for name in ("trip-1", "trip-2", "trip-3"):
        await expect(card(page, name)).to_be_visible()
    await expect(page.locator("[data-needs-count]")).to_have_text("3")
    await card(page, "trip-1").get_by_text("What was said before").click()
    await expect(card(page, "trip-1")).to_contain_text("Three days are left.")
    await page.keyboard.press("j")
    await expect(page.locator("#inbox :focus")).to_have_count(1)
    await card(page, "trip-3").get_by_label("Answer").fill("half typed")
    await look(page, "needs")

    await card(page, "trip-2").get_by_role("button", name="Answer").click()
    await expect(card(page, "trip-2").locator("[data-problem]")).to_contain_text("Days")
    await card(page, "trip-2").get_by_label("Days").fill("3")
    await card(page, "trip-2").get_by_label("Hotel").select_option("Luna")
    await card(page, "trip-2").get_by_role("button", name="Answer").click()
    assert await answer_of(stores, "files", "trip-2") == ({"days": 3, "hotel": "Luna"}, "ana")

    await card(page, "trip-1").get_by_role("button", name="Oslo").click()
    assert await answer_of(stores, "default", "trip-1") == ("Oslo", "ana")
    await expect(card(page, "trip-1")).to_have_count(0)
    await expect(card(page, "trip-2")).to_have_count(0)
    await expect(page.locator("[data-needs-count]")).to_have_text("1")
    await expect(card(page, "trip-3").get_by_label("Answer")).to_have_value("half typed")
    await stores.default.answer("trip-3", "plan:1.q1", "done elsewhere", actor="bo")
    await expect(card(page, "trip-3").locator("[data-problem]")).to_contain_text("Your text was not sent")
    await expect(card(page, "trip-3").get_by_label("Answer")).to_have_value("half typed")
    await expect(page.locator("[data-needs-count]")).to_be_hidden()
    assert await not_reloaded(page)


async def test_of_two_people_who_answer_the_second_is_told_who_was_first(
    page: Page,
    context: BrowserContext,
    complaints: Complaints,
    two_stores: TwoStores,
    stores: Stores,
    programs: Orchestrators,
):
    complaints.expected = ("409",)
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/needs-you/")
    programs.start(asking("two", files=True, choices=["yes", "no"]))
    await expect(card(page, "two")).to_be_visible()
    await page.get_by_role("button", name="Freeze").click()
    await page.route("**/needs-you/", lambda route: route.abort())
    await stores.files.answer("two", "plan:1.q1", "no", actor="bo")
    await card(page, "two").get_by_role("button", name="yes").click()
    await expect(card(page, "two").locator("[data-problem]")).to_contain_text("bo answered this question")
    assert await answer_of(stores, "files", "two") == ("no", "bo")
    complaints.expected = ("409", "ERR_FAILED")


async def test_somebody_without_an_account_answers_by_a_link_that_was_copied(
    page: Page,
    context: BrowserContext,
    complaints: Complaints,
    two_stores: TwoStores,
    stores: Stores,
    programs: Orchestrators,
):
    await sign_in(context, two_stores, "ana")
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await open_page(page, two_stores, "/needs-you/")
    programs.start(asking("linked", files=True, schema=SCHEMA))
    await card(page, "linked").get_by_text("Share a link for answering…").click()
    await dialog(page).get_by_label("For whom").fill("Ben")
    await look(page, "share")
    await confirm(page).click()
    await dialog(page).get_by_text("Copy link").click()
    await expect(dialog(page)).to_contain_text("The link to this question is copied.")

    elsewhere = await context.browser.new_context(**CALM)
    theirs = await elsewhere.new_page()
    complaints.watch(theirs)
    await theirs.goto(await page.evaluate("navigator.clipboard.readText()"))
    await look(theirs, "answer")
    await theirs.get_by_label("Days").fill("3")
    await theirs.get_by_role("button", name="Send answer").click()
    await expect(theirs.get_by_role("heading")).to_have_text("Thank you, your answer was recorded")
    await elsewhere.close()
    assert await answer_of(stores, "files", "linked") == ({"days": 3}, "link of ana for Ben")
    await expect(card(page, "linked")).to_have_count(0)


CROSSING = """
from state_core.storage.file import FileStorageBackend
manager = StateManager(FileStorageBackend(os.path.join(os.environ['STATE_VAR'], 'files')))

async def main():
    async with manager.session("crossing") as session:
        branch = await session.open_branch("plan")
        if not await manager.list_checkpoints("crossing"):
            await session.checkpoint("before the question")
        async with branch.step(agent="Planner") as step:
            step.output = await step.ask("Left or right?", choices=["left", "right"])
"""


async def test_a_wrong_answer_is_taken_back_by_going_back_and_the_question_is_asked_again(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, programs: Orchestrators
):
    manager = stores.files
    await sign_in(context, two_stores, "ana")
    programs.start(CROSSING)
    await open_page(page, two_stores, "/needs-you/")
    await card(page, "crossing").get_by_role("button", name="left").click()
    assert await answer_of(stores, "files", "crossing") == ("left", "ana")

    await open_page(page, two_stores, "/sessions/files/crossing/?tab=checkpoints")
    place = page.locator('[data-panel="checkpoints"] .checkpoint').filter(has_text="before the question")
    await place.locator("[data-pick]").click()
    await place.locator('[data-act="restore"]').click()
    await dialog(page).get_by_label("Reason").fill("it was the other one")
    await confirm(page).click()
    await expect(page.locator("#standing .status")).to_have_attribute("data-status", "paused")
    await act(page, "resume").click()
    await confirm(page).click()
    await expect(page.locator("#standing .status")).to_have_attribute("data-status", "resuming")
    programs.start(CROSSING)
    await open_page(page, two_stores, "/needs-you/")
    await card(page, "crossing").get_by_role("button", name="right").click()
    assert await answer_of(stores, "files", "crossing") == ("right", "ana")
    state = await manager.get_session_state("crossing")
    assert [step.output for step in state.branches[0].steps] == ["right"]


async def test_the_number_in_the_navigation_follows_on_other_pages(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores, programs: Orchestrators
):
    await sign_in(context, two_stores, "ana")
    await stores.files.create_session("watched")
    await open_page(page, two_stores, "/sessions/files/watched/")
    await expect(page.locator("[data-needs-count]")).to_be_hidden()
    programs.start(asking("elsewhere"))
    await expect(page.locator("[data-needs-count]")).to_have_text("1")
    await stores.default.answer("elsewhere", "plan:1.q1", "ok")
    await expect(page.locator("[data-needs-count]")).to_be_hidden()


async def test_an_interrupted_session_is_resumed_from_the_inbox(
    page: Page, context: BrowserContext, two_stores: TwoStores, stores: Stores
):
    await stores.files.create_session("left", context={"topic": "tides", "drop": 1})
    await stores.files.log.append("left", [FAILED])
    await sign_in(context, two_stores, "ana")
    await open_page(page, two_stores, "/needs-you/")
    await expect(card(page, "left")).to_contain_text("out of money")
    await card(page, "left").get_by_role("button", name="Resume…").click()
    await dialog(page).get_by_text("Edit the present context").click()
    await dialog(page).locator("#act-edited").fill('{"topic": "moon", "new": [1]}')
    changes = dialog(page).locator("[data-changes] li")
    await expect(changes).to_have_text(
        ['topic is changed"tides""moon"', "drop is removed1", "new is added[1]"]
    )
    await look(page, "resume")
    await confirm(page).click()
    await expect(dialog(page)).to_be_hidden()
    state = await stores.files.get_session_state("left")
    assert (state.status, state.context) == ("resuming", {"topic": "moon", "new": [1]})
    await expect(card(page, "left")).to_have_count(0)
