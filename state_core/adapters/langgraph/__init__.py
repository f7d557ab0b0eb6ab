"""LangGraph on our stores: a checkpointer, and runs that the dashboard can steer.

    graph = builder.compile(checkpointer=StateCoreSaver(storage))

A thread is a session. Needs the extra ``langgraph``.
"""

from __future__ import annotations

try:
    import langgraph.checkpoint.base  # noqa: F401 - asked here, so that what is missing is said once
except ImportError as error:
    raise ImportError(
        'state_core.adapters.langgraph needs LangGraph: pip install -e ".[langgraph]" in a checkout.'
    ) from error

from state_core.adapters.langgraph.running import run_session
from state_core.adapters.langgraph.saver import StateCoreSaver
from state_core.adapters.langgraph.worker import GraphWorker

__all__ = ["GraphWorker", "StateCoreSaver", "run_session"]
