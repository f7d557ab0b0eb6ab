from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import get_resolver

from marsys_dashboard.middleware import POLICY
from tests.dashboard.pages.conftest import person

pytestmark = pytest.mark.django_db

PAGES = (
    "/needs-you/",
    "/jobs/",
    "/overview/",
    "/activity/",
    "/sessions/views/",
    "/jobs/clean-up/",
    "/access-tokens/",
    "/api-reference/",
    "/sessions/",
    "/sessions/?q=nothing-like-that",
    "/sessions/?sort=nonsense",
    "/sessions/default/s/",
    "/sessions/default/nowhere/",
    "/sessions/default/s/changes/",
    "/nowhere/",
    *(
        f"/sessions/default/s/{verb}/"
        for verb in ("share", "pause", "resume", "checkpoint", "restore", "cancel", "fork", "delete")
    ),
)


class Inline(HTMLParser):
    """Collects what the policy would refuse: scripts, styles and handlers inside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        handlers = [name for name in values if name.startswith("on") or name == "style"]
        foreign = [
            f"{name}={value}"
            for name, value in values.items()
            if name in {"src", "href", "action"} and re.match(r"(https?:)?//|javascript:", value or "")
        ]
        bare = [tag] if tag == "style" or (tag == "script" and not values.get("src")) else []
        self.found += handlers + foreign + bare


def inline(html: str) -> list[str]:
    parser = Inline()
    parser.feed(html)
    return parser.found


@pytest.fixture
def session(manager):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    manager.sync.create_session("s", title=hostile, tags=[hostile], context={hostile: hostile})
    manager.sync.create_checkpoint("s", hostile, reason=hostile)
    manager.sync.pause_execution("s", reason=hostile)
    return manager


@pytest.mark.parametrize(
    "page", [*PAGES, "/accounts/login/", "/sign-in/nonsense/", "/answer-by-link/nonsense/"]
)
def test_no_page_has_anything_inline_or_from_elsewhere(ana: Client, session, page):
    client = ana if not page.startswith("/accounts") else Client()
    response = client.get(page)
    assert response.headers["Content-Security-Policy"] == POLICY
    assert inline(response.content.decode()) == []


def test_the_check_finds_what_it_looks_for():
    assert inline("<script>1</script><p onclick=x style=y><style></style><a href='//x.example'>") == [
        "script",
        "onclick",
        "style",
        "style",
        "href=//x.example",
    ]


def test_the_policy_allows_only_what_the_machine_itself_serves():
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


@pytest.mark.parametrize("page", PAGES)
def test_every_page_asks_to_sign_in(session, page):
    response = Client().get(page)
    if page == "/nowhere/":
        assert response.status_code == 404
    else:
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/accounts/login/?next=")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "/nowhere/"])
def test_who_has_no_permission_is_told_which(sign_in, session, page):
    response = sign_in("dora").get(page)
    assert response.status_code == 403
    assert "dora has no permission to see sessions (state_core.view_session)" in response.content.decode()


def test_who_has_no_permission_can_sign_out(session):
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("dora"))
    page = client.get("/sessions/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    response = client.post("/accounts/logout/", {"csrfmiddlewaretoken": token})
    assert response.headers["Location"] == "/accounts/login/"


def test_every_address_of_the_dashboard_is_guarded_or_meant_to_be_open():
    """An address that is added later has to be put into PAGES or here; those of the API ask for everything
    by themselves, as tests/dashboard/api/test_site.py shows of each."""
    opened = {"home", "login", "logout", "sign-in", "favicon", "alive", "answer-by-link"}
    guarded = {
        "sessions", "session", "act", "acts", "panel", "charts", "compare", "compare-json",
        "needs", "needs-count", "moments", "nearest-checkpoints", "sessions-by-name",
        "jobs", "new-job", "job", "stop-job", "continue-job", "clean-up",
        "views", "save-view", "change-view", "overview",
        "activity", "activity-csv", "activity-jsonl", "activity-sealed",
        "tokens", "revoke-token", "api-reference",
        "state-json", "visualization-json", "event-json", "session-bundle", "share", "withdraw",
        "proposals", "proposal", "proposal-json",
    }  # fmt: skip
    named = {pattern.name for pattern in get_resolver().url_patterns if getattr(pattern, "name", None)}
    assert named <= opened | guarded


@pytest.mark.parametrize(
    "path",
    [
        "acts/",
        "charts.json",
        "state.json",
        "visualization.json",
        "events/1.json",
        "panels/steps/",
        "session.jsonl.gz",
    ],
)
@pytest.mark.parametrize("name", ["dora", None])
def test_parts_and_files_of_a_session_are_guarded_like_its_page(sign_in, session, name, path):
    client = sign_in(name) if name else Client()
    response = client.get(f"/sessions/default/s/{path}")
    assert response.status_code == (403 if name else 302)


def test_a_form_from_elsewhere_is_refused_in_words(session):
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    response = client.post("/sessions/default/s/resume/", headers={"accept": "application/json"})
    assert response.status_code == 403
    assert "not sent from a page of this dashboard" in response.json()["error"]
    assert session.sync.get_head("s").status == "paused"


def test_the_form_of_a_dialog_passes_that_check(session):
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    form = client.get("/sessions/default/s/resume/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    response = client.post("/sessions/default/s/resume/", {"csrfmiddlewaretoken": token})
    assert response.status_code == 302
    assert session.sync.get_head("s").status == "resuming"


def test_an_unknown_host_is_refused(ana: Client, session):
    assert ana.get("/sessions/", headers={"host": "evil.example"}).status_code == 400


def test_pages_are_not_kept_by_caches_nor_framed(ana: Client, session):
    response = ana.get("/sessions/")
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_cookies_are_out_of_reach_of_scripts(manager, db):
    user = person("ana")
    user.set_password("a-long-secret-7")
    user.save()
    client = Client()
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"username": "ana", "password": "a-long-secret-7"})
    assert client.cookies["marsys_session"]["httponly"]
    assert client.cookies["marsys_session"]["samesite"] == "Lax"


@pytest.mark.parametrize("page", ["/admin/", "/admin/login/"])
def test_the_admin_is_under_the_same_policy(ana: Client, session, page):
    assert ana.get(page).headers["Content-Security-Policy"] == POLICY
