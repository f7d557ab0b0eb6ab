"""The sockets: who may watch, from where it goes on, and how little a slow browser costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import AsyncClient

from marsys_dashboard import consumers, viewers
from marsys_dashboard import feed as feed_module
from marsys_dashboard.asgi import application
from marsys_dashboard.feed import Feed
from state_core.events import Event, EventKind
from state_core.exceptions import DamagedError, StateError, StorageUnavailable
from state_core.manager import StateManager
from state_core.records import show_time, utc_now
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.conftest import SESSION

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "http://127.0.0.1"
ADDRESS = f"/ws/sessions/default/{SESSION}/"


@pytest.fixture
def manager() -> StateManager:
    return StateManager(MemoryStorageBackend(), actor="tests")


@pytest.fixture(autouse=True)
async def own_feed(manager: StateManager, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    """Sockets of this test watch this test's store."""
    made = Feed(lambda _store: manager)
    monkeypatch.setattr(feed_module, "feed", made)
    yield made
    await made.ended()
    assert not made.hub, "a socket was closed and still listens"
    await consumers.presence.ended()


async def cookie(*permissions: str) -> bytes:
    """Of somebody who is signed in with these permissions."""
    user = await User.objects.acreate_user(f"user{await User.objects.acount()}")
    for codename in permissions:
        granted = await Permission.objects.aget(content_type__app_label="state_core", codename=codename)
        await sync_to_async(user.user_permissions.add)(granted)
    client = AsyncClient()
    await client.aforce_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}".encode()


class Browser:
    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket
        self.have = 0

    async def say(self, **message: Any) -> None:
        await self.socket.send_to(text_data=json.dumps(message))

    async def hear(self, kind: str = "frame", seconds: float = 10) -> dict[str, Any]:
        while True:
            message = json.loads(await self.socket.receive_from(timeout=seconds))
            if message["type"] == kind:
                return message

    async def read_to(self, seq: int, *, acknowledge: bool = True) -> list[int]:
        """The seqs of all events up to ``seq``, as a browser sees them."""
        seen: list[int] = []
        while self.have < seq:
            frame = await self.hear()
            assert frame["after"] == self.have
            seen += [event["seq"] for event in frame["events"]]
            self.have = frame["seq"]
            if acknowledge:
                await self.say(ack=self.have)
        return seen


@asynccontextmanager
async def connected(
    who: bytes | None = None, address: str = ADDRESS, origin: str = HERE
) -> AsyncIterator[Browser]:
    headers = [(b"origin", origin.encode()), (b"host", b"127.0.0.1")]
    if who:
        headers.append((b"cookie", who))
    socket = WebsocketCommunicator(application, address, headers=headers)
    accepted, _ = await socket.connect(timeout=10)
    assert accepted
    yield Browser(socket)
    await socket.disconnect(timeout=10)


async def closed_with(browser: Browser) -> int:
    output = await browser.socket.receive_output(timeout=10)
    assert output["type"] == "websocket.close"
    return int(output["code"])


def contexts(count: int) -> list[Event]:
    return [
        Event(kind=EventKind.CONTEXT_CHANGED, changes=[["set", ["context", "n"], n]]) for n in range(count)
    ]


# Who may


