"""A running Orchestra that obeys."""

from __future__ import annotations

import asyncio
import logging

import pytest
from marsys.agents.registry import AgentRegistry
from marsys.coordination import Orchestra
from scripted import TEAM, a_team, final, invoke, until

from state_core import StateManager, StateManagerConfig
from state_core.adapters.marsys import MarsysStateManager, watched
from state_core.exceptions import TransitionError

QUICK = StateManagerConfig(control_interval=0.02)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("marsys").setLevel(logging.CRITICAL)


@pytest.fixture
def ours(store):
    return StateManager(store, config=QUICK)


@pytest.fixture
def orchestra(ours):
    found = watched(Orchestra, ours)
    yield found
    found.recorder.close()


class Work:
    """A step that lasts until it is let go."""

    def __init__(self, says):
        self.says = says
        self.began, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self):
        self.began.set()
        await self.go.wait()
        return self.says


def start(orchestra, agents, **options):
    async def run():
        assert agents
        return await orchestra.run("Go", TEAM, context={"session_id": "s"}, max_steps=30, **options)

    return asyncio.create_task(run())


async def at_work(orchestra, *works):
    """Until these are under way, and recorded."""
    for work in works:
        await work.began.wait()
    assert orchestra.recorder.flush()


async def asked_to_stop(orchestra):
    """Until the run knows: whoever begins a step now waits."""

    async def is_closed():
        return orchestra.recorder.is_running("s") and orchestra.recorder.gate("s").closed

    await until(is_closed)


async def status(ours, *wanted):
    async def is_so():
        head = await ours.get_head("s")
        return head.status in wanted and not head.owner and head

    return await until(is_so)


async def check_it_pauses_at_the_next_agent_and_goes_on_when_resumed(ours, orchestra):
    work = Work(invoke("Writer", "Editor"))
    agents = a_team(work, final("done"))
    working = start(orchestra, agents)
    await at_work(orchestra, work)
    await ours.pause_execution("s", reason="lunch")
    await asked_to_stop(orchestra)
    assert (await ours.get_head("s")).status == "pausing", "a step is under way"
    work.go.set()
    head = await status(ours, "paused")
    assert (head.reason, head.owner) == ("lunch", "")
    assert [agent.asked for agent in agents] == [1, 0, 0]
    await asyncio.sleep(0.1)
    assert not working.done()
    await ours.resume_execution("s")
    assert (await working).success
    assert orchestra.recorder.flush()
    state = await ours.get_session_state("s")
    assert state.status == "completed"
    assert [agent.asked for agent in agents] == [2, 1, 1]
    assert all(step.status == "completed" for branch in state.branches for step in branch.steps)


async def check_a_pause_waits_for_each_of_several_agents_at_work(ours, orchestra):
    writer, editor = Work(invoke("Planner")), Work(invoke("Planner"))
    agents = a_team(invoke("Writer", "Editor"), final("done"), writer=[writer])
    agents[2].script = [editor]
    working = start(orchestra, agents)
    await at_work(orchestra, writer, editor)
    await ours.pause_execution("s")
    await asked_to_stop(orchestra)
    writer.go.set()
    await asyncio.sleep(0.15)
    assert (await ours.get_head("s")).status == "pausing"
    editor.go.set()
    await status(ours, "paused")
    await ours.resume_execution("s")
    assert (await working).success


async def check_it_can_be_paused_again_and_again(ours, orchestra):
    works = [Work(invoke("Writer")) for _ in range(2)]
    agents = a_team(*works, final("done"))
    agents[1].script = [invoke("Planner"), invoke("Planner")]
    working = start(orchestra, agents)
    for work in works:
        await at_work(orchestra, work)
        await ours.pause_execution("s")
        await asked_to_stop(orchestra)
        work.go.set()
        await status(ours, "paused")
        await ours.resume_execution("s")
    assert (await working).success


async def check_a_cancelled_run_ends_with_a_result_that_says_so(ours, orchestra):
    work = Work(invoke("Writer"))
    agents = a_team(work)
    working = start(orchestra, agents)
    await at_work(orchestra, work)
    await ours.cancel_execution("s", reason="wrong question")
    await asked_to_stop(orchestra)
    work.go.set()
    result = await working
    assert not result.success
    assert "wrong question" in result.error
    assert agents[1].asked == 0
    assert orchestra.recorder.flush()
    await status(ours, "cancelled")


async def check_a_paused_run_can_be_cancelled(ours, orchestra):
    work = Work(invoke("Writer"))
    agents = a_team(work)
    working = start(orchestra, agents)
    await at_work(orchestra, work)
    await ours.pause_execution("s")
    await asked_to_stop(orchestra)
    work.go.set()
    await status(ours, "paused")
    await ours.cancel_execution("s", reason="enough")
    result = await asyncio.wait_for(working, 20)
    assert not result.success
    assert (await ours.get_head("s")).status == "cancelled"


async def check_what_was_saved_and_what_is_live_agree_about_a_pause(ours):
    state_manager = MarsysStateManager(ours)
    orchestra = watched(Orchestra, state_manager)
    work = Work(invoke("Writer", "Editor"))
    agents = a_team(work, final("done"))
    working = start(orchestra, agents, state_manager=state_manager)
    await at_work(orchestra, work)
    await ours.pause_execution("s")
    await asked_to_stop(orchestra)
    work.go.set()
    await status(ours, "paused")
    assert (await state_manager.load_session("s"))["branches"]["main"].id == "main"
    await ours.resume_execution("s")
    assert (await working).success
    assert orchestra.recorder.flush()
    await status(ours, "completed")
    kinds = [event.kind for event in await ours.log.read("s") if event.kind.startswith("session.")]
    assert kinds == [f"session.{kind}" for kind in ("created", "started", "paused", "resumed", "completed")]
    orchestra.recorder.close()


async def check_its_own_pause_and_resume_do_the_same(ours):
    state_manager = MarsysStateManager(ours)
    watching = watched(Orchestra, state_manager)
    work = Work(invoke("Writer", "Editor"))
    agents = a_team(work, final("done"))
    orchestra = watching(AgentRegistry, state_manager=state_manager)
    working = asyncio.create_task(orchestra.execute("Go", TEAM, {"session_id": "s"}, 30))
    await at_work(watching, work)
    assert await orchestra.pause_session("s")
    await asked_to_stop(watching)
    work.go.set()
    await status(ours, "paused")
    assert [one["paused"] for one in await state_manager.list_sessions()] == [True]
    result = await orchestra.resume_session("s")
    assert result is await working
    assert result.final_response == "done"
    assert agents
    watching.recorder.close()
    await status(ours, "completed")


async def check_what_it_cannot_do_is_refused(ours, orchestra):
    work = Work(final("done"))
    agents = a_team(work)
    working = start(orchestra, agents)
    await at_work(orchestra, work)
    checkpoint = await ours.create_checkpoint("s", "here")
    with pytest.raises(TransitionError, match="does not take this command"):
        await ours.restore_checkpoint(checkpoint)
    work.go.set()
    assert (await working).success
