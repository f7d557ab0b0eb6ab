"""Whatever is done to sessions, each kept checkpoint stays what a plain dict in memory says it was."""

import asyncio
import shutil
import tempfile
from copy import deepcopy
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from state_core import (
    DatabaseStorageBackend,
    MemoryStorageBackend,
    Message,
    StateManager,
    new_encryption_key,
)
from state_core.codec import Key
from state_core.copying import CopyOutcome, copy_session, copy_sessions
from state_core.exceptions import ConflictError, HistoryCompacted
from state_core.retention import Limits
from state_core.storage.file import FileStorageBackend
from state_core.storage.redis import RedisStorageBackend
from tests.conftest import EMPTY

keys = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    st.none() | st.integers(-5, 5) | st.text("xyz<\N{SNOWMAN}", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
texts = st.text(max_size=8).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


class Model:
    """What a session should be, as simply as it can be said."""

    def __init__(self) -> None:
        self.context: dict = {}
        self.memory: list = []
        self.outputs: list = []

    def __eq__(self, other) -> bool:
        return vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Model({vars(self)})"


def seen(state) -> Model:
    model = Model()
    model.context = state.context
    branch = state.branch("work")
    model.memory = [(m.role, m.content) for m in branch.memory]
    model.outputs = [step.output for step in branch.steps]
    return model


class Sessions(RuleBasedStateMachine):
    make_store = None
    """Set by the test: opens this example's store, and opens it again."""
    survives = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.keys = [new_encryption_key()]
        self.store = self.make_store()
        self.manage({})
        self.sessions: dict[str, Model] = {}
        self.checkpoints: dict[str, tuple[str, Model]] = {}
        self.ended: set[str] = set()

    def manage(self, options) -> None:
        self.options = options
        self.manager = StateManager(self.store, **options)

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def begin(self) -> None:
        self.do(self.new("one"))

    async def new(self, session_id: str) -> None:
        async with self.manager.session(session_id, on_pause="raise") as session:
            await session.open_branch("work")
            await session.request_pause()
            await session.pause_point()
        self.sessions[session_id] = Model()

    async def live(self, session_id: str, work) -> None:
        async with self.manager.session(session_id, on_pause="raise") as session:
            await work(session)
            await session.request_pause()
            await session.pause_point()

    def chosen(self, data) -> str:
        """One that can go on."""
        going = sorted(self.sessions.keys() - self.ended)
        assume(going)
        return data.draw(st.sampled_from(going))

    def any_of(self, data) -> str:
        return data.draw(st.sampled_from(sorted(self.sessions)))

    @rule(data=st.data(), key=keys, value=values)
    def set_context(self, data, key, value):
        name = self.chosen(data)

        async def work(session):
            await session.set_context({key: value})

        self.do(self.live(name, work))
        self.sessions[name].context[key] = value

    @rule(data=st.data(), output=values)
    def take_a_step(self, data, output):
        name = self.chosen(data)
        number = len(self.sessions[name].outputs)

        async def work(session):
            async with session.branch("work").step("A", number, step_id=f"work:{number}") as step:
                step.output = output

        self.do(self.live(name, work))
        self.sessions[name].outputs.append(output)

    @rule(data=st.data(), contents=st.lists(texts, min_size=1, max_size=3))
    def add_messages(self, data, contents):
        name = self.chosen(data)

        async def work(session):
            await session.branch("work").add_messages(*[Message("user", content) for content in contents])

        self.do(self.live(name, work))
        self.sessions[name].memory += [("user", content) for content in contents]

    @rule(data=st.data(), context=st.dictionaries(keys, values, max_size=3), keep=st.integers(0, 5))
    def save_an_edited_state(self, data, context, keep):
        name = self.chosen(data)
        state = self.do(self.manager.get_session_state(name))
        state.context = context
        branch = state.branch("work")
        branch.memory = branch.memory[:keep]
        self.do(self.manager.save_session_state(name, state))
        self.sessions[name].context = deepcopy(context)
        self.sessions[name].memory = self.sessions[name].memory[:keep]

    @rule(data=st.data())
    def save_a_state_that_is_too_old(self, data):
        name = self.chosen(data)
        state = self.do(self.manager.get_session_state(name))
        self.do(self.manager.create_checkpoint(name, "meanwhile"))
        state.context["lost"] = True
        with pytest.raises(ConflictError):
            self.do(self.manager.save_session_state(name, state))

    @rule(data=st.data())
    def make_a_checkpoint(self, data):
        name = self.any_of(data)
        checkpoint = self.do(self.manager.create_checkpoint(name, "kept"))
        self.checkpoints[checkpoint] = (name, deepcopy(self.sessions[name]))

    @rule(data=st.data())
    def restore(self, data):
        if not self.checkpoints:
            return
        checkpoint = data.draw(st.sampled_from(sorted(self.checkpoints)))
        name, model = self.checkpoints[checkpoint]
        self.do(self.manager.restore_checkpoint(checkpoint, session_id=name))
        self.sessions[name] = deepcopy(model)
        self.ended.discard(name)

    @rule(data=st.data(), seed=st.integers(0, 9))
    def try_something_and_give_it_up(self, data, seed):
        """The place that is gone back to has no name then, and there is much history for little state."""
        chance = Random(seed)
        name = self.chosen(data)
        checkpoint = self.do(self.manager.create_checkpoint(name, "for a moment"))

        async def work(session):
            for _ in range(4):
                await session.set_context({"tried": chance.randbytes(500).hex()})

        self.do(self.live(name, work))
        self.do(self.manager.restore_checkpoint(checkpoint, session_id=name))
        self.do(self.manager.delete_checkpoint(checkpoint))

    @rule(data=st.data())
    def fork(self, data):
        if not self.checkpoints or len(self.sessions) > 3:
            return
        checkpoint = data.draw(st.sampled_from(sorted(self.checkpoints)))
        name, model = self.checkpoints[checkpoint]
        fork = self.do(self.manager.fork_session(name, checkpoint_id=checkpoint))
        self.sessions[fork] = deepcopy(model)

    @rule(data=st.data())
    def delete_a_checkpoint(self, data):
        if self.checkpoints:
            checkpoint = data.draw(st.sampled_from(sorted(self.checkpoints)))
            self.do(self.manager.delete_checkpoint(checkpoint))
            del self.checkpoints[checkpoint]

    @rule(data=st.data())
    def end(self, data):
        name = self.chosen(data)
        self.do(self.manager.cancel_execution(name))
        self.ended.add(name)

    @rule(data=st.data())
    def compact(self, data):
        name = self.any_of(data)
        found = self.do(self.manager.compact_session(name))
        assert self.do(self.manager.get_head(name)).first_seq == found.first_seq
        if found.first_seq > 1:
            with pytest.raises(HistoryCompacted):
                self.do(self.manager.get_session_state(name, found.first_seq - 1))

    @rule()
    def prune(self):
        """Whatever is old goes, and all of it is."""
        limits = Limits(history_age=timedelta(0), checkpoint_age=timedelta(0))
        retention = self.manager.retention
        report = self.do(retention.carry_out(self.do(retention.plan(limits))))
        assert not report.skipped

    @rule(data=st.data())
    def delete(self, data):
        if len(self.sessions) == 1:
            return
        name = self.any_of(data)
        self.do(self.manager.delete_session(name))
        self.forget(name)

    def forget(self, name) -> None:
        del self.sessions[name]
        self.ended.discard(name)
        self.checkpoints = {c: kept for c, kept in self.checkpoints.items() if kept[0] != name}

    @rule(new=st.booleans())
    def rotate(self, new):
        """To a new key, which is the only one that is given then; or away from all."""
        keys = [new_encryption_key(), *self.keys]
        self.manage({**self.options, "encryption_key": keys})
        report = self.do(self.manager.rotate_keys(decrypt=not new))
        assert not report.unreadable
        assert report.unneeded == [Key(key).id for key in (keys[1:] if new else keys)]
        self.keys = keys[:1]
        self.manage({**self.options, "encryption_key": self.keys if new else None})

    @rule(data=st.data())
    def copy_to_another_store_and_back(self, data):
        other = MemoryStorageBackend()
        results = self.do(copy_sessions(self.store, other))
        assert {result.outcome for result in results} == {CopyOutcome.COPIED}
        self.check(StateManager(other, **self.options))
        name = self.any_of(data)
        self.do(self.store.delete(name))
        assert self.do(copy_session(other, self.store, name)).outcome == CopyOutcome.COPIED

    @rule(level=st.sampled_from([None, 9]))
    def open_again_with_other_settings(self, level):
        if not self.survives:
            return
        self.do(self.manager.close())
        self.store = self.make_store()
        # Once a key was used it has to be given, also where it encrypts nothing new.
        self.manage({"compression": level is not None, "encryption_key": self.keys})

    def check(self, manager) -> None:
        for name, model in self.sessions.items():
            assert seen(self.do(manager.get_session_state(name))) == model
            head = self.do(manager.get_head(name))
            assert head.counts["steps"] == len(model.outputs)
            assert head.counts["messages"] == len(model.memory)
        for checkpoint, (_, model) in self.checkpoints.items():
            assert seen(self.do(manager.get_checkpoint_state(checkpoint))) == model

    @invariant()
    def states_and_kept_checkpoints_are_what_the_model_says(self):
        self.check(self.manager)

    @invariant()
    def logs_have_no_gap(self):
        for name in self.sessions:
            head = self.do(self.manager.get_head(name))
            seqs = [event.seq for event in self.do(self.manager.log.read(name))]
            assert seqs == list(range(head.first_seq, head.last_seq + 1))

    def teardown(self) -> None:
        self.do(self.manager.close())
        self.loop.close()


@pytest.fixture
def memory_stores():
    """Each of these fixtures makes an empty store when it is called, and returns what opens it."""
    return lambda: MemoryStorageBackend


@pytest.fixture
def file_stores(tmp_path):
    return lambda: partial(FileStorageBackend, Path(tempfile.mkdtemp(dir=tmp_path)))


@pytest.fixture
def binary_file_stores(tmp_path):
    return lambda: partial(FileStorageBackend, Path(tempfile.mkdtemp(dir=tmp_path)), use_json=False)


@pytest.fixture
def sqlite_stores(tmp_path, sqlite_template, django_db_blocker):
    def make():
        path = Path(tempfile.mkdtemp(dir=tmp_path)) / "state.db"
        shutil.copy(sqlite_template, path)
        return partial(DatabaseStorageBackend, f"sqlite:///{path}")

    with django_db_blocker.unblock():
        yield make


@pytest.fixture
def postgres_stores(postgres_url):
    def make():
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(EMPTY)
        return partial(DatabaseStorageBackend, postgres_url)

    return make


@pytest.fixture
def redis_stores(redis_server, redis_prefix):
    numbers = count()
    return lambda: partial(
        RedisStorageBackend, url=redis_server.url, key_prefix=f"{redis_prefix}{next(numbers)}:"
    )


EXAMPLES = {"memory": 25, "file": 12, "binary_file": 8, "sqlite": 8, "postgres": 8, "redis": 8}


@pytest.mark.parametrize("store", EXAMPLES)
def test_checkpoints_and_states_stay_what_they_were(store, request):
    empty_store = request.getfixturevalue(f"{store}_stores")

    class Machine(Sessions):
        survives = store != "memory"

        def __init__(self):
            self.make_store = empty_store()
            super().__init__()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[store],
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
