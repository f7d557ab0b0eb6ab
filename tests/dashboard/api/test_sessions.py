from __future__ import annotations

from datetime import datetime

import pytest
from django.test import Client

from marsys_dashboard import managers
from tests.dashboard.api.conftest import SESSION
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db

SESSIONS = "/api/v1/sessions"


def ids(answer) -> list[str]:
    return [each["session_id"] for each in answer["sessions"]]


def pages(client: Client, address: str) -> list[list[str]]:
    found = []
    while address:
        answer = client.get(address).json()
        found.append(ids(answer))
        address = answer["next"]
    return found


def test_one_session_is_told_with_times_that_have_a_zone(anas: Client, manager):
    manager.sync.create_session("s", title="Tides", tags=["sea"], workflow="survey")
    found = anas.get(SESSION).json()
    assert (found["store"], found["title"], found["tags"]) == ("default", "Tides", ["sea"])
    assert (found["status"], found["seq"], found["unreadable"]) == ("pending", 1, "")
    assert datetime.fromisoformat(found["created_at"]).utcoffset() is not None
    assert anas.get(found["url"]).json()["session_id"] == "s"
    assert found["page"] == "/sessions/default/s/"
    assert found["counts"]["steps"] == 0


def test_filters_are_those_of_the_page(anas: Client, manager):
    for name, tags in (("s1", ["sea"]), ("s2", []), ("s3", ["sea"])):
        manager.sync.create_session(name, tags=tags)
    manager.sync.pause_execution("s3")
    answer = anas.get(f"{SESSIONS}?tag=sea").json()
    assert set(ids(answer)) == {"s1", "s3"}
    assert answer["counts"] == {"pending": 1, "paused": 1}
    assert ids(anas.get(f"{SESSIONS}?tag=sea&status=paused&status=failed").json()) == ["s3"]
    assert ids(anas.get(f"{SESSIONS}?sort=session_id").json()) == ["s1", "s2", "s3"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("status=nonsense", "'nonsense' is no status"),
        ("sort=nonsense", "nonsense"),
        ("after=nonsense", "This link to a further page cannot be read"),
        ("since=nonsense", "nonsense"),
    ],
)
def test_a_filter_that_no_page_has_is_refused(anas: Client, manager, query, told):
    response = anas.get(f"{SESSIONS}?{query}")
    assert response.status_code == 400
    assert told in response.json()["detail"]


@pytest.mark.parametrize("sort", ["session_id", "-created_at", "-duration"])
def test_pages_follow_each_other_without_gap_or_repetition(anas: Client, use_stores, sort):
    use_stores(default=MEMORY, second=MEMORY)
    names = [f"s{number:03}" for number in range(120)]
    for number, name in enumerate(names):
        managers.manager(("default", "second")[number % 2]).sync.create_session(name)
    found = pages(anas, f"{SESSIONS}?sort={sort}")
    assert [len(page) for page in found] == [50, 50, 20]
    assert sorted(name for page in found for name in page) == names


def test_one_store_alone(anas: Client, use_stores):
    use_stores(default=MEMORY, second=MEMORY)
    managers.manager("default").sync.create_session("here")
    managers.manager("second").sync.create_session("there")
    second = anas.get("/api/v1/stores").json()[1]
    assert second["name"] == "second"
    answer = anas.get(second["url"]).json()
    assert [(each["store"], each["session_id"]) for each in answer["sessions"]] == [("second", "there")]
    assert anas.get(f"{SESSIONS}?store=third").status_code == 404


def test_what_agents_wrote_is_told_as_it_is_and_interpreted_by_nobody(anas: Client, manager):
    hostile = "<script>alert(1)</script>\x1b[2J"
    manager.sync.create_session("s", title=hostile)
    response = anas.get(SESSION)
    assert response.json()["title"] == hostile
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response.headers["Cache-Control"]
