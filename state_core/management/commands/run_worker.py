"""A worker: goes on with sessions that nobody runs, and runs those that were submitted."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from state_core.exceptions import StateError
from state_core.manager import StateManager
from state_core.managers import manager
from state_core.orchestra import OrchestraWorker, Topology
from state_core.orchestra.agents import AgentFunction
from state_core.rounds import Worker, run_until_signal


@dataclass
class Work:
    """What modules have that a worker can go on with."""

    agents: dict[str, AgentFunction] = field(default_factory=dict)
    topologies: dict[str, Topology] = field(default_factory=dict)
    """By name, for pending sessions that were submitted without one."""
    graphs: dict[str, Any] = field(default_factory=dict)
    """Of LangGraph, by workflow."""


class Command(BaseCommand):
    help = (
        "Run pending, resumed and interrupted sessions whose agents, or graphs of LangGraph, these modules "
        "have, until Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "modules",
            nargs="+",
            metavar="module[:name]",
            help="modules that register agents with @agent or have them in AGENTS; with a name, what stands "
            "there under it: agents, a topology, a graph of LangGraph or its builder, or {workflow: graph}",
        )
        parser.add_argument(
            "--store", action="append", dest="stores", help="alias in STATE_STORES (default); may be repeated"
        )
        parser.add_argument("--concurrency", type=int, default=4, help="sessions of a store at once (4)")
        parser.add_argument("--poll", type=float, default=0.5, help="seconds between two looks (0.5)")
        parser.add_argument("--step-timeout", type=float, help="seconds that an agent's step may take")
        parser.add_argument("--max-attempts", type=int, default=1, help="attempts for each agent's step (1)")

    def handle(self, *args: Any, **options: Any) -> None:
        work = load(options["modules"])
        try:
            asyncio.run(self._work(work, options))
        except StateError as error:
            raise CommandError(str(error)) from error

    async def _work(self, work: Work, options: Mapping[str, Any]) -> None:
        managers = [manager(store) for store in dict.fromkeys(options["stores"] or ["default"])]
        workers = list(_workers(work, managers, options))
        try:
            await run_until_signal(*workers)
        finally:
            for state_manager in {worker.state_manager for worker in workers}:
                await state_manager.close()


def _workers(work: Work, managers: Sequence[StateManager], options: Mapping[str, Any]) -> Sequence[Worker]:
    rounds = {"poll": options["poll"], "concurrency": options["concurrency"]}
    workers: list[Worker] = []
    if work.graphs:
        from state_core.adapters.langgraph.worker import graph_workers

        workers += graph_workers(work.graphs, managers, **rounds)
    if work.agents or work.topologies or not work.graphs:
        workers += [
            OrchestraWorker(
                state_manager,
                work.agents,
                topologies=work.topologies,
                step_timeout=options["step_timeout"],
                max_attempts=options["max_attempts"],
                **rounds,
            )
            for state_manager in managers
        ]
    return workers


def load(paths: Sequence[str]) -> Work:
    """Raises CommandError."""
    work = Work()
    for path in paths:
        module_path, _, name = path.partition(":")
        module = _module(module_path)
        work.agents.update(getattr(module, "AGENTS", {}))
        found = _named(module, name) if name else {}
        if graphs := _graphs(name, found):
            work.graphs.update(graphs)
        elif isinstance(found, Topology):
            work.topologies[found.name] = found
        elif isinstance(found, Mapping) and all(map(callable, found.values())):
            work.agents.update(found)
        else:
            raise CommandError(
                f"{path!r} is a {type(found).__name__}. Name a mapping of agents ({{name: function}}), a "
                "Topology, a graph of LangGraph, or a mapping of graphs ({workflow: graph})."
            )
    return work


def _graphs(name: str, found: Any) -> dict[str, Any]:
    """Who made a graph has imported LangGraph."""
    if "langgraph" not in sys.modules:
        return {}
    from state_core.adapters.langgraph.worker import graphs_in

    return dict(graphs_in(name, found))


def _module(path: str) -> ModuleType:
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        where = "Start the worker in the folder that has the module, or name that folder in PYTHONPATH."
        what = where if path.startswith(error.name or path) else "Install what it imports."
        raise CommandError(f"Module {path!r} cannot be imported: {error}. {what}") from error
    except (ImportError, ValueError) as error:
        raise CommandError(f"Module {path!r} cannot be imported: {error}.") from error


def _named(module: ModuleType, name: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise CommandError(f"Module {module.__name__!r} has no {name!r}: {error}.") from error
