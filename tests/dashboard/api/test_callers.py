from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from marsys_dashboard import tokens
from marsys_dashboard.logs import HideLinks
from marsys_dashboard.models import AccessToken
from tests.dashboard.api.conftest import SESSION, token_of
from tests.dashboard.pages.conftest import person

pytestmark = pytest.mark.django_db

STORES = "/api/v1/stores"


def ask(token: str, address: str = STORES, scheme: str = "Bearer"):
    return Client().get(address, headers={"authorization": f"{scheme} {token}"})


def test_a_token_signs_in(manager):
    assert ask(token_of("cy")).json() == [{"name": "default", "url": "/api/v1/sessions?store=default"}]
    assert ask(token_of("cy", called="other"), scheme="bearer").status_code == 200


@pytest.mark.parametrize(
    "address",
    [STORES, "/api/v1/sessions", SESSION, f"{SESSION}/acts/pause", "/api/v1/openapi.json"],
)
def test_who_is_not_signed_in_is_told_how_to(manager, address):
    response = Client().get(address)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="MARSYS dashboard"'
    assert "Authorization: Bearer" in response.json()["detail"]


@pytest.mark.parametrize("token", ["", "nonsense", "marsys_pat_" + "A" * 43, "ä" * 60, "A" * 100_000])
def test_a_wrong_token_is_refused_whatever_cookie_comes_with_it(manager, sign_in, token):
    response = sign_in("ana").get(STORES, headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert "not known" in response.json()["detail"]
    assert token not in response.content.decode() or not token


def test_an_expired_token_says_when_it_expired(manager):
    token = token_of("ana")
    AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    response = ask(token)
    assert response.status_code == 401
    assert "expired at 20" in response.json()["detail"]


def test_a_token_ends_with_its_persons_account(manager):
    token = token_of("ana")
    user = person("ana")
    user.is_active = False
    user.save()
    assert "deactivated" in ask(token).json()["detail"]
    user.delete()
    assert "not known" in ask(token).json()["detail"]


def test_what_a_person_may_no_longer_do_their_token_may_no_longer(manager):
    manager.sync.create_session("s")
    token = token_of("bo")
    person("bo").user_permissions.clear()
    response = ask(token)
    assert response.status_code == 403
    assert "bo has no permission to see sessions (state_core.view_session)" in response.json()["detail"]


def test_the_use_of_a_token_is_noted_once_a_minute(manager):
    token = token_of("ana")
    ask(token)
    first = AccessToken.objects.get().last_used_at
    assert timezone.now() - first < timedelta(seconds=30)
    ask(token)
    assert AccessToken.objects.get().last_used_at == first


def test_a_token_stands_neither_in_the_database_nor_in_a_log_nor_in_a_repr():
    token = token_of("ana")
    kept = AccessToken.objects.get()
    assert token.removeprefix(tokens.PREFIX) not in repr(AccessToken.objects.values().get())
    assert kept.digest not in repr(kept)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "asked with %s", (f"Bearer {token}",), None)
    HideLinks().filter(record)
    assert record.getMessage() == "asked with Bearer marsys_pat_…"


def test_a_page_calls_with_its_cookie(manager, sign_in):
    assert sign_in("cy").get(STORES).status_code == 200


def test_who_has_a_cookie_and_no_permission_is_told_which(manager, sign_in):
    response = sign_in("dora").get(STORES)
    assert response.status_code == 403
    assert "state_core.view_session" in response.json()["detail"]


def test_a_foreign_page_cannot_act_with_somebodys_cookie(manager):
    manager.sync.create_session("s")
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    response = client.post(f"{SESSION}/acts/pause", {}, content_type="application/json")
    assert response.status_code == 403
    assert "X-CSRFToken" in response.json()["detail"]
    assert manager.sync.get_head("s").status == "pending"


def test_a_page_of_the_dashboard_acts_with_cookie_and_csrf_token(manager):
    manager.sync.create_session("s")
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    client.get("/sessions/default/s/pause/")
    csrf = client.cookies["marsys_csrf"].value
    response = client.post(
        f"{SESSION}/acts/pause", {}, content_type="application/json", headers={"x-csrftoken": csrf}
    )
    assert response.status_code == 200, response.content
    assert manager.sync.get_head("s").status == "paused"


def test_a_program_needs_no_csrf_token(manager):
    manager.sync.create_session("s")
    response = Client(enforce_csrf_checks=True).post(
        f"{SESSION}/acts/pause",
        {},
        content_type="application/json",
        headers={"authorization": f"Bearer {token_of('ana')}"},
    )
    assert response.status_code == 200
