from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from marsys_dashboard.acts import ALL
from marsys_dashboard.models import ActivityEntry
from state_core.events import Event, EventKind
from state_core.manager import StateManager
from tests.dashboard.api.conftest import SESSION
from tests.dashboard.pages.test_needs import append, ask

pytestmark = pytest.mark.django_db

WHY = {"reason": "to see what happens"}


def do(client: Client, verb: str, sent: Any = None, session: str = SESSION):
    return client.post(
        f"{session}/acts/{verb}", {} if sent is None else sent, content_type="application/json"
    )


def last(manager: StateManager):
    async def read():
        return (await manager.log.read("s", limit=1, newest_first=True))[0]

    return asyncio.run(read())


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    """A manager that has a session "s", pending."""
    manager.sync.create_session("s", title="Research", context={"topic": "tides"})
    return manager


async def test_a_question_is_answered_by_a_program(manager, live_anas):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with manager.session("s") as running:
        branch = await running.open_branch("main")
        async with branch.step(agent="Asker") as step:
            asked = asyncio.ensure_future(step.ask("How many?", schema=schema))
            while not (await manager.get_head("s")).counts["questions"]:
                await asyncio.sleep(0.01)
            preview = (await live_anas.get(f"{SESSION}/acts/answer")).json()
            question = preview["questions"][0]
            wrong = await live_anas.post(
                f"{SESSION}/acts/answer",
                {"question": question["question_id"], "answer": {"n": "three"}},
                content_type="application/json",
            )
            right = await live_anas.post(
                f"{SESSION}/acts/answer",
                {"question": question["question_id"], "answer": {"n": 3}},
                content_type="application/json",
            )
            step.output = await asked
    assert (question["prompt"], question["schema"], preview["needs"]) == (
        "How many?",
        schema,
        ["question", "answer"],
    )
    assert wrong.status_code == 400
    assert '"three" is not of type "integer"' in wrong.json()["detail"]
    assert right.json()["message"] == "The answer is recorded."
    state = await manager.get_session_state("s")
    assert state.questions[0].answered_by == "ana (token nightly)"
    assert state.branches[0].steps[0].output == {"n": 3}
    again = await live_anas.post(
        f"{SESSION}/acts/answer",
        {"question": question["question_id"], "answer": {"n": 4}},
        content_type="application/json",
    )
    assert again.status_code == 409
    assert "that answer stands" in again.json()["detail"]


def test_pause_tells_what_came_of_it_and_stands_in_the_log(anas: Client, session):
    answer = do(anas, "pause", WHY).json()
    assert answer["message"] == "The session is paused."
    assert (answer["session"]["status"], answer["session"]["reason"]) == ("paused", "to see what happens")
    assert (last(session).kind, last(session).actor) == (EventKind.SESSION_PAUSED, "ana (token nightly)")


def test_activity_tells_a_program_from_a_person(anas: Client, sign_in, session):
    ana = sign_in("ana")
    do(anas, "pause", WHY)
    do(ana, "resume")
    ana.get("/activity/")
    found = dict(ActivityEntry.objects.exclude(verb="create").values_list("actor", "is_person"))
    assert found == {"ana (token nightly)": False, "ana": True}


async def test_a_running_session_is_paused_by_whoever_runs_it(manager, live_anas):
    async with manager.session("s", on_pause="raise") as running:
        branch = await running.open_branch("main")
        async with branch.step(agent="Reader"):
            response = await live_anas.post(f"{SESSION}/acts/pause", {}, content_type="application/json")
        assert response.json()["session"]["status"] == "pausing"
        await manager.cancel_execution("s")
        with contextlib.suppress(BaseException):
            async with branch.step(agent="Reader"):
                pytest.fail("the next step began although the session is to stop")


def test_what_the_state_does_not_allow_is_a_conflict_that_says_what_helps(anas: Client, session):
    response = do(anas, "resume")
    assert response.status_code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "/api-reference/#problem-409"
    assert (problem["title"], problem["status"]) == ("The session is in another state", 409)
    assert "it is pending" in problem["detail"]


def test_resume_takes_a_context(anas: Client, session):
    do(anas, "pause")
    assert do(anas, "resume", {"context": {"review": {"by": "Ana"}}}).status_code == 200
    assert session.sync.get_session_state("s").context == {"topic": "tides", "review": {"by": "Ana"}}


def test_resume_takes_an_edited_context_where_the_session_did_not_move_on(anas: Client, session):
    do(anas, "pause")
    seq = session.sync.get_head("s").last_seq
    assert "expected_seq" in do(anas, "resume", {"edited": {}}).json()["errors"][0]["field"]
    assert do(anas, "resume", {"edited": {"topic": "moon"}, "expected_seq": seq - 1}).status_code == 409
    assert do(anas, "resume", {"edited": {"topic": "moon"}, "expected_seq": seq}).status_code == 200
    assert session.sync.get_session_state("s").context == {"topic": "moon"}


