"""Stores by alias, by connection string, and Django's system checks of them."""

from __future__ import annotations

import threading

import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from state_core import DatabaseStorageBackend, FileStorageBackend, MemoryStorageBackend
from state_core.exceptions import ConfigurationError
from state_core.storage import Stores, from_url, stores
from state_core.testing import create

MEMORY = {"BACKEND": "state_core.storage.memory.MemoryStorageBackend"}
DATABASE = "state_core.storage.DatabaseStorageBackend"


@pytest.fixture
def configured(settings):
    """Sets STATE_STORES; what was made before is put back afterwards."""
    made, stores._made = stores._made, {}

    def configure(**entries):
        settings.STATE_STORES = entries
        return Stores()

    yield configure
    stores._made = made


def test_an_alias_gives_one_store_per_process(configured):
    found = configured(default=MEMORY, other=MEMORY)
    assert found.aliases() == list(found) == ["default", "other"]
    assert len(found) == 2
    assert isinstance(found["default"], MemoryStorageBackend)
    assert found["default"] is found["default"]
    assert found["default"] is not found["other"]
    assert "default" in found and "elsewhere" not in found


def test_where_nothing_is_said_of_stores_there_is_djangos_own_database(configured, settings):
    found = configured()
    del settings.STATE_STORES
    assert found.aliases() == ["default"]
    assert repr(found["default"]).startswith("<DatabaseStorageBackend Django's database 'default'")


def test_threads_that_ask_at_once_get_the_same_store(configured):
    found, seen = configured(default=MEMORY), []
    threads = [threading.Thread(target=lambda: seen.append(found["default"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 and len(set(map(id, seen))) == 1


def test_options_are_the_stores_arguments(configured, tmp_path):
    options = {"connection_string": f"sqlite:///{tmp_path}/x.db", "table_name": "own", "pool_size": 2}
    store = configured(default={"BACKEND": DATABASE, "OPTIONS": options})["default"]
    assert repr(store) == f"<DatabaseStorageBackend SQLite database '{tmp_path}/x.db', tables own_*>"


def test_a_url_will_do(configured, tmp_path):
    store = configured(default={"URL": f"file:{tmp_path}/state"})["default"]
    assert isinstance(store, FileStorageBackend)
    assert store.base_path == tmp_path / "state"


def test_stores_are_made_anew_when_they_are_forgotten(configured):
    found = configured(default=MEMORY)
    first = found["default"]
    assert found.forget() == [first]
    assert found["default"] is not first


@pytest.mark.parametrize(
    ("entry", "says", "cause"),
    [
        ({"BACKEND": "no.such.Store"}, "cannot be imported", ImportError),
        ({"BACKEND": "state_core.storage.memory.Nothing"}, "cannot be imported", AttributeError),
        ({"BACKEND": "Store"}, "cannot be imported", ValueError),
        ({}, "cannot be imported", ValueError),
        ({"BACKEND": "state_core.records.Head"}, "not a StorageBackend", None),
        ({**MEMORY, "OPTIONS": {"colour": "red"}}, "do not fit.*colour", TypeError),
        ({"BACKEND": DATABASE, "OPTIONS": {"connection_string": "x"}}, "not a connection string", None),
        ({"URL": "x"}, "'URL'. cannot be used: .*not a connection string", ConfigurationError),
        ({"URL": "memory:", "BACKEND": MEMORY["BACKEND"]}, "the one or the other", None),
    ],
)
def test_an_entry_that_cannot_work_is_one_clear_error(configured, entry, says, cause):
    found = configured(default=entry)
    with pytest.raises(ConfigurationError, match=says) as caught:
        found["default"]
    assert isinstance(caught.value.__cause__, cause) if cause else caught.value.__cause__ is None


def test_an_unknown_alias_names_those_there_are(configured):
    with pytest.raises(ConfigurationError, match="no 'elsewhere'. It has: 'default'"):
        configured(default=MEMORY)["elsewhere"]


def test_a_connection_string_gives_a_store(tmp_path):
    assert isinstance(from_url("memory:"), MemoryStorageBackend)
    assert isinstance(from_url(f"sqlite:///{tmp_path}/x.db"), DatabaseStorageBackend)
    assert "host" in repr(from_url("postgresql://me:secret@host/db"))
    with pytest.raises(ConfigurationError):
        from_url("nonsense")


# System checks


def ids(messages):
    return [message.id for message in messages if message.id.startswith("state_core.")]


def test_settings_that_are_well_say_nothing(configured):
    configured(default=MEMORY)
    assert ids(run_checks()) == []


def test_an_entry_that_cannot_work_is_found_by_the_checks(configured):
    configured(default=MEMORY, broken={"BACKEND": "no.such.Store"})
    found = [message for message in run_checks() if message.id == "state_core.E001"]
    assert len(found) == 1
    assert "STATE_STORES['broken']" in found[0].hint


def test_times_without_a_zone_are_found_by_the_checks(configured, settings):
    configured(default=MEMORY)
    settings.USE_TZ = False
    assert ids(run_checks()) == ["state_core.E002"]


def test_a_store_is_only_touched_when_a_database_is_asked_for(configured, django_db_blocker):
    url = "postgresql://me:secret@127.0.0.1:1/db?connect_timeout=2"
    configured(default={"BACKEND": DATABASE, "OPTIONS": {"connection_string": url}})
    assert ids(run_checks()) == []
    with django_db_blocker.unblock():
        found = [message for message in run_checks(databases=["default"]) if message.id == "state_core.W002"]
    assert len(found) == 1
    assert "cannot be reached" in found[0].msg and "secret" not in found[0].msg


def test_a_weak_store_is_found_when_a_database_is_asked_for(configured, postgres_url):
    configured(default={"BACKEND": DATABASE, "OPTIONS": {"connection_string": postgres_url}})
    found = [message for message in run_checks(databases=["default"]) if message.id == "state_core.W001"]
    assert ["fsync is off" in message.msg for message in found] == [True]


@pytest.mark.django_db
def test_migrations_say_what_the_models_say():
    call_command("makemigrations", "state_core", check=True, dry_run=True, verbosity=0)


async def test_a_row_is_named_after_its_session(django_store):
    from state_core.models import Checkpoint, Event, Session

    await create(django_store, "s")
    assert [str(row) async for row in Session.objects.all()] == ["s"]
    assert [str(row) async for row in Event.objects.all()] == ["1 session.created"]
    assert [row async for row in Checkpoint.objects.all()] == []
