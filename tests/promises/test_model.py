"""Whatever is done to sessions, each kept checkpoint stays what a plain dict in memory says it was."""

import asyncio
import shutil
import tempfile
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from state_core import (
    DatabaseStorageBackend,
    MemoryStorageBackend,
    Message,
    StateManager,
    new_encryption_key,
)
from state_core.exceptions import ConflictError
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
        self.key = new_encryption_key()
        self.open({})
        self.sessions: dict[str, Model] = {}
        self.checkpoints: dict[str, tuple[str, Model]] = {}

    def open(self, options) -> None:
        self.store = self.make_store()
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
        name = self.chosen(data)
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

    @rule(level=st.sampled_from([None, 9]), encrypted=st.booleans())
    def open_again_with_other_settings(self, level, encrypted):
        if not self.survives:
            return
        self.do(self.manager.close())
        # Once a key was used it has to be given, also where it encrypts nothing new.
        self.open({"compression": level is not None, "encryption_key": self.key})

    @invariant()
    def present_states_are_as_the_model_says(self):
        for name, model in self.sessions.items():
            assert seen(self.do(self.manager.get_session_state(name))) == model

    @invariant()
    def kept_checkpoints_are_what_they_were(self):
        for checkpoint, (_, model) in self.checkpoints.items():
            assert seen(self.do(self.manager.get_checkpoint_state(checkpoint))) == model

    @invariant()
    def heads_count_what_is_there(self):
        for name, model in self.sessions.items():
            head = self.do(self.manager.get_head(name))
            assert head.counts["steps"] == len(model.outputs)
            assert head.counts["messages"] == len(model.memory)

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


EXAMPLES = {"memory": 12, "file": 12, "binary_file": 8, "sqlite": 8, "postgres": 8, "redis": 8}


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