def test_a_changed_context_that_another_person_has_to_approve_is_refused(anas: Client, session, settings):
    settings.REVIEW_EDITS = True
    do(anas, "pause")
    seq = session.sync.get_head("s").last_seq
    for change in ({"context": {"topic": "moon"}}, {"edited": {}, "expected_seq": seq}):
        response = do(anas, "resume", change)
        assert response.status_code == 409
        assert "another person approves a changed context first" in response.json()["detail"]
    assert session.sync.get_session_state("s").context == {"topic": "tides"}


@pytest.mark.parametrize(
    "verb", ["pause", "resume", "checkpoint", "cancel", "fork", "restore", "undo", "delete"]
)
def test_an_act_for_another_state_than_the_present_one_is_refused(anas: Client, session, verb):
    checkpoint = session.sync.create_checkpoint("s", "place")
    session.sync.restore_checkpoint(checkpoint)
    before = session.sync.get_head("s")
    needed: dict[str, dict[str, Any]] = {
        "checkpoint": {"name": "here"},
        "restore": {"checkpoint": checkpoint},
        "delete": {"confirm": "s"},
    }
    response = do(anas, verb, {"expected_seq": before.last_seq + 3, **WHY, **needed.get(verb, {})})
    assert response.status_code == 409
    assert f"event {before.last_seq} is its last" in response.json()["detail"]
    assert session.sync.get_head("s").last_seq == before.last_seq


def test_checkpoint_restore_and_undo(anas: Client, session):
    assert do(anas, "checkpoint", {"name": "before"}).status_code == 200
    checkpoint = session.sync.list_checkpoints("s")[0]
    preview = anas.get(f"{SESSION}/acts/restore?checkpoint={checkpoint.id}").json()
    assert preview["title"] == "Restore checkpoint “before”"
    assert preview["consequences"][0].startswith("Set aside: ")
    assert (preview["needs"], preview["becomes"]) == (["checkpoint", "reason"], "Paused")
    assert [each["name"] for each in preview["checkpoints"]] == ["before"]
    assert do(anas, "restore", {"checkpoint": checkpoint.id, **WHY}).json()["session"]["status"] == "paused"
    assert do(anas, "undo", WHY).json()["message"] == "The restore is undone; the session is paused."


def test_a_question_that_was_asked_anew_is_not_answered_by_who_read_the_one_before(anas: Client, session):
    append(session, "s", Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "plan"}))
    checkpoint = session.sync.create_checkpoint("s", "before it asks")
    ask(session, "s")
    read = anas.get(f"{SESSION}/questions").json()["questions"][0]
    session.sync.restore_checkpoint(checkpoint)
    ask(session, "s")
    given = {"question": "q", "answer": "yes"}
    response = do(anas, "answer", {**given, "asked_at": read["asked_at"]})
    assert response.status_code == 409
    assert "was asked anew since" in response.json()["detail"]
    read = anas.get(f"{SESSION}/questions").json()["questions"][0]
    assert do(anas, "answer", {**given, "asked_at": read["asked_at"]}).status_code == 200


def test_a_fork_answers_with_the_new_session(anas: Client, session):
    fork = do(anas, "fork", {"new_session_id": "second", "seq": 1}).json()["session"]
    assert (fork["session_id"], fork["status"], fork["origin"]) == ("second", "paused", "s@1")
    assert anas.get(fork["url"]).json()["session_id"] == "second"


@pytest.mark.parametrize("confirm", [None, "", "S", "other"])
def test_nothing_is_deleted_by_who_does_not_name_it(anas: Client, session, confirm):
    response = do(anas, "delete", {**WHY, **({} if confirm is None else {"confirm": confirm})})
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["confirm"]
    assert session.sync.get_head("s")


def test_delete_leaves_who_and_why(anas: Client, session):
    assert do(anas, "delete", {"confirm": "s", **WHY}).json() == {
        "message": "Session s is deleted.",
        "session": None,
    }
    assert anas.get(SESSION).status_code == 404
    entry = ActivityEntry.objects.get(verb="delete")
    assert (entry.actor, entry.reason) == ("ana (token nightly)", "to see what happens")


