"""The sync face, for programs without an event loop."""

import threading

import pytest

from state_core import MemoryStorageBackend, StateManager
from state_core.exceptions import SessionNotFound, TransitionError


@pytest.fixture
def manager():
    return StateManager(MemoryStorageBackend()).sync


def test_a_session_is_recorded_without_an_event_loop(manager):
    with manager.session("s", context={"a": 1}) as session:
        branch = session.open_branch("collect")
        with branch.step(agent="A", input=1) as step:
            step.output = 2
        branch.add_message("user", "hello")
        session.set_result("first", [1])
        checkpoint_id = session.checkpoint("half")
    state = manager.get_session_state("s")
    assert state.status == "completed"
    assert state.branches[0].steps[0].output == 2
    assert state.branches[0].memory[0].content == "hello"
    assert manager.get_checkpoint(checkpoint_id).name == "half"


def test_errors_come_through(manager):
    with pytest.raises(SessionNotFound):
        manager.get_session_state("nobody")


def test_an_error_in_the_block_fails_the_session_and_is_raised(manager):
    with pytest.raises(ZeroDivisionError):
        with manager.session("s") as session:
            with session.open_branch("b").step("A") as step:
                step.output = 1 / 0
    state = manager.get_session_state("s")
    assert state.status == "failed"
    assert "ZeroDivisionError" in state.branches[0].steps[0].error


def test_branches_can_be_opened_below_each_other(manager):
    with manager.session("s") as session:
        parent = session.open_branch("plan")
        session.open_branch("left", parent=parent)
        session.open_branch("join", parent=[parent, "left"])
    assert manager.get_session_state("s").branch("join").parent_ids == ["plan", "left"]


def test_several_threads_use_one_manager(manager):
    def work(number):
        with manager.session(f"s{number}") as session:
            session.set_context(number=number)

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [manager.get_session_state(f"s{n}").context["number"] for n in range(8)] == list(range(8))


def test_a_session_that_has_ended_is_not_run_again(manager):
    with manager.session("s"):
        pass
    with pytest.raises(TransitionError, match="Fork it, or restore"):
        with manager.session("s"):
            pass
