"""Everything that `make run` starts: the database made ready, the dashboard, a demonstration beside it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from daphne.server import Server  # first: it installs the reactor
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string
from twisted.internet import reactor

from marsys_dashboard.signin import make_link
from marsys_dashboard.startup import (
    first_operator,
    prepare_tables,
    refuse_taken_port,
    refuse_unreachable_database,
)

ENDING = {signal.SIGINT, signal.SIGTERM}
STOPPING_SECONDS = 8.0
"""How long the demonstration may take to put its sessions down."""


class Command(BaseCommand):
    help = "Make the database ready, serve the dashboard, and run the demonstration until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
        parser.add_argument("--no-demo", action="store_true", help="serve the dashboard alone")
        parser.add_argument(
            "--no-migrate", action="store_true", help="refuse to start where the tables are not up to date"
        )
        parser.add_argument(
            "--pace", type=float, default=1.0, help="seconds for each step of the demonstration (1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # A shell starts what runs in its background with Ctrl-C ignored; this is to end all the same.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(KeyboardInterrupt):  # until it serves; from then on Ctrl-C is the reactor's
            self._run(**options)
        self.stdout.write("\nStopped. The data is kept.")

    def _run(self, *, host: str, port: int, no_migrate: bool, no_demo: bool, pace: float, **_: Any) -> None:
        refuse_taken_port(host, port)
        refuse_unreachable_database()
        prepare_tables(migrate=not no_migrate)
        user = first_operator()
        with demonstration(None if no_demo else pace) as start:
            self._serve(host, port, user, start)

    def _serve(self, host: str, port: int, user: AbstractBaseUser, start: Any) -> None:
        def ready() -> None:
            start()  # before signals are held back: a child would inherit that
            hold_back_until_running()
            self.stdout.write(announcement(f"http://{_shown(host)}:{port}", user))
            self.stdout.flush()

        server = Server(
            application=import_string(settings.ASGI_APPLICATION),
            endpoints=[f"tcp:port={port}:interface={host.replace(':', chr(92) + ':')}"],
            ready_callable=ready,
            server_name="",
        )
        server.run()


def hold_back_until_running() -> None:
    """Let Ctrl-C and SIGTERM arrive when the reactor has its handlers.

    A reactor that starts logs what its startup raises, KeyboardInterrupt too, and goes on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    reactor.callWhenRunning(signal.pthread_sigmask, signal.SIG_UNBLOCK, ENDING)  # type: ignore[attr-defined]


def announcement(address: str, user: AbstractBaseUser) -> str:
    return (
        f"\nThe dashboard is at {address}/\n"
        f"Sign in as {user.get_username()} with this link; it works once:\n\n"
        f"    {make_link(user, address)}\n\n"
        "Ctrl-C ends it.\n"
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def demonstration(pace: float | None) -> Iterator[Any]:
    """Yields what starts it, in a process of its own, and takes it down at the end.

    The child ends when its standard input closes, so it does not outlive this process even when that
    is killed.
    """
    children: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        if pace is not None:
            command = [sys.executable, sys.argv[0], "play_demo", "--pace", str(pace), "--until-stdin-closes"]
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))  # noqa: S603
            threading.Thread(target=_tell_early_end, args=(children[0],), daemon=True).start()

    try:
        yield start
    finally:
        for child in children:
            _end(child)


def _tell_early_end(child: subprocess.Popen[bytes]) -> None:
    if child.wait() and child.stdin and not child.stdin.closed:
        print("The demonstration ended by itself; its error stands above.", file=sys.stderr, flush=True)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin:
        child.stdin.close()
    for give_up in (child.terminate, child.kill):
        try:
            child.wait(STOPPING_SECONDS)
            return
        except subprocess.TimeoutExpired:
            give_up()
    child.wait()
