"""A session as of an earlier event: the page, its panels, its charts, its files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import AsyncClient

from marsys_dashboard import past as past_module
from marsys_dashboard.outlines import Outline, fold_outline
from marsys_dashboard.past import PLACES, PastOutlines, stride_of
from state_core import Head, StateManager, StorageBackend, new_encryption_key
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import body, serve, text

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/sessions/default/{SESSION}/"


async def work(served: StateManager, steps: int = 2) -> str:
    """Each step says something, and the context counts them; in the middle there is a checkpoint."""
    async with served.session(SESSION, context={"n": 0}) as session:
        branch = await session.open_branch("one")
        middle = ""
        for number in range(1, steps + 1):
            async with branch.step("Agent") as step:
                await branch.add_message("assistant", f"said in {number}")
                await session.set_context(n=number)
                step.output = f"made in {number}"
            if number == steps // 2:
                middle = await session.checkpoint("middle")
        second = await session.open_branch("two", parent=branch)
        await second.complete()
    return middle


async def charts(visitor: AsyncClient, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await text(visitor, f"{PAGE}charts.json", **query))
    return found


async def test_the_page_shows_the_session_as_it_was(served: StateManager, visitor: AsyncClient) -> None:
    middle = await served.get_checkpoint(await work(served))
    last = (await served.get_head(SESSION)).last_seq
    page = await text(visitor, PAGE, at=middle.seq, tab="steps")
    assert f"You are looking at event {middle.seq} of" in page
    assert "checkpoint “middle”" in page
    assert f'data-seq="{last}" data-at="{middle.seq}"' in page
    assert 'data-status="running"' in page
    assert "made in 1" in page
    assert "made in 2" not in page
    assert "Steps <b>1 / 1</b>" in page
    assert "said in 2" not in page


async def test_a_checkpoint_can_be_named(served: StateManager, visitor: AsyncClient) -> None:
    middle = await served.get_checkpoint(await work(served))
    assert f"You are looking at event {middle.seq} of" in await text(visitor, PAGE, at=middle.id)


async def test_every_panel_is_as_of_the_event(served: StateManager, visitor: AsyncClient) -> None:
    middle = await served.get_checkpoint(await work(served))
    for name, then, now in (
        ("steps", "made in 1", "made in 2"),
        ("messages", "said in 1", "said in 2"),
        ("conversation", "said in 1", "said in 2"),
        ("state", "<pre>1</pre>", "<pre>2</pre>"),
        ("log", f'data-key="{middle.seq}"', f'data-key="{middle.seq + 1}"'),
        ("standing", "Running", "Completed"),
    ):
        shown = await text(visitor, f"{PAGE}panels/{name}/", at=middle.seq)
        assert then in shown, name
        assert now not in shown, name
        assert now in await text(visitor, f"{PAGE}panels/{name}/"), name


async def test_the_charts_stand_at_the_moment_of_the_event(
    served: StateManager, visitor: AsyncClient
) -> None:
    middle = await served.get_checkpoint(await work(served))
    then, now = await charts(visitor, at=middle.seq), await charts(visitor)
    assert (then["at"], then["seq"]) == (middle.seq, middle.seq)
    assert then["server_time"] == int(middle.created_at.timestamp() * 1000)
    assert (then["timeline"]["lanes"]["id"], then["graph"]["of"]) == (["one"], [[0]])
    assert (now["timeline"]["lanes"]["id"], now["graph"]["of"]) == (["one", "two"], [[0], [1]])
    assert [mark["name"] for mark in then["checkpoints"]] == ["middle"]
    assert now["at"] is None


async def test_files_are_as_of_the_event(served: StateManager, visitor: AsyncClient) -> None:
    middle = await served.get_checkpoint(await work(served))
    assert json.loads(await text(visitor, f"{PAGE}state.json", at=middle.seq))["context"] == {"n": 1}


async def test_before_a_restore_what_it_set_aside_is_there(
    served: StateManager, visitor: AsyncClient
) -> None:
    middle = await work(served)
    before = (await served.get_head(SESSION)).last_seq
    await served.restore_checkpoint(middle)
    assert "made in 2" in await text(visitor, f"{PAGE}panels/steps/", at=before)
    assert "made in 2" not in await text(visitor, f"{PAGE}panels/steps/", at=before + 2)


async def test_a_place_that_is_not_there_is_said_so(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    for at, status in (("0", 400), ("9999", 400), ("cp-nowhere", 404), ("no id", 400)):
        assert (await visitor.get(PAGE, {"at": at})).status_code == status, at
    assert "has events 1 to" in body(await visitor.get(PAGE, {"at": "9999"}))
    other = await served.fork_session(SESSION)
    foreign = await served.create_checkpoint(other)
    assert (await visitor.get(PAGE, {"at": foreign})).status_code == 404


async def test_without_the_key_the_past_is_shown_as_headers_tell_it(
    store: StorageBackend, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work(StateManager(store, encryption_key=new_encryption_key()))
    serve(StateManager(store), monkeypatch)
    page = await text(visitor, PAGE, at=6, tab="steps")
    assert "Agent" in page
    assert "made in" not in page


async def test_moments_tell_when_events_happened(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    head = await served.get_head(SESSION)
    found = json.loads(await text(visitor, f"{PAGE}moments.json"))["moments"]
    assert [seq for seq, _ in found] == list(range(1, head.last_seq + 1))
    assert [at for _, at in found] == sorted(at for _, at in found)


# Outlines of the past


def told(outline: Outline) -> list[Any]:
    return [outline.document, outline.steps, outline.messages, outline.questions]


async def test_an_outline_of_the_past_is_what_the_log_gives(
    served: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_module, "LEAST_STRIDE", 8)
    middle = await work(served, steps=8)
    await served.restore_checkpoint(middle)
    head = await served.get_head(SESSION)
    outlines = PastOutlines()
    forth = range(1, head.last_seq + 1, 3)
    for seq in (*forth, *reversed(forth), head.last_seq, 2):
        found = await outlines.outline("default", served, head, seq)
        assert told(found) == told(await fold_outline(served, SESSION, seq)), seq


async def test_the_next_event_costs_what_lies_between(
    served: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work(served, steps=20)
    head = await served.get_head(SESSION)
    outlines = PastOutlines()
    await outlines.outline("default", served, head, 50)
    read: list[tuple[int, int]] = []
    original = past_module.missing_headers

    async def counting(chosen: StateManager, session_id: str, after: int, upto: int) -> Any:
        read.append((after, upto))
        return await original(chosen, session_id, after, upto)

    monkeypatch.setattr(past_module, "missing_headers", counting)
    await outlines.outline("default", served, head, 51)
    await outlines.outline("default", served, head, 51)
    assert read == [(50, 51)]


async def test_another_session_of_the_same_id_is_not_mistaken(served: StateManager) -> None:
    await work(served)
    outlines = PastOutlines()
    await outlines.outline("default", served, await served.get_head(SESSION), 6)
    await served.delete_session(SESSION)
    await work(served)
    head: Head = await served.get_head(SESSION)
    found = await outlines.outline("default", served, head, 6)
    assert told(found) == told(await fold_outline(served, SESSION, 6))


async def test_what_is_kept_is_bounded(served: StateManager) -> None:
    await work(served, steps=10)
    head = await served.get_head(SESSION)
    outlines = PastOutlines(events=100)
    for seq in range(1, head.last_seq + 1):
        await outlines.outline("default", served, head, seq)
    assert 0 < len(outlines) < 10


@pytest.mark.parametrize("last", [1, 31_999, 32_001, 10_000_000])
def test_the_log_is_not_cut_into_more_than_so_many_places(last: int) -> None:
    assert last / stride_of(last) <= PLACES
    assert stride_of(2 * last) % stride_of(last) == 0
