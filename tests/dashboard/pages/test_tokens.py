from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from marsys_dashboard import tokens
from marsys_dashboard.models import AccessToken
from tests.dashboard.pages.conftest import person

pytestmark = pytest.mark.django_db

PAGE = "/access-tokens/"


def make(client: Client, name: str = "nightly", **given: str):
    return client.post(PAGE, {"name": name, "may": "read", "lasts": "30", **given})


def shown(response) -> list[str]:
    return re.findall(r"marsys_pat_[\w-]+", response.content.decode())


def test_a_token_is_shown_once_and_works(manager, ana: Client):
    response = make(ana)
    (token,) = shown(response)
    assert "no-store" in response.headers["Cache-Control"]
    assert shown(ana.get(PAGE)) == []
    assert Client().get("/api/v1/stores", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_is_what_was_asked_for(ana: Client):
    make(ana, "reader")
    make(ana, "actor", may="act", lasts="")
    reader, actor = AccessToken.objects.get(name="reader"), AccessToken.objects.get(name="actor")
    assert not reader.may_act
    assert abs(reader.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert (actor.may_act, actor.expires_at, actor.user.username) == (True, None, "ana")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": ""}, "Name: This field is required."),
        ({"name": "x" * 81}, "at most 80 characters"),
        ({"name": "two\nlines"}, "characters that can be seen"),
        ({"name": "taken"}, "You have a token of this name"),
        ({"may": "rule"}, "May: Select a valid choice"),
        ({"lasts": "10000"}, "Expires: Select a valid choice"),
    ],
)
def test_what_does_not_fit_makes_no_token(ana: Client, given, told):
    make(ana, "taken")
    response = make(ana, **given)
    assert told in response.content.decode()
    assert shown(response) == []
    assert AccessToken.objects.count() == 1


def test_nobody_has_more_than_can_be_looked_through(ana: Client, monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 1)
    make(ana, "first")
    assert "You have 1 tokens already" in make(ana, "second").content.decode()


def test_people_see_and_revoke_their_own_alone(sign_in, ana: Client):
    make(ana, "of ana")
    token = AccessToken.objects.get()
    bo = sign_in("bo")
    assert "of ana" not in bo.get(PAGE).content.decode()
    assert bo.post(f"{PAGE}{token.pk}/revoke/").status_code == 404
    assert ana.get(f"{PAGE}{token.pk}/revoke/").status_code == 405
    make(bo, "of ana")
    response = ana.post(f"{PAGE}{token.pk}/revoke/", follow=True)
    assert "The token “of ana” is revoked" in response.content.decode()
    assert [left.user.username for left in AccessToken.objects.all()] == ["bo"]


def test_a_revoked_token_is_refused(manager, ana: Client):
    (token,) = shown(make(ana))
    ana.post(f"{PAGE}{AccessToken.objects.get().pk}/revoke/")
    assert Client().get("/api/v1/stores", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_makes_no_tokens(manager, ana: Client):
    (token,) = shown(make(ana, may="act"))
    response = Client().post(PAGE, {"name": "more"}, headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 302
    assert AccessToken.objects.count() == 1


def test_a_foreign_page_makes_no_token():
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ana"))
    assert make(client).status_code == 403
    assert not AccessToken.objects.exists()


def test_the_page_tells_when_a_token_was_used_and_that_one_expired(manager, ana: Client):
    (token,) = shown(make(ana))
    assert "never" in ana.get(PAGE).content.decode()
    Client().get("/api/v1/stores", headers={"authorization": f"Bearer {token}"})
    AccessToken.objects.update(expires_at=timezone.now())
    page = ana.get(PAGE).content.decode()
    assert "never" not in page
    assert "expired" in page
