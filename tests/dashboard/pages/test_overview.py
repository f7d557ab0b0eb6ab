"""The overview: figures from headers, as tables that the browser draws."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from marsys_dashboard import managers, overview
from marsys_dashboard.ended_steps import EndedSteps
from marsys_dashboard.overview import Agent, compute
from state_core.events import Event, EventKind
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from state_core.records import utc_now
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    overview.forget()
    monkeypatch.setattr(overview, "FIRST_BUDGET", 60.0)  # slow machines read all of it, too


def figures(client: Client, **asked: str) -> dict[str, list[list[str]]]:
    """Name of each chart → the rows of its table."""
    text = client.get("/overview/", asked).content.decode()
    found = {}
    for name, body in re.findall(r'data-chart="(\w+)".*?<tbody>(.*?)</tbody>', text, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
        found[name] = [
            [
                re.sub(r"<[^>]+>", "", cell).strip()
                for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
            ]
            for row in rows
        ]
    return found


def tile(client: Client, label: str) -> str:
    text = client.get("/overview/").content.decode()
    found = re.search(rf"<dt>{label}</dt><dd[^>]*>(?:<a[^>]*>)?([^<]+)", text)
    assert found
    return found[1]


def work(manager: StateManager, session_id: str, *steps: tuple[str, float, str], ago: float = 1.0) -> None:
    """A session whose steps ended ``ago`` minutes ago: (agent, seconds, error)."""
    at = utc_now() - timedelta(minutes=ago)
    events = [
        Event(kind=EventKind.SESSION_STARTED, at=at),
        Event(kind=EventKind.BRANCH_OPENED, at=at, branch_id="b", data={"name": "b"}),
    ]
    for n, (agent, seconds, error) in enumerate(steps):
        common = {"branch_id": "b", "step_id": f"b:{n}", "agent": agent, "at": at}
        kind = EventKind.STEP_FAILED if error else EventKind.STEP_COMPLETED
        events.append(Event(kind=EventKind.STEP_STARTED, **common))
        events.append(Event(kind=kind, duration=seconds, data={"error": error} if error else {}, **common))
    manager.sync.create_session(session_id)
    async_to_sync(manager.log.append)(session_id, events)


def test_an_empty_store_is_told_of_chart_by_chart(ana: Client, manager):
    text = ana.get("/overview/").content.decode()
    assert "No step ended in this time." in text
    assert "There is no session yet." in text


def test_durations_and_failures_are_told_by_agent(ana: Client, manager):
    work(manager, "a", *[("Reader", n / 10, "") for n in range(1, 11)], ("Writer", 2.0, ""))
    work(manager, "b", ("Reader", 9.0, "Timeout: <slow>\nmore"), ("Writer", 1.0, "Timeout: <slow>"))
    found = figures(ana)
    assert found["durations"] == [["Reader", "600 ms", "9.0 s"], ["Writer", "1.0 s", "2.0 s"]]
    assert sorted(found["failures"]) == [
        ["Reader: Timeout: &lt;slow&gt;", "1"],
        ["Writer: Timeout: &lt;slow&gt;", "1"],
    ]
    assert sum(float(row[1]) for row in found["steps"]) > 0
    assert tile(ana, "Steps ended") == "13"


def test_sessions_stand_in_the_bucket_of_their_last_event_by_status(ana: Client, manager):
    work(manager, "a", ago=30)
    manager.sync.create_session("b")
    manager.sync.cancel_execution("b")
    rows = figures(ana, range="1h")["sessions"]
    assert sum(int(row[1]) for row in rows) + sum(int(row[2]) for row in rows) == 2
    assert tile(ana, "Sessions") == "2"


def test_where_counting_by_time_takes_long_the_chart_says_when_it_was_done(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(overview, "KEPT", 0.0)
    monkeypatch.setattr(overview, "COUNTING_SHARE", 1e9)
    manager.sync.create_session("a")
    figures(ana)
    monkeypatch.setattr(overview, "utc_now", lambda: utc_now() + timedelta(seconds=40))
    manager.sync.create_session("b")
    assert re.search(r"Counted [4-9]\d s ago", ana.get("/overview/").content.decode())
    assert sum(int(row[1]) for row in figures(ana)["sessions"]) == 1
    assert tile(ana, "Sessions") == "2"


def test_what_lies_before_the_range_is_not_counted(ana: Client, manager):
    work(manager, "new", ("A", 1, ""))
    at = utc_now() - timedelta(hours=30)
    late = [
        Event(kind=EventKind.STEP_COMPLETED, at=at, branch_id="b", step_id="b:0", agent="Old", duration=1)
    ]
    work(manager, "old", ("Old", 5, ""), ago=60 * 30)
    async_to_sync(manager.log.append)("old", late)
    assert [row[0] for row in figures(ana)["durations"]] == ["A"]
    assert {row[0] for row in figures(ana, range="7d")["durations"]} == {"A", "Old"}


def test_stores_stand_side_by_side_and_one_can_be_chosen(ana: Client, use_stores):
    use_stores(default=MEMORY, other=MEMORY)
    work(managers.manager("default"), "a", ("A", 1, ""))
    work(managers.manager("other"), "b", ("B", 1, ""))
    assert {row[0].partition(" ")[0] for row in figures(ana)["storage"]} == {"default", "other"}
    overview.forget()
    assert [row[0] for row in figures(ana, store="other")["durations"]] == ["B"]


def test_beyond_its_time_it_says_of_how_many_it_is_and_reads_on_at_further_looks(
    ana: Client, manager, monkeypatch
):
    for n in range(4):
        work(manager, f"s-{n}", ("A", 1, ""))
    monkeypatch.setattr(overview, "FIRST_BUDGET", -1.0)
    monkeypatch.setattr(overview, "BUDGET", 60.0)
    text = ana.get("/overview/").content.decode()
    assert "From the 0 sessions that changed last, of 4; more are being read." in text
    assert "data-goes-on" in text
    text = ana.get("/overview/", headers={"X-Fragment": "figures"}).content.decode()
    assert "being read" not in text
    assert "data-goes-on" not in text
    assert tile(ana, "Steps ended") == "4"


def test_sessions_are_counted_exactly_and_steps_of_those_that_changed_last(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(overview, "MOST_HEADS", 2)
    for n in range(4):
        work(manager, f"s-{n}", ("A", 1, ""))
    text = ana.get("/overview/").content.decode()
    assert "From the 2 sessions that changed last, of 4; for others" in text
    assert "data-goes-on" not in text
    assert sum(int(row[1]) for row in figures(ana)["sessions"]) == 4
    assert tile(ana, "Steps ended") == "2+"


def test_each_log_is_read_once_and_then_only_what_is_new(ana: Client, manager, monkeypatch):
    work(manager, "a", ("A", 1, ""))
    work(manager, "b", ("A", 1, ""))
    figures(ana)
    reads = []
    read = type(manager.storage).read_events

    async def counted(self, session_id, **asked):
        reads.append((session_id, asked["after"]))
        return await read(self, session_id, **asked)

    monkeypatch.setattr(type(manager.storage), "read_events", counted)
    at = utc_now()
    again = {"branch_id": "b", "step_id": "b:9", "agent": "A", "at": at}
    async_to_sync(manager.log.append)("b", [Event(kind=EventKind.STEP_STARTED, **again)])
    monkeypatch.setattr(overview, "KEPT", 0.0)
    figures(ana)
    assert reads == [("b", 5)]


def test_of_a_session_made_anew_under_an_id_the_old_steps_count_no_more(ana: Client, manager, monkeypatch):
    monkeypatch.setattr(overview, "KEPT", 0.0)
    work(manager, "a", ("Old", 1, ""), ("Old", 1, ""))
    figures(ana)
    manager.sync.delete_session("a")
    work(manager, "a", ("New", 1, ""))
    assert [row[0] for row in figures(ana)["durations"]] == ["New"]


async def test_only_so_many_steps_are_kept(manager):
    kept = EndedSteps(most=5)
    for n in range(4):
        ended = Event(kind=EventKind.STEP_COMPLETED, branch_id="b", agent="A")
        steps = [replace(ended, step_id=f"b:{number}") for number in range(2)]
        await manager.log.append(f"s-{n}", [Event(kind=EventKind.SESSION_CREATED), *steps])
        head = await manager.get_head(f"s-{n}")
        assert len(await kept.of("default", manager, head)) == 2
    heads = [await manager.get_head(f"s-{n}") for n in range(4)]
    assert [kept.knows("default", head) for head in heads] == [False, False, False, True]


class Away(MemoryStorageBackend):
    async def count_by_status(self, query):
        raise StorageUnavailable("It is away.")


def test_a_store_that_is_away_is_told_of_and_the_others_are_counted(ana: Client, use_stores):
    use_stores(default=MEMORY, other={"BACKEND": f"{__name__}.Away"})
    work(managers.manager("default"), "a", ("A", 1, ""))
    text = ana.get("/overview/").content.decode()
    assert "<b>other</b> is missing from these figures. It is away." in text
    assert "data-chart" in text


async def test_who_ask_together_are_answered_by_one_computation(manager, live_ana, monkeypatch):
    asked = []

    async def counted(chosen, stores, budget):
        asked.append(chosen)
        return await compute(chosen, stores, budget)

    monkeypatch.setattr(overview, "compute", counted)
    for _ in range(3):
        await live_ana.get("/overview/")
    assert asked == ["24h"]


@pytest.mark.parametrize("asked", [{"range": "2y"}, {"store": "nowhere"}])
def test_what_no_link_says_is_refused(ana: Client, manager, asked):
    assert ana.get("/overview/", asked).status_code in {400, 404}


def test_who_may_not_see_sessions_sees_no_figures(sign_in, manager):
    assert sign_in("dora").get("/overview/").status_code == 403


@pytest.mark.parametrize(
    ("durations", "p50", "p95"),
    [([], None, None), ([3.0], 3.0, 3.0), ([float(n) for n in range(1, 101)], 50.0, 95.0), ([1, 2], 1, 2)],
)
def test_quantiles_are_values_that_occurred(durations, p50, p95):
    agent = Agent(list(durations))
    assert (agent.p50, agent.p95) == (p50, p95)
