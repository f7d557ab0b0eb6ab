"""python -m benchmarks.ui.crowd JSON: very many viewers in one process.

Says "ready", waits for a line that tells when which event was recorded, and says what was heard."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidMessage

FRAME = re.compile(r'"after":(\d+),"seq":(\d+)')
ACK_EVERY = 16
"""Frames; as the page does it."""
AT_ONCE = 20
"""Connections that are being opened at a time."""
TRIES = 5
"""As a page does, a viewer tries again where a busy server let it wait for too long."""


class Viewer:
    def __init__(self, address: str, cookie: str, *, reads: bool) -> None:
        self.address = address
        self.cookie = cookie
        self.reads = reads
        self.heard: list[tuple[float, int, int]] = []
        """When, and after which event a frame began and with which it ended."""

    async def open(self, gate: asyncio.Semaphore) -> ClientConnection:
        async with gate:
            for _ in range(TRIES - 1):
                try:
                    return await self._connect()
                except (InvalidMessage, OSError, TimeoutError):
                    await asyncio.sleep(1)
            return await self._connect()

    async def _connect(self) -> ClientConnection:
        return await connect(
            self.address,
            additional_headers={"Cookie": self.cookie} if self.cookie else {},
            origin=f"http://{urlsplit(self.address).netloc}",  # type: ignore[arg-type]
            compression=None,
            ping_interval=None,
            open_timeout=120,
            max_queue=None if self.reads else 1,
        )

    async def watch(self, connection: ClientConnection, after: int) -> None:
        """``after``: the event with which the page came."""
        await connection.send(f'{{"after":{after}}}')
        if not self.reads:
            await asyncio.Event().wait()
        async for text in connection:
            if found := FRAME.search(text[:300]):  # type: ignore[arg-type]
                after, seq = int(found[1]), int(found[2])
                self.heard.append((time.time(), after, seq))
                if len(self.heard) % ACK_EVERY == 0:
                    await connection.send(f'{{"ack":{seq}}}')


async def main(asked: dict[str, Any]) -> None:
    addresses = asked["addresses"]
    viewers = [
        Viewer(addresses[n % len(addresses)], asked["cookie"], reads=n >= asked["silent"])
        for n in range(asked["viewers"])
    ]
    gate = asyncio.Semaphore(AT_ONCE)
    connections = await asyncio.gather(*(viewer.open(gate) for viewer in viewers))
    watching = [
        asyncio.ensure_future(viewer.watch(c, asked["after"]))
        for viewer, c in zip(viewers, connections, strict=True)
    ]
    await asyncio.sleep(asked["settle"])
    print("ready", flush=True)
    recorded = json.loads(await asyncio.to_thread(sys.stdin.readline))
    print(json.dumps(report([v for v in viewers if v.reads], recorded)), flush=True)
    for task in watching:
        task.cancel()
    for connection in connections:
        connection.transport.abort()


def report(viewers: list[Viewer], recorded: dict[str, dict[str, float]]) -> dict[str, Any]:
    times = {address: {int(seq): at for seq, at in of.items()} for address, of in recorded.items()}
    delays = sorted(delay for viewer in viewers for delay in _delays(viewer, times[viewer.address]))
    expected = sum(len(times[viewer.address]) for viewer in viewers)
    quantiles = [delays[int(len(delays) * part)] if delays else float("inf") for part in (0.5, 0.99)]
    return {"updates": len(delays), "expected": expected, "delays": quantiles}


def _delays(viewer: Viewer, times: dict[int, float]) -> list[float]:
    """Of each event once: a frame that came again says nothing new."""
    found: dict[int, float] = {}
    for at, after, seq in viewer.heard:
        for number in range(after + 1, seq + 1):
            if number in times:
                found.setdefault(number, at - times[number])
    return list(found.values())


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
