from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core import signing
from django.db import connection
from django.test import Client
from django.utils import timezone

from marsys_dashboard.logs import HideLinks
from marsys_dashboard.signin import make_link
from tests.dashboard.pages.conftest import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def link(db) -> str:
    return make_link(person("ana"))


def signed_in_as(client: Client) -> str | None:
    user = client.get("/accounts/login/").wsgi_request.user
    return user.get_username() or None


def test_a_link_signs_in_and_leads_to_the_sessions(link, manager):
    client = Client()
    response = client.get(link)
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert client.get("/sessions/").status_code == 200


def test_a_link_names_where_the_dashboard_is_reached(db):
    assert make_link(person("ana"), "http://127.0.0.1:8000/").startswith("http://127.0.0.1:8000/sign-in/")


def test_a_link_works_once(link, manager):
    Client().get(link)
    second = Client()
    response = second.get(link)
    assert response.status_code == 403
    assert "used before" in response.content.decode()
    assert signed_in_as(second) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_who_use_a_link_at_once_one_is_signed_in(manager):
    link = make_link(person("ana"))

    def use(_: int) -> int:
        try:
            return Client().get(link).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(use, range(6))) == [302, 403, 403, 403, 403, 403]


def test_asking_only_for_the_headers_does_not_use_a_link_up(link, manager):
    assert Client().head(link).status_code == 405
    assert Client().get(link).status_code == 302


def test_a_link_is_too_old_after_its_time(link, manager, settings):
    settings.SIGN_IN_LINK_AGE = -1
    assert Client().get(link).status_code == 403


def test_a_link_is_too_old_when_its_row_is(link, manager):
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert Client().get(link).status_code == 403


MADE_UP = {"nonsense": "nonsense", "colons": "a:b:c", "another salt": signing.dumps("x", salt="another")}


@pytest.mark.parametrize("token", MADE_UP.values(), ids=MADE_UP)
def test_a_link_that_was_made_up_signs_nobody_in(db, manager, token):
    client = Client()
    assert client.get(f"/sign-in/{token}/").status_code == 403
    assert signed_in_as(client) is None


def test_the_session_of_somebody_is_no_link(manager, ana):
    """Who knows the signing of one thing cannot use it for another: a session's number is not a ticket."""
    key = ana.session.session_key
    assert Client().get(f"/sign-in/{signing.dumps(key, salt='marsys.sign-in')}/").status_code == 403


def test_a_link_of_somebody_who_may_no_longer_sign_in_is_refused(link, manager):
    user = person("ana")
    user.is_active = False
    user.save()
    assert Client().get(link).status_code == 403


def test_the_ticket_behind_a_link_is_nobodys_session(link, manager):
    client = Client()
    client.cookies["marsys_session"] = Session.objects.get().session_key
    assert client.get("/sessions/").status_code == 302


def test_links_do_not_reach_the_log():
    record = logging.LogRecord("django", 20, __file__, 1, "GET %s 302", ("/sign-in/secret:token/",), None)
    HideLinks().filter(record)
    assert record.getMessage() == "GET /sign-in/…/ 302"
    record = logging.LogRecord("daphne", 20, __file__, 1, "POST /answer-by-link/a:b:c/ 200", (), None)
    HideLinks().filter(record)
    assert record.getMessage() == "POST /answer-by-link/…/ 200"


def test_a_name_and_a_password_sign_in_and_lead_back(manager):
    user = person("cy")
    user.set_password("a-long-secret-7")
    user.save()
    client = Client()
    asked = client.get("/sessions/?q=x")
    assert asked.headers["Location"] == "/accounts/login/?next=/sessions/%3Fq%3Dx"
    response = client.post(
        asked.headers["Location"],
        {"username": "cy", "password": "a-long-secret-7", "next": "/sessions/?q=x"},
    )
    assert response.headers["Location"] == "/sessions/?q=x"


def test_a_wrong_password_is_told_and_the_name_stays(manager):
    person("cy")
    response = Client().post("/accounts/login/", {"username": "cy", "password": "wrong"})
    text = response.content.decode()
    assert 'role="alert"' in text
    assert 'value="cy"' in text
    assert "wrong" not in text


def test_signing_in_does_not_lead_away_from_the_dashboard(manager):
    user = person("cy")
    user.set_password("a-long-secret-7")
    user.save()
    response = Client().post(
        "/accounts/login/",
        {"username": "cy", "password": "a-long-secret-7", "next": "https://elsewhere.example/"},
    )
    assert response.headers["Location"] == "/"


def test_signing_out_needs_a_form_and_ends_the_session(ana, manager):
    assert ana.get("/accounts/logout/").status_code == 405
    assert ana.post("/accounts/logout/").headers["Location"] == "/accounts/login/"
    assert ana.get("/sessions/").status_code == 302
