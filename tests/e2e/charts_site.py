"""A page with nothing but the two charts, under the dashboard's own policy, and sessions to draw on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from marsys_dashboard.charts import HOLD_KINDS, charts
from marsys_dashboard.columns import milliseconds
from marsys_dashboard.frames import event_values
from marsys_dashboard.middleware import POLICY
from state_core.events import Event
from state_core.fold import empty_document, fold
from state_core.records import Checkpoint, CheckpointKind

STATIC = Path(__file__).resolve().parents[2] / "static"
TYPES = {".js": "text/javascript", ".css": "text/css"}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Charts</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/css/variables.css">
<link rel="stylesheet" href="/static/css/base.css">
<link rel="stylesheet" href="/static/css/components.css">
<link rel="stylesheet" href="/static/css/charts.css">
<link rel="stylesheet" href="/static/vendor/plotly/plotly.css">
<script src="/static/js/theme.js"></script>
<script type="module" src="/static/js/charts/main.js"></script></head>
<body><main id="main">
<section class="card"><h2>Branches</h2><div id="graph" data-charts-url="/charts.json"></div></section>
<section class="card"><h2>Timeline</h2><div id="timeline"></div></section>
</main></body></html>"""


class Script:
    """Events of a session, one after another, on a clock that the test moves."""

    def __init__(self, minutes_ago: float = 30) -> None:
        self.at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        self.events: list[Event] = []
        self.steps = 0
        self.add("session.created").add("session.started")

    def add(self, kind: str, **header: Any) -> Script:
        event = Event(kind=kind, seq=len(self.events) + 1, at=self.at, **header)
        self.events.append(event)
        return self

    def wait(self, seconds: float) -> Script:
        self.at += timedelta(seconds=seconds)
        return self

    def open(self, name: str, *parents: str, status: str = "running") -> Script:
        data = {"name": name, "parents": list(parents)}
        return self.add("branch.opened", branch_id=name, status=status, data=data)

    def start(self, branch: str, agent: str = "Agent") -> str:
        self.steps += 1
        step = f"{branch}.{self.steps}"
        self.add("step.started", branch_id=branch, step_id=step, agent=agent, status="running")
        return step

    def end(self, branch: str, step: str, status: str = "completed") -> Script:
        return self.add(f"step.{status}", branch_id=branch, step_id=step, status=status, duration=1.0)

    def step(self, branch: str, seconds: float = 30, status: str = "completed") -> Script:
        step = self.start(branch, branch.title())
        return self.wait(seconds).end(branch, step, status)

    def close(self, branch: str, status: str = "completed") -> Script:
        return self.add(f"branch.{status}", branch_id=branch, status=status)

    def checkpoint(self, name: str) -> Script:
        data = {"id": name, "name": name, "kind": "manual", "seq": len(self.events)}
        return self.add("checkpoint.created", data=data)

    def frame(self, after: int) -> dict[str, Any]:
        events = [event_values(event) for event in self.events[after:]]
        return json.loads(orjson.dumps({"after": after, "seq": len(self.events), "events": events}))


class Site:
    """Serves what `script` holds at present."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        """Cleared, the picture is held back."""
        self.may_answer.set()

    def picture(self, grouped: bool) -> bytes:
        events = list(self.script.events)
        document = fold(empty_document("drawn"), events)
        made = [event for event in events if event.kind == "checkpoint.created"]
        places = [_checkpoint(event) for event in made]
        holds = [event for event in events if event.kind in HOLD_KINDS]
        picture = charts(document, places, holds, grouped=grouped)
        return orjson.dumps({**picture, "server_time": milliseconds(datetime.now(UTC))})

    def answer(self, path: str) -> tuple[str, bytes] | None:
        self.asked.append(path)
        if path == "/":
            return "text/html", PAGE.encode()
        if path.startswith("/charts.json"):
            self.may_answer.wait(60)
            return "application/json", self.picture("groups=open" not in path)
        file = STATIC / path.removeprefix("/static/")
        return (TYPES[file.suffix], file.read_bytes()) if file.is_file() else None


def _checkpoint(event: Event) -> Checkpoint:
    values = {key: event.data[key] for key in ("id", "name", "seq")}
    return Checkpoint(session_id="drawn", created_at=event.at, kind=CheckpointKind.MANUAL, **values)


@contextmanager
def serving(site: Site) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = site.answer(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", found[0] if found else "text/plain")
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(found[1] if found else b"")

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        site.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


# Sessions


def research(minutes_ago: float = 34) -> Script:
    """The one that design pictures show: fan-out to four, a join that waits for one of them."""
    script = Script(minutes_ago).open("collect")
    script.step("collect", 240).step("collect", 90).close("collect").checkpoint("all-collected")
    script.open("plan", "collect").step("plan", 140).close("plan")
    names = [f"Researcher-{number}" for number in (1, 2, 3, 4)]
    for name in names:
        script.open(name, "plan")
    under_way = [script.start(name) for name in names]
    for name, step in zip(names, under_way, strict=True):
        script.wait(70).end(name, step, "failed" if name == "Researcher-2" else "completed")
    script.checkpoint("first-findings").add("session.paused").wait(420).add("session.resumed")
    under_way = [script.start(name) for name in names]
    script.open("synthesis", *names, status="waiting").open("report", "synthesis", status="pending")
    for name, step in zip(names, under_way, strict=True):
        if name == "Researcher-2":
            continue
        script.wait(80).end(name, step).close(name)
        script.add("branch.joined", branch_id="synthesis", status="waiting", data={"parent": name})
    return script


def medium(branches: int = 60) -> Script:
    """A tree of analysts, each with a reviewer, and a joint report."""
    script = Script(50).open("survey").step("survey", 60).close("survey")
    pairs = (branches - 2) // 2
    for number in range(pairs):
        script.open(f"analyst-{number}", "survey").step(f"analyst-{number}", 9)
        if number < pairs - 3:
            script.close(f"analyst-{number}", "failed" if number % 11 == 7 else "completed")
        script.open(f"reviewer-{number}", f"analyst-{number}", status="pending")
        if number < pairs // 2:
            script.step(f"reviewer-{number}", 6).close(f"reviewer-{number}")
        elif number < pairs // 2 + 2:
            script.start(f"reviewer-{number}", "Reviewer")
    reviewers = [f"reviewer-{number}" for number in range(pairs)]
    return script.open("report", *reviewers, status="pending")


def large(branches: int = 2000, steps: int = 10, *, chained: bool = True) -> Script:
    """Every tenth branch fans out to nine; or one fan-out to all."""
    script = Script(600).open("root").step("root", 5)
    for number in range(1, branches):
        parent = f"b{(number - 1) // 9}" if chained and number > 9 else "root"
        script.open(f"b{number}" if number else "root", parent if parent != "b0" else "root")
        _work(script, f"b{number}", steps)
        if number % 40 and number < branches - 20:
            script.close(f"b{number}", "failed" if number % 97 == 3 else "completed")
    return script


def _work(script: Script, branch: str, steps: int) -> None:
    for _ in range(steps):
        script.step(branch, 1.5)


def stop_all(script: Script, names: Sequence[str]) -> Script:
    for name in names:
        script.close(name)
    return script.add("session.completed")
