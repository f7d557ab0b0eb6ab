"""Killed in the middle of a chain, with durability "sync": no node that was durable runs again, and the total
is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.adapters.langgraph.kill_driver import NODES

ROOT = Path(__file__).parents[3]
KILLS = 3


@pytest.fixture(params=["file", "sqlite", "postgres", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """URL and key prefix."""
    if request.param == "file":
        return f"file:{tmp_path / 'state'}", ""
    if request.param == "redis":
        return request.getfixturevalue("redis_server").url, request.getfixturevalue("redis_prefix")
    return request.getfixturevalue(f"{request.param}_url"), ""


@pytest.fixture
def driver(place: tuple[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.adapters.langgraph.kill_driver", *place]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def run(process: subprocess.Popen[str], kill_at: int | None) -> tuple[list[int], int | None]:
    """One worker, killed once it says that it runs this node: the nodes it ran, and its total."""
    assert process.stdin and process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    nodes: list[int] = []
    total: int | None = None
    pid = 0
    for word, value in said(process.stdout):
        if word == "pid":
            pid = value
        elif word == "total":
            total = value
        else:
            nodes.append(value)
        if pid and kill_at is not None and nodes and nodes[-1] >= kill_at:
            os.kill(pid, signal.SIGKILL)
            kill_at = None
    return nodes, total


def said(lines: IO[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        word, *rest = line.split()
        if word == "gone":
            return
        yield word, int(rest[0])


def test_no_durable_node_runs_again_and_the_total_is_right(driver: subprocess.Popen[str]) -> None:
    kills = sorted(random.sample(range(1, NODES), KILLS))
    ran: list[int] = []
    total = None
    for kill_at in [*kills, None]:
        nodes, total = run(driver, kill_at)
        if ran and nodes:
            assert nodes[0] >= ran[-1], f"killed at {kills}: {ran[-1]} ran, then {nodes[0]}"
        assert nodes == list(range(nodes[0], nodes[0] + len(nodes))) if nodes else True
        ran += nodes
        if total is not None:
            break
    assert total == NODES, kills
    assert set(ran) == set(range(1, NODES + 1))
    assert len(ran) <= NODES + KILLS
