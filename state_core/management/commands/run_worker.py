"""A worker: goes on with sessions that nobody runs, and runs those that were submitted."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.exceptions import StateError
from state_core.managers import manager
from state_core.orchestra import OrchestraWorker, Topology
from state_core.orchestra.agents import AgentFunction
from state_core.orchestra.worker import run_until_signal

Agents = dict[str, AgentFunction]
Topologies = dict[str, Topology]


class Command(BaseCommand):
    help = "Run pending, resumed and interrupted sessions whose agents these modules have, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "modules",
            nargs="+",
            metavar="module[:name]",
            help="modules that register agents with @agent or have them in AGENTS; with a name, the "
            "agents or the topology that stand there under it",
        )
        parser.add_argument(
            "--store", action="append", dest="stores", help="alias in STATE_STORES (default); may be repeated"
        )
        parser.add_argument("--concurrency", type=int, default=4, help="sessions of a store at once (4)")
        parser.add_argument("--poll", type=float, default=0.5, help="seconds between two looks (0.5)")
        parser.add_argument("--step-timeout", type=float, help="seconds that a step may take")
        parser.add_argument("--max-attempts", type=int, default=1, help="attempts for each step (1)")

    def handle(self, *args: Any, **options: Any) -> None:
        agents, topologies = load(options["modules"])
        try:
            asyncio.run(self._work(agents, topologies, options))
        except StateError as error:
            raise CommandError(str(error)) from error

    async def _work(self, agents: Agents, topologies: Topologies, options: Mapping[str, Any]) -> None:
        managers = [manager(store) for store in dict.fromkeys(options["stores"] or ["default"])]
        workers = [
            OrchestraWorker(
                state_manager,
                agents,
                topologies=topologies,
                poll=options["poll"],
                concurrency=options["concurrency"],
                step_timeout=options["step_timeout"],
                max_attempts=options["max_attempts"],
            )
            for state_manager in managers
        ]
        try:
            await run_until_signal(*workers)
        finally:
            for state_manager in managers:
                await state_manager.close()


def load(paths: Sequence[str]) -> tuple[Agents, Topologies]:
    """The agents and, for pending sessions that were submitted without one, the topologies of these modules.

    Raises CommandError.
    """
    agents: Agents = {}
    topologies: Topologies = {}
    for path in paths:
        module_path, _, name = path.partition(":")
        module = _module(module_path)
        agents.update(getattr(module, "AGENTS", {}))
        found = _named(module, name) if name else {}
        if isinstance(found, Topology):
            topologies[found.name] = found
        elif isinstance(found, Mapping) and all(map(callable, found.values())):
            agents.update(found)
        else:
            raise CommandError(
                f"{path!r} is a {type(found).__name__}. Name a mapping of agents ({{name: function}}) or a "
                "Topology."
            )
    return agents, topologies


def _module(path: str) -> ModuleType:
    try:
        return import_module(path)
    except (ImportError, ValueError) as error:
        raise CommandError(f"Module {path!r} cannot be imported: {error}.") from error


def _named(module: ModuleType, name: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise CommandError(f"Module {module.__name__!r} has no {name!r}: {error}.") from error
