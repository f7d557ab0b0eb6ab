"""Connections to Redis, one client for each event loop; scripts; and what its errors mean for us."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

from state_core.exceptions import ConfigurationError, StateError, StorageError, StorageUnavailable

try:
    import hiredis
except ImportError:
    hiredis = None  # type: ignore[assignment]

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 15.0
"""A server that says nothing for so long counts as unreachable."""
HEARTBEAT_SECONDS = 10.0
"""A subscription that is silent for so long is asked whether it is still there."""
WITH_FILTER = frozenset({"heads", "tally"})
SHAPES = "redis://:password@host:6379/0, rediss://host:6380/0 (TLS) or unix:///path/to/redis.sock"


def redis_package() -> ModuleType:
    """Raises ConfigurationError where it is not installed."""
    try:
        import redis.asyncio
    except ImportError as error:
        raise ConfigurationError(
            "RedisStorageBackend needs the package redis. Run `pip install marsys-dashboard[redis]`."
        ) from error
    return redis


@cache
def script(name: str) -> tuple[str, str]:
    """Its text and its SHA-1, by which the server knows it."""
    folder = resources.files("state_core.storage") / "redis_scripts"
    parts = ["common", *(["filter"] if name in WITH_FILTER else []), name]
    text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Server:
    """Where it is. ``options`` are those of a connection; they may hold a password."""

    shown: str
    url: str | None = field(default=None, repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    tls: bool = False

    def __str__(self) -> str:
        return f"Redis at {self.shown}"


def server_at(url: str) -> Server:
    """Raises ConfigurationError; its message never repeats the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        raise ConfigurationError(f"The URL of Redis cannot be read. Use {SHAPES}.") from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ConfigurationError(f"The URL of Redis cannot begin with {parts.scheme[:20]!r}. Use {SHAPES}.")
    shown = unquote(parts.path) if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{port}"
    return Server(shown, url)


