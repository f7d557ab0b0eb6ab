"""Keys and values of MARSYS on each store of ours."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from state_core import StateManager
from state_core.adapters.marsys.shelf import Shelf
from state_core.exceptions import InvalidValue, MissingExtra

STATE = {"session_id": "s", "branches": {}, "metadata": {"turn": 1}}


@pytest.fixture
def shelf(storage):
    return Shelf(storage)


async def test_a_value_comes_back_under_its_key(shelf):
    for key in ("session_s", "session_a b/ü", "plain", "../x"):
        await shelf.save(key, {"key": key})
        assert await shelf.load(key) == {"key": key}
        assert await shelf.exists(key)
    assert await shelf.keys() == ["../x", "plain", "session_a b/ü", "session_s"]
    for key in await shelf.keys():
        await shelf.delete(key)
        assert await shelf.load(key) is None
    assert await shelf.keys() == []


async def test_a_checkpoints_key_is_a_checkpoint_in_the_log(shelf, storage):
    await shelf.save("session_s", STATE)
    earlier = {**STATE, "metadata": {"turn": 0}}
    await shelf.save("checkpoint_s_begin_1", earlier)
    await shelf.save("checkpoint_s_begin_1", earlier)
    assert (await shelf.load("session_s"))["metadata"]["turn"] == 1
    assert (await shelf.load("checkpoint_s_begin_1"))["metadata"]["turn"] == 0
    (place,) = await StateManager(storage).list_checkpoints("s")
    assert place.name == "checkpoint_s_begin_1"
    assert await shelf.keys("checkpoint_s_") == ["checkpoint_s_begin_1"]
    await shelf.delete("checkpoint_s_begin_1")
    assert await shelf.load("checkpoint_s_begin_1") is None


async def test_many_sessions_are_listed_whole(shelf, monkeypatch):
    monkeypatch.setattr("state_core.adapters.marsys.shelf.PAGE", 3)
    for number in range(8):
        await shelf.save(f"session_{number}", STATE)
    assert await shelf.keys("session_") == [f"session_{number}" for number in range(8)]


async def test_what_json_has_no_word_for_is_refused(shelf):
    with pytest.raises(InvalidValue, match="session_s"):
        await shelf.save("session_s", {"x": object()})
    assert await shelf.load("session_s") is None


@pytest.mark.skipif(find_spec("marsys") is not None, reason="marsys is installed here")
def test_without_marsys_its_managers_say_what_to_install():
    with pytest.raises(MissingExtra, match=r"\[marsys\]"):
        from state_core.adapters.marsys import MarsysStateManager  # noqa: F401
