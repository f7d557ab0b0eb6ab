"""The list of sessions and the dialogs, as a person with a keyboard and a mouse meets them."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from state_core.events import EventKind
from state_core.manager import StateManager
from tests.e2e.conftest import COOKIE, Complaints, Server, on_the_loop, sign_in
from tests.e2e.pages import act, confirm, dialog, not_reloaded, open_live, row

pytestmark = pytest.mark.asyncio(loop_scope="session")


@on_the_loop
async def open_list(signed_in_page: Page, server: Server) -> Callable:
    async def opened(query: str = "") -> Page:
        await open_live(signed_in_page, f"{server.url}/sessions/{query}")
        return signed_in_page

    return opened


@on_the_loop
async def open_session(signed_in_page: Page, server: Server) -> Callable:
    async def opened(session_id: str) -> Page:
        await open_live(signed_in_page, f"{server.url}/sessions/default/{session_id}/")
        return signed_in_page

    return opened


# The list


async def test_a_new_session_appears_and_changes_in_place(open_list, manager: StateManager):
    page = await open_list()
    await manager.create_session("arrives", title="It arrives")
    await expect(page.locator("tbody tr").first).to_have_attribute("data-session-id", "arrives")
    await manager.pause_execution("arrives", reason="to look at it")
    await expect(row(page, "arrives")).to_have_attribute("data-status", "paused")
    await expect(row(page, "arrives").locator(".status")).to_have_text("Paused")
    await expect(row(page, "arrives")).to_contain_text("to look at it")
    assert await not_reloaded(page)


async def test_a_deleted_session_leaves_the_list_and_the_counts(open_list, manager: StateManager):
    for name in ("leaves-1", "leaves-2"):
        await manager.create_session(name)
    page = await open_list("?q=leaves-")
    total = page.locator("[data-total]")
    await expect(total).to_have_text("2 sessions")
    await row(page, "leaves-2").locator(".name > a").focus()
    await manager.delete_session("leaves-2")
    await expect(row(page, "leaves-2")).to_have_count(0)
    await expect(row(page, "leaves-1").locator(".name > a")).to_be_focused()
    await expect(total).to_have_text("1 session")
    await expect(page.locator('[data-count="all"] b')).to_have_text("1")
    await manager.create_session("leaves-2", title="Made anew")
    await expect(row(page, "leaves-2")).to_contain_text("Made anew")
    await expect(total).to_have_text("2 sessions")
    assert await not_reloaded(page)


async def test_the_list_says_so_when_its_last_session_is_deleted(open_list, manager: StateManager):
    await manager.create_session("the-last-one")
    page = await open_list("?q=the-last-one")
    await manager.delete_session("the-last-one")
    await expect(page.locator('[data-empty="no-match"]')).to_be_visible()
    assert await not_reloaded(page)


async def test_focus_and_selection_survive_changes_of_their_row(open_list, manager: StateManager):
    await manager.create_session("stays", title="Stays where it is")
    page = await open_list()
    link = row(page, "stays").locator(".name > a")
    await link.focus()
    await page.evaluate("getSelection().selectAllChildren(document.activeElement)")
    await manager.pause_execution("stays")
    await expect(row(page, "stays")).to_have_attribute("data-status", "paused")
    await expect(link).to_be_focused()
    assert await page.evaluate("getSelection().toString()") == "Stays where it is"


async def test_typing_filters_and_the_address_is_the_state(open_list, manager: StateManager, server: Server):
    await manager.create_session("needle-1")
    await manager.create_session("hay-1")
    page = await open_list()
    await page.keyboard.press("/")
    await page.keyboard.type("needle")
    await expect(row(page, "hay-1")).to_have_count(0)
    await expect(row(page, "needle-1")).to_be_visible()
    await expect(page).to_have_url(f"{server.url}/sessions/?q=needle")
    await expect(page.locator("#filter")).to_be_focused()
    assert await not_reloaded(page)
    await page.reload()
    await expect(page.locator("#filter")).to_have_value("needle")


async def test_a_chip_filters_in_place_and_back_undoes_it(open_list, manager: StateManager):
    await manager.create_session("chip-open")
    await manager.create_session("chip-held")
    await manager.pause_execution("chip-held")
    page = await open_list("?q=chip-")
    await page.locator('[data-count="paused"]').click()
    await expect(row(page, "chip-open")).to_have_count(0)
    await expect(page.locator('[data-count="paused"]')).to_have_attribute("aria-current", "true")
    await page.go_back()
    await expect(row(page, "chip-open")).to_be_visible()
    assert await not_reloaded(page)


async def test_a_key_hides_what_has_ended_and_the_count_follows(
    signed_in_page: Page, server: Server, manager: StateManager
):
    page = signed_in_page
    for name in ("act-1", "act-2"):
        await manager.create_session(name)
    await manager.cancel_execution("act-1")
    await open_live(page, f"{server.url}/sessions/?q=act-")
    await page.keyboard.press("a")
    await expect(row(page, "act-1")).to_have_count(0)
    await expect(row(page, "act-2")).to_be_visible()
    active = page.locator('[data-count="active"]')
    await expect(active).to_have_text("Active 1")
    await manager.cancel_execution("act-2")
    await expect(active).to_have_text("Active 0")
    await expect(row(page, "act-2")).to_have_attribute("data-status", "cancelled")
    await page.keyboard.press("a")
    await expect(row(page, "act-1")).to_be_visible()


async def test_counts_follow_also_under_a_filter(open_list, manager: StateManager):
    await manager.create_session("count-1")
    page = await open_list("?q=count-")
    await expect(page.locator('[data-count="pending"] b')).to_have_text("1")
    await manager.create_session("count-2")
    await expect(page.locator('[data-count="pending"] b')).to_have_text("2")
    await manager.pause_execution("count-1")
    await expect(page.locator('[data-count="paused"] b')).to_have_text("1")


async def test_in_another_order_new_sessions_are_offered_not_pushed_in(open_list, manager: StateManager):
    await manager.create_session("order-1")
    page = await open_list("?q=order-&sort=session_id")
    await manager.create_session("order-0")
    pill = page.locator(".new-pill")
    await expect(pill).to_have_text("1 new")
    await expect(row(page, "order-0")).to_have_count(0)
    await pill.click()
    await expect(page.locator("tbody tr").first).to_have_attribute("data-session-id", "order-0")


async def test_a_row_that_no_longer_matches_stays_but_steps_back(open_list, manager: StateManager):
    await manager.create_session("leaves")
    page = await open_list("?q=leaves&status=pending")
    await manager.pause_execution("leaves")
    await expect(row(page, "leaves")).to_have_class("is-elsewhere")


async def test_a_session_that_comes_to_match_takes_its_place(open_list, manager: StateManager):
    for name in ("place-1", "place-2", "place-3"):
        await manager.create_session(name)
    await manager.pause_execution("place-1")
    await manager.pause_execution("place-3")
    page = await open_list("?q=place-&status=paused")
    await manager.pause_execution("place-2")
    await expect(page.locator("tbody tr .name > a")).to_have_text(["place-3", "place-2", "place-1"])
    assert await not_reloaded(page)


async def test_keys_walk_the_rows_and_are_listed(open_list, manager: StateManager):
    await manager.create_session("keys-1")
    await manager.create_session("keys-2")
    page = await open_list("?q=keys-")
    await page.keyboard.press("j")
    await expect(row(page, "keys-2").locator(".name > a")).to_be_focused()
    await page.keyboard.press("j")
    await expect(row(page, "keys-1").locator(".name > a")).to_be_focused()
    await page.keyboard.press("k")
    await expect(row(page, "keys-2").locator(".name > a")).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.locator("dialog.keys")).to_contain_text("Next session")


async def test_a_theme_is_chosen_and_remembered(open_list):
    page = await open_list()
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.locator("#theme-toggle").click()
    assert await page.evaluate(background) == light
    await page.locator("#theme-toggle").click()
    dark = await page.evaluate(background)
    assert dark == "rgb(11, 17, 32)" != light
    await page.reload()
    assert await page.evaluate(background) == dark


@pytest.mark.parametrize(
    "path", ["/sessions/", "/sessions/default/narrow/", "/sessions/default/narrow/cancel/"]
)
async def test_a_phone_shows_pages_without_scrolling_sideways(
    signed_in_page: Page, server: Server, manager: StateManager, path: str
):
    with contextlib.suppress(ValueError):
        await manager.create_session("narrow", title="A rather long title " * 5, tags=["one", "two", "three"])
    await signed_in_page.set_viewport_size({"width": 375, "height": 700})
    await signed_in_page.goto(f"{server.url}{path}")
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await signed_in_page.evaluate(sideways) == 0


# Acts


async def test_pause_and_resume_through_their_dialogs(open_session, manager: StateManager):
    await manager.create_session("acts-1")
    page = await open_session("acts-1")
    await expect(act(page, "resume")).to_have_attribute("aria-disabled", "true")
    await act(page, "pause").click()
    await expect(dialog(page)).to_contain_text("Pending")
    await expect(confirm(page)).to_have_text("Pause session")
    await dialog(page).get_by_label("Reason").fill("to look at it")
    await confirm(page).click()
    await expect(page.locator(".toast")).to_have_text("The session is paused. See the log")
    await expect(dialog(page)).to_be_hidden()
    await expect(act(page, "resume")).not_to_have_attribute("aria-disabled", "true")
    await act(page, "resume").click()
    await dialog(page).get_by_label("Additional context").fill('{"review": true}')
    await confirm(page).click()
    await expect(page.locator(".toast").last).to_contain_text("Resume requested")
    state = await manager.get_session_state("acts-1")
    assert (state.status, state.context) == ("resuming", {"review": True})


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ('{"a": 1', "line 1, column 8"),
        ('{\n "a": tru }', "line 2"),
        ('{"focus": results}', "Unexpected token 'r' at line 1, column 11."),
        ('{"list": ["so", ]}', "Unexpected token ']' at line 1, column 17."),
        ("[1]", "must be a JSON object"),
    ],
)
async def test_a_context_that_is_no_object_is_not_even_sent(
    open_session, manager: StateManager, typed: str, told: str
):
    session_id = f"json-{zlib.crc32(typed.encode())}"
    await manager.create_session(session_id)
    await manager.pause_execution(session_id)
    page = await open_session(session_id)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    await act(page, "resume").click()
    field = dialog(page).get_by_label("Additional context")
    await field.fill(typed)
    await confirm(page).click()
    await expect(dialog(page).locator("[data-problem]")).to_contain_text(told)
    await expect(field).to_be_focused()
    await expect(field).to_have_value(typed)
    assert sent == []


async def test_restore_says_what_is_set_aside_for_the_checkpoint_that_is_chosen(
    open_session, manager: StateManager
):
    async with manager.session("restores") as session:
        branch = await session.open_branch("main")
        for name in ("first", "second"):
            await manager.create_checkpoint("restores", name)
            async with branch.step(agent="Reader") as step:
                step.output = name
    page = await open_session("restores")
    await act(page, "restore").click()
    await expect(confirm(page)).to_have_text("Restore checkpoint “second”")
    await expect(dialog(page)).to_contain_text("Set aside: 1 step")
    await dialog(page).get_by_label("Reason").fill("typed before")
    choice = dialog(page).get_by_label("Checkpoint")
    await choice.select_option(index=1)
    await expect(confirm(page)).to_have_text("Restore checkpoint “first”")
    await expect(dialog(page)).to_contain_text("Set aside: 2 steps")
    await expect(dialog(page).get_by_label("Reason")).to_have_value("typed before")
    await confirm(page).click()
    await expect(page.locator(".toast")).to_contain_text("back at “first”")
    assert (await manager.get_session_state("restores")).total_steps == 0


async def test_a_required_reason_is_asked_for(open_session, manager: StateManager):
    await manager.create_session("reasons")
    page = await open_session("reasons")
    await act(page, "cancel").click()
    await confirm(page).click()
    await expect(dialog(page).locator("[data-problem]")).to_contain_text("Reason")
    assert (await manager.get_head("reasons")).status == "pending"


async def test_who_comes_too_late_is_told_and_loses_nothing(
    open_session, manager: StateManager, complaints: Complaints
):
    complaints.expected = ("409",)
    await manager.create_session("late")
    await manager.pause_execution("late")
    page = await open_session("late")
    await act(page, "resume").click()
    await dialog(page).get_by_label("Additional context").fill('{"mine": 1}')
    await manager.resume_execution("late", actor="bo")
    await confirm(page).click()
    await expect(dialog(page).locator("[data-problem]")).to_contain_text("Somebody asked for that already")
    await expect(dialog(page).get_by_label("Additional context")).to_have_value('{"mine": 1}')
    resumed = await manager.log.read("late", kinds=[EventKind.RESUME_REQUESTED])
    assert [event.actor for event in resumed] == ["bo"]


async def test_a_double_click_acts_once(open_session, manager: StateManager):
    await manager.create_session("twice")
    page = await open_session("twice")
    await act(page, "checkpoint").click()
    await confirm(page).dblclick()
    await expect(page.locator(".toast")).to_have_count(1)
    assert len(await manager.list_checkpoints("twice")) == 1


async def test_keys_open_dialogs_and_escape_leaves_all_as_it_is(open_session, manager: StateManager):
    await manager.create_session("keyed")
    page = await open_session("keyed")
    await page.keyboard.press("Shift+P")
    await expect(dialog(page)).to_contain_text("Pause session")
    await page.keyboard.press("Escape")
    await expect(dialog(page)).to_be_hidden()
    assert (await manager.get_head("keyed")).last_seq == 1


async def test_a_deleted_session_leads_back_to_the_list(open_session, manager: StateManager, server: Server):
    await manager.create_session("goes")
    page = await open_session("goes")
    await page.get_by_title("More actions").click()
    await act(page, "delete").click()
    await dialog(page).get_by_label("Type goes to confirm").fill("goes")
    await dialog(page).get_by_label("Reason").fill("a test")
    await confirm(page).click()
    await expect(page).to_have_url(f"{server.url}/sessions/")
    await expect(row(page, "goes")).to_have_count(0)


async def test_everything_can_be_done_without_scripts(
    browser: Browser, server: Server, manager: StateManager
):
    await manager.create_session("plain")
    context = await browser.new_context(java_script_enabled=False)
    await context.add_cookies([{"name": COOKIE, "value": server.cookies["ana"], "url": server.url}])
    page = await context.new_page()
    await page.goto(f"{server.url}/sessions/")
    await row(page, "plain").locator(".name > a").click()
    await act(page, "pause").click()
    await page.get_by_label("Reason").fill("without scripts")
    await page.locator("[data-confirm]").click()
    await expect(page.locator(".toast")).to_have_text("The session is paused.")
    await context.close()
    assert (await manager.get_head("plain")).reason == "without scripts"


async def test_who_may_only_look_sees_why_buttons_are_off(
    page: Page, context: BrowserContext, server: Server, manager: StateManager
):
    await manager.create_session("looked-at")
    await sign_in(context, server, "vera")
    await page.goto(f"{server.url}/sessions/default/looked-at/")
    await expect(act(page, "pause")).to_have_attribute(
        "title", "You have no permission to pause, resume, answer, checkpoint and cancel sessions."
    )
    await act(page, "pause").click(force=True)
    await expect(page.locator(".toast")).to_contain_text("You have no permission")
    await expect(dialog(page)).to_be_hidden()


async def test_colours_can_be_asked_for_by_scripts(open_list):
    page = await open_list()
    ask = "import('/static/js/palette.js').then((palette) => palette.colour('running'))"
    assert await page.evaluate(ask) == "rgb(26, 134, 232)"
    assert (
        json.loads(await page.evaluate("JSON.stringify(document.documentElement.dataset)"))["theme"]
        == "light"
    )
