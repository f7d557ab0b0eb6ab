"""The demonstration: real workflows over the Python packages that are installed here."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import warnings
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.demo.player import KEEP, Player
from state_core.demo.workflows import WORKFLOWS
from state_core.exceptions import StateError
from state_core.storage import stores


class Command(BaseCommand):
    help = "Run the demonstration's workflows over and over, until Ctrl-C. They show in the dashboard."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--pace", type=float, default=1.0, help="seconds for each step (1); 0: at full speed"
        )
        parser.add_argument("--once", action="store_true", help="play each workflow once, then end")
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument(
            "--keep", type=int, default=KEEP, help=f"sessions that ended and are kept ({KEEP})"
        )
        parser.add_argument("--workflow", nargs="+", choices=list(WORKFLOWS), help="only these")
        parser.add_argument(
            "--until-stdin-closes", action="store_true", help="end with the program that holds standard input"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Old code has string escapes that today's Python warns of when it is parsed.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            asyncio.run(self._play(options))
        except StateError as error:
            raise CommandError(str(error)) from error

    async def _play(self, options: dict[str, Any]) -> None:
        chosen = [WORKFLOWS[name] for name in options["workflow"] or WORKFLOWS]
        storage = stores[options["store"]]
        player = Player(
            storage,
            chosen,
            pace=max(0.0, options["pace"]),
            keep=max(0, options["keep"]),
            encryption_key=stores.encryption_key(options["store"]),
        )
        _stop_on_request(player, stdin=options["until_stdin_closes"])
        try:
            if options["once"]:
                for head in await player.play_once():
                    self.stdout.write(f"{head.session_id}: {head.status}")
            else:
                await player.play()
        finally:
            await storage.close()


def _stop_on_request(player: Player, *, stdin: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, player.stop)
    if stdin:
        threading.Thread(target=_wait_for_end_of_input, args=(loop, player), daemon=True).start()


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, player: Player) -> None:
    while sys.stdin.buffer.read(1024):
        pass
    loop.call_soon_threadsafe(player.stop)
