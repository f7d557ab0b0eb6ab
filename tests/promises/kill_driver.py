"""Processes that work on a session and can be killed: ``python -m tests.promises.kill_driver URL``.

A launcher imports everything once and forks a worker for each line that it reads, so that a kill costs no
start of Python. It says ``pid``, what the worker says, and ``gone`` when the worker is no more. The worker
says what was acknowledged to it, a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from state_core import Message, RedisStorageBackend, Session, StateManager, StateManagerConfig, StorageBackend
from state_core.exceptions import LeaseHeld, LeaseLost, TransitionError
from state_core.storage import from_url
from tests.promises import crash_points

CHECKPOINT_EVERY = 5


def open_store(url: str, prefix: str = "") -> StorageBackend:
    return RedisStorageBackend(url=url, key_prefix=prefix) if url.startswith("redis:") else from_url(url)


def say(*words: object) -> None:
    """In one write: a kill leaves the whole line or none of it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Work:
    """So many steps, each with messages, a value of the context, and now and then a checkpoint.

    What it writes bears its process's number, and so does what it says: were something lost and written
    again by another, it would be another's.
    """

    def __init__(self, session: Session, steps: int) -> None:
        self.session = session
        self.steps = steps
        self.me = os.getpid()

    async def run(self) -> None:
        self.branch = await self.session.open_branch("work")
        for number in range(1, self.steps + 1):
            await self.step(number)
            if str(number) not in self.session.document["context"]:
                await self.after(number)

    async def step(self, number: int) -> None:
        async with self.branch.step("Worker", number, step_id=f"work:{number}") as step:
            if step.done:
                return
            say("runs", number)
            step.output = self.me
            step.messages = [Message("assistant", f"with {number}")]
        say("step", number, self.me)

    async def after(self, number: int) -> None:
        """A message and a checkpoint may be there already: from a process that was killed after them."""
        if not any(message.role == "user" and message.name == str(number) for message in self.branch.memory):
            await self.branch.add_message("user", self.me, name=str(number))
            say("message", number, self.me)
        if number % CHECKPOINT_EVERY == 0:
            say("checkpoint", await self.session.checkpoint(f"at {number}"), number)
        await self.session.set_context({str(number): self.me})
        say("context", number, self.me)


async def drive(manager: StateManager, session_id: str, steps: int) -> None:
    """From wherever the session stands, to its end."""
    while True:
        try:
            async with manager.session(session_id) as session:
                say("begun")
                await Work(session, steps).run()
        except LeaseHeld:
            await asyncio.sleep(0.01)
            continue
        except TransitionError as error:
            if error.status != "completed":
                raise
        say("done")
        return


async def hold(manager: StateManager, session_id: str, gate: str) -> None:
    """Take a step, fall silent with another begun until there is a gate, and then try to go on."""
    try:
        async with manager.session(session_id) as session:
            branch = await session.open_branch("work")
            async with branch.step("First", step_id="work:1") as step:
                step.output = "by the first"
            async with branch.step("First", step_id="work:2") as step:
                say("ready")
                while not Path(gate).exists():
                    time.sleep(0.005)
                step.output = "too late"
    except LeaseLost:
        say("LeaseLost")
        return
    say("kept")


async def rewrite(store: StorageBackend, verb: str, session_id: str, keys: str, *crash: str) -> None:
    """``keys``: with commas between them."""
    manager = StateManager(store, encryption_key=keys.split(","))
    with crash_points.installed(*crash):
        if verb == "compact":
            await manager.compact_session(session_id)
        else:
            await manager.rotate_keys([session_id])
    say("done")
    await manager.close()


async def work(store: StorageBackend, lease_ttl: float, verb: str, *arguments: str) -> None:
    if verb in {"compact", "rotate"}:
        await rewrite(store, verb, *arguments)
        return
    config = StateManagerConfig(lease_ttl=lease_ttl, control_interval=lease_ttl / 5)
    if verb == "hold":
        # It lets its lease run out, as if the whole machine stood still.
        config = replace(config, stall_patience=0.01)
    manager = StateManager(store, config=config)
    try:
        if verb == "hold":
            await hold(manager, *arguments)
            return
        session_id, steps, *crash = arguments
        with crash_points.installed(*crash):
            await drive(manager, session_id, int(steps))
    finally:
        await manager.close()


def launch(store: StorageBackend, line: str) -> int:
    """The worker's process id. It is the caller's to reap: until then the number is nobody else's."""
    ttl, *words = line.split()
    pid = os.fork()
    if pid == 0:
        with leaving():
            say("pid", os.getpid())
            asyncio.run(work(store, float(ttl), *words))
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended
    say("gone", ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
    return pid


@contextmanager
def leaving():
    """The child's end, which must not be taken for the launcher's."""
    try:
        yield
        os._exit(0)
    except BaseException:  # noqa: BLE001 - shown, and told by the exit status
        sys.excepthook(*sys.exc_info())
        os._exit(1)


async def warm(store: StorageBackend) -> None:
    await store.last_seqs(["nobody"])
    await store.close()


def main(url: str, prefix: str = "") -> None:
    store = open_store(url, prefix)
    asyncio.run(warm(store))
    say("warm")
    previous = 0
    for line in sys.stdin:
        if previous:
            os.waitpid(previous, 0)
        previous = launch(store, line)


if __name__ == "__main__":
    main(*sys.argv[1:])
