"""A worker: goes on with sessions that nobody runs, and runs those that were submitted."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.exceptions import StateError
from state_core.managers import manager
from state_core.orchestra import OrchestraWorker


class Command(BaseCommand):
    help = "Run pending, resumed and interrupted sessions whose agents these modules have, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "modules", nargs="+", help="modules that register agents with @agent, or have them in AGENTS"
        )
        parser.add_argument("--store", default="default", help="alias in STATE_STORES (default)")
        parser.add_argument("--concurrency", type=int, default=4, help="sessions at once (4)")
        parser.add_argument("--poll", type=float, default=0.5, help="seconds between two looks (0.5)")
        parser.add_argument("--step-timeout", type=float, help="seconds that a step may take")
        parser.add_argument("--max-attempts", type=int, default=1, help="attempts for each step (1)")

    def handle(self, *args: Any, **options: Any) -> None:
        agents = {name: function for module in options["modules"] for name, function in _agents(module)}
        try:
            asyncio.run(self._work(agents, options))
        except StateError as error:
            raise CommandError(str(error)) from error

    async def _work(self, agents: dict[str, Callable[..., Any]], options: dict[str, Any]) -> None:
        state_manager = manager(options["store"])
        worker = OrchestraWorker(
            state_manager,
            agents,
            poll=options["poll"],
            concurrency=options["concurrency"],
            step_timeout=options["step_timeout"],
            max_attempts=options["max_attempts"],
        )
        try:
            await worker.run_until_signal()
        finally:
            await state_manager.close()


def _agents(path: str) -> list[tuple[str, Callable[..., Any]]]:
    try:
        module = import_module(path)
    except ImportError as error:
        raise CommandError(f"Module {path!r} cannot be imported: {error}.") from error
    return list(getattr(module, "AGENTS", {}).items())
