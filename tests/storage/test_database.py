"""What only the database store has: connection strings, tables, outages, configuration."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from django.db import connections

from state_core import DatabaseStorageBackend, HeadQuery
from state_core.events import EventKind
from state_core.exceptions import (
    ConfigurationError,
    ConflictError,
    InvalidValue,
    MigrationNeeded,
    SessionNotFound,
    StorageUnavailable,
)
from state_core.storage import database, headquery, logquery, migrate
from state_core.storage.base import EventQuery
from state_core.testing import (
    AppendContract,
    BatchContract,
    CheckpointContract,
    EventContract,
    HeadContract,
    create,
    message,
    numbers,
    record,
    start,
    until,
)
from tests.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
PASSWORD = "s3cret&käse"


@pytest.fixture
async def opened(django_db_blocker):
    """Makes stores, and closes them."""
    stores = []

    def make(*arguments, **options):
        stores.append(DatabaseStorageBackend(*arguments, **options))
        return stores[-1]

    with django_db_blocker.unblock():
        yield make
        for store in stores:
            await store.close()


class Portable(AppendContract, BatchContract, EventContract, HeadContract, CheckpointContract):
    """The form of an append that serves every other database."""

    @pytest.fixture(autouse=True)
    def by_orm(self, monkeypatch):
        monkeypatch.setattr(database, "_dialect", lambda connection: None)


class TestPortableOnSQLite(Portable):
    @pytest.fixture
    def storage(self, sqlite_store):
        return sqlite_store


class TestPortableOnPostgreSQL(Portable):
    @pytest.fixture
    def storage(self, postgres_store):
        return postgres_store


# Connection strings


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "not a connection string"),
        ("state.db", "not a connection string"),
        ("mysql://root@host/db", "cannot begin with 'mysql'"),
        ("sqlite://state.db", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "MemoryStorageBackend"),
        ("sqlite:///x.db?timeout=soon", "not a number"),
        (f"postgresql://me:{PASSWORD}@host:not-a-port/db?nonsense=1", "cannot be read"),
        (f"postgresql://me:{PASSWORD}%zz@host/db", "cannot be read"),
    ],
)
def test_a_bad_connection_string_is_refused_without_repeating_a_password(bad, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        DatabaseStorageBackend(bad)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("options", [{"table_name": "a-b"}, {"table_name": 'x"; --'}, {"pool_size": 0}])
def test_an_option_that_cannot_work_is_refused(options):
    with pytest.raises(ConfigurationError):
        DatabaseStorageBackend("sqlite:///x.db", **options)


async def test_an_alias_that_django_does_not_know_is_refused(opened):
    with pytest.raises(ConfigurationError, match="has no 'elsewhere'"):
        await opened(using="elsewhere").last_seqs([])


async def test_a_database_that_cannot_be_reached_is_one_sentence_without_the_password(opened, caplog):
    store = opened("postgresql://me:s3cret@127.0.0.1:1/db?connect_timeout=2")
    with pytest.raises(StorageUnavailable) as caught:
        await store.head("s")
    text = str(caught.value)
    assert "PostgreSQL database 'db' at 127.0.0.1:1 cannot be reached" in text
    assert "\n" not in text
    assert caught.value.__cause__ is not None
    for shown in (
        text,
        repr(store),
        repr(caught.value),
        str(caught.value.__cause__),
        repr(vars(store)),
        caplog.text,
    ):
        assert "s3cret" not in shown


async def test_a_folder_that_is_not_there_is_one_sentence(opened, tmp_path):
    with pytest.raises(StorageUnavailable, match="unable to open database file. Make its folder"):
        await opened(f"sqlite:///{tmp_path}/nowhere/x.db").head("s")


async def test_a_relative_path_stays_where_it_was(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = opened("sqlite:///state.db")
    monkeypatch.chdir("/")
    await create(store, "s")
    assert (tmp_path / "state.db").exists()


def test_importing_the_library_loads_no_django():
    code = (
        "import sys, state_core, state_core.storage; assert 'django' not in sys.modules;"
        "from state_core import DatabaseStorageBackend; DatabaseStorageBackend('sqlite:///x.db');"
        "from django.conf import settings; assert not settings.configured"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=ENVIRONMENT)


def test_without_settings_and_without_a_string_it_says_what_to_do():
    code = "import asyncio; from state_core import *; asyncio.run(DatabaseStorageBackend().head('s'))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    last = process.stderr.strip().splitlines()[-1]
    assert "ConfigurationError" in last and "pass a connection string" in last


# Tables


async def test_two_sets_of_tables_share_a_database(opened, store_url):
    ours, theirs = opened(store_url), opened(store_url, table_name="their_own_state_with_a_long_name")
    await create(ours, "s")
    with pytest.raises(SessionNotFound):
        await theirs.head("s")
    await create(theirs, "s")
    await theirs.append("s", [message()])
    await theirs.delete("s")
    assert await numbers(ours, "s") == [1]


async def test_tables_are_not_made_when_told_not_to(opened, tmp_path):
    store = opened(f"sqlite:///{tmp_path}/new.db", create_tables=False)
    with pytest.raises(MigrationNeeded, match="migration state_core.0001_initial is not applied"):
        await store.head("s")
    assert [s for s in await store.check() if "0001_initial" in s]
    await store.migrate()
    await create(store, "s")
    assert await store.check() == []


async def test_old_tables_name_the_missing_migration_and_the_command(opened, tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    await create(opened(url), "s")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("DELETE FROM django_migrations WHERE app = 'state_core'")
    connection.close()
    with pytest.raises(
        MigrationNeeded, match="state_core.0001_initial.*python -m state_core.storage.migrate"
    ):
        await opened(url).head("s")


async def test_old_tables_of_another_name_name_the_missing_column(opened, empty_postgres_url):
    await create(opened(empty_postgres_url, table_name="own"), "s")
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("ALTER TABLE own_session DROP COLUMN search")
        connection.execute("DROP TABLE own_snapshot")
    with pytest.raises(MigrationNeeded, match="own_session.search, own_snapshot"):
        await opened(empty_postgres_url, table_name="own").head("s")


async def test_tables_that_vanish_are_missed_by_name(opened, empty_postgres_url):
    store = opened(empty_postgres_url)
    await create(store, "s")
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute("DROP TABLE marsys_state_event")
    with pytest.raises(MigrationNeeded, match="marsys_state_event"):
        await store.append("s", [message()])


async def test_tables_of_a_newer_version_are_reported(opened, tmp_path):
    store = opened(f"sqlite:///{tmp_path}/new.db")
    await create(store, "s")
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) "
            "VALUES ('state_core', '9999_later', '2030-01-01')"
        )
    connection.close()
    assert any("9999_later" in sentence for sentence in await store.check())


def test_migrating_by_hand(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    command = [sys.executable, "-m", "state_core.storage.migrate", url]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is up to date" in done.stdout


@pytest.mark.parametrize(("arguments", "code", "says"), [(["nonsense"], 1, "string"), ([], 2, "Usage")])
def test_migrating_by_hand_wrongly(arguments, code, says, capsys):
    assert migrate.main(arguments) == code
    assert says in capsys.readouterr().err


# Outages


@pytest.fixture
def own_server():
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    server = PostgresServer(folder / "data")
    server.create()
    server.start()
    yield server
    if server.is_running():
        server.stop()
    shutil.rmtree(folder)


async def test_it_survives_that_postgresql_goes_away_and_comes_back(opened, own_server):
    store = opened(own_server.new_database("state"))
    await create(store, "s")
    assert await store.check() == []
    await asyncio.gather(*(store.head("s") for _ in range(20)))  # several connections are open
    hints = store.wakeups()
    assert await anext(hints) == ""
    await asyncio.to_thread(own_server.stop, "immediate")
    for attempt in (store.append("s", [message()]), store.head("s"), store.heads(HeadQuery())):
        with pytest.raises(StorageUnavailable):
            await attempt
    await asyncio.to_thread(own_server.start)
    assert await store.append("s", [message()]) == 2
    assert {head.last_seq for head in await asyncio.gather(*(store.head("s") for _ in range(20)))} == {2}

    async def hears():
        await store.append("s", [message()])
        return await anext(hints) == "s"

    await until(hears)
    await hints.aclose()


async def test_a_reader_does_not_notice_that_postgresql_was_started_anew(opened, own_server):
    store = opened(own_server.new_database("state"))
    await create(store, "s")
    await asyncio.gather(*(store.head("s") for _ in range(20)))  # several connections are open
    await asyncio.to_thread(own_server.stop, "immediate")
    await asyncio.to_thread(own_server.start)
    found = await asyncio.gather(*(store.head("s") for _ in range(20)), store.last_seqs(["s"]))
    assert {head.last_seq for head in found[:-1]} == {1}
    assert found[-1] == {"s": 1}


async def test_a_lock_that_lasts_too_long_is_an_outage(opened, tmp_path):
    store = opened(f"sqlite:///{tmp_path}/x.db?timeout=0.1")
    await create(store, "s")
    blocker = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await store.append("s", [message()])
    assert await numbers(store, "s") == [1]
    blocker.execute("ROLLBACK")
    blocker.close()
    assert await store.append("s", [message()]) == 2


async def test_a_connection_that_was_cut_while_idle_is_replaced(opened, postgres_url, monkeypatch):
    monkeypatch.setattr("state_core.storage.threads.IDLE_SECONDS", 0.0)
    store = opened(postgres_url, pool_size=1)
    await create(store, "s")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'state_core' AND datname = current_database()"
        )
    assert await store.append("s", [message()]) == 2


async def test_threads_and_connections_are_bounded_and_given_back(opened, postgres_url):
    store = opened(postgres_url, pool_size=3)
    await create(store, "s")
    await asyncio.gather(*(store.head("s") for _ in range(50)))
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        async def count():
            return connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'state_core' "
                "AND datname = current_database()"
            ).fetchone()[0]

        assert 1 <= await count() <= 4  # and one that notifies
        await store.close()

        async def gone():
            return await count() == 0

        await until(gone)


# What it promises beyond the contract


async def test_text_that_postgresql_cannot_hold_is_refused_and_nothing_is_written(opened, postgres_url):
    store = opened(postgres_url)
    await create(store, "s")
    with pytest.raises(InvalidValue, match="NUL"):
        await store.append("s", [message(actor="a\x00b")])
    assert await numbers(store, "s") == [1]


async def test_a_checkpoint_id_that_is_taken_is_refused_and_nothing_is_written(opened, store_url):
    store = opened(store_url)
    named = record(EventKind.CHECKPOINT_CREATED, data={"id": "c", "name": "c"})
    for session_id in ("a", "b"):
        await create(store, session_id)
    await store.append("a", [named])
    with pytest.raises(InvalidValue, match="in the store already: c"):
        await store.append("b", [message(), named])
    assert await numbers(store, "b") == [1]
    assert (await store.checkpoint("c")).session_id == "a"


async def test_a_head_has_no_other_fields(opened, store_url):
    store = opened(store_url)
    await create(store, "s")
    with pytest.raises(InvalidValue, match="no 'colour'"):
        await store.append("s", [message()], head={"colour": "red"})


async def test_a_new_title_is_found(opened, store_url):
    store = opened(store_url)
    await create(store, "s", title="before", workflow="flow")
    await store.append("s", [message()], head={"title": "AFTER"})
    assert [h.title for h in await store.heads(HeadQuery(text="after"))] == ["AFTER"]
    assert [h.title for h in await store.heads(HeadQuery(text="flow"))] == ["AFTER"]
    assert await store.heads(HeadQuery(text="before")) == []
    with pytest.raises(ConflictError):
        await store.append("s", [message()], head={"title": "x"}, expected_seq=1)


async def test_a_change_by_another_store_wakes_the_watchers_of_this_one(opened, store_url):
    ours, theirs = opened(store_url), opened(store_url)
    await create(theirs, "s")
    hints = ours.wakeups()
    assert await anext(hints) == ""
    expected = "s" if store_url.startswith("postgresql") else ""
    assert ours.supports_wakeups

    async def hears():
        await theirs.append("s", [message()])
        return await asyncio.wait_for(anext(hints), 5) == expected

    await until(hears)
    await hints.aclose()


async def test_weak_settings_of_sqlite_are_reported(opened, tmp_path):
    store = opened(f"sqlite:///{tmp_path}/x.db")
    await create(store, "s")
    await store.close()
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    options = connections.settings[store.alias]["OPTIONS"]
    options.pop("init_command")
    assert ["journal_mode is DELETE" in sentence for sentence in await store.check()] == [True]


async def test_weak_settings_of_postgresql_are_reported(opened, postgres_url):
    sentences = await opened(postgres_url + "?options=-csynchronous_commit%3Doff").check()
    assert ["fsync is off" in s or "synchronous_commit is off" in s for s in sentences] == [True, True]


COPIES = """
    INSERT INTO marsys_state_session ({columns}) SELECT {columns} FROM (
    SELECT (jsonb_populate_record(head, jsonb_build_object(
        'id', head.id + n,
        'session_id', head.session_id || n,
        'status', CASE WHEN n % 50 = 0 THEN 'running' ELSE 'completed' END,
        'resting_steps', CASE WHEN n % 50 = 0 THEN NULL ELSE head.steps END,
        'resting_state_bytes', CASE WHEN n % 50 = 0 THEN NULL ELSE head.state_bytes END,
        'questions', (n % 100 = 0)::int,
        'worked', '["Everybody","Agent ' || n % 500 || '"]',
        'lease_expires_at', CASE WHEN n % 50 = 0 THEN now() + n * interval '1 second' END,
        'updated_at', now() - n * interval '1 second',
        'updated_minute', date_trunc('minute', now() - n * interval '1 second'),
        'created_at', now() - n * interval '1 minute',
        'started_at', now() - n * interval '1 minute'
    ))).* FROM marsys_state_session head, generate_series(1, 5000) n) AS copy
