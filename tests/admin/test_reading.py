"""Rows to read: nothing can be added, changed or deleted there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from state_core import StateManager
from state_core.models import Checkpoint, Event, Session

MODELS = {"session": Session, "checkpoint": Checkpoint, "event": Event}


@pytest.mark.parametrize("name", MODELS)
def test_a_viewer_reads_lists_and_rows(name: str, viewer: Client, paused: str) -> None:
    listed = viewer.get(f"/admin/state_core/{name}/")
    assert listed.status_code == 200
    row = MODELS[name].objects.first()
    assert row
    shown = viewer.get(f"/admin/state_core/{name}/{row.pk}/change/")
    assert shown.status_code == 200
    assert paused in shown.content.decode()


@pytest.mark.parametrize("name", MODELS)
def test_without_the_permission_nothing_is_shown(
    name: str, client_with: Callable[..., Client], paused: str
) -> None:
    stranger = client_with()
    assert stranger.get(f"/admin/state_core/{name}/").status_code == 403
    assert f"/admin/state_core/{name}/" not in stranger.get("/admin/").content.decode()


@pytest.mark.parametrize("name", MODELS)
def test_nobody_adds_changes_or_deletes_a_row(name: str, admin_client: Client, paused: str) -> None:
    row = MODELS[name].objects.first()
    assert row
    count = MODELS[name].objects.count()
    assert admin_client.get(f"/admin/state_core/{name}/add/").status_code == 403
    assert (
        admin_client.post(f"/admin/state_core/{name}/{row.pk}/change/", {"status": "failed"}).status_code
        == 403
    )
    assert admin_client.post(f"/admin/state_core/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert MODELS[name].objects.count() == count


def test_a_status_is_shown_by_icon_and_word(viewer: Client, paused: str) -> None:
    page = viewer.get("/admin/state_core/session/").content.decode()
    assert 'data-colour="paused"' in page
    assert "❚❚</span> Paused" in page


def test_a_session_links_to_its_page_in_the_dashboard(viewer: Client, paused: str) -> None:
    assert f"/sessions/default/{paused}/" in viewer.get("/admin/state_core/session/").content.decode()


@pytest.mark.parametrize("text", ["paused", "tides"])
def test_sessions_are_found_by_id_and_title(text: str, viewer: Client, paused: str, completed: str) -> None:
    page = viewer.get("/admin/state_core/session/", {"q": text}).content.decode()
    assert paused in page
    assert completed not in page


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("session/?status__exact=completed", "completed_1"),
        ("session/?asks=0", "completed_1"),
        ("checkpoint/?kind__exact=manual", "before"),
        ("event/?of_kind=step.started", "step.started"),
    ],
)
def test_filters_narrow_a_list(address: str, found: str, viewer: Client, paused: str, completed: str) -> None:
    assert found in viewer.get(f"/admin/state_core/{address}").content.decode()


def test_a_filter_that_nothing_fits_shows_nothing(viewer: Client, paused: str) -> None:
    page = viewer.get("/admin/state_core/session/?asks=1")
    assert page.context["cl"].result_count == 0


def test_what_an_agent_said_is_shown_as_text(viewer: Client, paused: str) -> None:
    event = Event.objects.get(kind="message.added")
    page = viewer.get(f"/admin/state_core/event/{event.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_a_damaged_event_says_so(viewer: Client, paused: str) -> None:
    event = Event.objects.get(kind="message.added")
    Event.objects.filter(pk=event.pk).update(body=b"nonsense")
    page = viewer.get(f"/admin/state_core/event/{event.pk}/change/").content.decode()
    assert "is damaged" in page


def test_a_long_body_is_cut_and_says_by_how_much(viewer: Client, manager: StateManager) -> None:
    with manager.sync.session("long_1", context={"text": "x" * 50_000}):
        pass
    event = Event.objects.get(kind="session.created")
    page = viewer.get(f"/admin/state_core/event/{event.pk}/change/").content.decode()
    assert "more characters" in page
    assert "x" * 30_000 not in page


def test_lists_read_no_bodies(viewer: Client, paused: str, django_assert_max_num_queries) -> None:
    with django_assert_max_num_queries(12) as asked:
        viewer.get("/admin/state_core/event/")
    assert not [query for query in asked.captured_queries if '"body"' in query["sql"]]


def test_every_page_keeps_the_strict_content_security_policy(operator: Client, paused: str) -> None:
    for address in ("", "state_core/session/", "state_core/event/"):
        page = operator.get(f"/admin/{address}")
        assert "script-src 'self'" in page["Content-Security-Policy"]
        body = page.content.decode()
        assert " style=" not in body
        assert "onclick=" not in body
        assert "<script>" not in body
