"""The framework's checkpointer on any of our stores."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from state_core.adapters.langgraph.keeping import keep_put, keep_writes
from state_core.adapters.langgraph.reading import Found, Query, find, find_all, history
from state_core.adapters.langgraph.serializing import Serializer, strict
from state_core.adapters.langgraph.threads import Threads
from state_core.adapters.langgraph.upkeep import copy_thread, delete_for_runs, prune
from state_core.adapters.langgraph.values import encode
from state_core.adapters.langgraph.writing import Put, Reader, Writes, is_plain, moment
from state_core.manager import StateManager
from state_core.storage import from_url
from state_core.storage.base import StorageBackend
from state_core.sync import shared

T = TypeVar("T")

READER = "__state_core_reader"
"""In the config of what was read: the framework hands it back with what it writes. Names that begin so it
keeps out of metadata."""

_KNOWN = {"v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels"}


class StateCoreSaver(BaseCheckpointSaver[str]):
    """``graph.compile(checkpointer=StateCoreSaver(storage_or_state_manager))``.

    A thread is a session: its id is the thread's, where that is made of the letters that a session's id has.
    Every method may be called from any thread and any event loop.

    ``allow``: classes of your own in the state, such as dataclasses and pydantic models; reading makes
    objects of these and of the framework's alone. ``workflow``: what its sessions are called in lists.
    ``cache_size_mb``: of threads in memory. ``serde``: in the place of the framework's serializer; what it
    reads is then its own affair.
    """

    def __init__(
        self,
        storage: StorageBackend | StateManager,
        *,
        serde: SerializerProtocol | None = None,
        allow: Collection[type | tuple[str, str]] = (),
        workflow: str = "LangGraph",
        cache_size_mb: float = 100.0,
    ) -> None:
        super().__init__(serde=serde or strict(allow))
        manager = storage if isinstance(storage, StateManager) else StateManager(storage)
        self.threads = Threads(manager, workflow, int(cache_size_mb * 1_000_000))

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        encryption_key: str | bytes | Sequence[str | bytes] | None = None,
        **options: Any,
    ) -> StateCoreSaver:
        """On the store at ``file:…``, ``sqlite:///…``, ``postgresql://…``, ``redis://…`` or ``memory:``.
        Raises ConfigurationError."""
        return cls(StateManager(from_url(url), encryption_key=encryption_key), **options)

    @property
    def state_manager(self) -> StateManager:
        return self.threads.manager

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._told(shared.run(self._find(config)))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._told(await _elsewhere(self._find(config)))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        found = shared.run(self._find_all(config, filter, before, limit))
        yield from self._tuples(found)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        found = await _elsewhere(self._find_all(config, filter, before, limit))
        for one in self._tuples(found):
            yield one

    async def _find(self, config: RunnableConfig) -> Found | None:
        thread_id, ns = _address(config)
        thread = await self.threads.read(thread_id)
        return find(thread, ns, get_checkpoint_id(config)) if thread else None

    async def _find_all(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[Found]:
        places = config["configurable"] if config else {}
        query = Query(
            ns=places.get("checkpoint_ns"),
            checkpoint_id=places.get("checkpoint_id"),
            before=get_checkpoint_id(before) if before else None,
            filter=filter or {},
            limit=limit,
            loads=self.serde.loads_typed,
        )
        return await find_all(self.threads, places.get("thread_id"), query)

    def _told(self, found: Found | None) -> CheckpointTuple | None:
        if found is None:
            return None
        read = str(self.threads.read_by(found.seq))
        told = found.told(Serializer(self.serde))
        return told._replace(config={"configurable": {**told.config["configurable"], READER: read}})

    def _tuples(self, found: Sequence[Found]) -> Iterator[CheckpointTuple]:
        """Equal items of one list are one object."""
        serializer = Serializer(self.serde, sharing=True)
        for one in found:
            yield one.told(serializer)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        found = shared.run(self._history(config, channels))
        return {channel: one.told(Serializer(self.serde)) for channel, one in found.items()}

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        found = await _elsewhere(self._history(config, channels))
        return {channel: one.told(Serializer(self.serde)) for channel, one in found.items()}

    async def _history(self, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        thread_id, ns = _address(config)
        thread = await self.threads.read(thread_id)
        return history(thread, ns, get_checkpoint_id(config), channels)

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Raises ConflictError where somebody else has written to the thread since this run read it."""
        put = self.encoded_put(config, checkpoint, metadata, new_versions)
        shared.run(keep_put(self.threads, config["configurable"]["thread_id"], put, Serializer(self.serde)))
        return _place(config, checkpoint["id"])

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        put = self.encoded_put(config, checkpoint, metadata, new_versions)
        await _kept(keep_put(self.threads, config["configurable"]["thread_id"], put, Serializer(self.serde)))
        return _place(config, checkpoint["id"])

    def encoded_put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Put:
        _, ns = _address(config)
        dumps = self.serde.dumps_typed
        values = checkpoint["channel_values"]
        updated = checkpoint.get("updated_channels")
        merged = get_checkpoint_metadata(config, metadata)
        return Put(
            ns=ns,
            id=checkpoint["id"],
            parent=get_checkpoint_id(config),
            reader=Reader.parse(config["configurable"].get(READER)),
            v=checkpoint["v"],
            ts=checkpoint["ts"],
            at=moment(checkpoint["ts"]),
            updated=None if updated is None else list(updated),
            versions=dict(checkpoint["channel_versions"]),
            seen={node: dict(versions) for node, versions in checkpoint["versions_seen"].items()},
            values={
                channel: encode(values[channel], dumps) if channel in values else None
                for channel in new_versions
                if channel in checkpoint["channel_versions"]
            },
            metadata=dumps(merged),
            plain_metadata=dict(merged) if is_plain(merged) else None,
            rest=dumps({name: value for name, value in checkpoint.items() if name not in _KNOWN}),
            step=merged.get("step", 0),
            source=merged.get("source", "loop"),
        )

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Raises ConflictError as `put` does."""
        encoded = self.encoded_writes(config, writes, task_id, task_path)
        shared.run(
            keep_writes(self.threads, config["configurable"]["thread_id"], encoded, Serializer(self.serde))
        )

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        encoded = self.encoded_writes(config, writes, task_id, task_path)
        await _kept(
            keep_writes(self.threads, config["configurable"]["thread_id"], encoded, Serializer(self.serde))
        )

    def encoded_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Writes:
        _, ns = _address(config)
        dumps = self.serde.dumps_typed
        return Writes(
            ns=ns,
            checkpoint_id=config["configurable"]["checkpoint_id"],
            task_id=task_id,
            path=task_path,
            reader=Reader.parse(config["configurable"].get(READER)),
            writes=[
                (WRITES_IDX_MAP.get(channel, idx), channel, encode(value, dumps))
                for idx, (channel, value) in enumerate(writes)
            ],
            overwrites=all(channel in WRITES_IDX_MAP for channel, _ in writes),
        )

    def get_next_version(self, current: str | int | float | None, channel: None) -> str:
        """A number that grows, and a random tail that keeps the versions of two branches apart."""
        number = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{number + 1:032}.{secrets.token_hex(4)}"

    # Upkeep

    def delete_thread(self, thread_id: str) -> None:
        """The session, all of it. Raises LeaseHeld while somebody runs it under a lease."""
        shared.run(self.threads.delete(str(thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        await _elsewhere(self.threads.delete(str(thread_id)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Their checkpoints are not to be found any more; what other runs made of them stays whole."""
        shared.run(delete_for_runs(self.threads, run_ids, self.serde.loads_typed))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await _elsewhere(delete_for_runs(self.threads, run_ids, self.serde.loads_typed))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """All of it, as a fork of the session. Raises SessionExists."""
        shared.run(copy_thread(self.threads, source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await _elsewhere(copy_thread(self.threads, source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """``keep_latest``: only the newest checkpoint of each namespace is to be found then. ``delete``: the
        threads go. Raises ValueError for another strategy."""
        shared.run(prune(self.threads, thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await _elsewhere(prune(self.threads, thread_ids, strategy))

    # The end

    def close(self) -> None:
        """Give back the store's connections; it opens again by itself."""
        shared.run(self.state_manager.close())

    async def aclose(self) -> None:
        await _elsewhere(self.state_manager.close())

    def __enter__(self) -> StateCoreSaver:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> StateCoreSaver:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


async def _elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """In the loop in which all of the threads' affairs are done, one after another."""
    result: T = await asyncio.wrap_future(shared.submit(coroutine))
    return result


async def _kept(coroutine: Coroutine[Any, Any, None]) -> None:
    """The same, to its end though the caller is cancelled: the last writes of a run tell how it ended."""
    await asyncio.shield(asyncio.wrap_future(shared.submit(coroutine)))


def _address(config: RunnableConfig) -> tuple[str, str]:
    places = config["configurable"]
    return str(places["thread_id"]), places.get("checkpoint_ns") or ""


def _place(config: RunnableConfig, checkpoint_id: str) -> RunnableConfig:
    thread_id = config["configurable"]["thread_id"]
    _, ns = _address(config)
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}
