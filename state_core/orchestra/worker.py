"""A worker for topologies: goes on with sessions whose agents it knows, and runs submitted ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from state_core.exceptions import TopologyError
from state_core.manager import StateManager
from state_core.orchestra.agents import AgentFunction, Agents
from state_core.orchestra.orchestra import ORCHESTRA, TOPOLOGY, OrchestraInstance
from state_core.orchestra.topology import Topology
from state_core.records import Head, SessionStatus
from state_core.rounds import GoOn, Worker

logger = logging.getLogger(__name__)


class OrchestraWorker(Worker):
    """Takes up sessions that somebody asked to resume, that are pending with a topology, or whose process
    fell silent, where it knows all their agents.

    ``topologies``: workflow name → topology, for pending sessions that have none stored. ``poll``,
    ``concurrency``, ``max_recoveries``: see `Worker`. ``options``: those of `OrchestraInstance`, such as
    ``step_timeout``.
    """

    statuses = (SessionStatus.RESUMING, SessionStatus.PENDING, SessionStatus.INTERRUPTED)

    def __init__(
        self,
        state_manager: StateManager,
        agents: Mapping[str, AgentFunction] | None = None,
        *,
        topologies: Mapping[str, Topology | Mapping[str, Any]] | None = None,
        poll: float = 0.5,
        concurrency: int = 4,
        max_recoveries: int = 3,
        **options: Any,
    ) -> None:
        super().__init__(state_manager, poll=poll, concurrency=concurrency, max_recoveries=max_recoveries)
        self._given_agents = agents
        self._agents = Agents(agents)
        self._topologies = {name: Topology.of(value) for name, value in (topologies or {}).items()}
        self._options = options

    def way_on(self, head: Head, metadata: Mapping[str, Any]) -> GoOn | None:
        topology = self._topology_of(head, metadata)
        if topology is None:
            return None
        orchestra = OrchestraInstance(topology, self.state_manager, self._given_agents, **self._options)
        return lambda noted: orchestra.resume_session(head.session_id, metadata=noted, statuses=self.statuses)

    def _topology_of(self, head: Head, metadata: Mapping[str, Any]) -> Topology | None:
        """None where this worker does not know its agents."""
        stored = metadata.get(TOPOLOGY)
        if stored is None and ORCHESTRA not in metadata:
            stored = self._topologies.get(head.workflow)
        if stored is None:
            return None
        try:
            topology = Topology.of(stored)
        except TopologyError as error:
            logger.warning("Session %s cannot be taken up: %s", head.session_id, error)
            return None
        return topology if topology.agents <= self._agents.names else None
