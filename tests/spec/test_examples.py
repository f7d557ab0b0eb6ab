"""The specification's examples, as they are written there, on every store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from state_core import (
    CheckpointConfig,
    Orchestra,
    OrchestraInstance,
    PatternConfig,
    SessionStatus,
    StateManager,
    StateManagerConfig,
    StorageBackend,
    Topology,
    agent,
)


async def test_basic_usage(storage: StorageBackend, topology: Topology) -> None:
    # Create state manager
    state_manager = StateManager(storage=storage)

    # Run with state management
    result = await Orchestra.run(
        task="Long-running research task",
        topology=topology,
        state_manager=state_manager,
        context={"session_id": "research_2024"},
    )

    assert result.final_response == "LONG-RUNNING RESEARCH TASK: 26"
    state = await state_manager.get_session_state("research_2024")
    assert state.status == SessionStatus.COMPLETED
    assert state.completed_steps == 3


async def test_pause_and_resume(storage: StorageBackend, topology: Topology) -> None:
    state_manager = StateManager(
        storage=storage, auto_save_interval=30.0, compression=True, encryption_key=None
    )

    # Start execution
    orchestra = OrchestraInstance(topology=topology, state_manager=state_manager)

    # Begin task
    result = await orchestra.execute(task="Analyze large dataset", context={"session_id": "analysis_123"})

    # Pause if needed (e.g., for manual review)
    if result.metadata.get("needs_review"):
        await orchestra.pause_session(session_id="analysis_123", reason="Manual review required")

        # Save current state
        state = await state_manager.get_session_state("analysis_123")
        await state_manager.save_session_state("analysis_123", state)

    assert state.status == SessionStatus.PAUSED
    assert state.reason == "Manual review required"

    # Later: Resume execution
    resumed_result = await orchestra.resume_session(
        session_id="analysis_123", additional_context={"review_complete": True}
    )

    assert resumed_result.success
    assert resumed_result.context["review_complete"] is True


async def test_manual_checkpoints(storage: StorageBackend, topology: Topology) -> None:
    state_manager = StateManager(storage=storage)
    orchestra = OrchestraInstance(topology, state_manager)
    await orchestra.execute("before", {"session_id": "session_123"})
    at_checkpoint = await state_manager.get_session_state("session_123")

    async def process_data() -> str:
        async with state_manager.session("elsewhere") as session:
            await session.set_context(step="risky")
        await state_manager.pause_execution("session_123")
        state = await state_manager.get_session_state("session_123")
        state.context["damage"] = True
        await state_manager.save_session_state("session_123", state)
        raise ValueError("risky operations go wrong")

    async def process_data_alternative() -> str:
        return "alternative"

    # Create checkpoint before risky operation
    checkpoint_id = await orchestra.create_checkpoint(
        session_id="session_123", checkpoint_name="before_data_processing"
    )

    try:
        # Risky operation
        result = await process_data()
    except Exception:  # noqa: BLE001 - as in the specification
        # Restore from checkpoint
        await orchestra.restore_checkpoint(checkpoint_id)
        # Try alternative approach
        result = await process_data_alternative()

    assert result == "alternative"
    state = await state_manager.get_session_state("session_123")
    assert state.context == at_checkpoint.context
    assert state.branches == at_checkpoint.branches
    assert [c.name for c in state.checkpoints] == ["before_data_processing", "before restore"]


async def test_automatic_checkpoints(storage: StorageBackend, topology: Topology) -> None:
    checkpoint_config = CheckpointConfig(
        auto_checkpoint=True,
        checkpoint_interval=300,  # Every 5 minutes
        max_checkpoints=10,  # Keep last 10
        checkpoint_on_completion=True,  # Checkpoint on branch completion
    )

    state_manager = StateManager(storage=storage, checkpoint_config=checkpoint_config)

    await Orchestra.run("task", topology, state_manager, {"session_id": "session_123"})
    names = [c.name for c in await state_manager.list_checkpoints("session_123")]
    assert sorted(names) == ["read.Counter completed", "read.Reader completed", "write completed"]


async def test_checkpoint_management(
    storage: StorageBackend, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    state_manager = StateManager(storage=storage)
    await Orchestra.run("task", topology, state_manager, {"session_id": "session_123"})
    made = [await state_manager.create_checkpoint("session_123", f"number {n}") for n in range(7)]

    # List all checkpoints for a session
    checkpoints = await state_manager.list_checkpoints("session_123")
    for cp in checkpoints:
        print(f"Checkpoint: {cp.id}")
        print(f"  Name: {cp.name}")
        print(f"  Created: {cp.created_at}")
        print(f"  Size: {cp.size_bytes}")

    # Get specific checkpoint
    checkpoint = await state_manager.get_checkpoint(made[3])

    # Delete old checkpoints
    await state_manager.cleanup_checkpoints(session_id="session_123", keep_latest=5)

    assert checkpoint.name == "number 3"
    assert checkpoint.size_bytes > 0
    assert capsys.readouterr().out.count("Checkpoint: cp-") == 7
    assert [c.id for c in await state_manager.list_checkpoints("session_123")] == made[2:]


async def test_pattern_1_long_running_research(storage: StorageBackend) -> None:
    for name in ("DataCollector", "Analyzer", "Synthesizer", "Reporter"):
        agent(name)(lambda request, name=name: f"{name}({request})")

    async def long_research_workflow() -> Any:
        # Configure for long-running execution
        state_manager = StateManager(
            storage=storage,
            auto_save_interval=60.0,  # Save every minute
            compression=True,
        )

        # Define resumable topology
        topology = PatternConfig.pipeline(
            stages=[
                {"name": "collect", "agents": ["DataCollector"]},
                {"name": "analyze", "agents": ["Analyzer"]},
                {"name": "synthesize", "agents": ["Synthesizer"]},
                {"name": "report", "agents": ["Reporter"]},
            ]
        )

        # Run with state management
        result = await Orchestra.run(
            task="Research quantum computing applications",
            topology=topology,
            state_manager=state_manager,
            context={"session_id": "quantum_research_2024", "resumable": True},
        )

        return result  # noqa: RET504 - as in the specification

    result = await long_research_workflow()
    assert result.final_response == (
        "Reporter(Synthesizer(Analyzer(DataCollector(Research quantum computing applications))))"
    )
    assert list(result.branch_results) == ["collect", "analyze", "synthesize", "report"]


@pytest.mark.parametrize("context", [None, {"session_id": "critical_process"}], ids=["new", "same"])
@pytest.mark.parametrize("failures", [1, 3])
async def test_pattern_2_fault_tolerant_processing(
    storage: StorageBackend, topology: Topology, failures: int, context: dict[str, str] | None
) -> None:
    """As written it starts anew each time; with a session id it goes on where it failed."""
    runs = []

    @agent("Writer")
    async def unreliable(request: Any) -> str:
        runs.append(request)
        if len(runs) <= failures:
            raise ConnectionError("the network is down")
        return "done"

    async def fault_tolerant_workflow() -> Any:
        state_manager = StateManager(
            storage=storage,
            checkpoint_config=CheckpointConfig(
                auto_checkpoint=True,
                checkpoint_interval=120,  # Every 2 minutes
                checkpoint_on_error=True,  # Save on error
                max_checkpoints=20,
            ),
        )

        max_retries = 3
        retry_count = 0
        last_checkpoint = None

        while retry_count < max_retries:
            try:
                if last_checkpoint:
                    # Restore from checkpoint
                    await state_manager.restore_checkpoint(last_checkpoint)

                result = await Orchestra.run(
                    task="Process critical data",
                    topology=topology,
                    state_manager=state_manager,
                    context=context,
                )

                return result  # noqa: RET504 - as in the specification

            except Exception as e:  # noqa: BLE001
                retry_count += 1
                # Get latest checkpoint
                checkpoints = await state_manager.list_checkpoints(session_id="critical_process")
                if checkpoints:
                    last_checkpoint = checkpoints[-1].id

                if retry_count >= max_retries:
                    raise Exception(f"Failed after {max_retries} retries: {e}")  # noqa: B904
        return None

    if failures == 3:
        with pytest.raises(Exception, match="Failed after 3 retries: the network is down"):
            await fault_tolerant_workflow()
        return
    result = await fault_tolerant_workflow()
    assert result.final_response == "done"
    state = await StateManager(storage).get_session_state(result.session_id)
    assert [c.kind for c in state.checkpoints] == (["error", "pre_restore"] if context else [])


async def test_pattern_3_distributed_execution(storage: StorageBackend) -> None:
    for name in ("First", "Second"):
        agent(name)(lambda request, context: [context.agent, context.previous, context.get("machine")])
    topology_part1 = PatternConfig.pipeline([{"name": "part1", "agents": ["First"]}])
    topology_part2 = PatternConfig.pipeline([{"name": "part2", "agents": ["Second"]}])

    # Machine A: Start execution
    async def start_distributed_task() -> None:
        state_manager = StateManager(storage)

        await Orchestra.run(
            task="Part 1 of distributed task",
            topology=topology_part1,
            state_manager=state_manager,
            context={"session_id": "distributed_123"},
        )

        # Pause for handoff
        await state_manager.pause_execution("distributed_123", metadata={"handoff_to": "machine_b"})

    # Machine B: Continue execution
    async def continue_distributed_task() -> Any:
        state_manager = StateManager(storage)

        # Resume from Machine A's state
        orchestra = OrchestraInstance(topology=topology_part2, state_manager=state_manager)

        result = await orchestra.resume_session(
            session_id="distributed_123", additional_context={"machine": "B"}
        )

        return result  # noqa: RET504 - as in the specification

    await start_distributed_task()
    result = await continue_distributed_task()
    assert result.final_response == ["Second", ["First", None, None], "B"]
    assert result.metadata["handoff_to"] == "machine_b"


async def test_pattern_4_interactive_workflows(
    storage: StorageBackend, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: "the second")

    async def interactive_workflow() -> Any:
        state_manager = StateManager(storage=storage)

        # Start workflow
        orchestra = OrchestraInstance(topology=topology, state_manager=state_manager)

        # Phase 1: Initial processing
        result1 = await orchestra.execute(
            task="Prepare options for user", context={"session_id": "interactive_123", "phase": 1}
        )

        # Pause for user decision
        await orchestra.pause_session("interactive_123", reason="Waiting for user selection")

        # Show options to user
        print("Options:", result1.final_response)
        user_choice = input("Select option: ")

        # Phase 2: Continue with user input
        result2 = await orchestra.resume_session(
            session_id="interactive_123", additional_context={"phase": 2, "user_choice": user_choice}
        )

        return result2  # noqa: RET504 - as in the specification

    result = await interactive_workflow()
    assert result.final_response == "PREPARE OPTIONS FOR USER: 24 (the second)"
    assert result.context["phase"] == 2


async def test_configuration(storage: StorageBackend, topology: Topology) -> None:
    config = StateManagerConfig(
        # Auto-save settings
        auto_save_enabled=True,
        auto_save_interval=30.0,  # Seconds
        auto_save_on_step=True,  # Save after each step
        # Compression and encryption
        compression_enabled=True,
        compression_level=6,  # 1-9
        encryption_enabled=False,
        encryption_key=None,
    )

    state_manager = StateManager(storage=storage, config=config)

    assert (await Orchestra.run("task", topology, state_manager)).success


async def test_state_metrics(
    storage: StorageBackend, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    state_manager = StateManager(storage)
    await Orchestra.run("task", topology, state_manager, {"session_id": "session_123"})
    await state_manager.create_checkpoint("session_123", "end")

    # Get session metrics
    metrics = await state_manager.get_session_metrics("session_123")
    print(f"Session: {metrics.session_id}")
    print(f"Status: {metrics.status}")
    print(f"Duration: {metrics.duration_seconds}s")
    print(f"Steps completed: {metrics.steps_completed}")
    print(f"Storage used: {metrics.storage_bytes / 1024 / 1024:.2f}MB")
    print(f"Checkpoints: {metrics.checkpoint_count}")

    # Get storage metrics
    storage_metrics = await state_manager.get_storage_metrics()
    print(f"Total sessions: {storage_metrics.total_sessions}")
    print(f"Active sessions: {storage_metrics.active_sessions}")
    print(f"Total storage: {storage_metrics.total_bytes / 1024 / 1024:.2f}MB")

    out = capsys.readouterr().out
    assert "Status: completed\n" in out
    assert "Steps completed: 3\n" in out
    assert "Checkpoints: 1\n" in out
    assert "Total sessions: 1\nActive sessions: 0\n" in out
    assert metrics.duration_seconds > 0
    assert storage_metrics.total_bytes >= metrics.storage_bytes > 0


async def test_state_visualization(storage: StorageBackend, topology: Topology, folder: Path) -> None:
    state_manager = StateManager(storage)
    await Orchestra.run("task", topology, state_manager, {"session_id": "session_123"})

    # Export state for visualization
    state = await state_manager.get_session_state("session_123")
    visualization_data = state.to_visualization_format()

    # Save as JSON for external tools
    with open("state_viz.json", "w") as f:  # noqa: ASYNC230, PTH123 - as in the specification
        json.dump(visualization_data, f, indent=2)

    data = json.loads((folder / "state_viz.json").read_text())
    assert {node["id"] for node in data["nodes"]} == {"read.Reader", "read.Counter", "write"}
    assert {"source": "read.Reader", "target": "write", "joined": True} in data["edges"]
    assert len(data["timeline"]) == 3
