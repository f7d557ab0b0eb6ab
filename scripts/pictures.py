"""Takes the README's pictures anew: four pages, light and dark, of sessions that are made for it.

make pictures
"""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.async_api import Browser, Page, async_playwright

from state_core.manager import StateManager
from state_core.storage import from_url
from tests.browsers import ARGUMENTS, chromium_path
from tests.e2e.seeding import History, seed
from tests.server import COOKIE, ROOT, Server, serving

FOLDER = ROOT / "docs" / "images"
SESSION = "/sessions/default/quantum_research_2026/"
WIDTH, HEIGHT = 1280, 820
OF_SESSION = 990
"""High enough for all of its timeline."""
SHARPNESS = 2
QUALITY = 88
WORKFLOWS = {
    "triage": ("Sort the night's tickets", ("Reader", "Classifier", "Router")),
    "digest": ("Digest of yesterday's papers", ("Collector", "Reader", "Writer")),
    "audit": ("Check the dependencies' licences", ("Lister", "Checker")),
}
FAULTS = ("TimeoutError: the model did not answer in 60 s", "ValueError: no JSON in the answer")


async def past_day(server: Server) -> None:
    """Sessions that ended in the last 24 hours, a few of them badly; the same each time."""
    dice = random.Random(7)  # noqa: S311
    manager = StateManager(from_url(server.store_url))
    for number in range(46):
        name = dice.choice(list(WORKFLOWS))
        minutes_ago = 1430 - number * 30 + dice.randrange(20)
        await manager.log.append(f"{name}-{number:03d}", one_run(name, minutes_ago, dice).events)
    await manager.close()


def one_run(name: str, minutes_ago: float, dice: random.Random) -> History:
    title, agents = WORKFLOWS[name]
    history = History(minutes_ago)
    history.add("session.created", data={"title": title, "workflow": name, "tags": ["nightly"]}, actor="cron")
    history.add("session.started", data={"owner": "worker-2"})
    before = ""
    for agent in agents:
        history.open(agent.lower(), *filter(None, [before]))
        for _ in range(dice.randrange(2, 9)):
            history.step(agent.lower(), agent, {"page": 1}, "done", dice.lognormvariate(2, 0.7))
        before = agent.lower()
        if dice.random() < 0.06:
            fault = dice.choice(FAULTS)
            history.step(before, agent, {"page": 2}, None, 60, fault)
            history.add("branch.failed", branch_id=before, status="failed", data={"error": fault})
            history.add("session.failed", data={"error": fault})
            return history
        history.end(before)
    history.add("session.completed")
    return history


@contextmanager
def at_work(server: Server) -> Iterator[None]:
    """The demonstration, and a worker that goes on with the session."""
    commands = [
        [sys.executable, "manage.py", "play_demo"],
        [sys.executable, "-m", "tests.e2e.seeding", server.database, "3"],
    ]
    running = [subprocess.Popen(command, env=server.environment, cwd=ROOT) for command in commands]  # noqa: S603
    try:
        yield
    finally:
        for each in running:
            each.terminate()
            each.wait(20)


async def open_list(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/sessions/")
    await page.locator('tr[data-status="waiting"]').wait_for()


async def open_session(page: Page, server: Server) -> None:
    await page.goto(server.url + SESSION)
    await page.locator("#timeline .main-svg").first.wait_for()


async def open_restore(page: Page, server: Server) -> None:
    await open_session(page, server)
    await page.locator('#checkpoints [data-pick="cp-before-merge"]').click()
    await page.locator("#checkpoints .is-selected [data-act=restore]").click()
    await page.locator("#act-dialog [data-confirm]").wait_for()


async def open_overview(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/overview/")
    await page.locator(".main-svg").first.wait_for()


PAGES = {"session": open_session, "list": open_list, "restore": open_restore, "overview": open_overview}


async def take(browser: Browser, server: Server, scheme: Literal["light", "dark"]) -> None:
    context = await browser.new_context(
        device_scale_factor=SHARPNESS, color_scheme=scheme, reduced_motion="reduce"
    )
    await context.add_cookies([{"name": COOKIE, "value": server.cookies["ana"], "url": server.url}])
    for name, go in PAGES.items():
        page = await context.new_page()
        height = OF_SESSION if name == "session" else HEIGHT
        await page.set_viewport_size({"width": WIDTH, "height": height})
        await go(page, server)
        await page.wait_for_timeout(2000)  # charts that are drawn one after another
        shown = await context.new_cdp_session(page)
        taken = await shown.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        file = FOLDER / f"{name}-{scheme}.webp"
        file.write_bytes(base64.b64decode(taken["data"]))
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} kB")
        await page.close()
    await context.close()


async def pictures(server: Server) -> None:
    await past_day(server)
    await seed(server.database)
    with at_work(server):
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS])
            await asyncio.sleep(45)  # the demonstration has come to where it asks a person
            await take(browser, server, "light")
            await take(browser, server, "dark")
            await browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as made:
        asyncio.run(pictures(made))
