"""Programs of other frameworks, live in a browser."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from state_core.manager import StateManager
from tests.e2e.conftest import Orchestrators, Server
from tests.e2e.pages import act, confirm, not_reloaded, open_live, row, until
from tests.marsys_python import marsys_python  # noqa: F401
from tests.server import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

AGENTS = """
import json, time
from pathlib import Path
from opentelemetry.sdk.trace import TracerProvider
from state_core.adapters.opentelemetry import SessionSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SessionSpanProcessor(os.environ["DATABASE_URL"], linger=0.2))
tracer = provider.get_tracer("agents")

def span(operation, name, **more):
    kind = {"invoke_agent": "agent", "execute_tool": "tool"}.get(operation, "request")
    given = {"gen_ai.operation.name": operation, **more}
    given["gen_ai.request.model" if kind == "request" else f"gen_ai.{kind}.name"] = name
    return tracer.start_as_current_span(f"{operation} {name}", attributes=given)

def said(role, text):
    return {"role": role, "parts": [{"type": "text", "content": text}]}

def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.02)

async def main():
    session_id, gate = sys.argv[1:]
    conversation = {"gen_ai.conversation.id": session_id}
    with span("invoke_agent", "Planner", **conversation):
        asked = {"gen_ai.input.messages": json.dumps([said("user", "A week in Rome, <b>cheap</b>")])}
        with span("chat", "gpt-9", **asked) as chat:
            wait_for(gate + "/chat")
            answer = json.dumps([said("assistant", "Looking for hotels.")])
            chat.set_attribute("gen_ai.output.messages", answer)
        with span("invoke_agent", "Scout"):
            with span("execute_tool", "search_hotels", **{"gen_ai.tool.call.arguments": '{"city": "Rome"}'}):
                wait_for(gate + "/tool")
    provider.shutdown()
"""


async def test_spans_of_another_process_are_on_the_page_while_they_last(
    signed_in_page: Page,
    server: Server,
    manager: StateManager,
    orchestrator: Orchestrators,
    tmp_path: Path,
) -> None:
    page = signed_in_page
    await open_live(page, f"{server.url}/sessions/")
    program = orchestrator.start(AGENTS, "spans-live", str(tmp_path))
    await expect(row(page, "spans-live")).to_be_visible()
    await expect(row(page, "spans-live")).to_contain_text("Planner")

    await open_live(page, f"{server.url}/sessions/default/spans-live/?tab=steps")
    steps = page.locator('[data-list="steps"] > tr')
    await expect(steps).to_have_count(1)
    await expect(steps.first).to_have_attribute("data-status", "running")
    (tmp_path / "chat").touch()
    await expect(page.locator('[data-list="steps"] > tr[data-status="completed"]')).to_have_count(1)
    await expect(page.locator('[data-list="steps"] > tr[data-status="running"]')).to_contain_text(
        "search_hotels"
    )
    await expect(act(page, "pause")).to_have_attribute("aria-disabled", "true")
    await expect(page.locator("#why-pause")).to_contain_text("recorded from outside")

    (tmp_path / "tool").touch()
    await expect(page.locator("#standing .status")).to_have_attribute("data-status", "completed")
    assert await not_reloaded(page)
    await until(lambda: asyncio.to_thread(lambda: program.poll() is not None))
    assert program.returncode == 0
    if folder := os.environ.get("PICTURES"):
        await page.screenshot(path=f"{folder}/spans.png", full_page=True)
    await page.get_by_role("link", name="Messages", exact=True).click()
    await expect(page.locator('[data-panel="messages"]')).to_contain_text("A week in Rome, <b>cheap</b>")
    state = await manager.get_session_state("spans-live")
    assert [(branch.name, str(branch.status)) for branch in state.branches] == [
        ("Planner", "completed"),
        ("Scout", "completed"),
    ]


async def test_a_real_marsys_run_pauses_at_its_next_agent_and_goes_on_from_the_browser(
    signed_in_page: Page,
    server: Server,
    manager: StateManager,
    marsys_python: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    page = signed_in_page
    kept = {name: value for name, value in server.environment.items() if name != "DJANGO_SETTINGS_MODULE"}
    script = Path(__file__).parent / "marsys_run.py"
    program = subprocess.Popen(
        [marsys_python, script, "marsys-live", tmp_path],
        env={**kept, "PYTHONPATH": str(ROOT), "DATABASE_URL": server.database},
        stdout=subprocess.DEVNULL,
    )
    try:
        await open_live(page, f"{server.url}/sessions/")
        await expect(row(page, "marsys-live")).to_contain_text("Explain tides")
        await open_live(page, f"{server.url}/sessions/default/marsys-live/?tab=steps")
        status = page.locator("#standing .status")
        running = page.locator('[data-list="steps"] > tr[data-status="running"]')
        await expect(running).to_contain_text("Planner")
        await act(page, "pause").click()
        await confirm(page).click()
        await expect(status).to_have_attribute("data-status", "pausing")
        (tmp_path / "1").touch()
        (tmp_path / "2").touch()
        await expect(status).to_have_attribute("data-status", "paused")
        assert len((await manager.get_session_state("marsys-live")).branches) == 1, "nobody went on"
        if folder := os.environ.get("PICTURES"):
            await page.screenshot(path=f"{folder}/marsys-paused.png", full_page=True)
        await act(page, "resume").click()
        await confirm(page).click()
        await expect(status).to_have_attribute("data-status", "completed")
        await until(lambda: asyncio.to_thread(lambda: program.poll() is not None))
        assert program.returncode == 0
        assert await not_reloaded(page)
        if folder:
            await open_live(page, f"{server.url}/sessions/default/marsys-live/")
            await page.wait_for_timeout(2500)
            await page.screenshot(path=f"{folder}/marsys-done.png", full_page=True)
    finally:
        program.kill()
        program.wait(20)