"""


def copy_heads(cursor, tables):
    columns = [field.column for field in tables.session._meta.local_fields]
    cursor.execute(COPIES.format(columns=", ".join(columns)))


@pytest.fixture(scope="module")
def crowded_postgres_url(postgres_server, django_db_blocker):
    """Of a database with 5,001 sessions, which are only looked at."""
    url = postgres_server.new_database("crowded")
    with django_db_blocker.unblock():
        asyncio.run(_crowd(url))
        yield url
    postgres_server.drop_database("crowded")


async def _crowd(url):
    store = DatabaseStorageBackend(url)
    await create(store, "s")

    def copy(connection, tables):
        with connection.cursor() as cursor:
            copy_heads(cursor, tables)
            cursor.execute("VACUUM ANALYZE marsys_state_session")

    await store._run(copy)
    await store.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (HeadQuery(), "marsys_state_minute"),
        (HeadQuery(sort="updated_at"), "marsys_state_minute"),
        (HeadQuery(sort="-created_at"), "marsys_state_created"),
        (HeadQuery(sort="-started_at"), "marsys_state_started"),
        (HeadQuery(sort="session_id"), "marsys_state_session_uq"),
        (HeadQuery(lease_expired=True, sort="-state_bytes"), "marsys_state_lease"),
        (HeadQuery(questions=True, sort="session_id"), "marsys_state_questions"),
        (HeadQuery(sort="-duration"), "marsys_state_took"),
        (HeadQuery(sort="-steps"), "marsys_state_steps"),
        (HeadQuery(sort="steps"), "marsys_state_fewest"),
        (HeadQuery(sort="-state_bytes"), "marsys_state_bytes"),
        (HeadQuery(sort="state_bytes"), "marsys_state_smallest"),
        (HeadQuery(agent="Nobody"), "marsys_state_worked"),
        (HeadQuery(agent="Agent 7"), "marsys_state_worked"),
    ],
)
async def test_postgresql_finds_heads_by_index(opened, crowded_postgres_url, query, index):
    def explain(connection, tables):
        pages = headquery.pages(tables.session.objects.using(connection.alias), query)
        return pages[0].explain()

    assert index in await opened(crowded_postgres_url)._run(explain)


@pytest.mark.parametrize("sort", ["steps", "-steps", "state_bytes", "-state_bytes"])
async def test_sqlite_reads_what_is_at_rest_in_the_order_of_an_index(opened, tmp_path, sort):
    def explain(connection, tables):
        query = HeadQuery(sort=sort, statuses=["failed", "running"])
        at_rest, at_work = headquery.pages(tables.session.objects.using(connection.alias), query)
        assert "USING INDEX marsys_state_counted" in at_work.explain()
        return at_rest.explain()

    plan = await opened(f"sqlite:///{tmp_path}/x.db")._run(explain)
    assert "USING INDEX marsys_state_" in plan
    assert "TEMP B-TREE" not in plan


async def test_postgresql_counts_all_sessions_in_the_smallest_of_their_indexes(opened, crowded_postgres_url):
    def explain(connection, tables):
        return headquery.status_counts(tables.session.objects.using(connection.alias), HeadQuery()).explain()

    assert "Index Only Scan using marsys_state_counted" in await opened(crowded_postgres_url)._run(explain)


EVENTS = """
INSERT INTO marsys_state_event SELECT (jsonb_populate_record(
    event, jsonb_build_object('id', -n, 'seq', n))).*
