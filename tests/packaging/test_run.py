"""`manage.py serve`, which is what `make run` starts, as real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE"}}
    return {**inherited, "STATE_VAR": str(folder), "PYTHONUNBUFFERED": "1", **more}


class Server:
    """A dashboard that was started as a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.said: list[str] = []

    def link(self) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"http://\S+/sign-in/\S+", line):
                return found[0]
        raise AssertionError(f"no sign-in link: {''.join(self.said)}")

    def child_ids(self) -> list[int]:
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        )
        return [int(pid) for pid in listed.stdout.split()]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=20)
        self.said.append(rest)
        return self.process.returncode


@contextmanager
def serving(folder: Path, *options: str, **more: str) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen(
        [*MANAGE, "serve", "--port", str(port), *options],
        env=environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Server(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come true in time")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "state.sqlite3", timeout=20)) as connection:
        return connection.execute(query).fetchall()


def statuses(folder: Path) -> dict[str, str]:
    return dict(rows(folder, "SELECT session_id, status FROM marsys_state_session"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def status_of(address: str) -> int:
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(address, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def refused(folder: Path, *options: str, **more: str) -> str:
    """What is said where it does not start."""
    done = subprocess.run(
        [*MANAGE, "serve", "--no-demo", *options],
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_first_start_makes_everything_and_the_link_signs_in_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-demo") as server:
        link = server.link()
        assert status_of(link) == 302
        assert status_of(link) == 403
    assert rows(tmp_path, "SELECT username, is_superuser FROM auth_user") == [("operator", 1)]


def test_a_second_start_keeps_the_data_and_answers_within_seconds(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-demo") as server:
        server.link()
        server.end(signal.SIGINT)
    began = time.monotonic()
    with serving(tmp_path, "--no-demo") as server:
        assert status_of(server.link()) == 302
        took = time.monotonic() - began
    assert took < 15, "4 s on an idle machine; this one may be busy"
    assert len(rows(tmp_path, "SELECT 1 FROM auth_user")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it_and_running_sessions_can_be_resumed(
    number: signal.Signals, tmp_path: Path
) -> None:
    with serving(tmp_path, "--pace", "0.3") as server:
        server.link()
        until(lambda: "running" in statuses(tmp_path).values())
        (child,) = server.child_ids()
        assert server.end(number) == 0
        assert not is_alive(child)
    assert "Stopped. The data is kept." in "".join(server.said)
    assert "Traceback" not in "".join(server.said)
    assert set(statuses(tmp_path).values()) <= {"interrupted", "completed", "pending"}
    assert rows(tmp_path, "SELECT session_id FROM marsys_state_session WHERE owner <> ''") == []


def test_a_signal_while_the_reactor_starts_is_not_lost(tmp_path: Path) -> None:
    code = (
        "import os, signal; from daphne.server import reactor; "
        "reactor.addSystemEventTrigger('before', 'startup', os.kill, os.getpid(), signal.SIGINT); "
        "from manage import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "serve", "--no-demo", "--port", str(free_port())],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("Stopped. The data is kept.\n")


def test_the_demonstration_does_not_outlive_a_killed_server(tmp_path: Path) -> None:
    with serving(tmp_path, "--pace", "0.3") as server:
        server.link()
        (child,) = until(server.child_ids)
        until(lambda: statuses(tmp_path))
        server.process.kill()
        until(lambda: not is_alive(child), 15)


def test_what_was_interrupted_goes_on_at_the_next_start(tmp_path: Path) -> None:
    def steps(session_id: str) -> int:
        query = f"SELECT steps_completed FROM marsys_state_session WHERE session_id = '{session_id}'"
        return int(rows(tmp_path, query)[0][0])

    with serving(tmp_path, "--pace", "0.3") as server:
        server.link()
        name = until(lambda: next((i for i in statuses(tmp_path) if i.startswith("inventory")), ""))
        until(lambda: steps(name) > 2)
        server.end(signal.SIGTERM)
    before = steps(name)
    with serving(tmp_path, "--pace", "0.3") as server:
        server.link()
        until(lambda: steps(name) > before)
    assert sum(i.startswith("inventory") for i in statuses(tmp_path)) == 1


def test_database_url_puts_all_of_it_on_postgresql(empty_postgres_url: str, tmp_path: Path) -> None:
    def sessions() -> list[str]:
        with psycopg.connect(empty_postgres_url) as connection:
            found = connection.execute("SELECT session_id FROM marsys_state_session WHERE status = 'running'")
            return [row[0] for row in found]

    with serving(tmp_path, "--pace", "0.3", DATABASE_URL=empty_postgres_url) as server:
        assert status_of(server.link()) == 302
        until(sessions)
        assert server.end(signal.SIGINT) == 0
    assert not (tmp_path / "state.sqlite3").exists()
    assert sessions() == []


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert said.startswith(f"CommandError: Port {port} on 127.0.0.1 is taken")
    assert f"make run PORT={port + 1}" in said
    assert len(said.splitlines()) == 1


def test_an_unreachable_database_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    address = f"postgresql://someone:s3cret@127.0.0.1:{free_port()}/state"
    said = refused(tmp_path, "--port", str(free_port()), DATABASE_URL=address)
    assert said.startswith("CommandError: The database 'state' at 127.0.0.1:")
    assert "cannot be reached" in said
    assert "DATABASE_URL" in said
    assert "s3cret" not in said
    assert len(said.splitlines()) == 1


def test_a_missing_migration_is_one_sentence_where_it_may_not_migrate(tmp_path: Path) -> None:
    said = refused(tmp_path, "--port", str(free_port()), "--no-migrate")
    assert "older than this version" in said
    assert "manage.py migrate" in said
    assert len(said.splitlines()) == 1


def test_an_old_python_is_one_sentence(tmp_path: Path) -> None:
    said = installing(tmp_path, 'echo "Python 3.8.10"; exit 1')
    assert said.startswith("Python 3.11 or later is needed")
    assert "Python 3.8.10" in said
    assert len(said.splitlines()) == 1


def test_a_python_without_venv_is_one_sentence(tmp_path: Path) -> None:
    said = installing(tmp_path, 'case "$2" in *venv*) exit 1;; *) exit 0;; esac')
    assert "has no venv module" in said
    assert "python3-venv" in said
    assert len(said.splitlines()) == 1


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    said = installing(tmp_path, f'exec {sys.executable} "$@"', PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert said.startswith("The package index cannot be reached")
    assert len(said.splitlines()) == 1


def installing(tmp_path: Path, python: str, **more: str) -> str:
    """What scripts/install.sh says in a copy of the project, with this shell script as its Python."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{python}\n")
    stand_in.chmod(0o755)
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    for name in ("scripts/install.sh", "pyproject.toml", "README.md"):
        (project / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["sh", project / "scripts" / "install.sh"],
        env={**os.environ, "PYTHON": str(stand_in), "PIP_NO_CACHE_DIR": "1", **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    return done.stderr


def test_what_is_there_with_extras_is_not_installed_again_without(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("scripts/install.sh", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    stand_in, calls = tmp_path / ".venv" / "bin" / "python", tmp_path / "calls"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    stand_in.chmod(0o755)
    for stamped, installs in (("pyproject.toml", False), ("scripts/install.sh", True)):
        (tmp_path / ".venv" / "installed-test").write_bytes((tmp_path / stamped).read_bytes())
        subprocess.run(["sh", tmp_path / "scripts/install.sh"], check=True, timeout=60, capture_output=True)
        assert ("pip install" in calls.read_text()) == installs
