"""The store contract, over every store."""

import pytest

from state_core.testing import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def storage(self, memory_store):
        return memory_store


class TestFile(StoreContract):
    @pytest.fixture
    def storage(self, file_store):
        return file_store


class TestSQLite(StoreContract):
    @pytest.fixture
    def storage(self, sqlite_store):
        return sqlite_store


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def storage(self, postgres_store):
        return postgres_store


class TestRedis(StoreContract):
    @pytest.fixture
    def storage(self, redis_store):
        return redis_store


class TestDjangosOwnDatabase(StoreContract):
    @pytest.fixture
    def storage(self, django_store):
        return django_store