FROM marsys_state_event event, generate_series(3, 20000) n WHERE event.seq = 2
"""


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
async def test_postgresql_reads_a_page_of_a_long_log_without_sorting_the_rest_of_it(
    opened, postgres_url, newest_first
):
    store = opened(postgres_url)
    await create(store, "s")
    await store.append("s", [message()])
    query = EventQuery(after=100, limit=1000, newest_first=newest_first)

    def explain(connection, tables):
        with connection.cursor() as cursor:
            cursor.execute(EVENTS)
            cursor.execute("ANALYZE marsys_state_event")
        return logquery.events_found(tables, connection.alias, "s", query).explain()

    plan = await store._run(explain)
    assert "marsys_state_event_uq" in plan
    assert "Sort" not in plan


async def test_steps_of_an_agent_that_has_worked_move_no_index_of_postgresql(opened, empty_postgres_url):
    store = opened(empty_postgres_url)
    await create(store, "s")
    await start(store, "s", 1)
    await store.close()  # a connection tells what it counted when it ends, or seconds later
    counted = (
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'marsys_state_session'"
    )

    async def updates():
        with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
            return connection.execute(counted).fetchone()

    async def has_counted(number):
        return (await updates())[0] >= number

    await until(lambda: has_counted(1))  # the start
    began = await updates()
    store = opened(empty_postgres_url)
    for agents in (["Reader"], *[["Reader"]] * 20, ["Writer", "Reader"], *[["Writer"]] * 20):
        await store.append("s", [record(EventKind.STEP_STARTED, 1, agent=agent, size=9) for agent in agents])
    await store.close()
    await until(lambda: has_counted(began[0] + 42))
    # Where the server analyses its tables meanwhile, a page may be full for a moment.
    assert (await updates())[1] - began[1] > 30


FORKING = """
import asyncio, os, sys
from state_core.storage import from_url
from state_core.testing import create, message

store = from_url(sys.argv[1])

async def begin():
    await create(store, "s")
    await asyncio.gather(*(store.head("s") for _ in range(20)))

async def go_on():
    await store.append("s", [message()])
    await store.close()

asyncio.run(begin())
child = os.fork()
asyncio.run(asyncio.wait_for(go_on(), 20))
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


async def test_a_process_that_forks_may_go_on_in_both(opened, store_url):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORKING, store_url, cwd=ROOT, env=ENVIRONMENT
    )
    assert await process.wait() == 0
    assert await numbers(opened(store_url), "s") == [1, 2, 3]


async def test_a_deleted_session_wakes_its_watchers(opened, store_url):
    store = opened(store_url)
    hints = store.wakeups()
    assert await anext(hints) == ""

    async def hears():
        await create(store, "s")
        await store.delete("s")
        return await asyncio.wait_for(anext(hints), 5) in {"s", ""}

    await until(hears)
    await hints.aclose()


async def test_times_that_are_not_utc_are_refused(opened, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "TIME_ZONE", "Europe/Berlin")
    with pytest.raises(ConfigurationError, match="Remove TIME_ZONE"):
        await opened().last_seqs([])
