from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory

from marsys_dashboard import failures, views
from marsys_dashboard.failures import STATUSES, server_error, status_of
from state_core import exceptions
from state_core.exceptions import (
    ConflictError,
    DamagedError,
    InvalidValue,
    LeaseHeld,
    MigrationNeeded,
    QuotaExceeded,
    SessionNotFound,
    StateError,
    StorageUnavailable,
    TooLarge,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SessionNotFound("s"), 404),
        (InvalidValue("no"), 400),
        (TooLarge("no"), 413),
        (ConflictError("s", 1, 2), 409),
        (LeaseHeld("s", "w"), 409),
        (StorageUnavailable("away"), 503),
        (MigrationNeeded("old"), 503),
        (QuotaExceeded(3_000_000, 2_000_000), 507),
        (DamagedError("s", "event 1", "hash"), 500),
        (OperationalError("no route"), 503),
        (KeyError("x"), None),
    ],
)
def test_each_error_has_its_status(error, expected):
    assert status_of(error) == expected


def every_error(kind: type[StateError]) -> list[type[StateError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


def test_no_error_of_the_library_is_without_a_status():
    known = tuple(kind for kind, _ in STATUSES)
    of_library = [kind for kind in every_error(StateError) if kind.__module__ == exceptions.__name__]
    assert len(of_library) > 20
    assert all(issubclass(kind, known) for kind in of_library)


@pytest.fixture
def failing(manager, monkeypatch):
    def fail(error: Exception) -> None:
        async def find(asked):
            raise error

        monkeypatch.setattr(views, "find", find)
        monkeypatch.setattr(views, "count", find)

    return fail


def test_a_database_that_is_away_is_a_page_with_its_sentence_and_retry(ana: Client, failing):
    failing(StorageUnavailable("The database does not answer at db.example."))
    response = ana.get("/sessions/?q=x")
    text = response.content.decode()
    assert response.status_code == 503
    assert "The database does not answer at db.example." in text
    assert 'href="/sessions/?q=x">Retry</a>' in text


def test_the_words_of_a_driver_stay_in_the_log(ana: Client, failing, caplog):
    failing(OperationalError('password authentication failed for user "marsys"'))
    response = ana.get("/sessions/")
    assert response.status_code == 503
    assert "password authentication" not in response.content.decode()
    assert "The database does not answer" in response.content.decode()
    assert "password authentication" in caplog.text


def test_programs_get_errors_as_json(ana: Client, failing):
    failing(StorageUnavailable("away"))
    response = ana.get("/sessions/", headers={"accept": "application/json"})
    assert (response.status_code, response.json()) == (503, {"ok": False, "error": "away"})


def test_damage_is_told_as_damage(ana: Client, failing):
    failing(DamagedError("s", "event 7", "its hash differs"))
    response = ana.get("/sessions/")
    assert response.status_code == 500
    assert "event 7 is damaged" in response.content.decode()
    assert "What is stored here is damaged" in response.content.decode()


def test_an_error_that_nobody_foresaw_says_no_more_than_that(ana: Client, failing):
    failing(RuntimeError("secret detail"))
    ana.raise_request_exception = False
    response = ana.get("/sessions/")
    assert response.status_code == 500
    assert "secret detail" not in response.content.decode()
    assert "Something went wrong here" in response.content.decode()


def test_a_database_that_is_away_before_any_view_is_told_as_that():
    request = RequestFactory().get("/sessions/")
    try:
        raise OperationalError("no route to host")
    except OperationalError:
        response = server_error(request)
    assert response.status_code == 503
    assert "no route" not in response.content.decode()


@pytest.mark.parametrize(("who", "leads_on"), [("bo", True), ("dora", False)])
def test_a_refusal_leads_to_the_list_only_those_who_may_see_it(sign_in, manager, who, leads_on):
    response = sign_in(who).get("/jobs/clean-up/")
    text = response.content.decode()
    assert response.status_code == 403
    assert ("All sessions" in text) == ('href="/sessions/"' in text) == leads_on
    assert "Sign in as somebody else" in text


def test_error_pages_ask_neither_the_database_nor_who_is_signed_in(django_assert_num_queries):
    request = RequestFactory().get("/nowhere/")
    with django_assert_num_queries(0):
        response = failures.not_found(request)
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/nowhere/", "No page of this dashboard has this address"),
        ("/sessions/default/nowhere/", "There is no such session"),
        ("/sessions/elsewhere/s/", "There is no store"),
    ],
)
def test_what_is_not_there_is_told_in_words(ana: Client, manager, path, told):
    response = ana.get(path)
    assert response.status_code == 404
    assert told in response.content.decode()


def test_what_was_asked_for_is_text_in_an_error(ana: Client, manager):
    response = ana.get("/sessions/", {"status": "<script>alert(1)</script>"})
    assert response.status_code == 400
    assert "<script>alert" not in response.content.decode()
