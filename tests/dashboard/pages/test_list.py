from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from marsys_dashboard import listing, managers
from marsys_dashboard.list_rows import render_row
from state_core.events import Event
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from state_core.records import Head, utc_now
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.pages.conftest import DATABASE, MEMORY

pytestmark = pytest.mark.django_db


def ids(response) -> list[str]:
    return re.findall(r'data-session-id="([^"]+)"', response.content.decode())


def link(response, rel: str) -> str:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', response.content.decode())
    assert found, f"the page has no link {rel}"
    return found[1].replace("&amp;", "&")


def chip(response, name: str) -> int:
    found = re.search(
        rf'data-count="{name}".*?<b class="num">(\d+)</b>', response.content.decode(), re.DOTALL
    )
    assert found, f"the page has no chip {name}"
    return int(found[1])


def make(manager: StateManager, *session_ids: str, **given) -> None:
    for session_id in session_ids:
        manager.sync.create_session(session_id, **given)


def test_the_first_page_leads_to_the_sessions(ana: Client, manager):
    response = ana.get("/", follow=True)
    assert response.redirect_chain == [("/sessions/", 302)]


def test_an_empty_store_says_how_the_first_session_is_made(ana: Client, manager):
    text = ana.get("/sessions/").content.decode()
    assert 'data-empty="nothing-yet"' in text
    assert "StateManager" in text


def test_a_row_says_what_can_be_tested_from_outside(ana: Client, manager):
    make(manager, "research", title="Research", tags=["long"])
    text = ana.get("/sessions/").content.decode()
    row = re.search(r"<tr data-session-id=.*?</tr>", text, re.DOTALL)[0]
    for attribute in (
        'data-session-id="research"',
        'data-store="default"',
        'data-status="pending"',
        'data-seq="1"',
        'data-live="false"',
    ):
        assert attribute in row


def test_a_status_is_always_icon_word_and_colour(ana: Client, manager):
    make(manager, "research")
    row = render_row(manager.sync.get_head("research"), "default")
    assert "#pending" in row
    assert ">Pending<" in row
    assert 'data-colour="pending"' in row


def test_the_newest_session_stands_first(ana: Client, manager):
    make(manager, "first", "second", "third")
    assert ids(ana.get("/sessions/")) == ["third", "second", "first"]


def test_a_status_filters_and_the_counts_stay_those_of_all(ana: Client, manager):
    make(manager, "open", "held")
    manager.sync.pause_execution("held")
    response = ana.get("/sessions/?status=paused")
    assert ids(response) == ["held"]
    assert (chip(response, "all"), chip(response, "pending"), chip(response, "paused")) == (2, 1, 1)


def test_one_chip_hides_what_has_ended_and_another_then_narrows_to_one(ana: Client, manager):
    make(manager, "open", "held", "over")
    manager.sync.pause_execution("held")
    manager.sync.cancel_execution("over")
    text = ana.get("/sessions/").content.decode()
    chip = re.search(r'href="([^"]+)" data-count="active"[^>]*>Active <b class="num">(\d+)', text)
    assert chip[2] == "2"
    active = ana.get("/sessions/" + chip[1].replace("&amp;", "&"))
    assert sorted(ids(active)) == ["held", "open"]
    text = active.content.decode()
    assert re.search(r'data-count="active"[^>]* aria-current="true"', text)
    assert 'href="?status=paused" data-count="paused"' in text


def test_two_statuses_filter_together(ana: Client, manager):
    make(manager, "open", "held", "stopped")
    manager.sync.pause_execution("held")
    manager.sync.cancel_execution("stopped")
    assert set(ids(ana.get("/sessions/?status=paused&status=cancelled"))) == {"held", "stopped"}


def test_text_filters_by_id_title_and_workflow_and_counts_follow(ana: Client, manager):
    make(manager, "a-1", title="Quantum research")
    make(manager, "a-2", workflow="quantum")
    make(manager, "a-3")
    response = ana.get("/sessions/?q=QUANTUM")
    assert set(ids(response)) == {"a-1", "a-2"}
    assert chip(response, "all") == 2


def test_a_tag_filters(ana: Client, manager):
    make(manager, "a", tags=["x&y"])
    make(manager, "b", tags=["other"])
    assert ids(ana.get("/sessions/", {"tag": "x&y"})) == ["a"]


def test_the_link_of_a_tag_finds_what_has_it(ana: Client, manager):
    make(manager, "a", tags=["x&y=1 #2"])
    make(manager, "b")
    href = re.search(r'class="badge tag" href="([^"]+)"', ana.get("/sessions/").content.decode())[1]
    assert ids(ana.get(href)) == ["a"]


