import json
from datetime import UTC, datetime

import pytest

from state_core.exceptions import InvalidId
from state_core.records import (
    BranchState,
    BranchStatus,
    Message,
    Question,
    SessionState,
    SessionStatus,
    StepState,
    StepStatus,
    check_id,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def full_state() -> SessionState:
    step = StepState(
        "b:1",
        agent="A",
        status=StepStatus.COMPLETED,
        input={"q": 1},
        output=[1],
        started_at=NOW,
        duration=1.5,
    )
    child = BranchState("c", parent_ids=["b"], parent_id="b", joined_ids=["b"], status=BranchStatus.WAITING)
    branch = BranchState(
        "b",
        name="collect",
        child_ids=["c"],
        steps=[step],
        current_step_index=0,
        memory=[Message("user", "hi", created_at=NOW, metadata={"n": 1})],
    )
    child.name = "c"
    return SessionState(
        "s",
        status=SessionStatus.WAITING,
        branches=[branch, child],
        context={"a": 1},
        agent_memories={"A": [Message("assistant", {"x": 1})]},
        questions=[Question("b:1.q1", prompt="Which?", branch_id="c", choices=["x"], asked_at=NOW)],
        created_at=NOW,
        updated_at=NOW,
        total_steps=1,
        completed_steps=1,
    )


def test_a_state_comes_back_from_its_document_as_it_was():
    state = full_state()
    assert SessionState.from_document({**state.to_document(), "state_bytes": 0}) == state


def test_the_visualization_names_nodes_edges_bars_and_is_json():
    data = full_state().to_visualization_format()
    assert [node["id"] for node in data["nodes"]] == ["b", "c"]
    assert data["edges"] == [{"source": "b", "target": "c", "joined": True}]
    assert data["timeline"][0]["duration"] == 1.5
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("good", ["a", "A-b_c.d:1", "x" * 128])
def test_an_id_of_the_alphabet_is_taken(good):
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "../../x", "a/b", "a b", "x" * 129, "ä", "a\n", None, 7, "a\x00"]
)
def test_any_other_id_is_refused_with_the_alphabet(bad):
    with pytest.raises(InvalidId, match="1 to 128 letters, digits"):
        check_id(bad)