class Clients:
    """A client for each event loop that asks, closed when its loop shuts down or `close` is called."""

    def __init__(self, server: Server, pool_size: int) -> None:
        self.server = server
        self._redis = redis_package()
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._kept: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None, None]]] = {}
        self._pool()  # Options that cannot work are refused here, before anything is stored.

    async def client(self) -> Any:
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None:
            client = self._redis.asyncio.Redis.from_pool(self._pool())
            keeper = self._keep(loop, client)
            kept = client, keeper
            with self._lock:
                self._kept[loop] = kept
            # Once begun, it is the loop's to finish: asyncio.run() and its like call shutdown_asyncgens().
            await anext(keeper)
        return kept[0]

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._kept.pop(loop, None)
            await client.aclose()

    def _pool(self) -> Any:
        # Never sent twice: whether an append whose reply was lost has landed is for its caller to find out.
        never = self._redis.asyncio.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        options = {
            "max_connections": self._pool_size,
            "timeout": None,
            "retry": never,
            "protocol": 2,
            "encoding_errors": "surrogatepass",  # Text that is no text finds nothing; it is no error.
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": REPLY_SECONDS,
            "client_name": "state_core",
            **self.server.options,
        }
        kind = self._redis.asyncio.BlockingConnectionPool
        if self.server.url:
            pool = self._from_url(kind, options)
        else:
            connections = self._redis.asyncio.connection
            secure = {"connection_class": connections.SSLConnection} if self.server.tls else {}
            pool = kind(**secure, socket_keepalive=True, **options)
        pool.connection_class = _own(pool.connection_class)
        return pool

    def _from_url(self, kind: Any, options: dict[str, Any]) -> Any:
        try:
            pool = kind.from_url(self.server.url, **options)
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError):
            # Their messages quote parts of the URL.
            raise ConfigurationError(
                f"{self.server}: an option in the URL is unknown or has no valid value. Use {SHAPES}."
            ) from None
        return pool

    async def close(self) -> None:
        here = asyncio.get_running_loop()
        with self._lock:
            kept = dict(self._kept)
        for loop, (_, keeper) in kept.items():
            if loop is here:
                await keeper.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_finish(keeper), loop))

    async def run(self, name: str, key: str, *arguments: str | bytes | int) -> Any:
        """Run a script on the slot of ``key``: one round trip, two where the server does not know it yet."""
        text, digest = script(name)
        with self.translated():
            client = await self.client()
            try:
                return await _asked(client.connection_pool, "EVALSHA", digest, 1, key, *arguments)
            except self._redis.exceptions.NoScriptError:
                # It did not run. EVAL runs it and keeps it.
                return await _asked(client.connection_pool, "EVAL", text, 1, key, *arguments)

    async def run_many(self, name: str, key: str, calls: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run a script once for each of these arguments, in one round trip; an error stands in its place."""
        _, digest = script(name)
        with self.translated():
            client = await self.client()
            async with client.pipeline(transaction=False) as pipeline:
                for arguments in calls:
                    pipeline.execute_command("EVALSHA", digest, 1, key, *arguments)
                replies = await pipeline.execute(raise_on_error=False)
        return [
            await self._outcome(name, key, arguments, reply)
            for arguments, reply in zip(calls, replies, strict=True)
        ]

    async def _outcome(self, name: str, key: str, arguments: Sequence[str | bytes | int], reply: Any) -> Any:
        try:
            if isinstance(reply, self._redis.exceptions.NoScriptError):
                return await self.run(name, key, *arguments)
            with self.translated():
                if isinstance(reply, Exception):
                    raise reply
        except StateError as error:
            return error
        return reply

    async def command(self, *arguments: str | bytes | int) -> Any:
        with self.translated():
            client = await self.client()
            return await client.execute_command(*arguments)

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[Callable[[], Any]]:
        """Gives a function that waits for a message and returns its text, or None for one without.

        On a connection apart, which counts for no pool.
        """
        with self.translated():
            async with self._redis.asyncio.Redis.from_pool(self._pool()) as client, client.pubsub() as pubsub:
                await pubsub.subscribe(channel)
                await self._next_message(pubsub)
                yield lambda: self._next_data(pubsub)

    async def _next_data(self, pubsub: Any) -> str | None:
        with self.translated():
            message = await self._next_message(pubsub)
        return message["data"].decode() if message["type"] == "message" else None

    async def _next_message(self, pubsub: Any) -> Any:
        message = await pubsub.get_message(timeout=HEARTBEAT_SECONDS)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=HEARTBEAT_SECONDS)
        if message is None:
            raise StorageUnavailable(f"{self.server} has fallen silent.")
        return message

    @contextmanager
    def translated(self) -> Iterator[None]:
        errors = self._redis.exceptions
        try:
            yield
        except (errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError) as error:
            raise StorageError(
                f"{self.server} refuses this user: {error}. Check user name, password and ACL."
            ) from error
        except errors.ResponseError as error:
            raise self._refused(error) from error
        except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            why = str(error).rstrip(".")
            raise StorageUnavailable(
                f"{self.server} cannot be reached: {why}. Check that it runs, and its host and port."
            ) from error

    def _refused(self, error: Exception) -> StorageError:
        text = str(error)
        if text.startswith(_PASSING) or isinstance(error, self._redis.exceptions.ReadOnlyError):
            return StorageUnavailable(f"{self.server} cannot take this at present: {text}")
        if isinstance(error, self._redis.exceptions.MovedError):
            text = f"MOVED {text}"
        for sign, meaning in _MEANINGS.items():
            if sign in text:
                return StorageError(f"{self.server} {meaning} ({text})")
        return StorageError(f"{self.server} refused a command: {text}")


_PASSING = ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY")
_CLUSTER = (
    "is a node of a Redis Cluster and does not hold all keys of this store. Use a server of its own, or put "
    "a {tag} into key_prefix and name the node that holds its slot."
)
_MEANINGS = {
    "OOM": "is out of memory; nothing was written. Raise its maxmemory, or delete sessions.",
    "maxmemory": "is out of memory; nothing was written. Raise its maxmemory, or delete sessions.",
    "MISCONF": "cannot write to its disk; nothing was written. Free some space there.",
    "MOVED": _CLUSTER,
    "non local key": _CLUSTER,
    "NOAUTH": "wants a password. Pass password=…",
}


async def _asked(pool: Any, *arguments: str | bytes | int) -> Any:
    """What `Redis.execute_command` does for a command that is never sent twice, in two thirds of the time.
    A connection that fails closes itself."""
    connection = await pool.get_connection()
    try:
        await connection.send_command(*arguments)
        return await connection.read_response()
    finally:
        await pool.release(connection)


@cache
def _own(kind: type[Any]) -> type[Any]:
    """A connection that packs commands by hiredis, where that is installed, and sends without
    `asyncio.wait_for`."""
    return type("Connection", (_Packing, *([_Cancellable] if sys.version_info < (3, 12) else []), kind), {})


class _Packing:
    """redis-py has this for connections that are not asynchronous. It takes a tenth of the time."""

    def pack_command(self, *arguments: Any) -> Any:
        if hiredis is not None and " " not in arguments[0]:
            with suppress(TypeError, UnicodeEncodeError):  # redis-py takes more, such as text that is none
                return [hiredis.pack_command(arguments)]
        return super().pack_command(*arguments)  # type: ignore[misc]


class _Cancellable:
    """Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes in the moment in which the
    sending is done."""

    socket_timeout: float | None

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        seconds, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(seconds):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except TimeoutError as error:
            raise redis_package().exceptions.TimeoutError("Timeout writing to socket") from error
        finally:
            self.socket_timeout = seconds


async def _finish(keeper: AsyncGenerator[None, None]) -> None:
    await keeper.aclose()
