"""Where a store is, for processes of their own: a URL and a key prefix."""

from __future__ import annotations

import pytest


@pytest.fixture
def file_place(tmp_path):
    return f"file:{tmp_path}/state", ""


@pytest.fixture
def sqlite_place(sqlite_url):
    return sqlite_url, ""


@pytest.fixture
def postgres_place(postgres_url):
    return postgres_url, ""


@pytest.fixture
def redis_place(redis_server, redis_prefix):
    return redis_server.url, redis_prefix


@pytest.fixture(params=["file", "sqlite", "postgres", "redis"])
def place(request):
    """Of an empty store of each kind that other processes can open."""
    return request.getfixturevalue(f"{request.param}_place")
