"""The dashboard as its users have it: a daphne process with a database and a folder of its own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
COOKIE = "marsys_session"
PREPARE = """
import json
import django
django.setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

call_command("migrate", verbosity=0)
people = {
    "ana": ["view", "operate", "restore"], "otto": ["view", "operate"], "vera": ["view"], "nora": [],
}
cookies = {}
for name, may in people.items():
    user = User.objects.create_user(name, is_staff=name == "ana")
    granted = Permission.objects.filter(codename__in=[f"{verb}_session" for verb in may])
    user.user_permissions.set(granted.filter(content_type__app_label="state_core"))
    kept = SessionStore()
    kept[SESSION_KEY] = str(user.pk)
    kept[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    kept[HASH_SESSION_KEY] = user.get_session_auth_hash()
    kept.create()
    cookies[name] = kept.session_key
print(json.dumps(cookies))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A daphne process with a folder of its own, and four people: ana may do everything, in the admin too,
    otto may operate, vera may look, nora may nothing."""

    folder: Path
    database_url: str = ""
    """Without one, SQLite in the folder."""
    beside: str = ""
    """URL of a further store, where sessions are then kept rather than in the database."""
    port: int = field(default_factory=free_port)
    cookies: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.folder}/state.sqlite3"

    @property
    def store(self) -> str:
        """The alias of the store that tests and their programs write to."""
        return "beside" if self.beside else "default"

    @property
    def store_url(self) -> str:
        return self.beside or self.database

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "STATE_STORES": f"beside={self.beside}" if self.beside else "",
            "STORE_URL": self.store_url,
            "STATE_VAR": str(self.folder),
            "DATABASE_URL": self.database,
            "DJANGO_SETTINGS_MODULE": "marsys_dashboard.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        if self.database_url:
            self.cookies = cookies_of_people_in(self)
            return
        folder, cookies = prepared_folder()
        shutil.copytree(folder, self.folder, dirs_exist_ok=True)
        self.cookies = {**cookies}

    def start(self) -> None:
        address = ["-b", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "daphne.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-X",
                    "faulthandler",
                    "-m",
                    "daphne",
                    *address,
                    "marsys_dashboard.asgi:application",
                ],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urlopen(f"{self.url}/static/css/base.css", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"daphne did not start:\n{self.log}")

    def stop(self) -> None:
        """That it ends by itself is tested where `serve` is; here it only must not stay behind. Its log
        then says where it stood."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                self.process.wait(20)
            self.process = None

    @property
    def log(self) -> str:
        return (self.folder / "daphne.log").read_text()


@cache
def prepared_folder() -> tuple[Path, dict[str, str]]:
    """Made once for all servers on SQLite: a copy of it is made at once."""
    folder = Path(tempfile.mkdtemp(prefix="prepared"))
    atexit.register(shutil.rmtree, folder)
    return folder, cookies_of_people_in(Server(folder))


def cookies_of_people_in(server: Server) -> dict[str, str]:
    """After its tables and these people are made."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE],
        env=server.environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    made: dict[str, str] = json.loads(done.stdout)
    return made


@contextmanager
def serving(folder: Path, database_url: str = "", beside: str = "") -> Iterator[Server]:
    made = Server(folder, database_url, beside)
    made.prepare()
    made.start()
    try:
        yield made
    finally:
        made.stop()
