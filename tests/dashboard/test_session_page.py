"""The page of a session, its panels and files, over HTTP."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from typing import Any

import pytest
from django.test import AsyncClient

from marsys_dashboard import panels, session_views
from marsys_dashboard.activity import note_deletion
from marsys_dashboard.panels import WINDOW
from state_core.codec import new_encryption_key
from state_core.events import Event, EventKind
from state_core.manager import StateManager
from state_core.orchestra import Handoff
from state_core.orchestra.agents import recorded
from state_core.records import Message
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import body, serve, signed_in, text

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/sessions/default/{SESSION}/"


@pytest.fixture
def manager() -> StateManager:
    return StateManager(MemoryStorageBackend(), actor="tests")


@pytest.fixture(autouse=True)
def own_store(manager: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(manager, monkeypatch)


@pytest.fixture
async def client() -> AsyncClient:
    """Of somebody who may look."""
    return await signed_in("view")


async def panel(client: AsyncClient, name: str, **query: Any) -> str:
    return await text(client, f"{PAGE}panels/{name}/", **query)


async def work(manager: StateManager) -> None:
    async with manager.session(SESSION, context={"topic": "codes"}) as session:
        for name in ("one", "two"):
            branch = await session.open_branch(name)
            async with branch.step("Agent", {"for": name}) as step:
                await branch.add_message("assistant", f"said in {name}", agent="Agent")
                step.output = f"made in {name}"
        await session.checkpoint("halfway")


# The page


async def test_the_page_says_at_which_event_it_is(manager: StateManager, client: AsyncClient) -> None:
    await work(manager)
    last = (await manager.get_head(SESSION)).last_seq
    page = await text(client, PAGE)
    assert (
        f'data-session-id="{SESSION}" data-store="default" data-seq="{last}" data-status="completed"' in page
    )
    assert 'data-live="false"' in page
    assert f'data-socket="/ws/sessions/default/{SESSION}/"' in page
    assert "halfway" in page


@pytest.mark.parametrize("tab", session_views.TABS)
async def test_every_tab_is_there_at_first_paint(
    manager: StateManager, client: AsyncClient, tab: str
) -> None:
    await work(manager)
    page = await text(client, PAGE, tab=tab)
    assert f'data-tab="{tab}" aria-current="page"' in page
    if tab in {"steps", "messages", "log"}:
        assert f'data-scroller="{tab}"' in page
    assert "<script>" not in page
    assert "style=" not in page


async def test_a_session_that_is_not_there_is_not_found(client: AsyncClient) -> None:
    response = await client.get(PAGE)
    assert response.status_code == 404
    assert "There is no such session" in body(response)
    told = await client.get(PAGE, headers={"accept": "application/json"})
    assert told.status_code == 404
    assert "There is no session" in told.json()["error"]


async def test_a_session_that_was_deleted_says_by_whom_when_and_why(
    manager: StateManager, client: AsyncClient
) -> None:
    await manager.create_session(SESSION)
    head = await manager.get_head(SESSION)
    await manager.delete_session(SESSION)
    await note_deletion("default", head, "bo", "it held a <b>password</b>")
    response = await client.get(PAGE)
    assert response.status_code == 404
    page = body(response)
    assert "This session was deleted" in page
    assert "<b>bo</b>" in page
    assert "it held a &lt;b&gt;password&lt;/b&gt;" in page
    assert f"/activity/?store=default&amp;session={SESSION}" in page


async def test_an_id_that_is_none_is_refused(client: AsyncClient) -> None:
    assert (await client.get("/sessions/default/../../x/")).status_code in {302, 404}
    assert (await client.get("/sessions/default/..%2f..%2fx/")).status_code == 404
    assert (await client.get("/sessions/default/%2e%2e/")).status_code in {400, 404}


@pytest.mark.parametrize("address", ["", "panels/steps/", "charts.json", "state.json", "events/1.json"])
async def test_nobody_sees_anything_without_the_permission(manager: StateManager, address: str) -> None:
    await manager.create_session(SESSION)
    assert (await AsyncClient().get(PAGE + address)).status_code == 302
    assert (await (await signed_in("operate")).get(PAGE + address)).status_code == 403


async def test_the_page_says_what_its_reader_may_do(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    assert 'data-may="operate view"' in await text(await signed_in("view", "operate"), PAGE)


async def test_what_agents_write_is_escaped(manager: StateManager, client: AsyncClient) -> None:
    nasty = "<script>alert(1)</script>"
    async with manager.session(SESSION, context={nasty: nasty}, title=nasty) as session:
        branch = await session.open_branch(nasty, branch_id="b")
        async with branch.step(nasty, {"x": nasty}) as step:
            await branch.add_message(nasty, nasty, agent=nasty, name=nasty)
            step.output = nasty
        await session.checkpoint(nasty, reason=nasty)
    for name in panels.PANELS:
        shown = await panel(client, name, branch="b", step="b:1")
        assert nasty not in shown
    assert nasty not in await text(client, PAGE)


# Status


async def test_pausing_says_how_many_branches_are_still_in_a_step(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        one = await session.open_branch("one")
        await session.open_branch("two")
        async with one.step("Agent"):
            await manager.pause_execution(SESSION)
            page = await text(client, PAGE)
            began = session.document["branches"]["one"]["steps"]["one:1"]["started_at"]
        assert "1 of 2 branches still in a step" in page
        assert f'data-since="{datetime.fromisoformat(began).isoformat()}"' in page


async def test_resuming_says_that_nobody_has_taken_it(manager: StateManager, client: AsyncClient) -> None:
    await manager.create_session(SESSION)
    await manager.pause_execution(SESSION)
    await manager.resume_execution(SESSION)
    page = await text(client, PAGE)
    assert "no orchestrator has taken it yet" in page
    assert f"resume_session(&quot;{SESSION}&quot;)" in page


async def test_a_failed_session_says_why(manager: StateManager, client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="no budget"):
        async with manager.session(SESSION):
            raise ValueError("no budget left")
    assert "no budget left" in await text(client, PAGE)


# Windows


async def add(manager: StateManager, count: int) -> None:
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, [_context(number) for number in range(count)])


def _context(number: int) -> Event:
    return Event(kind=EventKind.CONTEXT_CHANGED, changes=[["set", ["context", "n"], number]])


async def test_the_log_is_shown_in_windows(manager: StateManager, client: AsyncClient) -> None:
    await add(manager, 249)
    newest = await panel(client, "log")
    assert newest.count("<tr data-key=") == WINDOW
    assert 'data-key="250"' in newest
    assert f'data-earlier="{251 - WINDOW}"' in newest
    last = await panel(client, "log", before=21)
    assert last.count("<tr data-key=") == 20
    assert '<p class="earlier" hidden>' in last


async def test_steps_and_messages_of_one_branch_can_be_asked_for(
    manager: StateManager, client: AsyncClient
) -> None:
    await work(manager)
    for name in ("steps", "messages", "log", "conversation"):
        assert 'data-branch-id="two"' not in await panel(client, name, branch="one")
        assert 'data-branch-id="one"' in await panel(client, name, branch="one")


async def test_only_steps_under_way_are_shown_where_only_what_is_active_is_wanted(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        async with branch.step("Ended"):
            pass
        async with branch.step("At work"):
            shown = await panel(client, "steps", active="1")
            assert "At work" in shown
            assert "Ended" not in shown
            assert "checked" in shown
    assert "<tr data-key=" not in await panel(client, "steps", active="1")
    assert "No step is under way" in await panel(client, "steps", active="1")
    assert "Ended" in await panel(client, "steps")


async def test_a_step_is_shown_with_what_went_in_and_came_out(
    manager: StateManager, client: AsyncClient
) -> None:
    await work(manager)
    shown = await panel(client, "inspector", branch="one", step="one:1")
    assert "{&quot;for&quot;: &quot;one&quot;}" in shown
    assert "made in one" in shown


async def test_a_step_that_handed_on_says_to_whom_and_what(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("b")
        async with branch.step("Reader", "begin") as step:
            step.output = recorded(Handoff("Critic", {"page": 2}), "Reader")
    row = await panel(client, "steps")
    assert "to Critic: {&quot;page&quot;: 2}" in row
    inspected = await panel(client, "inspector", branch="b", step=step.step_id)
    assert "<h3>Handed on to Critic</h3>" in inspected
    assert "$next" not in row + inspected


async def test_a_step_that_failed_is_shown_with_its_traceback(
    manager: StateManager, client: AsyncClient
) -> None:
    with pytest.raises(ValueError, match="no such paper"):
        async with manager.session(SESSION) as session:
            branch = await session.open_branch("one")
            async with branch.step("Agent"):
                raise ValueError("no such paper")
    shown = await panel(client, "inspector", branch="one", step="one:1")
    assert "Traceback (most recent call last)" in shown
    assert "ValueError: no such paper" in shown


async def test_a_long_value_is_cut_at_a_stated_length_and_can_be_seen_whole(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        async with branch.step("Agent") as step:
            await branch.add_message("assistant", "y" * 5_000)
            step.output = "x" * 50_000
    cut = await panel(client, "inspector", branch="one", step="one:1")
    assert cut.count("x" * 20_000) == 1
    assert "x" * 20_001 not in cut
    assert "Show all" in cut
    assert "x" * 50_000 in await panel(client, "inspector", branch="one", step="one:1", all="1")
    message = (await manager.log.read(SESSION, kinds=[EventKind.MESSAGE_ADDED]))[0].seq
    assert "y" * 2_001 not in await panel(client, "messages")
    assert "y" * 5_000 in await panel(client, "message", message=f"{message}-0")


@pytest.mark.parametrize("at", ["", "1", "x-0", "1-0", "999-0", "99999999999999999999999-0"])
async def test_a_message_that_is_not_there_is_said_so(
    manager: StateManager, client: AsyncClient, at: str
) -> None:
    await manager.create_session(SESSION)
    assert "There is no such message" in await panel(client, "message", message=at)


async def test_after_a_restore_only_what_counts_is_shown(manager: StateManager, client: AsyncClient) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        async with branch.step("Agent") as step:
            step.output = "kept"
        checkpoint = await session.checkpoint("here")
        async with branch.step("Agent") as step:
            await branch.add_message("assistant", "left behind")
            step.output = "left behind"
    await manager.restore_checkpoint(checkpoint)
    steps = await panel(client, "steps")
    assert "kept" in steps
    assert "left behind" not in steps
    assert "left behind" not in await panel(client, "messages")
    assert "Session restored" in await panel(client, "log")


async def test_a_fork_shows_the_steps_and_messages_that_it_carries(
    manager: StateManager, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.create_session("origin")
    async with manager.session("origin") as session:
        branch = await session.open_branch("one")
        async with branch.step("Agent") as step:
            await branch.add_messages(Message("user", "first"), Message("assistant", "second"))
            step.output = "made before"
    await manager.fork_session("origin", SESSION)
    assert "made before" in await panel(client, "steps")
    assert "made before" in await panel(client, "inspector", branch="one", step="one:1")
    messages = await panel(client, "messages")
    assert messages.index("first") < messages.index("second")


async def test_a_compacted_session_shows_what_it_was_and_from_where_its_log_is_kept(
    manager: StateManager, client: AsyncClient
) -> None:
    await work(manager)
    assert "log kept" not in await text(client, PAGE)
    earlier = await panel(client, "steps")
    for checkpoint in await manager.list_checkpoints(SESSION):
        await manager.delete_checkpoint(checkpoint.id)
    place = (await manager.compact_session(SESSION)).first_seq
    assert place > 1
    assert f"log kept from event {place}" in await text(client, PAGE)
    steps = await panel(client, "steps")
    assert (
        [word in steps for word in ("made in one", "made in two")]
        == [True, True]
        == [word in earlier for word in ("made in one", "made in two")]
    )
    assert "said in two" in await panel(client, "messages")
    assert "made in one" in await panel(client, "inspector", branch="one", step="one:1")
    log = await panel(client, "log")
    assert "Session compacted" in log
    assert "stands for itself and all before it" in log
    assert "Step started" not in log
    charts = (await client.get(f"{PAGE}charts.json")).json()
    assert charts["timeline"]


@pytest.mark.parametrize("carried", ["fork", "compacted"])
async def test_without_the_key_what_a_first_event_carries_is_missing_and_no_error(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, carried: str
) -> None:
    store = MemoryStorageBackend()
    manager = StateManager(store, encryption_key=new_encryption_key())
    if carried == "fork":
        await manager.create_session("origin")
        async with manager.session("origin") as session:
            await session.open_branch("one")
        await manager.fork_session("origin", SESSION)
    else:
        await work(manager)
        await manager.pause_execution(SESSION)
        assert (await manager.compact_session(SESSION)).events
    async with manager.session(SESSION) as session:
        async with session.branch("one").step("Agent", step_id="late") as step:
            step.output = "made later"
        async with (await session.open_branch("three")).step("Newcomer"):
            pass
    serve(StateManager(store), monkeypatch)
    assert "Newcomer" in await panel(client, "steps")
    assert "Step completed" in await panel(client, "log")
    assert (await client.get(f"{PAGE}charts.json")).status_code == 200


async def test_without_the_key_the_page_shows_what_headers_tell(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStorageBackend()
    await work(StateManager(store, encryption_key=new_encryption_key()))
    serve(StateManager(store), monkeypatch)
    steps = await panel(client, "steps")
    assert "Agent" in steps
    assert "does not have" in steps
    assert "made in one" not in steps
    assert "encrypted" in await panel(client, "state")
    assert "encrypted" in await panel(client, "inspector", branch="one", step="one:1")


async def test_a_memory_that_was_rewritten_leaves_a_mark(manager: StateManager, client: AsyncClient) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        await branch.add_messages(Message("user", "first"), Message("assistant", "second"))
        await branch.rewrite_memory([Message("assistant", "summary")])
    assert "Memory rewritten here" in await panel(client, "messages")


async def test_there_is_no_panel_of_another_name(manager: StateManager, client: AsyncClient) -> None:
    await manager.create_session(SESSION)
    assert (await client.get(f"{PAGE}panels/secrets/")).status_code == 404


async def test_nonsense_in_the_address_is_no_error(manager: StateManager, client: AsyncClient) -> None:
    await work(manager)
    for query in (
        {"before": "-1"},
        {"before": "x" * 50},
        {"branch": "nowhere", "step": "no:1"},
        {"tab": "x"},
    ):
        await text(client, PAGE, **query)
        await panel(client, "steps", **query)


# Files


async def test_state_and_picture_can_be_downloaded(manager: StateManager, client: AsyncClient) -> None:
    await work(manager)
    state = json.loads(await text(client, f"{PAGE}state.json"))
    assert state["context"] == {"topic": "codes"}
    picture = json.loads(await text(client, f"{PAGE}visualization.json"))
    assert [node["id"] for node in picture["nodes"]] == ["one", "two"]


async def test_the_content_of_an_event_can_be_downloaded(manager: StateManager, client: AsyncClient) -> None:
    await manager.create_session(SESSION, context={"topic": "codes"})
    assert json.loads(await text(client, f"{PAGE}events/1.json")) == [["set", ["context", "topic"], "codes"]]
    assert (await client.get(f"{PAGE}events/2.json")).status_code == 404
    assert (await client.get(f"{PAGE}events/0.json")).status_code == 404


# Lineage


async def test_the_family_of_a_session_is_shown_with_who_and_why(
    manager: StateManager, client: AsyncClient
) -> None:
    await work(manager)
    (halfway,) = await manager.list_checkpoints(SESSION)
    await manager.fork_session(SESSION, "second", seq=3, reason="<b>another way</b>", actor="ana")
    await manager.restore_checkpoint(halfway.id, reason="a better start", actor="bo")
    shown = await panel(client, "lineage")
    assert 'data-session-id="second"' in shown
    assert "forked at event 3 by ana" in shown
    assert "&lt;b&gt;another way&lt;/b&gt;" in shown
    assert "a better start" in shown
    assert "What it changed" in shown
    assert "this session" in await text(client, PAGE.replace(SESSION, "second"), tab="lineage")


# Conversations


async def test_the_conversation_of_one_agent_can_be_asked_for(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        for number in range(3):
            await branch.add_message("assistant", f"draft {number}", agent="Writer")
            await branch.add_message("assistant", f"critique {number}", agent="<b>Critic</b>")
        await session.remember("Writer", Message("assistant", "kept for later", agent="Writer"))
    shown = await panel(client, "messages", agent="Writer")
    assert '<option value="Writer" selected>Writer (4)</option>' in shown
    assert "&lt;b&gt;Critic&lt;/b&gt; (3)" in shown
    assert "draft 2" in shown
    assert "kept for later" in shown
    assert "critique" not in shown
    assert "critique 2" in await panel(client, "messages", branch="one")


async def test_a_fork_is_read_by_agent_too(manager: StateManager, client: AsyncClient) -> None:
    async with manager.session("origin") as session:
        branch = await session.open_branch("one")
        await branch.add_message("assistant", "draft", agent="Writer")
        await branch.add_message("assistant", "critique", agent="Critic")
    await manager.fork_session("origin", SESSION)
    shown = await panel(client, "messages", agent="Critic")
    assert "critique" in shown
    assert "draft" not in shown


async def test_a_window_around_a_message_says_whether_there_are_later_ones(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        for number in range(120):
            await branch.add_message("assistant", f"message {number}")
    seqs = [event.seq for event in await manager.log.read(SESSION, kinds=[EventKind.MESSAGE_ADDED])]
    middle = await panel(client, "messages", around=seqs[60])
    assert "message 60" in middle
    assert "data-later" in middle
    assert '<p class="earlier">' in middle
    end = await panel(client, "messages", around=seqs[119])
    assert "message 119" in end
    assert "data-later" not in end


async def test_a_selected_step_that_is_older_than_the_newest_is_listed_with_its_neighbours(
    manager: StateManager, client: AsyncClient
) -> None:
    async with manager.session(SESSION) as session:
        for name in ("one", "two"):
            branch = await session.open_branch(name)
            for number in range(60):
                async with branch.step("Agent", step_id=f"{name}-{number}"):
                    pass
    shown = await panel(client, "steps", branch="one", step="one-5")
    assert 'data-step-id="one-5"' in shown
    assert "two-" not in shown
    assert "data-later" in shown
    assert 'data-step-id="one-5"' in await text(client, PAGE, tab="steps", branch="one", step="one-5")


@pytest.mark.parametrize("step", ["two-59", "gone"])
async def test_a_selected_step_among_the_newest_or_one_that_is_gone_leaves_the_newest_in_the_list(
    manager: StateManager, client: AsyncClient, step: str
) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("two")
        for number in range(60):
            async with branch.step("Agent", step_id=f"two-{number}"):
                pass
    shown = await panel(client, "steps", branch="two", step=step)
    assert 'data-step-id="two-59"' in shown
    assert "data-later" not in shown


async def test_a_session_is_downloaded_as_one_file_without_its_secrets(
    manager: StateManager, client: AsyncClient
) -> None:
    await manager.create_session(SESSION, context={"password": "swordfish", "topic": "tides"})
    response = await client.get(f"{PAGE}session.jsonl.gz")
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == f'attachment; filename="{SESSION}.jsonl.gz"'
    written = gzip.decompress(response.content).decode()
    assert "tides" in written
    assert "swordfish" not in written
    assert (await (await signed_in()).get(f"{PAGE}session.jsonl.gz")).status_code == 403
