"""The framework's own conformance suite, on every store. Its summary hides what is missing; look at each."""

from __future__ import annotations

from collections.abc import AsyncIterator

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from state_core import StorageBackend
from state_core.adapters.langgraph import StateCoreSaver


async def test_every_capability_is_detected_and_passes(storage: StorageBackend) -> None:
    async def saver() -> AsyncIterator[StateCoreSaver]:
        yield StateCoreSaver(storage)

    report = await validate(checkpointer_test(name=f"ours on {storage!r}")(saver))

    assert set(report.results) == {capability.value for capability in Capability}
    for name, result in report.results.items():
        assert result.detected, name
        assert result.passed, (name, result.failures)
