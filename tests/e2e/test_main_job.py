"""The main job, whole: programs run a workflow, pages show it live, people act, programs follow."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from marsys_dashboard.panels import WINDOW
from state_core import DatabaseStorageBackend, StateManager
from state_core.events import Event
from state_core.exceptions import SessionNotFound
from tests.e2e.conftest import Complaints, Orchestrators, Server, on_the_loop, serving, sign_in
from tests.e2e.pages import act, confirm, dialog, not_reloaded, open_live, row, until
from tests.e2e.workflow import RESEARCHERS, SLOW, Work
from tests.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITNESS = """
window.shown = { steps: {}, rows: {}, statuses: [] };
const note = () => {
  const at = Date.now();
  for (const row of document.querySelectorAll('[data-list="steps"] > tr'))
    shown.steps[`${row.dataset.stepId} ${row.dataset.status}`] ??= at;
  for (const row of document.querySelectorAll("tr[data-session-id]"))
    (shown.rows[row.dataset.sessionId] ??= {})[row.dataset.seq] ??= at;
  const badge = document.querySelector("#standing .status")?.dataset.status;
  if (badge && shown.statuses.at(-1)?.status !== badge) shown.statuses.push({ status: badge, at });
};
new MutationObserver(note).observe(document, {
  subtree: true, childList: true, attributes: true, attributeFilter: ["data-status", "data-seq"],
});
"""
"""Notes when the page first showed what. Its clock is that of the programs: all run on this machine."""

Delays = dict[int, float]
"""Event → seconds from its happening to its being seen."""

LIFE_OF_A_STEP = {
    "step.started": "begins",
    "step.failed": "cut-off",
    "step.retried": "again",
    "step.completed": "completed",
}
"""In this workflow no agent fails."""


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """The dashboard, on each database."""
    found: Server = request.getfixturevalue(f"{request.param}_site")
    return found


@dataclass
class Job:
    """A session of the workflow, the programs that run it, and its page."""

    session_id: str
    folder: Path
    work: Work
    server: Server
    manager: StateManager
    orchestrators: Orchestrators
    page: Page
    lease_ttl: float = 60
    """No program is to lose its session because the machine is slow, but where a test is about that."""

    def run(self) -> subprocess.Popen[bytes]:
        """A program that starts the session, or goes on with it."""
        return self._start(self.session_id)

    def help(self) -> subprocess.Popen[bytes]:
        """A program that takes up what nobody runs."""
        return self._start()

    def _start(self, *session_ids: str) -> subprocess.Popen[bytes]:
        return self.orchestrators.start_module(
            "tests.e2e.workflow", str(self.folder), str(self.lease_ttl), *session_ids
        )

    @property
    def url(self) -> str:
        return f"{self.server.url}/sessions/default/{self.session_id}/"

    async def open(self, tab: str = "steps") -> None:
        await self.manager.create_session(self.session_id)
        await self.page.add_init_script(WITNESS)
        await open_live(self.page, f"{self.url}?tab={tab}")

    async def steps_completed(self) -> set[str]:
        state = await self.manager.get_session_state(self.session_id)
        return {s.step_id for branch in state.branches for s in branch.steps if s.status == "completed"}

    async def gets_on(self, steps: int) -> None:
        """Until so many more steps have completed."""
        before = len(await self.steps_completed())

        async def are_done() -> bool:
            return len(await self.steps_completed()) >= before + steps

        await until(are_done)

    async def attempts(self) -> Counter[str]:
        """How often the log says that each step was begun: again only after it was cut off, never after it
        was completed."""
        lives: dict[str, list[str]] = {}
        for event in await self.manager.log.read(self.session_id, bodies=False):
            if event.kind in LIFE_OF_A_STEP:
                lives.setdefault(event.step_id, []).append(LIFE_OF_A_STEP[event.kind])
        for step, life in lives.items():
            assert re.fullmatch("begins( cut-off again)*( completed)?", " ".join(life)), (step, life)
        return Counter({step: life.count("begins") + life.count("again") for step, life in lives.items()})

    async def end(self) -> None:
        """The programs of other tests work on the same store, and would go on with what is left here."""
        self.orchestrators.stop()
        for page in self.page.context.pages:
            await page.close()  # it would ask for what is about to go
        with contextlib.suppress(SessionNotFound):
            head = await self.manager.get_head(self.session_id)
            await self.manager.storage.release(self.session_id, head.fence)
            await self.manager.delete_session(self.session_id)

    # What the page shows

    def status(self) -> Locator:
        return self.page.locator("#standing .status")

    async def is_shown_as(self, status: str) -> None:
        await expect(self.status()).to_have_attribute("data-status", status, timeout=30_000)

    async def do(self, verb: str, **given: str) -> None:
        """Through the dialog of an act."""
        await act(self.page, verb).click()
        for name, text in given.items():
            await dialog(self.page).locator(f'[name="{name}"]').fill(text)
        await confirm(self.page).click()
        await expect(dialog(self.page)).to_be_hidden()

    async def answer(self, choice: str) -> None:
        await self.page.locator('#questions .primary[data-act="answer"]').click()
        await dialog(self.page).get_by_label(choice, exact=True).check()
        await confirm(self.page).click()
        await expect(dialog(self.page)).to_be_hidden()

    async def finish(self) -> None:
        """Let the researchers end, answer what the editor asks, and see it completed."""
        self.work.enough.touch()
        await self.answer("research.Researcher")
        await self.is_shown_as("completed")

    async def assert_shown_whole(self) -> None:
        """What the page shows is what the log says."""
        head = await self.manager.get_head(self.session_id)
        main = self.page.locator("main")
        await expect(main).to_have_attribute("data-seq", str(head.last_seq))
        await expect(main).to_have_attribute("data-status", head.status)
        steps = f"{head.counts['steps_completed']} / {head.counts['steps']}"
        await expect(self.page.locator("#standing .facts")).to_contain_text(steps)
        await assert_listed(self.page, head.counts["steps"])


async def assert_listed(page: Page, steps: int) -> None:
    """All of them, or a window of the newest: a slow machine comes to many before somebody has pressed a
    button."""
    rows = page.locator('[data-list="steps"] > tr')
    if steps <= WINDOW:
        await expect(rows).to_have_count(steps)
    else:
        await expect(rows.nth(WINDOW - 1)).to_be_attached()


@on_the_loop
async def job(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: Server,
    manager: StateManager,
    orchestrator: Orchestrators,
    signed_in_page: Page,
) -> AsyncIterator[Job]:
    session_id = request.node.originalname.removeprefix("test_")[:60]
    made = Job(session_id, tmp_path, Work(tmp_path), server, manager, orchestrator, signed_in_page)
    yield made
    await made.end()


def percentile_95(delays: Delays) -> float:
    ordered = sorted(delays.values())
    return ordered[int(len(ordered) * 0.95)]


def delays_of_steps(events: list[Event], shown: dict[str, int]) -> Delays:
    """A step that ended within the same beat is never shown as running."""
    found = {}
    for event in events:
        seen = [shown[key] for key in _keys(event) if key in shown]
        assert seen, f"never shown: {event.kind} of {event.step_id}"
        found[event.seq] = min(seen) / 1000 - event.at.timestamp()
    return found


def _keys(event: Event) -> list[str]:
    statuses = ["running", "completed"] if event.kind == "step.started" else ["completed"]
    return [f"{event.step_id} {status}" for status in statuses]


def delays_of_row(events: list[Event], shown: dict[str, int]) -> Delays:
    seqs = {int(seq): at for seq, at in shown.items()}
    return {
        event.seq: min(at for seq, at in seqs.items() if seq >= event.seq) / 1000 - event.at.timestamp()
        for event in events
    }


async def test_steps_are_on_both_pages_within_a_second(job: Job, context: BrowserContext) -> None:
    page, listing = job.page, await context.new_page()
    await job.open()
    await listing.add_init_script(WITNESS)
    await open_live(listing, f"{job.server.url}/sessions/?q={job.session_id}")
    job.run()
    await job.gets_on(30)
    job.work.enough.touch()
    await job.is_shown_as("waiting")
    await expect(row(listing, job.session_id)).to_have_attribute("data-status", "waiting")
    await job.assert_shown_whole()
    events = await job.manager.log.read(job.session_id, kinds=["step.started", "step.completed"])
    assert len({event.branch_id for event in events}) >= RESEARCHERS + 2
    delays = delays_of_steps(events, await page.evaluate("shown.steps"))
    assert percentile_95(delays) < 1, delays
    on_list = await listing.evaluate("id => shown.rows[id]", job.session_id)
    delays = delays_of_row(events, on_list)
    assert percentile_95(delays) < 1, delays
    assert await not_reloaded(page)
    assert await not_reloaded(listing)


async def test_a_pause_and_a_resume_with_context_reach_the_other_process(job: Job) -> None:
    page = job.page
    await job.open()
    job.work.hold.touch()
    job.run()
    await job.gets_on(8)
    await job.do("pause", reason="to read the findings")
    await job.is_shown_as("pausing")
    await expect(job.status()).to_contain_text(f"1 of {RESEARCHERS} branches still in a step")
    assert (await job.manager.get_head(job.session_id)).status == "pausing"
    job.work.hold.unlink()
    await job.is_shown_as("paused")
    await expect(page.locator("#standing")).to_contain_text("Reason: to read the findings")
    await assert_shown_no_sooner_than_logged(job, "paused", "session.paused")
    done = job.work.executions()

    await assert_refused_before_it_is_sent(job, '{"focus": results}', "line 1, column 11")
    await dialog(page).get_by_label("Additional context").fill('{"focus": "results"}')
    await confirm(page).click()
    await job.is_shown_as("running")
    await job.gets_on(RESEARCHERS)
    await job.finish()
    after = job.work.noted()[sum(done.values()) :]
    assert after and {focus for _step, _attempt, focus in after} == {"results"}
    await assert_each_step_was_executed_once(job)
    await job.assert_shown_whole()
    assert await not_reloaded(page)


async def assert_each_step_was_executed_once(job: Job) -> None:
    attempts = await job.attempts()
    assert [entry for entry in job.work.noted() if job.work.executions()[entry[0]] > 1] == []
    assert job.work.executions() == attempts


async def assert_shown_no_sooner_than_logged(job: Job, status: str, kind: str) -> None:
    shown = await job.page.evaluate("shown.statuses")
    assert [entry["status"] for entry in shown] == ["pending", "running", "pausing", "paused"]
    event = (await job.manager.log.read(job.session_id, kinds=[kind]))[-1]
    at = next(entry["at"] for entry in shown if entry["status"] == status)
    assert at / 1000 >= event.at.timestamp() - 0.001


async def assert_refused_before_it_is_sent(job: Job, typed: str, told: str) -> None:
    sent: list[str] = []
    job.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    await act(job.page, "resume").click()
    await dialog(job.page).get_by_label("Additional context").fill(typed)
    await confirm(job.page).click()
    await expect(dialog(job.page).locator("[data-problem]")).to_contain_text(told)
    assert sent == []
    assert (await job.manager.get_head(job.session_id)).status == "paused"


async def test_a_question_is_answered_once_and_the_workflow_goes_on_with_it(
    job: Job, context: BrowserContext, complaints: Complaints
) -> None:
    complaints.expected = ("409",)
    page, other = job.page, await context.new_page()
    complaints.watch(other)
    await job.open()
    await open_live(other, job.url)
    job.work.enough.touch()
    job.run()
    await expect(page.locator("#questions .question")).to_contain_text("Whose findings lead?")
    await other.locator('#questions .primary[data-act="answer"]').click()
    await dialog(other).get_by_label(SLOW, exact=True).check()
    await job.answer("research.Researcher-2")
    await job.is_shown_as("completed")
    await confirm(other).click()
    await expect(dialog(other).locator("[data-problem]")).to_contain_text("ana answered this question")
    state = await job.manager.get_session_state(job.session_id)
    assert state.intermediate_results["final_response"] == "research.Researcher-2 leads"
    answers = await job.manager.log.read(job.session_id, kinds=["input.answered"])
    assert [event.actor for event in answers] == ["ana"]
    await expect(page.locator("#questions .question")).to_have_count(0)
    assert await not_reloaded(page)
    assert await not_reloaded(other)


async def test_after_a_kill_other_processes_go_on_and_repeat_nothing(job: Job) -> None:
    page, job.lease_ttl = job.page, 4
    await job.open()
    first = job.run()
    await job.gets_on(10)
    first.kill()
    await job.is_shown_as("interrupted")
    completed = await job.steps_completed()
    cut_off = {step for step in job.work.executions() if step not in completed}
    assert len(completed) >= 10
    assert cut_off

    await job.do("resume", reason="go on elsewhere")
    await job.is_shown_as("resuming")
    await expect(job.status()).to_contain_text("no orchestrator has taken it yet")
    second = job.help()
    await job.is_shown_as("running")
    await job.gets_on(RESEARCHERS)
    second.kill()
    await job.is_shown_as("interrupted")
    job.help()
    await job.is_shown_as("running")
    await job.finish()
    executed, attempts = job.work.executions(), await job.attempts()
    assert {step: executed[step] for step in completed} == dict.fromkeys(completed, 1)
    assert executed <= attempts, "a step that was begun and cut off at once leaves no trace but in the log"
    for step in cut_off:
        assert executed[step] > 1
        shown = page.locator(f'[data-list="steps"] > tr[data-step-id="{step}"]')
        await expect(shown).to_have_attribute("data-status", "completed")
        await expect(shown).to_contain_text(f"attempt {attempts[step]}")
    await job.assert_shown_whole()
    assert await not_reloaded(page)


@dataclass
class Shown:
    """What panels show of a state."""

    steps: str
    """Completed and all, as ``25 / 25``."""
    messages: list[str]
    """The keys of the last ones; earlier ones are left to be loaded."""
    branches: str

    @classmethod
    async def of(cls, page: Page) -> Shown:
        messages = page.locator('[data-list="conversation"] > article')
        facts = await page.locator("#standing .facts").inner_text()
        steps, branches = facts.removeprefix("Steps").split("Branches")
        return cls(
            steps.strip(),
            await messages.evaluate_all("rows => rows.slice(-20).map((row) => row.dataset.key)"),
            branches.split()[0],
        )


async def is_shown_again(job: Job, before: Shown) -> None:
    await job.is_shown_as("paused")
    await expect(job.page.locator("#standing .facts")).to_contain_text(before.steps)
    await assert_listed(job.page, int(before.steps.split()[-1]))
    last = job.page.locator('[data-list="conversation"] > article').last
    await expect(last).to_have_attribute("data-key", before.messages[-1])
    assert await Shown.of(job.page) == before
    seq = await job.page.locator("main").get_attribute("data-seq")
    await job.page.get_by_role("link", name="Timeline & graph").click()
    await expect(job.page.locator("#graph")).to_have_attribute("data-seq", seq or "")
    await job.page.get_by_role("link", name="Steps", exact=True).click()


async def test_a_checkpoint_is_saved_restored_undone_and_restored_in_the_admin(
    job: Job, context: BrowserContext, complaints: Complaints
) -> None:
    page = job.page
    await job.open()
    job.run()
    await job.gets_on(6)
    await job.do("pause")
    await job.is_shown_as("paused")
    await job.do("checkpoint", name="good findings", reason="worth keeping")
    await expect(page.locator("#checkpoints")).to_contain_text("good findings")
    at_checkpoint, kept = await Shown.of(page), await job.steps_completed()
    await job.do("resume")
    await job.is_shown_as("running")
    await job.gets_on(RESEARCHERS)

    await restore_while_it_runs(job)
    await is_shown_again(job, at_checkpoint)
    assert await job.steps_completed() == kept
    set_aside = (await job.manager.list_checkpoints(job.session_id))[-1]
    assert set_aside.kind == "pre_restore"

    await page.locator(f'[data-pick="{set_aside.id}"]').click()
    await page.locator(f'[data-act="restore"][data-checkpoint="{set_aside.id}"]').click()
    await dialog(page).get_by_label("Reason").fill("they were good after all")
    await confirm(page).click()
    steps = set_aside.counts["steps"]
    await expect(page.locator("#standing .facts")).to_contain_text(f"{steps} / {steps}", timeout=30_000)
    await assert_listed(page, steps)
    await job.is_shown_as("paused")
    assert len(await job.steps_completed()) == steps

    await restore_in_admin(job, context, complaints)
    await is_shown_again(job, at_checkpoint)
    await job.do("resume")
    await job.is_shown_as("running")
    await job.finish()
    executed = job.work.executions()
    assert {step: executed[step] for step in kept} == dict.fromkeys(kept, 1)
    await job.assert_shown_whole()
    assert await not_reloaded(page)


async def restore_while_it_runs(job: Job) -> None:
    page = job.page
    await act(page, "restore").click()
    await expect(confirm(page)).to_have_text("Restore checkpoint “good findings”")
    await expect(dialog(page)).to_contain_text("Set aside: ")
    await expect(dialog(page)).to_contain_text("Pausing, then paused")
    await confirm(page).click()
    await expect(dialog(page).locator("[data-problem]")).to_contain_text("Reason")
    await dialog(page).get_by_label("Reason").fill("these lead nowhere")
    await confirm(page).click()
    await expect(dialog(page)).to_be_hidden()


async def restore_in_admin(job: Job, context: BrowserContext, complaints: Complaints) -> None:
    """By somebody in another tab, through the page that says what follows."""
    admin = await context.new_page()
    complaints.watch(admin)
    await admin.goto(f"{job.server.url}/admin/state_core/checkpoint/?q={job.session_id}")
    line = admin.locator("#result_list tbody tr", has_text="good findings")
    await line.locator("input.action-select").check()
    await admin.locator('select[name="action"]').select_option("restore")
    await admin.get_by_role("button", name="Run").or_(admin.get_by_role("button", name="Go")).click()
    await expect(admin.locator("form.state-act")).to_contain_text("goes back to the checkpoint")
    await admin.get_by_label("Reason").fill("the admin decides")
    await admin.get_by_role("button", name="Restore checkpoint “good findings”").click()
    await expect(admin.locator(".messagelist")).to_contain_text(f"Session {job.session_id}")
    await admin.goto(f"{job.server.url}/admin/state_core/session/?q={job.session_id}")
    head = await job.manager.get_head(job.session_id)
    told = admin.locator("#result_list tbody tr")
    await expect(told.locator(".field-state")).to_contain_text("Paused")
    steps = f"{head.counts['steps_completed']} of {head.counts['steps']}"
    await expect(told.locator(".field-progress")).to_have_text(steps)
    await job.assert_shown_whole()
    await admin.close()


async def test_a_cancellation_ends_it_in_the_other_process(job: Job) -> None:
    await job.open()
    job.work.hold.touch()
    job.run()
    await job.gets_on(8)
    await job.do("cancel", reason="not needed any more")
    await job.is_shown_as("cancelling")
    job.work.hold.unlink()
    await job.is_shown_as("cancelled")
    await expect(job.page.locator("#standing")).to_contain_text("Reason: not needed any more")
    for verb in ("pause", "resume", "cancel"):
        await expect(act(job.page, verb)).to_have_attribute("aria-disabled", "true")
    await job.assert_shown_whole()
    assert await not_reloaded(job.page)


# A database that goes away


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="away"))
    made = PostgresServer(folder / "data")
    made.create()
    made.start()
    yield made
    if made.is_running():
        made.stop()
    shutil.rmtree(folder)


@pytest.fixture
def own_site(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, own_postgres.new_database("away")) as made:
        yield made


@on_the_loop
async def job_away(
    own_site: Server, context: BrowserContext, page: Page, django_db_blocker: Any
) -> AsyncIterator[Job]:
    await sign_in(context, own_site, "ana")
    programs, folder = Orchestrators(own_site), own_site.folder
    with django_db_blocker.unblock():
        manager = StateManager(DatabaseStorageBackend(own_site.database), actor="tests")
        yield Job("away", folder, Work(folder), own_site, manager, programs, page)
        await manager.close()
    programs.stop()


async def test_a_database_that_comes_back_is_caught_up_with_and_nothing_is_lost(
    job_away: Job, own_postgres: PostgresServer, complaints: Complaints
) -> None:
    complaints.expected = ("503", "WebSocket connection")
    job, badge = job_away, job_away.page.locator("#live-badge")
    await job.open()
    program = job.run()
    await job.gets_on(10)
    await asyncio.to_thread(own_postgres.stop)
    await job.manager.close()  # its connections are gone
    await expect(badge).to_contain_text("Store away")
    await expect(badge).to_have_attribute("data-state", "offline")
    noted = len(job.work.noted())
    await asyncio.sleep(3)
    assert program.poll() is None
    assert len(job.work.noted()) <= noted + RESEARCHERS, "steps went on that could not be recorded"
    await asyncio.to_thread(own_postgres.start)
    await expect(badge).to_have_attribute("data-state", "live", timeout=30_000)
    await job.gets_on(RESEARCHERS)
    await job.finish()
    await assert_each_step_was_executed_once(job)
    await job.assert_shown_whole()
    assert await not_reloaded(job.page)
