"""What is weak in a Redis server's configuration, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from state_core.exceptions import StorageError, StorageUnavailable
from state_core.storage.redisclient import Clients

OLDEST = (6, 2)


async def weaknesses(clients: Clients) -> list[str]:
    """A sentence each. Raises StorageUnavailable."""
    info = await clients.command("INFO")
    return list(_weaknesses(str(clients.server), info, await _fsync(clients)))


async def _fsync(clients: Clients) -> str | None:
    """None where the server does not tell, as many that are rented do not."""
    try:
        answer = await clients.command("CONFIG", "GET", "appendfsync")
    except StorageUnavailable:
        raise
    except StorageError:
        return None
    values = list(answer.values()) if isinstance(answer, dict) else answer[1:]
    return _text(values[0]) if values else None


def _weaknesses(server: str, info: dict[str, Any], fsync: str | None) -> Iterator[str]:
    version = _text(info.get("redis_version", "0"))
    if _numbers(version) < OLDEST:
        yield f"{server} is version {version}; 6.2 or newer is needed."
    if info.get("role") not in (None, "master"):
        yield f"{server} is a replica: it cannot be written to. Name the primary."
    if not int(info.get("aof_enabled", 0)):
        yield (
            f"{server} keeps no append-only file: what was acknowledged since its last snapshot is lost when "
            "it stops. Set appendonly yes and appendfsync always."
        )
    else:
        yield from _about_fsync(server, fsync)
    policy = _text(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield (
            f"{server} may drop sessions silently when its memory is full (maxmemory-policy {policy}). "
            "Set maxmemory-policy noeviction; then a full server refuses writes instead."
        )


def _about_fsync(server: str, fsync: str | None) -> Iterator[str]:
    if fsync is None:
        yield (
            f"{server} does not tell its appendfsync. Make sure that it is always; with everysec a crash of "
            "its machine loses up to the last second."
        )
    elif fsync != "always":
        yield f"{server} {_LOSES.get(fsync, 'does not sync each append')}. Set appendfsync always."


_LOSES = {
    "everysec": "writes to the disk once a second (appendfsync everysec): a crash of its machine "
    "loses up to two seconds of what was acknowledged",
    "no": "leaves writing to the disk to the system (appendfsync no): a crash of its machine "
    "loses up to half a minute of what was acknowledged",
}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
