"""Very many viewers of one process: what reaches them, how late, beside a bare server in the same run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from websockets.asyncio.server import Server as BareServer
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.figures import Bar, Figure
from benchmarks.ui.histories import contexts, history, record
from benchmarks.ui.site import Site, Sizes
from tests.server import ROOT, free_port

ORIGIN = "http://127.0.0.1"


@dataclass(frozen=True)
class Heard:
    """By all viewers that read."""

    updates: int
    """Events that reached them, in all."""
    expected: int
    delays: tuple[float, float]
    """Seconds: p50 and p99, from the event's recording until a viewer has it."""

    @property
    def part(self) -> float:
        return self.updates / self.expected if self.expected else 0.0


class Crowd:
    """Viewers in a process of their own; they report what they heard when they are told to end."""

    def __init__(
        self, addresses: list[str], cookie: str, sizes: Sizes, silent: int, *, after: int = 0
    ) -> None:
        asked = {
            "addresses": addresses,
            "cookie": cookie,
            "viewers": sizes.viewers,
            "silent": silent,
            "settle": sizes.settle,
            "after": after,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ui.crowd", json.dumps(asked)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def ready(self) -> None:
        assert self._process.stdout
        line = await asyncio.to_thread(self._process.stdout.readline)
        if line.strip() != "ready":
            raise RuntimeError("The viewers could not all connect.")

    async def heard(self, recorded: dict[str, dict[int, float]]) -> Heard:
        """``recorded``: of each address, when which event was recorded."""
        told, _ = await asyncio.to_thread(self._process.communicate, json.dumps(recorded) + "\n")
        return Heard(**json.loads(told.splitlines()[-1]))

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


async def of_one(site: Site, sizes: Sizes) -> list[Figure]:
    return await _viewers(site, sizes, ["watched"], silent=0, what="of one session")


async def of_many(site: Site, sizes: Sizes) -> list[Figure]:
    names = [f"watched-{n}" for n in range(sizes.watched)]
    return await _viewers(site, sizes, names, silent=0, what=f"over {sizes.watched} sessions")


async def not_reading(site: Site, sizes: Sizes) -> list[Figure]:
    what = f"of one session, {sizes.not_reading} not reading"
    return await _viewers(site, sizes, ["watched"], silent=sizes.not_reading, what=what)


async def _viewers(site: Site, sizes: Sizes, names: list[str], *, silent: int, what: str) -> list[Figure]:
    seqs = [await record(site.manager, name, history(2, 4, 4)) for name in names]
    addresses = [f"ws://127.0.0.1:{site.server.port}/ws/sessions/default/{name}/" for name in names]
    crowd = Crowd(addresses, site.cookie, sizes, silent, after=seqs[0])
    before = site.memory_mb
    try:
        await crowd.ready()
        spent, ours = await _listened(site, crowd, dict(zip(addresses, names, strict=True)), sizes)
    finally:
        crowd.stop()
    bare = await _bare(sizes, len(names))
    row = f"{sizes.viewers:,} viewers {what}, {sizes.updates} updates/s"
    grown = site.memory_mb - before
    note = f"the server took {spent:.0%} of a processor; bare: p99 {bare.delays[1]:.2f} s."
    figures = [
        Figure(
            f"{row}: delivered",
            "of all",
            [ours.part],
            limit_name="websockets.broadcast",
            limit=[bare.part],
            bar=Bar("limit", "≥", 0.7),
            note=note,
        ),
        Figure(
            f"{row}: p99",
            "s",
            [ours.delays[1]],
            bar=Bar("ours", "≤", 0.5),
            note=f"p50 {ours.delays[0]:.3f} s.",
        ),
    ]
    if silent:
        figures.append(Figure(f"{row}: server's memory grew by", "MB", [grown], bar=Bar("ours", "≤", 300)))
    return figures


async def _listened(site: Site, crowd: Crowd, names: dict[str, str], sizes: Sizes) -> tuple[float, Heard]:
    """The server's part of a processor, and what was heard."""
    recorded: dict[str, dict[int, float]] = {address: {} for address in names}

    async def update(address: str) -> None:
        began = time.time()
        recorded[address][await site.manager.log.append(names[address], contexts(1))] = began

    before = site.cpu_seconds
    await _paced(update, list(names), sizes)
    spent = (site.cpu_seconds - before) / sizes.seconds
    await asyncio.sleep(sizes.settle)
    return spent, await crowd.heard(recorded)


async def _paced(update: Callable[[str], Awaitable[None]], addresses: list[str], sizes: Sizes) -> None:
    """So many updates a second in all, to one address after another."""
    began = time.monotonic()
    for number in range(int(sizes.seconds * sizes.updates)):
        await asyncio.sleep(max(0.0, began + number / sizes.updates - time.monotonic()))
        await update(addresses[number % len(addresses)])


async def _bare(sizes: Sizes, groups: int) -> Heard:
    """The same updates by the `websockets` library alone: a frame for each, to each of its viewers."""
    server = await Bare.start(groups)
    crowd = Crowd(server.addresses, "", sizes, 0)
    recorded: dict[str, dict[int, float]] = {address: {} for address in server.addresses}
    try:
        await crowd.ready()

        async def update(address: str) -> None:
            recorded[address][server.send(address)] = time.time()

        await _paced(update, server.addresses, sizes)
        await asyncio.sleep(sizes.settle)
        return await crowd.heard(recorded)
    finally:
        crowd.stop()
        await server.stop()


class Bare:
    PADDING = "x" * 2000
    """About as long as a frame of ours with one event."""

    def __init__(self, server: BareServer, port: int, groups: int) -> None:
        self._server = server
        self.addresses = [f"ws://127.0.0.1:{port}/{n}/" for n in range(groups)]
        self._sent = dict.fromkeys(self.addresses, 0)

    @classmethod
    async def start(cls, groups: int) -> Bare:
        port = free_port()
        server = await serve(_hold, "127.0.0.1", port, compression=None, ping_interval=None)
        return cls(server, port, groups)

    def send(self, address: str) -> int:
        self._sent[address] += 1
        seq = self._sent[address]
        path = address.partition("127.0.0.1")[2].partition("/")[2]
        listening = [c for c in self._server.connections if c.request and c.request.path == f"/{path}"]
        text = f'{{"type":"frame","after":{seq - 1},"seq":{seq},"padding":"{self.PADDING}"}}'
        broadcast(listening, text)
        return seq

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


async def _hold(connection: ServerConnection) -> None:
    await connection.wait_closed()
