"""The inbox: what waits for a person, over all sessions and stores."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from marsys_dashboard import managers, needs
from state_core.events import Event, EventKind
from state_core.manager import StateManager
from state_core.records import utc_now
from tests.dashboard.pages.conftest import MEMORY

pytestmark = pytest.mark.django_db
JSON = {"accept": "application/json"}


def ask(manager: StateManager, session_id: str, question_id: str = "q", **given) -> None:
    """A session that waits, as an orchestrator that is gone left it."""
    if session_id not in {head.session_id for head in manager.sync.list_sessions()}:
        manager.sync.create_session(session_id, title=f"Title of {session_id}")
        opened = Event(kind=EventKind.BRANCH_OPENED, branch_id="b", data={"name": "plan"})
        append(manager, session_id, opened)
    values = {"prompt": f"What of {session_id}?", **given}
    changes = [["set", ["questions", question_id, name], value] for name, value in values.items()]
    data = {"question": question_id, "session": "waiting"}
    event = Event(kind=EventKind.INPUT_REQUESTED, branch_id="b", agent="Planner", changes=changes, data=data)
    append(manager, session_id, event)


def append(manager: StateManager, session_id: str, event: Event) -> None:
    async_to_sync(manager.log.append)(session_id, [event])


def asked(response) -> list[str]:
    return re.findall(r'class="card ask" data-key="([^"@]+)@[^"]+"', response.content.decode())


def test_questions_of_all_stores_stand_in_one_inbox_the_longest_waiting_first(ana: Client, use_stores):
    use_stores(default=MEMORY, other=MEMORY)
    ask(managers.manager("other"), "b")
    ask(managers.manager("default"), "a")
    assert asked(ana.get("/needs-you/")) == ["other/b/q", "default/a/q"]


def test_a_question_says_who_asks_where_and_what(ana: Client, manager):
    ask(manager, "s", prompt="<b>Go on?</b>")
    text = ana.get("/needs-you/").content.decode()
    assert "Planner" in text
    assert "Title of s" in text
    assert "&lt;b&gt;Go on?&lt;/b&gt;" in text
    assert "<b>Go on?</b>" not in text


def test_choices_are_buttons_in_words_that_people_read(ana: Client, manager):
    ask(manager, "s", choices=["left", {"to": "right"}, {"label": "<b>Back</b>", "to": 3}])
    text = ana.get("/needs-you/").content.decode()
    assert '<button type="submit" name="answer" value="0">left</button>' in text
    assert ">{&quot;to&quot;: &quot;right&quot;}</button>" in text
    assert ">&lt;b&gt;Back&lt;/b&gt;</button>" in text


SCHEMA = {
    "type": "object",
    "required": ["amount", "go"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "description": "How many?"},
        "go": {"type": "boolean"},
        "colour": {"enum": ["red", "green"]},
        "note": {"type": "string"},
        "more": {"type": "array", "items": {"type": "number"}},
    },
}


def test_a_schema_is_a_form_and_its_answer_an_object(ana: Client, manager):
    ask(manager, "s", schema=SCHEMA)
    text = ana.get("/needs-you/").content.decode()
    assert 'name="answer.amount" type="number" step="1" required min="1"' in text
    assert "How many?" in text
    filled = {
        "question": "q", "answer_fields": "1", "answer.amount": "3", "answer.go": "true",
        "answer.colour": "1", "answer.note": "", "answer.more": "[1, 2.5]",
    }  # fmt: skip
    told = ana.post("/sessions/default/s/answer/", filled, headers=JSON)
    assert told.json()["ok"], told.json()
    answer = manager.sync.get_session_state("s").questions[0].answer
    assert answer == {"amount": 3, "go": True, "colour": "green", "more": [1, 2.5]}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"answer.amount": "0"}, "less than the minimum"),
        ({"answer.amount": "x"}, "amount: This is no JSON"),
        ({"answer.go": ""}, "go: this is needed"),
        ({"answer.colour": "7"}, "colour: Choose one"),
        ({"answer.more": "[1"}, "more: This is no JSON"),
        ({"answer.more": '["a"]'}, "does not fit at more.0"),
    ],
)
def test_a_form_that_does_not_fit_its_schema_is_refused_and_says_where(ana: Client, manager, wrong, told):
    ask(manager, "s", schema=SCHEMA)
    filled = {"question": "q", "answer_fields": "1", "answer.amount": "3", "answer.go": "false", **wrong}
    response = ana.post("/sessions/default/s/answer/", filled, headers=JSON)
    assert response.status_code == 400
    assert told in response.json()["error"]
    assert manager.sync.get_session_state("s").questions[0].status == "open"


def test_who_answers_second_is_told_who_was_first(ana: Client, sign_in, manager):
    ask(manager, "s", choices=["a", "b"])
    sign_in("bo").post("/sessions/default/s/answer/", {"question": "q", "answer": "1"}, headers=JSON)
    second = ana.post("/sessions/default/s/answer/", {"question": "q", "answer": "0"}, headers=JSON)
    assert second.status_code == 409
    assert "bo answered this question" in second.json()["error"]
    assert manager.sync.get_session_state("s").questions[0].answer == "b"


def test_a_question_of_a_session_that_has_ended_needs_nobody(ana: Client, manager):
    ask(manager, "s")
    manager.sync.cancel_execution("s")
    assert asked(ana.get("/needs-you/")) == []


def test_sessions_that_nobody_runs_stand_in_a_second_group(ana: Client, manager):
    for name in ("broken", "fine"):
        manager.sync.create_session(name)
    failed = Event(kind=EventKind.SESSION_FAILED, data={"error": "no <money>"})
    append(manager, "broken", failed)
    text = ana.get("/needs-you/").content.decode()
    assert re.findall(r'class="card left" data-key="([^"]+)"', text) == ["default/broken"]
    assert "no &lt;money&gt;" in text
    assert 'action="/sessions/default/broken/resume/"' in text


def test_a_resume_that_was_just_asked_for_is_not_left_behind(ana: Client, manager, monkeypatch):
    manager.sync.create_session("s")
    manager.sync.pause_execution("s")
    manager.sync.resume_execution("s")
    assert b"no orchestrator has taken it" not in ana.get("/needs-you/").content
    monkeypatch.setattr(needs, "PATIENCE", utc_now() - utc_now())
    assert b"no orchestrator has taken it" in ana.get("/needs-you/").content


def test_a_question_that_a_fork_carries_is_shown_with_its_text(ana: Client, manager):
    ask(manager, "s", choices=["left"])
    manager.sync.fork_session("s", "t")
    response = ana.get("/needs-you/")
    assert asked(response) == ["default/s/q", "default/t/q"]
    assert response.content.decode().count("What of s?") == 2


def test_an_empty_inbox_says_what_would_stand_there(ana: Client, manager):
    text = ana.get("/needs-you/").content.decode()
    assert re.search(r'data-empty="no-questions">', text)
    assert "Nobody is waiting for an answer" in text


def test_who_may_only_look_sees_questions_without_a_form(sign_in, manager):
    ask(manager, "s")
    text = sign_in("cy").get("/needs-you/").content.decode()
    assert "What of s?" in text
    assert "data-answer" not in text
    assert "state_core.operate_session" in text


def test_who_may_see_nothing_does_not_see_the_inbox(sign_in, manager):
    assert sign_in("dora").get("/needs-you/").status_code == 403


def test_programs_read_the_inbox_as_json(ana: Client, manager):
    ask(manager, "s", choices=[1, 2])
    told = ana.get("/needs-you/", headers=JSON).json()
    assert [(q["session_id"], q["question_id"], q["choices"]) for q in told["questions"]] == [
        ("s", "q", [1, 2])
    ]


# Editing the context before resuming


def resume(client: Client, **fields) -> dict:
    return client.post("/sessions/default/s/resume/", fields, headers=JSON).json()


def held(manager: StateManager) -> int:
    manager.sync.create_session("s", context={"topic": "tides", "n": 1})
    return manager.sync.pause_execution("s").seq


def test_the_resume_dialog_shows_the_present_context(ana: Client, manager):
    held(manager)
    text = ana.get("/sessions/default/s/resume/").content.decode()
    assert "&quot;topic&quot;: &quot;tides&quot;" in text
    assert "2 values" in text


def test_an_edited_context_replaces_the_present_one(ana: Client, manager):
    seq = held(manager)
    assert resume(ana, edited='{"n": 2, "new": true}', seq=seq, context='{"more": 1}')["ok"]
    assert manager.sync.get_session_state("s").context == {"n": 2, "new": True, "more": 1}


def test_an_edit_is_refused_when_the_session_moved_on(ana: Client, manager):
    seq = held(manager)
    manager.sync.create_checkpoint("s", "meanwhile")
    told = resume(ana, edited='{"n": 2}', seq=seq)
    assert "has moved on" in told["error"]
    assert manager.sync.get_head("s").status == "paused"
    assert manager.sync.get_session_state("s").context["n"] == 1


def test_a_context_that_was_left_alone_is_no_edit(ana: Client, manager):
    seq = held(manager)
    page = ana.get("/sessions/default/s/resume/").content.decode()
    digest = re.search(r'name="unedited" value="([0-9a-f]+)"', page)[1]
    manager.sync.create_checkpoint("s", "meanwhile")
    untouched = '{\r\n  "topic": "tides",\r\n  "n": 1\r\n}'
    assert resume(ana, edited=untouched, unedited=digest, seq=seq)["ok"]


def test_an_edit_without_its_place_is_refused(ana: Client, manager):
    held(manager)
    assert "on which event" in resume(ana, edited="{}")["error"]


def test_a_page_without_a_live_line_can_ask_how_many_there_are(ana: Client, use_stores):
    use_stores(default=MEMORY, other=MEMORY)
    ask(managers.manager("other"), "b")
    ask(managers.manager("default"), "a")
    assert ana.get("/needs-you/count/").json() == {"count": 2, "more": False}


def test_the_number_is_for_those_who_may_see_sessions(sign_in):
    assert sign_in("dora").get("/needs-you/count/").status_code == 403
    assert Client().get("/needs-you/count/").status_code == 302