def test_what_matches_nothing_offers_to_clear_the_filters(ana: Client, manager):
    make(manager, "a")
    text = ana.get("/sessions/?q=zzz").content.decode()
    assert 'data-empty="no-match"' in text
    assert "Clear filters" in text


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("session_id", ["a", "b", "c"]), ("-session_id", ["c", "b", "a"]), ("created_at", ["c", "a", "b"])],
)
def test_columns_sort_both_ways(ana: Client, manager, sort, expected):
    make(manager, "c", "a", "b")
    assert ids(ana.get("/sessions/", {"sort": sort})) == expected


def test_the_longest_stand_first_and_the_same_moment_holds_for_all_pages(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_SIZE", 2)
    now = timezone.now()
    for name, begun, took in (("brief", 90, 1), ("going", 50, None), ("long", 80, 60), ("new", 5, None)):
        at = now - timedelta(seconds=begun)
        events = [Event(kind="session.created", at=at), Event(kind="session.started", at=at)]
        if took:
            events.append(Event(kind="session.completed", at=at + timedelta(seconds=took)))
        async_to_sync(manager.log.append)(name, events)
    first = ana.get("/sessions/?sort=-duration")
    assert 'aria-sort="descending"><a href="?sort=duration"' in first.content.decode()
    assert ids(first) == ["long", "going"]
    assert ids(ana.get("/sessions/" + link(first, "next"))) == ["new", "brief"]


def test_a_column_that_is_sorted_by_says_so_and_turns_round(ana: Client, manager):
    make(manager, "a")
    text = ana.get("/sessions/?sort=session_id").content.decode()
    assert 'aria-sort="ascending"><a href="?sort=-session_id"' in text


@pytest.mark.parametrize(
    "sort", ["", "session_id", "-session_id", "status", "-started_at", "-steps", "-duration"]
)
def test_pages_follow_on_without_gap_or_repetition_and_lead_back(ana: Client, manager, monkeypatch, sort):
    monkeypatch.setattr(listing, "PAGE_SIZE", 3)
    names = [f"s{number}" for number in range(8)]
    make(manager, *names)
    query = f"?sort={sort}" if sort else ""
    first = ana.get(f"/sessions/{query}")
    second = ana.get("/sessions/" + link(first, "next"))
    third = ana.get("/sessions/" + link(second, "next"))
    assert sorted(ids(first) + ids(second) + ids(third)) == names
    assert 'rel="next"' not in third.content.decode()
    assert ids(ana.get("/sessions/" + link(third, "prev"))) == ids(second)
    assert ids(ana.get("/sessions/" + link(second, "prev"))) == ids(first)


def test_a_page_that_was_linked_stays_the_same_when_sessions_arrive(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_SIZE", 2)
    make(manager, "a", "b", "c", "d")
    href = link(ana.get("/sessions/"), "next")
    make(manager, "e", "f")
    assert ids(ana.get("/sessions/" + href)) == ["b", "a"]


def test_a_change_of_filter_begins_at_the_first_page(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_SIZE", 1)
    make(manager, "a", "b")
    second = ana.get("/sessions/" + link(ana.get("/sessions/"), "next"))
    href = re.search(r'href="([^"]*)" data-count="pending"', second.content.decode())[1]
    assert parse_qs(urlsplit(href).query) == {"status": ["pending"]}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("status=exploded", "is no status"),
        ("sort=password", "Cannot sort"),
        ("after=%21%21", "cannot be read"),
        ("after=bm9uc2Vuc2U", "cannot be read"),
        ("sort=steps&after=WyJ4IiwieSJd", "cannot be read"),
        ("sort=duration&after=WzEsInkiXQ", "cannot be read"),
        ("after=WyIyMDI2LTAxLTAxIiwieSJd", "cannot be read"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_in_words(ana: Client, manager, query, told):
    make(manager, "a")
    response = ana.get(f"/sessions/?{query}")
    assert response.status_code == 400
    assert told in response.content.decode()


def test_a_nul_or_a_very_long_filter_finds_nothing_and_breaks_nothing(ana: Client, manager):
    make(manager, "a")
    assert ids(ana.get("/sessions/", {"q": "\x00zzz" + "z" * 100_00})) == []


def test_markup_in_names_is_text(ana: Client, manager):
    hostile = "<script>alert(1)</script>\"'><img src=x>"
    make(manager, "a", title=hostile, workflow=hostile, tags=[hostile])
    manager.sync.pause_execution("a", reason=hostile)
    text = ana.get("/sessions/").content.decode()
    assert "<script>alert" not in text
    assert "<img" not in text
    assert hostile in unescape(text)


def test_programs_get_the_counts(ana: Client, manager):
    make(manager, "a", "b")
    manager.sync.pause_execution("b")
    answer = ana.get("/sessions/", headers={"accept": "application/json"}).json()
    assert answer == {"ok": True, "counts": {"pending": 1, "paused": 1}, "questions": 0}


def test_the_row_of_the_page_is_the_row_of_a_live_frame(ana: Client, manager):
    make(manager, "a", title="A & B", tags=["x"])
    row = str(render_row(manager.sync.get_head("a"), "default"))
    without_time = re.compile(r"<time.*?</time>")
    page = ana.get("/sessions/").content.decode()
    assert without_time.sub("", row.strip()) in without_time.sub("", page)


def test_what_programs_name_is_escaped_in_a_row():
    hostile = '<b title="x">'
    names = {"title": hostile, "workflow": hostile, "error": hostile, "origin": hostile}
    head = Head("a", **names, tags=[hostile], agents=[hostile], updated_at=utc_now())
    row = render_row(head, "default")
    assert "<b " not in row
    assert row.count("&lt;b title=&#34;x&#34;&gt;") == 8


async def test_an_open_question_is_marked_and_can_be_filtered(transactional_db, manager, live_ana):
    import asyncio

    async with manager.session("asks") as session:
        branch = await session.open_branch("main")
        await manager.create_session("other")

        async def ask() -> None:
            async with branch.step(agent="Planner") as step:
                step.output = await step.ask("Go on?")

        asking = asyncio.create_task(ask())
        while not (await manager.get_head("asks")).counts["questions"]:
            await asyncio.sleep(0.01)
        response = await live_ana.get("/sessions/?questions=1")
        assert ids(response) == ["asks"]
        assert "1<span" in re.search(r'data-kind="question".*?</span>', response.content.decode())[0]
        head_questions = (await manager.get_session_state("asks")).questions
        await manager.answer("asks", head_questions[0].question_id, "yes")
        await asking


# Several stores


@pytest.fixture
def two_stores(use_stores):
    use_stores(default=MEMORY, archive=MEMORY)
    return managers.manager("default"), managers.manager("archive")


def test_sessions_of_several_stores_stand_in_one_order(ana: Client, two_stores):
    near, far = two_stores
    make(near, "a")
    make(far, "b")
    make(near, "c")
    response = ana.get("/sessions/")
    assert ids(response) == ["c", "b", "a"]
    assert chip(response, "all") == 3


def test_one_store_can_be_chosen(ana: Client, two_stores):
    near, far = two_stores
    make(near, "a")
    make(far, "b")
    assert ids(ana.get("/sessions/?store=archive")) == ["b"]


def test_an_unknown_store_is_not_found(ana: Client, two_stores):
    response = ana.get("/sessions/?store=elsewhere")
    assert response.status_code == 404
    assert "STATE_STORES names: default, archive" in response.content.decode()


def test_pages_over_two_stores_lose_no_twin(ana: Client, two_stores, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_SIZE", 1)
    near, far = two_stores
    make(near, "a", "b", "c")
    make(far, "a", "b", "c")
    seen, href = [], "?sort=session_id"
    for _ in range(3):
        response = ana.get(f"/sessions/{href}")
        seen += ids(response)
        if 'rel="next"' in response.content.decode():
            href = link(response, "next")
    assert seen == ["a", "a", "b", "b", "c", "c"]


class Away(MemoryStorageBackend):
    async def heads(self, query):
        raise StorageUnavailable("The archive does not answer.")


AWAY = {"BACKEND": "tests.dashboard.pages.test_list.Away"}


def test_a_store_that_is_away_is_told_of_beside_the_rows_of_the_others(ana: Client, use_stores):
    use_stores(default=MEMORY, archive=AWAY)
    make(managers.manager("default"), "a")
    response = ana.get("/sessions/")
    assert response.status_code == 200
    assert ids(response) == ["a"]
    assert "The archive does not answer." in response.content.decode()


def test_where_no_store_answers_the_page_says_why_and_offers_to_retry(ana: Client, use_stores):
    use_stores(default=AWAY)
    response = ana.get("/sessions/?q=x")
    assert response.status_code == 503
    assert "The archive does not answer." in response.content.decode()
    assert 'href="/sessions/?q=x">Retry</a>' in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_list_is_the_same_over_the_database(ana: Client, use_stores, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_SIZE", 2)
    use_stores(default=DATABASE)
    manager = managers.manager("default")
    make(manager, "a", "b", "c", title="Research", tags=["x"])
    manager.sync.pause_execution("b", reason="why not")
    first = ana.get("/sessions/?q=research")
    assert ids(first) == ["c", "b"]
    assert ids(ana.get("/sessions/" + link(first, "next"))) == ["a"]
    assert ids(ana.get("/sessions/?status=paused&tag=x")) == ["b"]
