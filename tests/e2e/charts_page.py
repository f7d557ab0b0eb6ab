"""The charts' page in a browser: what a test sees of it and does with it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page

from tests.e2e.charts_site import Script, Site

LISTEN = """
window.heard = [];
for (const name of ["state:select", "state:checkpoint"])
  document.addEventListener(name, ({ detail }) => window.heard.push([name, detail]));
document.addEventListener("securitypolicyviolation", ({ sample }) => heard.push(["violation", sample]));
"""
STATUSES = {"completed", "failed", "running", "waiting", "paused"}
"""That a bar can show."""
PATIENCE = 20_000
"""Milliseconds that a busy machine is given for what is not about speed."""


@dataclass
class Charts:
    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    @property
    def script(self) -> Script:
        return self.site.script

    def send(self, after: int) -> None:
        """What the script has after event ``after``, as the page's socket would hand it on."""
        frame = self.script.frame(after)
        self.page.evaluate("f => document.dispatchEvent(new CustomEvent('state:frame', {detail: f}))", frame)

    def delay(self, after: int) -> float:
        """Milliseconds from a frame's coming to its being drawn, as the page's own clock has it."""
        return self.page.evaluate(
            """frame => new Promise((resolve) => {
                const graph = document.getElementById('graph'), began = performance.now();
                const seen = new MutationObserver(() => {
                    if (Number(graph.dataset.seq) < frame.seq) return;
                    seen.disconnect();
                    resolve(performance.now() - began);
                });
                seen.observe(graph, { attributeFilter: ['data-seq'] });
                document.dispatchEvent(new CustomEvent('state:frame', { detail: frame }));
            })""",
            self.script.frame(after),
        )

    def heard(self) -> list[Any]:
        return self.page.evaluate("heard")

    def layout(self, chart: str) -> dict[str, Any]:
        return json.loads(
            self.page.evaluate(f"JSON.stringify(document.querySelector('.{chart}-plot').layout)")
        )

    def box(self, name: str) -> dict[str, Any]:
        """The shape of a branch's box, which it may share with others that look like it."""
        titles = self.page.evaluate(
            "(({ x, y, text }) => text.map((words, i) => [words, x[i], y[i]]))"
            "(document.querySelector('.graph-plot').data[0])"
        )
        (left, middle) = next((x - 10, y + 8) for words, x, y in titles if words.split(" ", 1)[1] == name)
        corner = f"M{left + 8:g},{middle - 20:g} "
        found: dict[str, Any] = next(s for s in self.layout("graph")["shapes"] if corner in s.get("path", ""))
        return found

    def colour(self, name: str) -> str:
        return self.page.evaluate(
            """name => { const probe = document.body.appendChild(document.createElement('i'));
            probe.style.color = `var(--${name})`; const found = getComputedStyle(probe).color; probe.remove();
            return found; }""",
            name,
        )

    def until(self, what: str, timeout: int = PATIENCE) -> None:
        """Playwright's own waiting needs eval, which the policy refuses."""
        deadline = time.monotonic() + timeout / 1000
        while not self.page.evaluate(what):
            assert time.monotonic() < deadline, f"not within {timeout} ms: {what}"
            self.page.wait_for_timeout(20)

    def until_seq(self, seq: int, timeout: int = PATIENCE) -> None:
        self.page.wait_for_selector(f"#graph[data-seq='{seq}']", timeout=timeout)

    def node(self, branch_id: str) -> dict[str, Any]:
        """Where the server has put a branch in the graph."""
        picture = json.loads(self.site.picture(True))
        graph = picture["graph"]
        number = graph["of"].index([picture["timeline"]["lanes"]["id"].index(branch_id)])
        return {key: graph[key][number] for key in ("x", "y", "w")}

    def at(self, chart: str, place: dict[str, float]) -> None:
        """Press at a place of the chart's data."""
        self.page.mouse.click(*self._on_screen(chart, place))

    def over(self, chart: str, place: dict[str, float]) -> None:
        """Put the pointer there."""
        self.page.mouse.move(*self._on_screen(chart, place))

    def _on_screen(self, chart: str, place: dict[str, float]) -> tuple[float, float]:
        x, y = self.page.evaluate(
            """([chart, x, y]) => { const plot = document.querySelector(`.${chart}-plot`);
            const box = plot.getBoundingClientRect(), { xaxis, yaxis } = plot._fullLayout;
            return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)]; }""",
            [chart, place["x"], place["y"]],
        )
        return x, y


WORDS = ".textpoint text, .annotation-text, .lane-name"


def texts(charts: Charts, chart: str) -> list[str]:
    return charts.page.locator(f".{chart}-plot").locator(WORDS).all_text_contents()


def bars(charts: Charts) -> list[str]:
    """Statuses of which the timeline has bars."""
    return [shape["name"] for shape in charts.layout("timeline")["shapes"] if shape.get("name") in STATUSES]


def lanes(charts: Charts) -> list[str]:
    return charts.page.locator(".lane-name").all_text_contents()
