from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from marsys_dashboard.acts import ALL
from marsys_dashboard.api.site import api
from marsys_dashboard.failures import TITLES
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db

PLACES = {
    "store": "default",
    "session_id": "s",
    "verb": "pause",
    "branch_id": "b",
    "step_id": "1",
    "number": 1,
}


def operations() -> list[tuple[str, str, str]]:
    """Method, address and id of each."""
    paths = api.get_openapi_schema()["paths"].items()
    return [(m, address, each["operationId"]) for address, methods in paths for m, each in methods.items()]


def test_the_document_says_of_each_operation_what_it_is_and_answers(anas: Client, manager):
    schema = anas.get("/api/v1/openapi.json").json()
    assert schema["openapi"] == "3.1.0"
    found = [each for methods in schema["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in found}) == len(found) == len(operations())
    for each in found:
        assert each["summary"]
        assert each["responses"]["200"]["content"]["application/json"]["schema"], each["operationId"]
        assert "application/problem+json" in each["responses"]["default"]["content"]
        assert each["security"] == [{"AccessTokenAuth": []}, {"CookieAuth": []}]
    refused = schema["components"]["schemas"]["Problem"]["properties"]
    assert {"type", "title", "status", "detail"} <= refused.keys()


def test_every_reference_in_the_document_leads_somewhere():
    schema = api.get_openapi_schema()
    named = set(references(schema))
    assert named
    assert {name.removeprefix("#/components/schemas/") for name in named} <= schema["components"][
        "schemas"
    ].keys()


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [name for value in part.values() for name in references(value)]
    return [name for value in part for name in references(value)] if isinstance(part, list) else []


@pytest.mark.parametrize(("method", "address"), [(m, address) for m, address, _ in operations()])
def test_every_operation_asks_who_calls_and_whether_they_may(manager, program, method, address):
    place = address.format(**PLACES)
    manager.sync.create_session("s")
    assert Client().generic(method, place, "{}", "application/json").status_code == 401
    response = program("dora").generic(method, place, "{}", "application/json")
    assert response.status_code == 403
    assert "dora has no permission to see sessions" in response.json()["detail"]
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize("address", ["/api/v1/", "/api/v1/nonsense", "/api/", "/api/v2/sessions"])
def test_an_address_that_is_not_there_is_told_as_every_problem(anas: Client, address):
    response = anas.get(address)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code == 404


def test_another_method_is_told_which_there_are(anas: Client):
    response = anas.delete("/api/v1/sessions")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert response.json()["detail"] == "DELETE does not fit here. This address takes GET, HEAD, OPTIONS."


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"reason": NaN}', "NaN is not a value that it knows"),
        (b'{"reason": "a", "reason": "b"}', "'reason' stands there twice"),
        (b'{"seq": 1%s}' % (b"0" * 30), "is too large a number"),
        (b"{reason}", "This is no JSON: expecting property name"),
        (b"\xff", "Cannot parse request body"),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(anas: Client, manager, body, told):
    manager.sync.create_session("s")
    response = anas.generic("POST", "/api/v1/sessions/default/s/acts/pause", body, "application/json")
    assert response.status_code == 400
    assert told in response.json()["detail"]


def test_head_answers_as_get_does_without_a_body(anas: Client, manager):
    manager.sync.create_session("s")
    for address in ("stores", "sessions", "sessions/default/s", "sessions/default/s/events", "openapi.json"):
        got, headed = anas.get(f"/api/v1/{address}"), anas.head(f"/api/v1/{address}")
        assert (headed.status_code, headed.content) == (200, b"")
        assert dict(headed.headers) == dict(got.headers) | {"Expires": headed.headers["Expires"]}
    assert anas.head("/api/v1/sessions/default/gone").status_code == 404
    assert Client().head("/api/v1/sessions").status_code == 401


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("sessions", "GET, HEAD, OPTIONS"), ("sessions/default/s/acts/pause", "GET, HEAD, OPTIONS, POST")],
)
def test_options_tells_which_methods_an_address_takes(address, allowed):
    response = Client().options(f"/api/v1/{address}")
    assert (response.status_code, response.content, response.headers["Allow"]) == (204, b"", allowed)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("sessions/nowhere/s", "There is no store 'nowhere'. STATE_STORES names: default."),
        ("sessions/default/nowhere", "There is no session 'nowhere' in this store."),
        ("sessions/default/s/acts/fly", "Nothing is called 'fly' here. Choose from pause, resume,"),
    ],
)
def test_what_is_not_there_is_named(anas: Client, manager, address, told):
    manager.sync.create_session("s")
    response = anas.get(f"/api/v1/{address}")
    assert response.status_code == 404
    assert response.json()["detail"].startswith(told)


def test_an_error_that_nobody_foresaw_is_logged_and_says_nothing_of_itself(anas: Client, monkeypatch, caplog):
    def fail():
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("marsys_dashboard.api.sessions.store_names", fail)
    response = anas.get("/api/v1/stores")
    assert response.status_code == 500
    assert "1234" not in response.content.decode()
    assert "RuntimeError: the password is 1234" in caplog.text


def test_a_store_that_is_away_is_told_of(anas: Client, use_stores):
    use_stores(default={"URL": "redis://127.0.0.1:1/0"})
    response = anas.get("/api/v1/sessions")
    assert response.status_code == 503
    assert response.json()["title"] == "The store cannot be reached"


def test_a_store_that_is_away_does_not_hide_the_others(anas: Client, use_stores):
    use_stores(default=MEMORY, away={"URL": "redis://127.0.0.1:1/0"})
    answer = anas.get("/api/v1/sessions").json()
    assert answer["sessions"] == []
    assert list(answer["problems"]) == ["away"]


def test_the_reference_has_every_operation_and_problem(sign_in):
    page = sign_in("cy").get("/api-reference/").content.decode()
    for _method, address, name in operations():
        assert f'id="{name}"' in page
        assert address in page
    for status in TITLES.keys() - {500}:
        assert f'id="problem-{status}"' in page
    assert "<code>24h</code>, <code>7d</code>, or a moment" in page
    assert "An event&#x27;s number, or a checkpoint&#x27;s id" in page
    assert "or null or null" not in page


def test_what_the_document_says_can_be_chosen_is_taken_and_nothing_else(anas: Client, manager):
    manager.sync.create_session("s")
    paths = api.get_openapi_schema()["paths"]
    chosen = [
        (address.format(**PLACES), parameter)
        for address, methods in paths.items()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["in"] == "query"
    ]
    tried = 0
    for address, parameter in chosen:
        part = parameter["schema"].get("items", parameter["schema"])
        for value in [*part.get("enum", ()), *([part["default"]] if "default" in part else [])]:
            response = anas.get(address, {parameter["name"]: value})
            assert response.status_code in {200, 404}, (address, parameter["name"], value, response.content)
            tried += 1
    assert tried > 60
    for query in ("status=asleep", "sort=luck"):
        assert anas.get(f"/api/v1/sessions?{query}").status_code == 400
    verbs = paths["/api/v1/sessions/{store}/{session_id}/acts/{verb}"]["get"]["parameters"][2]["schema"][
        "enum"
    ]
    assert verbs == list(ALL)
