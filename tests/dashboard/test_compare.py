"""The page that compares two places of a session."""

from __future__ import annotations

import json

import pytest
from django.test import AsyncClient

from state_core import Message, StateManager, StorageBackend, new_encryption_key
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import body, serve, signed_in, text

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/sessions/default/{SESSION}/compare/"
JSON = f"/sessions/default/{SESSION}/compare.json"
NASTY = "<script>alert(1)</script>"


async def work(served: StateManager) -> tuple[str, str]:
    async with served.session(SESSION, context={"topic": "tides of the sea"}) as session:
        branch = await session.open_branch("one")
        await branch.add_message("assistant", "The moon does it.", agent="Agent")
        first = await session.checkpoint("first")
        await session.set_context(topic="tides of the ocean", note=NASTY)
        await branch.rewrite_memory([Message("assistant", f"The moon does it, {NASTY}.", agent="Agent")])
        async with branch.step("Agent") as step:
            step.output = NASTY
        second = await session.checkpoint(NASTY)
    return first, second


async def test_two_checkpoints_stand_side_by_side(served: StateManager, visitor: AsyncClient) -> None:
    first, second = await work(served)
    page = await text(visitor, PAGE, a=first, b=second)
    assert "<del>sea</del>" in page
    assert "<ins>ocean</ins>" in page
    assert 'data-step-id="one:1"' in page
    assert "messages: 1 rewritten" in page
    assert NASTY not in page
    assert f'<option value="{first}" selected>' in page
    assert f'href="{PAGE}?a={second}&amp;b={first}"' in page


async def test_without_places_the_newest_checkpoint_is_compared_with_now(
    served: StateManager, visitor: AsyncClient
) -> None:
    _first, second = await work(served)
    page = await text(visitor, PAGE)
    assert f'<option value="{second}" selected>' in page
    assert '<option value="now" selected>' in page
    await served.create_session("without", context={"a": 1})
    assert "Nothing differs" in await text(visitor, PAGE.replace(SESSION, "without"))


async def test_events_can_be_compared(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    page = await text(visitor, PAGE, a=2, b=5)
    assert '<option value="2" selected>' in page
    assert '<option value="5" selected>' in page
    assert "opened since" in page


async def test_the_same_is_there_as_json(served: StateManager, visitor: AsyncClient) -> None:
    first, second = await work(served)
    found = json.loads(await text(visitor, JSON, a=first, b=second))
    assert [item["path"] for item in found["context"]["items"]] == [["topic"], ["note"]]
    assert found["branches"][0]["memory"]["rewritten"] == 1


async def test_a_session_is_compared_with_its_fork_and_both_say_where_they_parted(
    served: StateManager, visitor: AsyncClient
) -> None:
    first, _second = await work(served)
    await served.fork_session(SESSION, "again", checkpoint_id=first)
    async with served.session("again") as session:
        await session.set_context(topic="tides of the moon")
    page = await text(visitor, PAGE, **{"with": "default/again"})
    assert "Compare two sessions" in page
    assert "<del>ocean</del>" in page
    assert "<ins>moon</ins>" in page
    assert '<option value="default/again" selected>' in page
    assert "where the other was forked" in page
    assert f"{PAGE.replace(SESSION, 'again')}?with=default/{SESSION}&amp;a=now&amp;b=now" in page
    found = json.loads(await text(visitor, JSON, **{"with": "default/again", "a": first, "b": 1}))
    assert found["context"]["items"] == []
    back = await text(visitor, PAGE.replace(SESSION, "again"))
    assert "where it was forked" in back
    assert f'<option value="default/{SESSION}">' in back


async def test_a_checkpoint_is_looked_for_in_its_own_session(
    served: StateManager, visitor: AsyncClient
) -> None:
    first, _second = await work(served)
    await served.create_session("other")
    answer = await visitor.get(PAGE, {"with": "default/other", "a": first, "b": first})
    assert answer.status_code == 404
    assert "There is no checkpoint" in body(answer)
    assert "session &#x27;other&#x27;" in body(answer)


async def test_places_that_are_not_there_are_said_so(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    for query, status in (
        ({"a": "cp-no"}, 404),
        ({"a": "9999"}, 400),
        ({"a": "0"}, 400),
        ({"b": "x y"}, 400),
        ({"with": "default/no"}, 404),
        ({"with": "default/x y"}, 400),
    ):
        response = await visitor.get(PAGE, query)
        assert response.status_code == status, query
    assert "has events 1 to" in body(await visitor.get(PAGE, {"a": "9999"}))


async def test_without_the_key_the_page_says_so(
    store: StorageBackend, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await work(StateManager(store, encryption_key=new_encryption_key()))
    serve(StateManager(store), monkeypatch)
    page = await text(visitor, PAGE)
    assert "cannot be compared here" in page
    assert "encrypted" in page
    assert (await visitor.get(JSON)).status_code == 422


async def test_only_who_may_look_compares(served: StateManager) -> None:
    await work(served)
    nobody = await signed_in()
    for address in (PAGE, JSON):
        assert (await AsyncClient().get(address)).status_code == 302
        assert (await nobody.get(address)).status_code == 403


async def test_time_and_tokens_are_compared_where_steps_tell_of_them(
    served: StateManager, visitor: AsyncClient
) -> None:
    await work(served)
    page = await text(visitor, PAGE)
    assert "Time in steps" in page
    assert "Tokens" not in page
    async with served.session("models") as session:
        branch = await session.open_branch("one")
        first = await session.checkpoint("first")
        async with branch.step("Model") as step:
            step.output = {"usage": {"input_tokens": 12_000, "output_tokens": 431}}
    page = await text(visitor, PAGE.replace(SESSION, "models"), a=first)
    assert '<th scope="row">Tokens</th><td class="num">0</td>' in page
    assert "+12\u202f431" in page