@pytest.mark.parametrize(
    ("verb", "sent", "field"),
    [
        ("cancel", {}, "reason"),
        ("restore", {"reason": "x"}, "checkpoint"),
        ("checkpoint", {}, "name"),
        ("pause", {"reason": "x" * 501}, "reason"),
        ("pause", {"name": "x"}, "name"),
        ("pause", {"raeson": "x"}, "raeson"),
        ("resume", {"context": ["no object"]}, "context"),
        ("fork", {"new_session_id": "no such/id"}, "new_session_id"),
        ("fork", {"seq": -1}, "seq"),
        ("fork", {"seq": 2**63}, "seq"),
        ("checkpoint", {"name": "\ud800"}, "name"),
        ("cancel", {"reason": "a\0b"}, "reason"),
    ],
)
def test_what_does_not_fit_is_told_by_its_field(anas: Client, session, verb, sent, field):
    before = session.sync.get_head("s").last_seq
    response = do(anas, verb, sent)
    assert response.status_code == 400, response.content
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert session.sync.get_head("s").last_seq == before


@pytest.mark.parametrize("body", ["{", "[1]", "null", "[" * 100_000, '"text"'])
def test_a_body_that_is_no_object_is_refused(anas: Client, session, body):
    response = anas.post(f"{SESSION}/acts/pause", body, content_type="application/json")
    assert response.status_code == 400
    assert session.sync.get_head("s").status == "pending"


def test_a_body_that_is_too_large_is_not_read(anas: Client, session):
    response = do(anas, "resume", {"context": {"x": "y" * 3_000_000}})
    assert response.status_code == 413
    assert response.json()["title"] == "That is too large"


def test_a_checkpoint_of_another_session_is_not_found(anas: Client, session):
    session.sync.create_session("other")
    foreign = session.sync.create_checkpoint("other", "theirs")
    response = do(anas, "restore", {"checkpoint": foreign, **WHY})
    assert response.status_code == 404
    assert "There is no checkpoint" in response.json()["detail"]


@pytest.mark.parametrize("verb", [*ALL, "nonsense"])
def test_a_read_only_token_acts_on_nothing(program, session, verb):
    response = do(program("ana", may_act=False), verb, WHY)
    assert response.status_code == (404 if verb == "nonsense" else 403)
    if verb != "nonsense":
        assert "may only read" in response.json()["detail"]
    assert session.sync.get_head("s").status == "pending"


@pytest.mark.parametrize("verb", ALL)
def test_who_may_not_is_told_which_permission_is_missing(program, session, verb):
    client = program("cy")
    response = do(client, verb, WHY)
    assert response.status_code == 403
    assert ALL[verb].permission in response.json()["detail"]
    preview = client.get(f"{SESSION}/acts/{verb}").json()
    assert not preview["allowed"]
    assert preview["why_not"].startswith("You have no permission to ")


def test_a_session_tells_what_can_be_done_to_it(anas: Client, session):
    acts = {act["verb"]: act for act in anas.get(SESSION).json()["acts"]}
    assert list(acts) == list(ALL)
    assert acts["pause"] == {
        "verb": "pause",
        "title": "Pause session",
        "allowed": True,
        "why_not": "",
        "permission": "state_core.operate_session",
        "reason_required": False,
        "url": f"{SESSION}/acts/pause",
    }
    assert acts["restore"]["why_not"] == "It has no checkpoint yet."
    assert acts["delete"]["reason_required"]


def by_dialog(client: Client, verb: str, sent: dict[str, Any]):
    return client.post(f"/sessions/default/s/{verb}/", sent, headers={"accept": "application/json"})


@pytest.mark.django_db(transaction=True)
def test_an_act_by_http_writes_what_the_dialog_writes(anywhere, sign_in, anas):
    """On each store the same events, but for the actor."""
    ana = sign_in("ana")
    by_dialogs = _log_of(anywhere, lambda *sent: by_dialog(ana, *sent))
    assert by_dialogs == _log_of(anywhere, lambda *sent: do(anas, *sent))


def _log_of(
    manager: StateManager, act: Callable[[str, dict[str, Any]], Any]
) -> list[tuple[str, str, dict[str, Any]]]:
    manager.sync.create_session("s")
    for verb in ("pause", "checkpoint", "resume", "cancel"):
        needed = {"name": "here"} if verb == "checkpoint" else {}
        assert act(verb, {**WHY, **needed}).status_code == 200
    facts = asyncio.run(_facts(manager))
    manager.sync.delete_session("s")
    return facts


async def _facts(manager: StateManager) -> list[tuple[str, str, dict[str, Any]]]:
    events = await manager.log.read("s")
    return [
        (event.kind, event.status, {name: event.data[name] for name in event.data if name != "id"})
        for event in events
    ]


@pytest.mark.parametrize("change", [{"context": {"n": 2}}, {"edited": {}}])
def test_where_changes_of_a_context_are_approved_a_program_makes_none(
    anas: Client, session, settings, change
):
    settings.REVIEW_EDITS = True
    seq = session.sync.pause_execution("s").seq
    told = do(anas, "resume", {**change, "expected_seq": seq})
    assert told.status_code == 409
    assert "over HTTP by a POST to its changes" in told.json()["detail"]
    assert session.sync.get_session_state("s").status == "paused"
