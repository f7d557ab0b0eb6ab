"""Finding sessions: filters in the address, pills that take them off, and saved views."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from marsys_dashboard.models import DefaultView, SavedView
from marsys_dashboard.spans import read_moment, read_span
from state_core.events import Event, EventKind
from state_core.exceptions import InvalidValue
from state_core.manager import StateManager
from state_core.records import utc_now
from tests.dashboard.pages.test_list import ids

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(manager: StateManager) -> StateManager:
    """One that failed after an hour, one that runs since a minute, one that has not started."""
    now = utc_now()
    append = async_to_sync(manager.log.append)
    for name in ("failed", "runs", "new"):
        manager.sync.create_session(name)
    append("failed", [Event(kind=EventKind.SESSION_STARTED, at=now - timedelta(hours=3))])
    failed = Event(
        kind=EventKind.SESSION_FAILED, at=now - timedelta(hours=2), data={"error": "KeyError: 'moon'"}
    )
    append("failed", [step(now - timedelta(hours=3), 'the "50 %" Writer'), failed])
    append("runs", [Event(kind=EventKind.SESSION_STARTED, at=now - timedelta(minutes=1))])
    async_to_sync(manager.storage.acquire)("runs", "machine-7.4711", 60)
    append("runs", [step(now, "Reader")])
    return manager


def step(at: datetime, agent: str) -> Event:
    return Event(kind=EventKind.STEP_STARTED, at=at, agent=agent, branch_id="b", step_id="b.1")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"agent": "Reader"}, {"runs"}),
        ({"agent": 'the "50 %" Writer'}, {"failed"}),
        ({"owner": "machine-7"}, {"runs"}),
        ({"error": "moon"}, {"failed"}),
        ({"since": "1h"}, {"runs", "new"}),
        ({"until": "1h"}, {"failed"}),
        ({"since": "2020-01-01"}, {"failed", "runs", "new"}),
        ({"longer": "30m"}, {"failed"}),
        ({"shorter": "30m"}, {"runs"}),
        ({"longer": "30s", "error": "moon", "status": "failed"}, {"failed"}),
    ],
)
def test_each_filter_finds_and_can_be_taken_off(ana: Client, three, asked, expected):
    response = ana.get("/sessions/", asked)
    assert set(ids(response)) == expected
    pills = re.findall(r'class="chip pill" href="([^"]+)"', response.content.decode())
    assert len(pills) == len(asked.keys() - {"status"})
    for pill in pills:
        assert len(ids(ana.get("/sessions/" + pill.replace("&amp;", "&")))) >= len(expected)


@pytest.mark.parametrize("asked", [{"since": "yesterday"}, {"longer": "long"}, {"until": "7 x"}])
def test_a_time_that_makes_no_sense_says_how_it_is_written(ana: Client, manager, asked):
    response = ana.get("/sessions/", asked)
    assert response.status_code == 400
    assert "7d" in response.content.decode()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604800), (" 250ms ", 0.25)]
)
def test_spans_are_read(text, seconds):
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "-1h", "1e9d", "9" * 9 + "d", "nan s"])
def test_other_spans_are_refused(text):
    with pytest.raises(InvalidValue):
        read_span(text)


def test_a_moment_without_a_zone_is_in_utc():
    assert read_moment("2026-11-25T14:30").isoformat() == "2026-11-25T14:30:00+00:00"


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_moment_in_utc_is_refused(text):
    with pytest.raises(InvalidValue, match="is no time"):
        read_moment(text)


# Views


def save(client: Client, name: str, query: str = "status=failed", **given: str):
    return client.post("/sessions/views/save/", {"name": name, "query": query, **given}, follow=True)


def test_a_view_is_saved_and_leads_to_what_was_shown(ana: Client, three):
    response = save(ana, "Broken", "status=failed&since=7d&after=xyz")
    assert "The view “Broken” is saved." in response.content.decode()
    assert response.redirect_chain[-1][0] == "/sessions/?status=failed&since=7d"
    page = ana.get("/sessions/").content.decode()
    assert 'href="/sessions/?status=failed&amp;since=7d"' in page


def test_a_view_saved_again_under_its_name_is_replaced(ana: Client, manager):
    save(ana, "Mine", "status=failed")
    save(ana, "Mine", "status=paused")
    assert [view.query for view in SavedView.objects.all()] == ["status=paused"]


def test_others_see_a_view_once_it_is_shared(ana: Client, sign_in, manager):
    save(ana, "Ours")
    cy = sign_in("cy")
    assert "Ours" not in cy.get("/sessions/views/").content.decode()
    view = SavedView.objects.get()
    ana.post(f"/sessions/views/{view.pk}/share/")
    assert "Ours" in cy.get("/sessions/views/").content.decode()


def test_only_its_owner_changes_a_view(ana: Client, sign_in, manager):
    save(ana, "Ours", shared="on")
    view, cy = SavedView.objects.get(), sign_in("cy")
    for what in ("delete", "unshare"):
        assert cy.post(f"/sessions/views/{view.pk}/{what}/").status_code == 404
    assert SavedView.objects.get().shared


def test_the_default_view_is_the_first_page_of_one_person(ana: Client, sign_in, manager):
    save(ana, "Broken", default="on", shared="on")
    assert ana.get("/").headers["Location"] == "/sessions/?status=failed"
    cy = sign_in("cy")
    assert cy.get("/").headers["Location"] == "/sessions/"
    cy.post(f"/sessions/views/{SavedView.objects.get().pk}/default/")
    assert cy.get("/").headers["Location"] == "/sessions/?status=failed"
    ana.post(f"/sessions/views/{SavedView.objects.get().pk}/unshare/")
    assert cy.get("/").headers["Location"] == "/sessions/"
    assert DefaultView.objects.count() == 1


def test_a_deleted_view_is_nobodys_first_page(ana: Client, manager):
    save(ana, "Broken", default="on")
    ana.post(f"/sessions/views/{SavedView.objects.get().pk}/delete/")
    assert ana.get("/").headers["Location"] == "/sessions/"


@pytest.mark.parametrize(
    ("data", "told"),
    [({"name": ""}, "required"), ({"name": "x", "query": "status=nonsense"}, "no status")],
)
def test_a_view_that_leads_nowhere_is_not_saved(ana: Client, manager, data, told):
    response = ana.post("/sessions/views/save/", data, follow=True)
    assert told in response.content.decode()
    assert not SavedView.objects.exists()


def test_a_views_name_is_text(ana: Client, manager):
    save(ana, "<script>alert(1)</script>")
    assert "<script>alert" not in ana.get("/sessions/").content.decode()
