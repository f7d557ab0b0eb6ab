from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import replace

import pytest
from django.test import Client

from marsys_dashboard import managers
from marsys_dashboard.acts import ALL, at_hand, available, consequences, in_menu, primary
from state_core.events import Event, EventKind
from state_core.manager import StateManager
from state_core.records import Head, SessionStatus
from tests.dashboard.pages.conftest import DATABASE, MEMORY, person
from tests.dashboard.pages.test_needs import append, ask

pytestmark = pytest.mark.django_db

EVERYTHING = frozenset({"view", "operate", "restore"})
REASON = {"reason": "to see what happens"}


def send(client: Client, verb: str, data=None, session_id: str = "s", store: str = "default"):
    """As the dialog sends it."""
    return client.post(
        f"/sessions/{store}/{session_id}/{verb}/", data or {}, headers={"accept": "application/json"}
    )


def show(client: Client, verb: str, query: str = "", session_id: str = "s"):
    """As the dialog asks for itself."""
    return client.get(
        f"/sessions/default/{session_id}/{verb}/{query}", headers={"x-fragment": "dialog", "accept": "*/*"}
    )


def status(manager: StateManager, session_id: str = "s") -> SessionStatus:
    return manager.sync.get_head(session_id).status


def last(manager: StateManager, session_id: str = "s"):
    async def read():
        return (await manager.log.read(session_id, limit=1, newest_first=True))[0]

    return asyncio.run(read())


@pytest.fixture
def session(manager: StateManager) -> StateManager:
    """A manager that has a session "s", pending."""
    manager.sync.create_session("s", title="Research")
    return manager


@pytest.fixture
def paused(session: StateManager) -> StateManager:
    session.sync.pause_execution("s")
    return session


async def complete(manager: StateManager, session_id: str) -> None:
    async with manager.session(session_id) as session:
        branch = await session.open_branch("main")
        async with branch.step(agent="Reader") as step:
            step.output = "read"


# Pause


def test_pause_is_recorded_with_name_and_reason(ana: Client, session):
    response = send(ana, "pause", REASON)
    assert response.status_code == 200
    assert response.json() | {"seq": 0} == {
        "ok": True,
        "message": "The session is paused.",
        "logged": True,
        "status": "paused",
        "seq": 0,
    }
    assert (last(session).kind, last(session).actor) == (EventKind.SESSION_PAUSED, "ana")
    assert session.sync.get_head("s").reason == "to see what happens"


async def test_pause_of_a_running_session_is_requested_and_says_so(manager, live_ana):
    async with manager.session("s", on_pause="raise") as session:
        branch = await session.open_branch("main")
        async with branch.step(agent="Reader"):
            response = await live_ana.post(
                "/sessions/default/s/pause/", headers={"accept": "application/json"}
            )
        assert response.json()["status"] == "pausing"
        assert "finishes its present step first" in response.json()["message"]
        await manager.cancel_execution("s")
        with contextlib.suppress(BaseException):
            async with branch.step(agent="Reader"):
                pytest.fail("the next step began although the session is to stop")


async def test_pause_of_a_completed_session_is_refused(manager, live_ana):
    await complete(manager, "s")
    managers.forget()
    response = await live_ana.post("/sessions/default/s/pause/", headers={"accept": "application/json"})
    assert response.status_code == 409
    assert "it is completed" in response.json()["error"]


# Resume


def test_resume_merges_and_records_the_additional_context(ana: Client, paused):
    response = send(ana, "resume", {"context": '{"review": {"by": "Ana"}}', **REASON})
    assert response.json()["status"] == "resuming"
    assert paused.sync.get_session_state("s").context == {"review": {"by": "Ana"}}
    assert last(paused).actor == "ana"


