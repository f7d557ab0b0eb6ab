"""Running workflows of many agents in durable sessions."""

from state_core.orchestra.agents import Again, Handoff, agent
from state_core.orchestra.context import StepContext
from state_core.orchestra.orchestra import Orchestra, OrchestraInstance
from state_core.orchestra.patterns import PatternConfig
from state_core.orchestra.results import OrchestraResult
from state_core.orchestra.topology import Node, Topology
from state_core.orchestra.worker import OrchestraWorker

__all__ = [
    "Again",
    "Handoff",
    "Node",
    "Orchestra",
    "OrchestraInstance",
    "OrchestraResult",
    "OrchestraWorker",
    "PatternConfig",
    "StepContext",
    "Topology",
    "agent",
]
