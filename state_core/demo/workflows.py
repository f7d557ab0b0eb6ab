"""The workflows of the demonstration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from state_core.config import CheckpointConfig
from state_core.demo import closer_look, inventory, recovery, survey
from state_core.orchestra import Topology
from state_core.orchestra.agents import AgentFunction


@dataclass(frozen=True)
class Workflow:
    """What is played: one session of it at a time, and another when that has ended."""

    name: str
    """Its sessions' ids begin so."""
    task: str
    topology: Topology
    agents: Mapping[str, AgentFunction]
    checkpoints: CheckpointConfig | None = None


WORKFLOWS: Mapping[str, Workflow] = {
    workflow.name: workflow
    for workflow in (
        Workflow(
            "survey", "Survey a handful of the installed packages", survey.TOPOLOGY, survey.AGENTS,
            CheckpointConfig(checkpoint_interval=None, checkpoint_on_completion=True),
        ),
        Workflow(
            "closer-look", "Look more closely at a package that a person chooses",
            closer_look.TOPOLOGY, closer_look.AGENTS,
        ),
        Workflow(
            "recovery", "Read what cannot be read, in another way or without it",
            recovery.TOPOLOGY, recovery.AGENTS,
            CheckpointConfig(checkpoint_interval=None, checkpoint_on_error=True),
        ),
        Workflow(
            "inventory", "Catalogue the standard library, module by module",
            inventory.TOPOLOGY, inventory.AGENTS, inventory.CHECKPOINTS,
        ),
    )
}  # fmt: skip
