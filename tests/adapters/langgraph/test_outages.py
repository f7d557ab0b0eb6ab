"""A store that goes away under a run: the run waits, goes on, and nothing is written twice."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from state_core import RedisStorageBackend, StateManager, StateManagerConfig
from state_core.adapters.langgraph import StateCoreSaver
from state_core.exceptions import StorageUnavailable
from tests.adapters.langgraph.graphs import config, talk
from tests.proxy import Manners, proxy_to
from tests.redis_server import RedisServer


@pytest.mark.parametrize("cut", [Manners.CUT_BEFORE_REPLY, Manners.CUT_BEFORE_REQUEST])
async def test_a_connection_that_is_cut_loses_nothing_and_doubles_nothing(
    redis_server: RedisServer, redis_prefix: str, cut: Manners
) -> None:
    async with proxy_to(redis_server.port) as proxy:
        saver = StateCoreSaver(RedisStorageBackend("127.0.0.1", proxy.port, key_prefix=redis_prefix))
        graph = talk(saver)
        for text in ("one", "two", "three"):
            proxy.manners = cut
            await graph.ainvoke({"messages": [HumanMessage(text)]}, config(), durability="sync")
        events = await saver.state_manager.log.read("thread")
        puts = [c[2]["id"] for e in events for c in e.changes if c[0] == "keep" and c[2]["t"] == "put"]
        assert len(puts) == len(set(puts)) == 9
        assert len([found async for found in saver.alist(config())]) == 9
        state = await saver.state_manager.get_session_state("thread")
        assert len(state.branches[0].memory) == 6
        await saver.aclose()


async def test_a_store_that_stays_away_is_said_in_the_end() -> None:
    manager = StateManager(
        RedisStorageBackend("127.0.0.1", 1), config=StateManagerConfig(outage_patience=0.2)
    )
    with pytest.raises(StorageUnavailable):
        await talk(StateCoreSaver(manager)).ainvoke({"messages": [HumanMessage("hello")]}, config())
