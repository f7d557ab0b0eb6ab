"""Kill what works on sessions, again and again, and look whether what was promised holds.

``python -m tests.promises.torture [KILLS [SEED [STORE…]]]`` kills so many times on each store, or on those
named (file, sqlite, postgres, redis), and prints a tally.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from state_core import Head, StateManager
from state_core.heads import apply_head_change
from state_core.storage.base import derived
from tests.postgres import PostgresServer
from tests.promises.kill_driver import CHECKPOINT_EVERY, open_store
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
LEASE_TTL = 0.15
"""Seconds. Whoever goes on after a kill waits for so long."""
STEPS = 25
"""Of a session."""


class Launcher:
    """A `kill_driver` on one store, and the worker that it has at present."""

    def __init__(self, url: str, prefix: str = "") -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.promises.kill_driver", url, *([prefix] if prefix else [])],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = 0
        self.expect("warm")

    def start(self, *words: object, lease_ttl: float = LEASE_TTL) -> None:
        assert self._process.stdin
        self._process.stdin.write(" ".join(map(str, (lease_ttl, *words))) + "\n")
        self._process.stdin.flush()
        self.pid = int(self.expect("pid")[0])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def line(self) -> list[str]:
        assert self._process.stdout
        words = self._process.stdout.readline().split()
        if not words:
            raise AssertionError("the launcher has ended")
        return words

    def expect(self, word: str) -> list[str]:
        first, *rest = self.line()
        assert first == word, f"it said {first} {rest}, not {word}"
        return rest

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        # After a failure a worker may be at work still, or hang; it must not hold up who reports that.
        if self.pid and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
        self._process.wait()


@contextmanager
def launcher(url: str, prefix: str = "") -> Iterator[Launcher]:
    opened = Launcher(url, prefix)
    try:
        yield opened
    finally:
        opened.close()


@dataclass
class Acknowledged:
    """What workers on one session said."""

    kept: dict[tuple[str, str], int] = field(default_factory=dict)
    """(what, number) → the process that wrote it."""
    checkpoints: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    done: bool = False

    def hear(self, word: str, *rest: str) -> None:
        if word == "runs":
            self.runs += 1
            assert ("step", rest[0]) not in self.kept, f"step {rest[0]} runs again after it was acknowledged"
        elif word == "checkpoint":
            self.checkpoints[rest[0]] = int(rest[1])
        elif word == "done":
            self.done = True
        elif word != "begun":
            self.kept[word, rest[0]] = int(rest[1])


@dataclass
class Tally:
    kills: int = 0
    sessions: int = 0
    events: int = 0
    acknowledged: int = 0
    steps_begun_again: int = 0
    """Killed before they were acknowledged."""
    seconds: float = 0.0

    def __str__(self) -> str:
        kept = "nothing lost, nothing twice"
        numbers = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in self._shown().items())
        return f"{numbers} in {self.seconds:.0f} s: {kept}"

    def _shown(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


class Torture:
    def __init__(self, launched: Launcher, chance: random.Random) -> None:
        self.launched = launched
        self.chance = chance
        self.tally = Tally()

    def goes_on(self, kills: int, at_least: int, until: float) -> bool:
        in_time = time.monotonic() < until
        return self.tally.kills < (kills if in_time else at_least)

    def session(self, session_id: str, may_kill: Callable[[], bool]) -> Acknowledged:
        """Kill who works on it while that may be done; and let it come to its end."""
        heard = Acknowledged()
        while not heard.done:
            self.launched.start("drive", session_id, STEPS)
            status = self._kill(heard) if may_kill() else self._leave(heard)
            assert status in {0, -signal.SIGKILL}, f"a worker ended with {status}"
            self.tally.kills += status == -signal.SIGKILL
        self.tally.sessions += 1
        self.tally.acknowledged += len(heard.kept) + len(heard.checkpoints)
        self.tally.steps_begun_again += heard.runs - STEPS
        return heard

    def _kill(self, heard: Acknowledged) -> int:
        """After some lines and some moments: between any two instructions."""
        while_it_begins = self.chance.random() < 0.2
        for _ in range(0 if while_it_begins else self.chance.randint(1, 12)):
            word, *rest = self.launched.line()
            if word == "gone":
                return int(rest[0])
            heard.hear(word, *rest)
        time.sleep(self.chance.uniform(0, 2 * LEASE_TTL if while_it_begins else 0.006))
        self.launched.signal(signal.SIGKILL)
        return self._leave(heard)

    def _leave(self, heard: Acknowledged) -> int:
        """Until the worker is no more; its exit status."""
        while True:
            word, *rest = self.launched.line()
            if word == "gone":
                return int(rest[0])
            heard.hear(word, *rest)


def torture(
    url: str, prefix: str, *, kills: int, at_least: int = 0, seconds: float = math.inf, seed: int = 0
) -> Tally:
    """Kill so many times, or until the seconds are over; ``at_least`` so many times all the same.

    Raises AssertionError where a promise is broken.
    """
    began = time.monotonic()
    with launcher(url, prefix) as launched:
        work = Torture(launched, random.Random(seed))
        while work.goes_on(kills, at_least, began + seconds):
            session_id = f"tortured-{work.tally.sessions}"
            heard = work.session(session_id, lambda: work.goes_on(kills, at_least, began + seconds))
            work.tally.events += asyncio.run(verified(url, prefix, session_id, heard))
    work.tally.seconds = time.monotonic() - began
    return work.tally


# Looking whether it holds


async def verified(url: str, prefix: str, session_id: str, heard: Acknowledged, steps: int = STEPS) -> int:
    """How many events the session has."""
    manager = StateManager(open_store(url, prefix))
    try:
        await verify_content(manager, session_id, heard, steps)
        for checkpoint_id, number in heard.checkpoints.items():
            await verify_checkpoint(manager, checkpoint_id, number)
        return await verify_derived(manager, session_id)
    finally:
        await manager.close()


async def verify_content(manager: StateManager, session_id: str, heard: Acknowledged, steps: int) -> None:
    state = await manager.get_session_state(session_id)
    branch = state.branch("work")
    numbers = [str(number) for number in range(1, steps + 1)]
    assert [step.step_id for step in branch.steps] == [f"work:{number}" for number in numbers]
    assert {step.status for step in branch.steps} == {"completed"}
    users = [message for message in branch.memory if message.role == "user"]
    assert [message.name for message in users] == numbers
    spoken = [message.content for message in branch.memory if message.role == "assistant"]
    assert spoken == [f"with {number}" for number in numbers]
    assert list(state.context) == numbers
    kept = {
        **{("step", step.step_id.removeprefix("work:")): step.output for step in branch.steps},
        **{("message", message.name): message.content for message in users},
        **{("context", number): state.context[number] for number in numbers},
    }
    assert {what: kept.get(what) for what in heard.kept} == heard.kept


async def verify_checkpoint(manager: StateManager, checkpoint_id: str, number: int) -> None:
    state = await manager.get_checkpoint_state(checkpoint_id)
    branch = state.branch("work")
    assert (len(branch.steps), len(branch.memory), len(state.context)) == (number, 2 * number, number - 1)
    assert number % CHECKPOINT_EVERY == 0


async def verify_derived(manager: StateManager, session_id: str) -> int:
    """The log has no gap; the head and the checkpoints are what it says."""
    head = await manager.get_head(session_id)
    events = await manager.storage.read_events(session_id)
    assert [event.seq for event in events] == list(range(1, head.last_seq + 1))
    told, checkpoints = Head(session_id), []
    for event in events:
        change, places = derived(session_id, [event])
        apply_head_change(told, change, 1)
        checkpoints += [place for _, place in places.added]
    assert comparable(head) == comparable(told)
    assert list(map(asdict, await manager.list_checkpoints(session_id))) == list(map(asdict, checkpoints))
    state = await manager.get_session_state(session_id)
    assert (head.status, head.counts["steps"]) == (state.status, len(state.branch("work").steps))
    assert len(checkpoints) == head.counts["checkpoints"]
    return len(events)


def comparable(head: Head) -> dict[str, object]:
    """Without the lease, which no event tells of."""
    return {**asdict(head), "owner": "", "fence": 0, "lease_expires_at": None, "agents": []}


# All stores, by itself


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, tuple[str, str]]]:
    """URL and key prefix of an empty store of each kind."""
    postgres, redis = PostgresServer(folder / "data"), RedisServer(folder)
    with ExitStack() as stack:
        postgres.create()
        postgres.start()
        stack.callback(postgres.stop)
        redis.start()
        stack.callback(redis.kill)
        yield {
            "file": (f"file:{folder}/state", ""),
            "sqlite": (f"sqlite:///{folder}/state.db", ""),
            "postgres": (postgres.new_database("torture"), ""),
            "redis": (redis.url, "torture:"),
        }


def main(kills: str = "1000", seed: str | None = None, *names: str) -> None:
    chosen = random.randrange(10**6) if seed is None else int(seed)
    print(f"Seed {chosen}.", flush=True)
    with tempfile.TemporaryDirectory(prefix="torture") as folder, stores(Path(folder)) as opened:
        for name in names or opened:
            url, prefix = opened[name]
            tally = torture(url, prefix, kills=int(kills), seed=chosen)
            print(f"{name:9} {tally}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
