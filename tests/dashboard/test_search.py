"""Searching inside a session, on several stores."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import AsyncClient

from marsys_dashboard import search as search_module
from state_core import StateManager, StorageBackend, new_encryption_key
from tests.dashboard.conftest import SESSION
from tests.dashboard.visiting import serve, text

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = f"/sessions/default/{SESSION}/"


async def work(manager: StateManager, steps: int = 3) -> None:
    async with manager.session(SESSION) as session:
        branch = await session.open_branch("one")
        for number in range(1, steps + 1):
            async with branch.step("Agent", {"query": f"Tide tables {number}"}) as step:
                await branch.add_message("assistant", f"The <b>Überblick</b> of tides, part {number}.")
                step.output = ["moon", {"share": number}]
        with pytest.raises(ValueError, match="network"):
            async with branch.step("Agent"):
                raise ValueError("no network")


async def find(visitor: AsyncClient, query: str, **more: Any) -> str:
    return await text(visitor, f"{PAGE}panels/search/", q=query, **more)


def kinds(page: str) -> list[str]:
    return re.findall(r"</b> · (\w+)", page)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tide tables 2", ["input"]),
        ("MOON", ["output"] * 3),
        ("überBLICK", ["message"] * 3),
        ("no network", ["error"]),
        ("share", ["output"] * 3),
        ("part 3.", ["message"]),
        ("part .*", []),
        ("nowhere", []),
    ],
)
async def test_text_is_found_whatever_its_case(
    served: StateManager, visitor: AsyncClient, query: str, expected: list[str]
) -> None:
    await work(served)
    assert kinds(await find(visitor, query)) == expected


async def test_hits_are_marked_and_escaped_and_lead_to_their_place(
    served: StateManager, visitor: AsyncClient
) -> None:
    await work(served)
    page = await find(visitor, "<b>Über")
    assert "<mark>&lt;b&gt;Über</mark>blick&lt;/b&gt; of tides" in page
    (last, *_) = [int(seq) for seq in re.findall(r'data-message-at="(\d+)"', page)]
    place = await text(visitor, f"{PAGE}panels/messages/", branch="one", around=last)
    assert f'data-found="{last}"' in place
    assert f'data-seq="{last}"' in place
    assert "step=one%3A2" in await find(visitor, "tables 2")


async def test_a_name_is_found_with_what_is_called_so_and_where_in_words(
    served: StateManager, visitor: AsyncClient
) -> None:
    hardest = {"where": "a.py", "ways": 21, "more": {"deep": [1]}, "is_long": True}
    async with served.session(SESSION) as session:
        branch = await session.open_branch("measure", branch_id="b-1")
        async with branch.step("Counter") as step:
            step.output = {"hardest_function": hardest}
    page = await find(visitor, "hardest")
    assert "<mark>hardest</mark>_function: where: a.py, ways: 21, is_long: true" in page
    assert "· measure ·" in page
    assert "<mark>deep</mark></a>" in await find(visitor, "deep")


async def test_the_newest_come_first_and_a_long_search_says_where_it_stopped(
    served: StateManager, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "MOST_HITS", 2)
    await work(served)
    page = await find(visitor, "part")
    assert [part[0] for part in re.findall(r"part</mark> (\d)", page)] == ["3", "2"]
    assert "there are older ones" in page
    reached = re.search(r'data-search-on="(\d+)"', page)
    assert reached
    rest = await find(visitor, "part", before=reached[1])
    assert [part[0] for part in re.findall(r"part</mark> (\d)", rest)] == ["1"]
    assert "there are older ones" not in rest


@pytest.mark.parametrize(("name", "most"), [("MOST_EVENTS", 4), ("MOST_SECONDS", 0.0)])
async def test_a_search_is_bounded(
    served: StateManager, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch, name: str, most: float
) -> None:
    monkeypatch.setattr(search_module, name, most)
    monkeypatch.setattr(search_module, "PAGE", 4)
    await work(served)
    page = await find(visitor, "part 1")
    assert "Nothing found in 4 events, down to event" in page
    assert "Search further back" in page


async def test_an_encrypted_session_is_searched_with_its_key_and_not_without(
    store: StorageBackend, visitor: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_encryption_key()
    with_key = StateManager(store, encryption_key=key)
    await work(with_key)
    serve(with_key, monkeypatch)
    assert kinds(await find(visitor, "moon")) == ["output"] * 3
    serve(StateManager(store), monkeypatch)
    page = await find(visitor, "moon")
    assert "Nothing found" in page
    assert "could not be searched: encrypted with a key that this dashboard does not have" in page


async def test_what_a_restore_set_aside_is_found_and_said_so(
    served: StateManager, visitor: AsyncClient
) -> None:
    await served.create_session(SESSION)
    start = await served.create_checkpoint(SESSION)
    await work(served)
    await served.restore_checkpoint(start)
    page = await find(visitor, "tables 2")
    assert "set aside by a restore" in page
    assert "data-travel" in page


async def test_a_fork_is_searched_with_what_it_carries(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    await served.fork_session(SESSION, "fork")
    page = await text(visitor, "/sessions/default/fork/panels/search/", q="tables 2")
    assert kinds(page) == ["input"]


async def test_of_the_past_only_the_past_is_searched(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    (event,) = [e.seq for e in await served.log.read(SESSION, kinds=["step.started"]) if e.step_id == "one:2"]
    assert kinds(await find(visitor, "tables", at=event - 1)) == ["input"]


async def test_without_a_text_the_panel_says_what_it_does(served: StateManager, visitor: AsyncClient) -> None:
    await work(served)
    assert "Finds text in every message" in await find(visitor, "  ")
    assert "tide" in await text(visitor, PAGE, tab="search", q="tide")