@pytest.mark.parametrize(
    ("context", "told"),
    [
        ('{"a": 1', "at line 1, column 8"),
        ('{\n "a": tru }', "at line 2, column 7"),
        ("[1, 2]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"a": NaN}', "NaN is not a value"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ("<script>alert(1)</script>", "at line 1, column 1"),
    ],
)
def test_a_context_that_is_no_json_object_is_refused_with_its_place(ana: Client, paused, context, told):
    response = send(ana, "resume", {"context": context})
    assert response.status_code == 400
    assert told in response.json()["error"]
    assert list(response.json()["fields"]) == ["context"]
    assert status(paused) == "paused"


async def test_resume_of_a_running_session_is_refused(manager, live_ana):
    async with manager.session("s"):
        response = await live_ana.post("/sessions/default/s/resume/", headers={"accept": "application/json"})
    assert response.status_code == 409
    assert "it is running" in response.json()["error"]


def test_of_two_resumes_one_is_refused(ana: Client, paused):
    assert send(ana, "resume").status_code == 200
    second = send(ana, "resume")
    assert second.status_code == 409
    assert "Somebody asked for that already" in second.json()["error"]


async def test_of_two_resumes_at_once_exactly_one_wins(manager, live_ana):
    await manager.create_session("s")
    await manager.pause_execution("s")
    both = await asyncio.gather(
        *(
            live_ana.post("/sessions/default/s/resume/", headers={"accept": "application/json"})
            for _ in range(2)
        )
    )
    assert sorted(response.status_code for response in both) == [200, 409]


def test_a_context_over_the_limit_of_a_form_is_refused(ana: Client, paused):
    response = send(ana, "resume", {"context": json.dumps({"a": "x" * 20_000_000})})
    assert response.status_code == 413
    assert "A form may hold 2.1 MB at most." in response.json()["error"]
    assert status(paused) == "paused"


# Checkpoints


def test_a_checkpoint_is_saved_under_its_name(ana: Client, session):
    response = send(ana, "checkpoint", {"name": "before <b>merge</b>"})
    assert response.json()["message"] == "Checkpoint “before <b>merge</b>” is saved."
    (checkpoint,) = session.sync.list_checkpoints("s")
    assert (checkpoint.name, checkpoint.actor) == ("before <b>merge</b>", "ana")


def test_a_checkpoint_needs_a_name(ana: Client, session):
    assert send(ana, "checkpoint", {"name": "  "}).status_code == 400
    assert session.sync.list_checkpoints("s") == []


def test_restoring_goes_back_and_can_be_undone(ana: Client, session):
    checkpoint = session.sync.create_checkpoint("s", "early")
    session.sync.pause_execution("s", {"late": True})
    response = send(ana, "restore", {"checkpoint": checkpoint, **REASON})
    assert response.json()["message"] == "The session is back at “early”, paused."
    assert session.sync.get_session_state("s").metadata == {}
    undo = next(c for c in session.sync.list_checkpoints("s") if c.kind == "pre_restore")
    send(ana, "restore", {"checkpoint": undo.id, **REASON})
    assert session.sync.get_session_state("s").metadata == {"late": True}


@pytest.mark.parametrize("verb", ["restore", "cancel", "delete"])
def test_what_undoes_work_needs_a_reason(ana: Client, session, verb):
    checkpoint = session.sync.create_checkpoint("s", "early")
    before = session.sync.get_head("s").last_seq
    response = send(ana, verb, {"checkpoint": checkpoint, "confirm": "s", "reason": "   "})
    assert response.status_code == 400
    assert "Reason" in response.json()["error"]
    assert session.sync.get_head("s").last_seq == before


@pytest.mark.parametrize("checkpoint", ["unknown", "../../x", "", "x" * 500])
def test_an_unknown_checkpoint_is_refused(ana: Client, session, checkpoint):
    session.sync.create_checkpoint("s", "early")
    response = send(ana, "restore", {"checkpoint": checkpoint, **REASON})
    assert response.status_code == (404 if checkpoint else 400)
    assert status(session) == "pending"


def test_a_checkpoint_of_another_session_is_refused(ana: Client, session):
    session.sync.create_session("other")
    foreign = session.sync.create_checkpoint("other", "theirs")
    response = send(ana, "restore", {"checkpoint": foreign, **REASON})
    assert response.status_code == 404
    assert "session 's'" in response.json()["error"]
    assert (status(session), status(session, "other")) == ("pending", "pending")


def test_the_dialog_counts_what_a_restore_sets_aside(ana: Client, manager):
    checkpoint_id = ""

    async def work() -> str:
        async with manager.session("s") as session:
            branch = await session.open_branch("main")
            place = await manager.create_checkpoint("s", "early")
            for _ in range(2):
                async with branch.step(agent="Reader") as step:
                    step.output = "read"
            await branch.add_message(role="assistant", content="found")
        return place

    checkpoint_id = asyncio.run(work())
    text = show(ana, "restore", f"?checkpoint={checkpoint_id}").content.decode()
    assert "Set aside: 2 steps: " in text
    assert "; 1 message (" in text
    assert "this can be undone" in text
    assert "Restore checkpoint “early”" in text


def test_nothing_is_set_aside_by_going_back_to_the_present_place(session):
    session.sync.create_checkpoint("s", "now")
    (checkpoint,) = session.sync.list_checkpoints("s")
    told = session.sync.preview_restore(checkpoint.id).sentences()
    assert told[0] == "Set aside: 0 events since the checkpoint; no step, message or branch among them."


def test_a_restore_is_undone(ana: Client, session):
    session.sync.create_checkpoint("s", "early")
    session.sync.cancel_execution("s")
    (early,) = session.sync.list_checkpoints("s")
    assert send(ana, "undo", {}).status_code == 400
    assert send(ana, "restore", {**REASON, "checkpoint": early.id}).json()["status"] == "paused"
    head = session.sync.get_head("s")
    assert "undo" in [act.verb for act in at_hand(head, available(head, {"restore"}))]
    assert "so that it can be undone" in show(ana, "undo").content.decode()
    assert send(ana, "undo", {}).json()["message"] == "The restore is undone; the session is paused."


# Cancel, fork, delete


def test_a_fork_begins_at_the_event_that_is_named(ana: Client, session):
    text = show(ana, "fork", "?seq=1").content.decode()
    assert "Fork from event 1" in text
    assert '<input type="hidden" name="seq" value="1">' in text
    send(ana, "fork", {"new_session_id": "early", "seq": "1"})
    assert session.sync.get_head("early").origin == "s@1"
    assert send(ana, "fork", {"new_session_id": "late", "seq": "9999"}).status_code == 400


def test_cancel_ends_the_session_with_the_reason(ana: Client, session):
    assert send(ana, "cancel", REASON).json()["status"] == "cancelled"
    assert session.sync.get_head("s").reason == "to see what happens"


def test_cancel_of_a_cancelled_session_is_refused(ana: Client, session):
    send(ana, "cancel", REASON)
    assert send(ana, "cancel", REASON).status_code == 409


def test_a_fork_is_a_new_paused_session(ana: Client, session):
    response = send(ana, "fork", {"new_session_id": "s.again"})
    assert response.json()["location"] == "/sessions/default/s.again/"
    assert status(session, "s.again") == "paused"
    assert status(session) == "pending"


@pytest.mark.parametrize("new_id", ["../../x", "a b", "ü", ".."])
def test_a_fork_under_a_bad_id_is_refused(ana: Client, session, new_id):
    response = send(ana, "fork", {"new_session_id": new_id})
    assert response.status_code == 400
    assert "letters, digits" in response.json()["error"]


def test_a_fork_does_not_overwrite_a_session(ana: Client, session):
    session.sync.create_session("taken", title="Untouched")
    response = send(ana, "fork", {"new_session_id": "taken"})
    assert response.status_code == 409
    assert session.sync.get_head("taken").title == "Untouched"


def test_delete_needs_the_name_typed(ana: Client, session):
    assert send(ana, "delete", {"confirm": "S", **REASON}).status_code == 400
    assert status(session) == "pending"
    assert send(ana, "delete", {"confirm": "s", **REASON}).json()["location"] == "/sessions/"
    assert session.sync.list_sessions() == []


@pytest.mark.parametrize("verb", ["delete", "cancel", "restore", "undo"])
def test_what_a_dialog_said_would_be_lost_is_what_is_lost(ana: Client, session, verb):
    checkpoint = session.sync.create_checkpoint("s", "place")
    session.sync.restore_checkpoint(checkpoint)
    shown = re.search(r'name="expected_seq" value="(\d+)"', show(ana, verb).content.decode())
    assert shown is not None
    session.sync.create_checkpoint("s", "meanwhile")
    data = {"expected_seq": shown[1], "confirm": "s", "checkpoint": checkpoint, **REASON}
    response = send(ana, verb, data)
    assert response.status_code == 409
    assert "has moved on" in response.json()["error"]
    assert (status(session), session.sync.get_head("s").counts["checkpoints"]) == ("paused", 3)


async def test_a_session_that_is_held_is_not_deleted(manager, live_ana):
    async with manager.session("s"):
        data = {"confirm": "s", **REASON}
        response = await live_ana.post(
            "/sessions/default/s/delete/", data, headers={"accept": "application/json"}
        )
        assert response.status_code == 409
        assert "is held by" in response.json()["error"]
    assert (await manager.get_head("s")).status == "completed"


# Answer


@contextlib.asynccontextmanager
async def asking(manager: StateManager, prompt: str, **given):
    """A session "s" that asks; yields the task whose result is the answer."""
    async with manager.session("s") as session:
        branch = await session.open_branch("main")

        async def ask():
            async with branch.step(agent="Planner") as step:
                step.output = await step.ask(prompt, **given)
            return step.output

        task = asyncio.create_task(ask())
        while not (await manager.get_head("s")).counts["questions"]:
            await asyncio.sleep(0.01)
        yield task
        if not task.done():
            await manager.answer("s", (await question(manager)).question_id, 1)
            await task


async def question(manager: StateManager):
    return (await manager.get_session_state("s")).questions[0]


async def answer(client, manager: StateManager, text: str):
    data = {"question": (await question(manager)).question_id, "answer": text}
    return await client.post("/sessions/default/s/answer/", data, headers={"accept": "application/json"})


@pytest.mark.parametrize(
    ("given", "typed", "recorded"),
    [
        ({}, "Yes, <b>go on</b>", "Yes, <b>go on</b>"),
        ({"choices": ["a", {"b": 1}]}, "1", {"b": 1}),
        ({"schema": {"type": "string"}}, "42", "42"),
        ({"schema": {"type": "integer", "minimum": 3}}, "42", 42),
        ({"schema": {"type": "object"}}, '{"a": [1]}', {"a": [1]}),
    ],
)
async def test_an_answer_reaches_who_asked(manager, live_ana, given, typed, recorded):
    async with asking(manager, "Go on?", **given) as task:
        response = await answer(live_ana, manager, typed)
        assert response.json()["ok"], response.json()
        assert await task == recorded
        assert (await question(manager)).answered_by == "ana"


@pytest.mark.parametrize(
    ("given", "typed", "told"),
    [
        ({"choices": [1, 2]}, "7", "Choose one"),
        ({"choices": [1, 2]}, "x", "Choose one"),
        ({"choices": [1, 2]}, "1" * 5000, "Choose one"),
        ({"schema": {"type": "integer"}}, "4 2", "This is no JSON"),
        ({"schema": {"type": "integer", "maximum": 3}}, "4", "does not fit"),
        ({}, "", "Answer"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(
    manager, live_ana, given, typed, told
):
    async with asking(manager, "Go on?", **given):
        response = await answer(live_ana, manager, typed)
        assert response.status_code == 400
        assert told in response.json()["error"]
        assert (await question(manager)).status == "open"


async def test_a_second_answer_is_refused(manager, live_ana):
    async with asking(manager, "Go on?") as task:
        await answer(live_ana, manager, "yes")
        await task
        refused = await answer(live_ana, manager, "no")
        assert refused.status_code == 409
        assert "ana answered this question" in refused.json()["error"]
        assert (await question(manager)).answer == "yes"


def test_an_answer_to_what_was_asked_before_is_refused_where_another_question_has_its_id(
    ana: Client, session
):
    append(session, "s", Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "plan"}))
    checkpoint = session.sync.create_checkpoint("s", "before it asks")
    ask(session, "s", choices=["left", "right"])
    shown = re.search(r'name="asked_at" value="([^"]+)"', show(ana, "answer").content.decode())
    assert shown is not None
    inbox = re.search(r'name="asked_at" value="([^"]+)"', ana.get("/needs-you/").content.decode())
    assert inbox is not None
    assert shown[1] == inbox[1]
    session.sync.restore_checkpoint(checkpoint)
    ask(session, "s", choices=["stop", "go"])
    given = {"question": "q", "answer": "1"}
    response = send(ana, "answer", {**given, "asked_at": shown[1]})
    assert response.status_code == 409
    assert "was asked anew since" in response.json()["error"]
    assert send(ana, "answer", {**given, "asked_at": "yesterday"}).status_code == 400
    assert session.sync.get_head("s").counts["questions"] == 1
    now = session.sync.get_session_state("s").questions[0].asked_at
    assert send(ana, "answer", {**given, "asked_at": now.isoformat()}).status_code == 200


async def test_the_question_is_shown_as_text(manager, live_ana):
    async with asking(manager, "<script>alert(1)</script>", choices=["<i>a</i>", 1]):
        text = (await live_ana.get("/sessions/default/s/answer/")).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;i&gt;a" in text


async def test_a_choice_that_was_pressed_on_the_page_is_chosen_in_the_dialog(manager, live_ana):
    async with asking(manager, "Which?", choices=["left", 1]):
        text = (await live_ana.get("/sessions/default/s/answer/?answer=1")).content.decode()
    assert 'value="1" required checked' in text
    assert 'value="0" required checked' not in text


# What is not there


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_session_is_not_found(ana: Client, manager, verb, method):
    response = getattr(ana, method)(f"/sessions/default/nowhere/{verb}/")
    assert response.status_code == 404
    assert "There is no session" in response.content.decode()


def test_an_unknown_store_is_not_found(ana: Client, session):
    response = send(ana, "pause", store="elsewhere")
    assert response.status_code == 404
    assert "There is no store 'elsewhere'" in response.json()["error"]


def test_an_unknown_verb_is_not_found(ana: Client, session):
    assert send(ana, "explode").status_code == 404


@pytest.mark.parametrize("path", ["../../x", "..%2f..%2fx", "a%00b", "%2e%2e", "a b", "x" * 129, "ü"])
def test_a_strange_id_is_refused(ana: Client, session, path):
    assert ana.get(f"/sessions/default/{path}/pause/").status_code in {400, 404}


# Dialogs


@pytest.mark.parametrize("verb", ALL)
def test_each_dialog_says_what_is_and_what_follows(ana: Client, paused, verb):
    paused.sync.create_checkpoint("s", "early")
    text = show(ana, verb).content.decode()
    assert text.startswith("<form")
    assert "Paused" in text
    for line in ALL[verb].consequences:
        assert line.replace("'", "&#x27;") in text


def test_a_dialog_is_a_page_of_its_own_without_scripts(ana: Client, session):
    page = ana.get("/sessions/default/s/pause/").content.decode()
    assert page.startswith("<!doctype html>")
    response = ana.post("/sessions/default/s/pause/", REASON)
    assert (response.status_code, response.headers["Location"]) == (302, "/sessions/default/s/")
    assert status(session) == "paused"


def test_what_was_typed_stays_in_a_refused_form(ana: Client, paused):
    response = ana.post("/sessions/default/s/resume/", {"context": "{<nope", "reason": "because"})
    text = response.content.decode()
    assert response.status_code == 400
    assert "{&lt;nope</textarea>" in text
    assert 'value="because"' in text


def test_a_dialog_says_why_something_is_not_possible_now(ana: Client, session):
    text = show(ana, "resume").content.decode()
    assert "It is pending. Paused, interrupted and failed sessions can be resumed." in text
    assert 'data-confirm aria-disabled="true"' in text


# Buttons


def test_buttons_that_are_off_say_why(ana: Client, session):
    text = ana.get("/sessions/default/s/acts/").content.decode()
    button = re.search(r'<button[^>]*data-act="resume"[^>]*>', text)[0]
    assert 'aria-disabled="true"' in button
    assert 'title="It is pending. Paused, interrupted and failed sessions can be resumed."' in button
    assert 'aria-describedby="why-resume"' in button


def test_what_may_be_done_follows_from_the_status(manager):
    head = Head("s", status=SessionStatus.COMPLETED)
    acts = available(head, EVERYTHING)
    assert {verb for verb, act in acts.items() if act.allowed} == {"checkpoint", "fork", "delete"}


def test_what_may_be_done_follows_from_the_permissions(manager):
    head = Head("s", status=SessionStatus.PAUSED)
    acts = available(head, {"view", "operate"})
    assert acts["resume"].allowed
    assert acts["fork"].why_not == "You have no permission to restore checkpoints, fork and delete sessions."


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize("present", SessionStatus)
def test_every_dialog_has_words_for_every_status(verb, present):
    assert ALL[verb].becomes(present)
    assert consequences(ALL[verb])


# Who


@pytest.mark.parametrize(
    ("name", "verb", "expected"),
    [
        ("bo", "pause", 200),
        ("bo", "restore", 403),
        ("bo", "fork", 403),
        ("bo", "delete", 403),
        ("cy", "pause", 403),
        ("cy", "cancel", 403),
        ("cy", "checkpoint", 403),
        ("dora", "pause", 403),
    ],
)
def test_an_act_needs_its_permission(sign_in, session, name, verb, expected):
    response = send(sign_in(name), verb, REASON)
    assert response.status_code == expected
    if expected == 403:
        assert f"{name} has no permission to" in response.json()["error"]
        assert status(session) == "pending"


@pytest.mark.parametrize("verb", ALL)
def test_an_act_needs_a_sign_in(session, verb):
    response = send(Client(), verb, REASON)
    assert response.status_code == 403
    assert "not signed in" in response.json()["error"]
    assert status(session) == "pending"


def test_a_superuser_may_all(session):
    user = person("dora")
    user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    assert send(client, "cancel", REASON).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_acts_work_over_the_database(ana: Client, use_stores):
    use_stores(default=DATABASE)
    manager = managers.manager("default")
    manager.sync.create_session("s")
    assert send(ana, "checkpoint", {"name": "early"}).status_code == 200
    assert send(ana, "pause", REASON).json()["status"] == "paused"
    (checkpoint,) = manager.sync.list_checkpoints("s")
    assert send(ana, "restore", {"checkpoint": checkpoint.id, **REASON}).status_code == 200
    assert send(ana, "resume", {"context": '{"a": 1}'}).json()["status"] == "resuming"
    assert manager.sync.get_session_state("s").context == {"a": 1}


def test_the_act_goes_to_the_store_of_its_address(ana: Client, use_stores):
    use_stores(default=MEMORY, archive=MEMORY)
    near, far = managers.manager("default"), managers.manager("archive")
    near.sync.create_session("s")
    far.sync.create_session("s")
    send(ana, "pause", store="archive")
    assert (status(near), status(far)) == ("pending", "paused")


@pytest.mark.parametrize(
    ("status", "counts", "beside", "first"),
    [
        ("running", {}, ["checkpoint", "cancel", "pause"], "pause"),
        ("running", {"checkpoints": 1}, ["checkpoint", "restore", "cancel", "pause"], "pause"),
        ("waiting", {"questions": 1}, ["checkpoint", "cancel", "pause", "answer"], "answer"),
        ("pausing", {}, ["checkpoint", "cancel", "pause"], ""),
        ("paused", {}, ["checkpoint", "cancel", "resume"], "resume"),
        ("failed", {}, ["checkpoint", "resume"], "resume"),
        ("completed", {"checkpoints": 1}, ["checkpoint", "restore"], ""),
    ],
)
def test_what_is_wanted_next_stands_beside_the_title(status, counts, beside, first):
    head = Head("s", status=SessionStatus(status))
    head = replace(head, counts={**head.counts, **counts})
    acts = available(head, EVERYTHING)
    assert [act.verb for act in at_hand(head, acts)] == beside
    assert primary(head, acts) == first
    menu = [act.verb for act in in_menu(head, acts)]
    assert set(beside + menu) >= {"pause", "resume", "checkpoint", "restore", "cancel", "fork", "delete"}
    assert not set(beside) & set(menu)


def test_who_may_only_look_is_told_why_beside_the_title():
    head = Head("s", status=SessionStatus.RUNNING)
    acts = available(head, {"view"})
    assert [act.verb for act in at_hand(head, acts)] == ["pause"]
    assert primary(head, acts) == ""


def test_what_a_sessions_driver_does_not_take_is_not_offered_and_says_why():
    head = Head("s", status=SessionStatus.RUNNING, refuses=["pause", "cancel"])
    acts = available(head, EVERYTHING)
    assert "recorded from outside" in acts["pause"].why_not
    assert "recorded from outside" in acts["cancel"].why_not
    assert acts["checkpoint"].allowed
