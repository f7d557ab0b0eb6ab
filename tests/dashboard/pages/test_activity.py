"""Who did what: gathered from logs, filtered, exported."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.test import AsyncClient, Client

from marsys_dashboard import activity, managers
from marsys_dashboard.models import ActivityPlace
from marsys_dashboard.sealed import BrokenSeal, check
from state_core.manager import StateManager
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db


def told(client: Client, **asked: str) -> list[tuple[str, str, str]]:
    """(actor, kind without "session.", session) of each row, the newest first."""
    text = client.get("/activity/", asked).content.decode()
    rows = re.findall(r"<tr data-entry=.*?</tr>", text, re.DOTALL)
    return [
        (
            re.search(r'data-actor="([^"]*)"', row)[1],
            re.findall(r"<td>([^<]+)", row)[0].strip().lower(),
            re.search(r'class="mono"[^>]*>([^<]+)<', row)[1],
        )
        for row in rows
    ]


@pytest.fixture
def lived(manager: StateManager, ana: Client) -> StateManager:
    manager.sync.create_session("a", actor="program.1")
    manager.sync.pause_execution("a", actor="ana", reason="night")
    manager.sync.create_checkpoint("a", "before", actor="ana")
    manager.sync.resume_execution("a", actor="bo")
    return manager


def test_acts_stand_there_with_who_why_and_how_it_stood_before_and_after(lived, ana: Client):
    assert told(ana) == [
        ("bo", "resume requested", "a"),
        ("ana", "checkpoint created", "a"),
        ("ana", "paused", "a"),
        ("program.1", "created", "a"),
    ]
    text = ana.get("/activity/?verb=pause").content.decode()
    assert "pending → <b>paused</b>" in text
    assert "night" in text
    assert "“before”" in ana.get("/activity/?verb=checkpoint").content.decode()


def test_work_is_no_act(manager, ana: Client):
    async def work() -> None:
        async with manager.session("a") as session:
            branch = await session.open_branch("b")
            async with branch.step("A", "in") as step:
                step.output = 1

    async_to_sync(work)()
    assert {kind for _, kind, _ in told(ana)} == {"created", "started", "completed"}


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ({"actor": "ana"}, 2),
        ({"verb": "resume"}, 1),
        ({"who": "people"}, 2),
        ({"who": "programs"}, 2),
        ({"session": "a"}, 4),
        ({"session": "b"}, 0),
        ({"since": "1h"}, 4),
        ({"until": "1h"}, 0),
        ({"store": "default", "actor": "ana", "verb": "pause"}, 1),
    ],
)
def test_each_filter_finds(lived, ana: Client, asked, number):
    assert len(told(ana, **asked)) == number


def test_what_somebodys_programs_did_is_found_by_their_name(lived, ana: Client):
    for actor in ("ana (token nightly)", "Ana (token nightly)", "anabel", "an_"):
        lived.sync.create_checkpoint("a", "by it", actor=actor)
    assert {actor for actor, _, _ in told(ana, actor="ana")} == {"ana", "ana (token nightly)"}
    assert told(ana, actor="an_") == [("an_", "checkpoint created", "a")]
    assert len(told(ana, actor="ana (token nightly)")) == 1


@pytest.mark.parametrize("asked", [{"verb": "explode"}, {"who": "cats"}, {"since": "soon"}])
def test_a_filter_that_makes_no_sense_is_refused(manager, ana: Client, asked):
    assert ana.get("/activity/", asked).status_code == 400


def test_each_look_reads_only_what_is_new(lived, ana: Client, monkeypatch):
    told(ana)
    reads = []
    read = type(lived.log).read

    async def counted(self, session_id, **asked):
        reads.append((session_id, asked["after"]))
        return await read(self, session_id, **asked)

    monkeypatch.setattr(type(lived.log), "read", counted)
    told(ana)
    assert reads == []
    lived.sync.create_session("b")
    lived.sync.create_checkpoint("a", "again")
    told(ana)
    assert sorted(reads) == [("a", 4), ("b", 0)]


def test_what_was_dropped_is_gathered_anew_the_same(lived, ana: Client):
    before = told(ana)
    async_to_sync(activity.forget)()
    assert not ActivityPlace.objects.exists()
    assert told(ana) == before


def test_a_store_is_read_a_part_at_each_look_and_says_so_until_it_is_whole(manager, ana: Client, monkeypatch):
    monkeypatch.setattr(activity, "PAGE", 2)
    for n in range(7):
        manager.sync.create_session(f"s-{n}")
    told_behind = "Sessions of default are still being read"
    monkeypatch.setattr(activity, "FIRST_BUDGET", 0.0)
    pages = [ana.get("/activity/").content.decode() for _ in range(6)]
    assert told_behind in pages[0]
    assert told_behind not in pages[-1]
    assert len(told(ana)) == 7


def test_what_many_sessions_did_is_written_at_once(
    manager, ana: Client, django_assert_max_num_queries, monkeypatch
):
    for n in range(20):
        manager.sync.create_session(f"s-{n}")
    monkeypatch.setattr(activity, "FIRST_BUDGET", 60.0)
    with django_assert_max_num_queries(30):
        assert len(told(ana)) == 20


def test_a_deletion_is_told_though_its_log_is_gone(lived, ana: Client):
    told(ana)
    lived.sync.pause_execution("a")
    data = {"confirm": "a", "reason": "tidy"}
    ana.post("/sessions/default/a/delete/", data, headers={"accept": "application/json"})
    rows = told(ana)
    assert rows[0] == ("ana", "deleted", "a")
    assert len(rows) >= 5
    lived.sync.create_session("a", actor="again")
    assert told(ana)[0] == ("again", "created", "a")
    assert ("ana", "deleted", "a") in told(ana)


def test_two_stores_stand_in_one_page(use_stores, ana: Client):
    use_stores(default=MEMORY, other=MEMORY)
    managers.manager("default").sync.create_session("a")
    managers.manager("other").sync.create_session("b")
    assert {session for _, _, session in told(ana)} == {"a", "b"}


def test_pages_go_on_where_the_one_before_ended(lived, ana: Client, monkeypatch):
    monkeypatch.setattr("marsys_dashboard.activity_views.SHOWN", 3)
    first = ana.get("/activity/").content.decode()
    href = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    second = ana.get(href).content.decode()
    assert len(re.findall("<tr data-entry", first)) == 3
    assert len(re.findall("<tr data-entry", second)) == 1
    assert "Created" in second


async def exported(client: AsyncClient, address: str) -> tuple[str, str]:
    response = await client.get(address)
    parts = [part async for part in response.streaming_content]
    return b"".join(parts).decode(), response.headers["Content-Disposition"]


async def test_it_is_exported_as_json_lines_with_the_same_filter(manager, live_ana):
    await manager.create_session("a")
    await manager.pause_execution("a", actor="ana", reason="night")
    await manager.create_checkpoint("a", "before", actor="ana")
    text, name = await exported(live_ana, "/activity/export.jsonl?actor=ana")
    entries = [json.loads(line) for line in text.splitlines()]
    assert [(e["kind"], e["before"], e["after"], e["reason"]) for e in entries] == [
        ("checkpoint.created", "", "", ""),
        ("session.paused", "pending", "paused", "night"),
    ]
    assert name == 'attachment; filename="activity.jsonl"'


async def test_it_is_exported_so_that_changes_are_noticed(manager, live_ana):
    await manager.create_session("a")
    await manager.pause_execution("a", actor="ana", reason="night")
    text, name = await exported(live_ana, "/activity/export.sealed.jsonl?actor=ana")
    assert check(text.splitlines()) == 1
    assert name == 'attachment; filename="activity.sealed.jsonl"'
    with pytest.raises(BrokenSeal, match="Line 1"):
        check(text.replace("night", "noon").splitlines())


async def test_it_is_exported_as_csv_without_formulas(manager, live_ana):
    await manager.create_session("a")
    await manager.pause_execution("a", actor="ana", reason="=HYPERLINK(1)")
    text, _ = await exported(live_ana, "/activity/export.csv?verb=pause")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["reason"] == "'=HYPERLINK(1)"


def test_an_empty_page_says_what_would_stand_there(manager, ana: Client):
    assert 'data-empty="no-activity"' in ana.get("/activity/").content.decode()
    assert 'data-empty="no-match"' in ana.get("/activity/?verb=pause").content.decode()


@pytest.mark.parametrize("address", ["/activity/", "/activity/export.csv", "/activity/export.sealed.jsonl"])
def test_who_may_not_see_sessions_sees_no_activity(manager, sign_in, address):
    assert sign_in("dora").get(address).status_code == 403


def test_what_people_wrote_is_text(manager, ana: Client):
    manager.sync.create_session("a")
    manager.sync.pause_execution("a", actor="<b>", reason="<script>alert(1)</script>")
    text = ana.get("/activity/").content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.django_db(transaction=True)
def test_a_command_gathers_all_of_it_anew(lived, ana: Client):
    before = told(ana)
    out = io.StringIO()
    call_command("gather_activity", "--anew", stdout=out)
    assert out.getvalue().endswith("4 acts are known.\n")
    assert told(ana) == before


def test_a_filter_reads_as_words_that_take_it_off(lived, ana: Client):
    text = ana.get("/activity/?actor=ana&verb=pause&since=7d").content.decode()
    assert [" ".join(words) for words in re.findall(r'chip pill" href="[^"]*">(\w+) (\w+)<', text)] == [
        "by ana",
        "did pause",
        "since 7d",
    ]


def test_one_page_of_news_is_all_of_it_however_slowly_it_is_read(lived, ana: Client, monkeypatch):
    monkeypatch.setattr(activity, "FIRST_BUDGET", -1.0)
    assert "still being read" not in ana.get("/activity/").content.decode()
