"""A TCP proxy that can cut connections before the reply, or fall silent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto


class Manners(Enum):
    PASS = auto()
    CUT_BEFORE_REPLY = auto()
    """What is asked arrives; the connection is closed instead of answering."""
    CUT_BEFORE_REQUEST = auto()
    """What is asked does not arrive."""
    SILENT = auto()
    """What is asked arrives; no answer and no end of the connection."""


class Proxy:
    """In front of 127.0.0.1:``target``. ``manners`` may be changed at any time; a cut happens once."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.manners = Manners.PASS
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self.target)
            pumps = [
                asyncio.ensure_future(self._pump(reader, downstream, Manners.CUT_BEFORE_REQUEST)),
                asyncio.ensure_future(self._pump(upstream, writer, Manners.CUT_BEFORE_REPLY)),
                asyncio.ensure_future(self._stopped.wait()),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await _closed(downstream)
        finally:
            self._tasks.discard(task)
            await _closed(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Manners) -> None:
        while data := await reader.read(65536):
            if self.manners is cut:
                self.manners = Manners.PASS
                return
            if self.manners is Manners.SILENT and cut is Manners.CUT_BEFORE_REPLY:
                continue
            writer.write(data)
            await writer.drain()

    async def stop(self) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def proxy_to(target: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