async def test_somebody_who_is_not_signed_in_is_told_so(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    async with connected() as browser:
        assert "not signed in" in (await browser.hear("refused"))["message"]
        assert await closed_with(browser) == 4401


async def test_somebody_without_the_permission_is_told_which_one(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("operate_session")) as browser:
        assert "state_core.view_session" in (await browser.hear("refused"))["message"]
        assert await closed_with(browser) == 4403


async def test_the_list_asks_for_the_same_permission() -> None:
    async with connected(await cookie(), "/ws/sessions/") as browser:
        assert (await browser.hear("refused"))["code"] == 4403
        assert await closed_with(browser) == 4403


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://127.0.0.1:9000", "null", ""])
async def test_a_page_of_another_site_cannot_connect(origin: str, manager: StateManager) -> None:
    headers = [
        (b"origin", origin.encode()),
        (b"host", b"127.0.0.1"),
        (b"cookie", await cookie("view_session")),
    ]
    socket = WebsocketCommunicator(application, ADDRESS, headers=headers)
    accepted, _ = await socket.connect(timeout=10)
    assert not accepted


async def test_there_is_no_other_socket() -> None:
    headers = [(b"origin", HERE.encode()), (b"host", b"127.0.0.1")]
    socket = WebsocketCommunicator(application, "/ws/elsewhere/", headers=headers)
    assert await socket.connect(timeout=10) == (False, 4404)


@pytest.mark.parametrize(
    ("error", "code"), [(StorageUnavailable("away"), 4503), (DamagedError("s", "its log", "it is cut"), 4500)]
)
async def test_trouble_with_the_store_closes_it_with_a_code_that_servers_send(
    error: StateError, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Feed, "watch", fail)
    async with connected(await cookie("view_session")) as browser:
        assert (await browser.hear("refused"))["message"] == str(error)
        assert await closed_with(browser) == code


@pytest.mark.parametrize("address", ["/ws/sessions/default/nowhere/", "/ws/sessions/nowhere/x/"])
async def test_what_is_not_there_is_said_to_be_missing(
    address: str, monkeypatch: pytest.MonkeyPatch, manager: StateManager
) -> None:
    from marsys_dashboard import managers

    def manager_of(store: str) -> StateManager:
        if store != "default":
            raise managers.StoreNotFound(store)
        return manager

    monkeypatch.setattr(feed_module, "feed", Feed(manager_of))
    async with connected(await cookie("view_session"), address) as browser:
        assert "There is no" in (await browser.hear("refused"))["message"]
        assert await closed_with(browser) == 4404


async def test_who_loses_the_permission_is_sent_away(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK", 0.05)
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        await browser.read_to(1)
        await User.objects.all().aupdate(is_active=False)
        assert (await browser.hear("refused"))["code"] in {4401, 4403}
        assert await closed_with(browser) in {4401, 4403}


async def test_who_signs_out_elsewhere_is_sent_away(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK", 0.05)
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        await browser.read_to(1)
        await Session.objects.all().adelete()
        assert (await browser.hear("refused"))["code"] == 4401


async def test_many_sockets_of_one_sign_in_are_asked_for_together(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = viewers._ask

    async def counted(key: str) -> None:
        asked.append(key)
        await ask(key)

    monkeypatch.setattr(viewers, "_ask", counted)
    session = SessionStore()
    await session.acreate()
    door = viewers.Door()
    asking = (door.check_again({"session": session}) for _ in range(20))
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in found} == {viewers.Refused}
    assert len(asked) == 1


# From where


async def test_a_browser_gets_what_comes_after_its_number_and_then_what_happens(
    manager: StateManager,
) -> None:
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, contexts(9))
    async with connected(await cookie("view_session")) as browser:
        browser.have = 4
        await browser.say(after=4)
        assert await browser.read_to(10) == [5, 6, 7, 8, 9, 10]
        await manager.log.append(SESSION, contexts(2))
        assert await browser.read_to(12) == [11, 12]


async def test_who_is_up_to_date_hears_that_the_line_is_good(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=1)
        assert (await browser.hear("pulse"))["seq"] == 1


async def test_after_a_cut_everything_arrives_once_and_in_order(manager: StateManager) -> None:
    who = await cookie("view_session")
    await manager.create_session(SESSION)
    async with connected(who) as browser:
        await browser.say(after=0)
        seen = await browser.read_to(1)
        have = browser.have
    for _ in range(10):
        await manager.log.append(SESSION, contexts(50))
    async with connected(who) as browser:
        browser.have = have
        await browser.say(after=have)
        seen += await browser.read_to(501)
    assert seen == list(range(1, 502))


async def test_what_a_browser_says_waits_for_no_database(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        await browser.read_to(1)
        browser.have = 0
        with monkeypatch.context() as without:
            without.setattr(consumers.AsyncWebsocketConsumer, "dispatch", None)
            await browser.say(ack=1)
            await browser.say(after=0)
            assert await browser.read_to(1) == [1]


async def test_a_browser_that_found_a_gap_is_sent_it_again(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    await manager.log.append(SESSION, contexts(5))
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        await browser.read_to(6)
        browser.have = 3
        await browser.say(after=3)
        assert await browser.read_to(6) == [4, 5, 6]


# How little


async def test_a_slow_browser_costs_bounded_memory_and_catches_up(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch, own_feed: Feed
) -> None:
    monkeypatch.setattr(consumers, "UNREAD_FRAMES", 4)
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        seen = await browser.read_to(1)
        for _ in range(12):
            before = own_feed.watched["default", SESSION].seq
            await manager.log.append(SESSION, contexts(1))
            await _until(lambda before=before: own_feed.watched["default", SESSION].seq > before)
        sent = [await browser.hear() for _ in range(4)]
        assert await browser.socket.receive_nothing(timeout=0.3)
        seen += [event["seq"] for frame in sent for event in frame["events"]]
        browser.have = sent[-1]["seq"]
        await browser.say(ack=browser.have)
        seen += await browser.read_to(13)
    assert seen == list(range(1, 14))


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "text", ["no JSON", "[1]", '{"after": "1"}', '{"after": -1}', '{"ack": true}', "x" * 5_000, "[" * 900]
)
async def test_a_message_that_makes_no_sense_closes_the_socket(manager: StateManager, text: str) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.socket.send_to(text_data=text)
        assert "makes no sense" in (await browser.hear("refused"))["message"]
        assert await closed_with(browser) == 4400


async def test_the_feed_stops_with_the_last_browser(manager: StateManager, own_feed: Feed) -> None:
    await manager.create_session(SESSION)
    who = await cookie("view_session")
    async with connected(who), connected(who):
        await _until(lambda: own_feed.running == ["default"])
    assert own_feed.running == []


LIST = "/ws/sessions/"


async def kinds_until(kind: str, browser: Browser) -> list[str]:
    """Of all messages up to one of that kind."""
    heard: list[str] = []
    while kind not in heard:
        heard.append(json.loads(await browser.socket.receive_from(timeout=10))["type"])
    return heard


async def test_the_list_is_told_of_sessions_that_change(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session"), LIST) as browser:
        await browser.say(since=show_time(utc_now()))
        first = await browser.hear("list")
        assert [row["id"] for row in first["rows"]] == [SESSION]
        await manager.pause_execution(SESSION)
        while (changed := await browser.hear("list"))["rows"][0]["status"] != "paused":
            """What it was before may be told twice: asked for, and seen."""
        assert 'data-status="paused"' in changed["rows"][0]["html"]


async def test_a_list_that_rests_is_told_nothing_and_then_that_it_missed_something(
    manager: StateManager, own_feed: Feed
) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session"), LIST) as browser:
        await browser.say(rest=True)
        await browser.say(since=show_time(utc_now()))
        await browser.hear("list")
        listing = own_feed.listing
        assert listing
        await manager.pause_execution(SESSION)
        await _until(lambda: "paused" in listing._known["default"][SESSION])
        await browser.say(rest=False)
        assert "list" not in await kinds_until("missed", browser)


async def test_a_list_that_rested_while_nothing_happened_is_told_nothing(manager: StateManager) -> None:
    async with connected(await cookie("view_session"), LIST) as browser:
        await browser.say(rest=True)
        await browser.say(rest=False)
        await browser.say(since=show_time(utc_now()))
        await browser.hear("list")
        await manager.create_session(SESSION)
        assert "missed" not in await kinds_until("list", browser)


@pytest.mark.parametrize(
    "message",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00+14:00"},
        {"shown": 1},
        {"shown": [["default"]]},
    ],
)
async def test_a_list_that_asks_for_nonsense_is_closed(message: dict[str, Any]) -> None:
    async with connected(await cookie("view_session"), LIST) as browser:
        await browser.say(**message)
        assert "makes no sense" in (await browser.hear("refused"))["message"]
        assert await closed_with(browser) == 4400


async def test_a_session_that_rests_is_told_its_status_alone_and_catches_up(manager: StateManager) -> None:
    await manager.create_session(SESSION)
    async with connected(await cookie("view_session")) as browser:
        await browser.say(after=0)
        await browser.read_to(1)
        await browser.say(rest=True)
        await manager.log.append(SESSION, contexts(3))
        await manager.pause_execution(SESSION)
        while (await browser.hear("pulse"))["status"] != "paused":
            pass
        await browser.say(after=1)
        last = (await manager.get_head(SESSION)).last_seq
        assert await browser.read_to(last) == list(range(2, last + 1))
