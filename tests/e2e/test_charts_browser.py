"""The charts in a real browser, under the dashboard's own content security policy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browsers import ARGUMENTS, chromium_path
from tests.e2e.charts_page import LISTEN, Charts, bars, lanes, texts
from tests.e2e.charts_site import Script, Site, large, medium, research, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS])
        yield browser
        browser.close()


Open = Callable[..., Charts]


@pytest.fixture
def open_charts(browser: Browser) -> Iterator[Open]:
    closing: list[Callable[[], Any]] = []

    def open_(script: Script, **options: Any) -> Charts:
        site = Site(script)
        context = serving(site)
        url = context.__enter__()
        page = browser.new_page(**{"viewport": {"width": 900, "height": 1000}, **options})
        closing.extend([lambda: context.__exit__(None, None, None), page.close])
        charts = Charts(page, site)
        page.on("console", lambda message: charts.complaints.append(message.text))
        page.on("pageerror", lambda error: charts.complaints.append(str(error)))
        page.add_init_script(LISTEN)
        page.goto(url)
        page.wait_for_selector("#graph[data-seq]")
        return charts

    yield open_
    for close in reversed(closing):
        close()


@pytest.fixture
def charts(open_charts: Open) -> Charts:
    return open_charts(research())


# Drawing


def test_both_charts_are_drawn_under_the_strict_policy_without_complaint(charts: Charts) -> None:
    assert charts.complaints == []
    assert charts.heard() == []
    assert any("Researcher-2" in text for text in texts(charts, "graph"))
    assert bars(charts) == ["completed", "failed", "running"]


def test_status_is_told_by_icon_and_word_besides_colour(charts: Charts) -> None:
    assert "✓ collect" in texts(charts, "graph")
    assert "? synthesis" in texts(charts, "graph")
    legend = charts.page.locator("#graph .chart-legend li:visible").all_text_contents()
    assert "✓ 5 completed" in legend
    assert "✓  collect" in texts(charts, "timeline")


def test_an_open_join_says_whom_it_waits_for(charts: Charts) -> None:
    assert "3 of 4 arrived" in texts(charts, "graph")
    expected = r"3 of 4 arrived at synthesis, waiting for Researcher-2, \d+ m \d\d s"
    assert re.fullmatch(expected, charts.page.locator("#graph .chart-note").text_content())


def test_page_is_painted_before_the_library_is_asked_for(charts: Charts) -> None:
    paint, asked = charts.page.evaluate(
        """[performance.getEntriesByName('first-paint')[0].startTime,
        performance.getEntriesByType('resource')
          .find(({ name }) => name.endsWith('plotly.min.js')).startTime]"""
    )
    assert asked >= paint or asked > charts.page.evaluate(
        "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )


def test_names_are_shown_as_they_are_and_never_read_as_markup(open_charts: Open) -> None:
    names = ["<b>bold</b>", "a&lt;b %{x}", "<img src=x onerror=alert(1)>", "$x^2$", "x" * 5000]
    script = Script(5)
    for number, name in enumerate(names):
        script.add(
            "branch.opened", branch_id=f"b{number}", status="running", data={"name": name, "parents": []}
        )
        step = {"branch_id": f"b{number}", "step_id": f"s{number}", "agent": name}
        script.add("step.started", **step, status="running").wait(20)
    charts = open_charts(script)
    shown = texts(charts, "graph") + texts(charts, "timeline")
    for start in ("◐ <b>bold</b>", "◐ a&lt;b %{x}", "◐ <img src=x onerr", "◐ ＄x^2＄"):
        assert any(text.startswith(start) for text in shown), (start, shown)
    assert max(map(len, shown)) < 40
    assert charts.page.locator("#graph img, #graph b, #timeline img, #timeline b").count() == 0
    charts.page.locator("#timeline summary").click()
    assert charts.page.locator("#timeline td button").first.text_content() == "<b>bold</b>"
    assert charts.complaints == []


def test_the_theme_can_change_while_one_looks(charts: Charts) -> None:
    light = charts.box("collect")["line"]["color"]
    charts.page.evaluate(
        "document.documentElement.style.colorScheme = 'dark'; document.documentElement.dataset.theme = 'dark'"
    )
    dark = charts.colour("completed")
    assert dark != light
    charts.until(
        f"document.querySelector('.graph-plot').layout.shapes.some((s) => s.line.color === '{dark}')"
    )
    assert charts.box("collect")["line"]["color"] == dark


# Live


def test_a_live_frame_is_seen_within_a_second_and_without_asking_again(charts: Charts) -> None:
    assert charts.box("Researcher-2")["line"]["color"] == charts.colour("running")
    asked = len(charts.site.asked)
    delays = []
    for change in (("Researcher-2",), ("synthesis", "failed"), ("report", "cancelled")):
        after = len(charts.script.events)
        charts.script.close(*change)
        delays.append(charts.delay(after))
    assert min(delays) < 1000
    assert charts.box("Researcher-2")["line"]["color"] == charts.colour("completed")
    assert charts.box("synthesis")["line"]["color"] == charts.colour("failed")
    assert len(charts.site.asked) == asked


def test_a_frame_that_comes_twice_changes_nothing(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.script.close("Researcher-2")
    charts.send(after)
    charts.send(after)
    charts.until_seq(after + 1)
    assert not [path for path in charts.site.asked[1:] if path.startswith("/charts.json?")]


def test_after_a_gap_the_picture_is_asked_for_anew(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.script.close("Researcher-2").close("synthesis", "failed")
    charts.send(after + 1)
    charts.until_seq(after + 2)
    assert charts.box("synthesis")["line"]["color"] == charts.colour("failed")


def test_a_new_branch_appears_and_the_lanes_keep_their_order(charts: Charts) -> None:
    after = len(charts.script.events)
    before = lanes(charts)
    charts.script.open("appendix", "synthesis")
    charts.send(after)
    charts.page.wait_for_selector(".graph-plot >> text=appendix")
    assert lanes(charts) == [*before, "◐  appendix"]


def test_a_new_branch_is_in_the_graph_before_the_server_has_laid_it_out(charts: Charts) -> None:
    charts.site.may_answer.clear()
    after = len(charts.script.events)
    charts.script.open("appendix", "synthesis")
    charts.send(after)
    charts.until_seq(after + 1)
    assert "◐ appendix" in texts(charts, "graph")
    assert charts.box("appendix")["line"]["color"] == charts.colour("running")
    charts.script.close("appendix")
    charts.send(after + 1)
    charts.until_seq(after + 2)
    assert "✓ appendix" in texts(charts, "graph")
    assert charts.box("appendix")["line"]["color"] == charts.colour("completed")


def test_the_layout_is_asked_for_at_once_and_taken_although_events_go_on(charts: Charts) -> None:
    charts.page.wait_for_timeout(400)
    asked, after = len(charts.site.asked), len(charts.script.events)
    charts.site.may_answer.clear()
    charts.script.open("an appendix with many words", "synthesis")
    answer = charts.site.picture(True)
    charts.site.picture = lambda grouped: answer  # type: ignore[method-assign]
    charts.send(after)
    charts.page.wait_for_timeout(150)
    assert len(charts.site.asked) == asked + 1
    charts.script.close("Researcher-2")
    charts.send(after + 1)
    charts.until_seq(after + 2)
    charts.site.may_answer.set()
    node = {key: json.loads(answer)["graph"][key][-1] for key in ("x", "y", "w")}
    start = f"M{node['x'] - node['w'] / 2 + 8:g},{node['y'] - 20:g} L{node['x'] + node['w'] / 2 - 8:g},"
    charts.until(
        f"document.querySelector('.graph-plot').layout.shapes.some((s) => s.path?.includes('{start}'))"
    )
    assert charts.box("Researcher-2")["line"]["color"] == charts.colour("completed")


def test_a_pause_is_a_band_and_stops_the_clocks(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.script.at = charts.script.at.now(charts.script.at.tzinfo)
    charts.script.add("session.paused")
    charts.send(after)
    charts.until_seq(after + 1)
    assert charts.page.locator("#timeline .chart-note").text_content().startswith("❚❚ paused since")
    assert charts.box("Researcher-2")["line"]["color"] == charts.colour("paused")
    lines = [shape for shape in charts.layout("timeline")["shapes"] if shape["type"] == "line"]
    assert lines == []


def test_a_restore_is_a_mark(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.script.add("session.restored", data={"to": 12, "reason": "<b>once more</b>"})
    charts.send(after)
    charts.page.wait_for_selector(".timeline-plot >> text=↺ back to 12")
    assert charts.complaints == []


def test_a_new_checkpoint_is_a_mark(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.script.wait(30).checkpoint("before-merge")
    charts.send(after)
    charts.until("document.querySelector('.timeline-plot').data.at(-1).x.length === 3")
    assert "3 checkpoints" in charts.page.locator("#timeline .chart-note").text_content()


def test_bars_that_run_grow_with_the_clock(charts: Charts) -> None:
    path = "document.querySelector('.timeline-plot').layout.shapes.find((s) => s.name === 'running').path"
    end = f"Math.max(...{path}.match(/[ML][^,]+/g).map((corner) => Number(corner.slice(1))))"
    before = charts.page.evaluate(end)
    charts.until(f"{end} > {before} + 0.5")


def test_what_is_under_the_pointer_is_said_in_words(charts: Charts) -> None:
    charts.over("graph", charts.node("Researcher-2"))
    charts.page.wait_for_selector(".graph-plot .chart-tip >> text=◐ running · 2 steps")
    charts.over("timeline", {"x": 30, "y": 0})
    charts.page.wait_for_selector(".timeline-plot .chart-tip >> text=✓ completed · 4 m 00 s")
    assert charts.page.locator(".graph-plot .chart-tip").count() == 0
    charts.page.mouse.move(1, 1)
    charts.until("document.querySelector('.chart-tip') === null")


def test_a_hidden_tab_paints_nothing_and_catches_up_when_it_is_shown(charts: Charts) -> None:
    after = len(charts.script.events)
    charts.page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    charts.script.close("Researcher-2")
    charts.send(after)
    charts.page.wait_for_timeout(400)
    assert charts.page.locator("#graph").get_attribute("data-seq") == str(after)
    charts.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    charts.until_seq(after + 1)


FRAMES = """new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() =>
    setTimeout(resolve, 0))))"""
"""Long enough for what watches the page's layout to be told of it."""


def test_a_chart_out_of_sight_is_drawn_when_it_comes_near(open_charts: Open) -> None:
    charts = open_charts(research(), viewport={"width": 900, "height": 320})
    charts.page.evaluate("document.getElementById('timeline').parentElement.style.marginTop = '2000px'")
    waiting = "document.querySelector('.timeline-plot').layout.shapes.some((s) => s.name === 'running')"
    assert charts.page.evaluate(waiting)
    charts.page.evaluate(FRAMES)
    after = len(charts.script.events)
    charts.script.end("Researcher-2", "Researcher-2.9").close("Researcher-2")
    charts.send(after)
    charts.until_seq(after + 2)
    assert charts.box("Researcher-2")["line"]["color"] == charts.colour("completed")
    assert charts.page.evaluate(waiting)
    charts.page.locator("#timeline").scroll_into_view_if_needed()
    charts.until(f"!{waiting}")


QUESTIONS = (
    Script(9)
    .open("a")
    .add("step.started", branch_id="a", step_id="a.1", agent="A", status="running", data={"attempt": 1})
    .wait(3)
    .add("input.requested", branch_id="a", step_id="a.1", data={"question": "q", "session": "waiting"})
    .wait(9)
    .add("input.answered", branch_id="a", step_id="a.1", data={"question": "q"})
    .add("branch.resumed", branch_id="a", status="running", data={"session": "running"})
    .wait(2)
    .add(
        "step.retried",
        branch_id="a",
        step_id="a.1",
        status="running",
        data={"attempt": 2, "previous": "running"},
    )
    .add("session.interrupted")
    .wait(5)
    .add("resume.requested")
    .add("session.resumed")
    .add("step.failed", branch_id="a", step_id="a.1", status="failed", duration=1.0, data={"error": "no"})
    .add("branch.failed", branch_id="a", status="failed", data={"error": "no"})
    .add("session.failed", data={"error": "no"})
)


@pytest.mark.parametrize(
    "made", [research, medium, lambda: QUESTIONS], ids=["research", "medium", "questions"]
)
def test_the_browser_folds_events_as_the_library_does(charts: Charts, made: Callable[[], Script]) -> None:
    script = made()
    whole = json.loads(Site(script).picture(grouped=True))
    start = json.loads(Site(_first(script, 2)).picture(grouped=True))
    folded, expected = charts.page.evaluate(
        """async ([start, whole, frame]) => {
            const { modelFrom } = await import('/static/js/charts/model.js');
            const { foldFrame } = await import('/static/js/charts/fold.js');
            const plain = (model) => JSON.parse(JSON.stringify({ ...model, offset: 0 },
              (key, value) => value instanceof Map ? Object.fromEntries(value) : value));
            const model = modelFrom(start, 0);
            foldFrame(model, frame);
            return [plain(model), plain(modelFrom(whole, 0))];
        }""",
        [start, whole, script.frame(2)],
    )
    assert folded == expected


def _first(script: Script, events: int) -> Script:
    start = Script()
    start.events = script.events[:events]
    return start


# Choosing, moving


def test_a_click_on_a_box_selects_its_branch(charts: Charts) -> None:
    charts.at("graph", charts.node("Researcher-3"))
    assert charts.heard() == [["state:select", {"branch": "Researcher-3", "step": None, "by": "charts"}]]
    assert charts.box("Researcher-3")["fillcolor"] == charts.colour("soft")


def test_a_click_on_a_bar_selects_its_step(charts: Charts) -> None:
    charts.at("timeline", {"x": 30, "y": 0})
    assert charts.heard() == [["state:select", {"branch": "collect", "step": "collect.1", "by": "charts"}]]


def test_a_click_on_a_checkpoint_picks_it(charts: Charts) -> None:
    at = charts.page.evaluate("document.querySelector('.timeline-plot').data.at(-1).x[0]")
    charts.at("timeline", {"x": at, "y": 8.03})
    assert charts.heard() == [["state:checkpoint", {"id": "all-collected", "by": "charts"}]]


def test_what_is_selected_elsewhere_is_shown_in_both_charts(charts: Charts) -> None:
    detail = {"branch": "plan", "step": None, "by": "page"}
    charts.page.evaluate("d => document.dispatchEvent(new CustomEvent('state:select', {detail: d}))", detail)
    assert charts.box("plan")["fillcolor"] == charts.colour("soft")
    bands = [s for s in charts.layout("timeline")["shapes"] if s.get("fillcolor") == charts.colour("soft")]
    assert [band["y0"] for band in bands] == [0.5]


def test_the_keyboard_goes_along_branches_and_selects(charts: Charts) -> None:
    charts.page.locator(".graph-plot").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        charts.page.keyboard.press(key)
    (heard,) = charts.heard()
    assert heard[1]["branch"].startswith("Researcher-")
    charts.page.locator(".timeline-scroll").focus()
    for key in ("ArrowUp", "ArrowRight", "Enter"):
        charts.page.keyboard.press(key)
    assert charts.heard()[-1][1]["step"] is not None
    charts.page.keyboard.press("]")
    assert charts.heard()[-1] == ["state:checkpoint", {"id": "all-collected", "by": "charts"}]


def test_zoom_and_selection_survive_live_frames_and_new_branches(charts: Charts) -> None:
    charts.page.get_by_label("Zoom into the graph").click()
    charts.page.get_by_label("Zoom into the timeline").click()
    charts.at("timeline", {"x": 500, "y": 3})
    before = [charts.layout(chart)["xaxis"]["range"] for chart in ("graph", "timeline")]
    after = len(charts.script.events)
    charts.script.close("Researcher-2").open("appendix", "synthesis")
    charts.send(after)
    charts.until("document.querySelector('#graph .chart-legend').textContent.includes('6 completed')")
    edges = "document.querySelector('.graph-plot').layout.shapes.filter((s) => /walked|ahead/.test(s.name))"
    charts.until(f"{edges}.map((s) => s.path.match(/M/g).length).reduce((a, b) => a + b) === 11")
    assert [charts.layout(chart)["xaxis"]["range"] for chart in ("graph", "timeline")] == [
        pytest.approx(range_, abs=0.01) for range_ in before
    ]
    assert charts.box("Researcher-2")["fillcolor"] == charts.colour("soft")


def test_a_drag_moves_the_graph_and_selects_nothing(charts: Charts) -> None:
    before = charts.layout("graph")["xaxis"]["range"]
    box = charts.page.locator(".graph-plot").bounding_box()
    charts.page.mouse.move(box["x"] + 300, box["y"] + 150)
    charts.page.mouse.down()
    charts.page.mouse.move(box["x"] + 200, box["y"] + 150, steps=5)
    charts.page.mouse.up()
    charts.until(f"Math.abs(document.querySelector('.graph-plot').layout.xaxis.range[0] - {before[0]}) > 50")
    assert charts.heard() == []


def test_active_only_leaves_finished_branches_out_of_the_timeline(charts: Charts) -> None:
    charts.page.get_by_label("Active only").check()
    assert lanes(charts) == ["◐  Researcher-2", "?  synthesis", "◷  report"]
    assert "3 of 8 branches" in charts.page.locator("#timeline .chart-note").text_content()
    assert charts.page.url.endswith("?active=1")
    charts.page.get_by_label("Active only").uncheck()
    charts.until("document.querySelector('#timeline .chart-note').textContent.includes('8 branches')")
    assert "active" not in charts.page.url


def test_each_chart_has_a_table_twin_that_stays_current(charts: Charts) -> None:
    charts.page.locator("#graph summary").click()
    rows = charts.page.locator("#graph tbody tr")
    charts.until("document.querySelectorAll('#graph tbody tr').length === 8")
    assert "◐ running" in rows.nth(3).text_content()
    after = len(charts.script.events)
    charts.script.close("Researcher-2")
    charts.send(after)
    charts.until("document.querySelectorAll('#graph tbody tr')[3].textContent.includes('✓ completed')")
    rows.nth(1).get_by_role("button").click()
    assert charts.heard()[-1][1]["branch"] == "plan"


def test_time_labels_are_at_least_eighty_pixels_apart(open_charts: Open) -> None:
    for script in (research(), medium()):
        charts = open_charts(script)
        places = charts.page.evaluate(
            """[...document.querySelectorAll('.timeline-plot .xtick text')].map((text) => {
            const box = text.getBoundingClientRect(); return (box.left + box.right) / 2; })"""
        )
        assert len(places) >= 3
        assert min(b - a for a, b in zip(places, places[1:], strict=False)) >= 79


# Size


def test_two_thousand_branches_and_twenty_thousand_steps_are_a_bounded_picture(open_charts: Open) -> None:
    charts = open_charts(large(2000, 10))
    assert charts.page.locator("#timeline").locator("text=2 000 branches").count() == 1
    assert charts.page.locator("body *").count() < 700
    after = len(charts.script.events)
    charts.script.close("b1999")
    charts.send(after)
    charts.until_seq(after + 1)


def test_all_lanes_of_a_large_session_can_be_scrolled_to(open_charts: Open) -> None:
    charts = open_charts(large(300, 2))
    scroll = charts.page.locator(".timeline-scroll")
    scroll.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    charts.page.wait_for_selector(".timeline-plot >> text=b299")


def test_zooming_in_turns_points_into_boxes(open_charts: Open) -> None:
    charts = open_charts(large(700, 1))
    assert texts(charts, "graph") == []
    for _ in range(14):
        charts.page.get_by_label("Zoom into the graph").click()
    assert any(re.match(r". b\d+", text) for text in texts(charts, "graph"))


def test_many_siblings_are_one_box_until_they_are_ungrouped(open_charts: Open) -> None:
    charts = open_charts(large(60, 2, chained=False))
    assert any("b ×59" in text for text in texts(charts, "graph"))
    charts.page.get_by_label("Group siblings").uncheck()
    charts.until("document.querySelectorAll('.graph-plot .textpoint').length > 12")
    assert any(path == "/charts.json?groups=open" for path in charts.site.asked)


# Edges


def test_a_session_that_has_not_begun_says_so(open_charts: Open) -> None:
    charts = open_charts(Script(1))
    assert charts.page.locator("#graph .chart-note").text_content() == "No branch has been opened yet"
    charts.script.open("first")
    charts.send(2)
    charts.page.wait_for_selector(".graph-plot >> text=first")
    assert charts.complaints == []


def test_a_picture_that_cannot_be_read_is_said_and_asked_for_again(charts: Charts) -> None:
    picture = charts.site.picture
    charts.site.picture = lambda grouped: b"<html>"  # type: ignore[method-assign]
    charts.page.evaluate("document.dispatchEvent(new CustomEvent('state:reset', {detail: {}}))")
    charts.page.wait_for_selector("#graph .chart-error >> text=could not be read")
    charts.site.picture = picture  # type: ignore[method-assign]
    charts.until("document.querySelector('#graph .chart-error').textContent === ''")


def test_a_picture_that_is_refused_says_so(charts: Charts) -> None:
    answer = charts.site.answer
    charts.site.answer = lambda path: None if "charts.json" in path else answer(path)  # type: ignore[method-assign]
    charts.page.evaluate("document.dispatchEvent(new CustomEvent('state:reset', {detail: {}}))")
    charts.page.wait_for_selector("#graph .chart-error >> text=The server answered 404.")


def test_a_folded_pause_says_how_long_it_was(charts: Charts) -> None:
    assert "❚❚ 7 m" in texts(charts, "timeline")
    charts.page.get_by_label("Fold idle gaps").uncheck()
    assert "❚❚ paused" in texts(charts, "timeline")
    assert "❚❚ 7 m" not in texts(charts, "timeline")


# Keys and fingers


def focused(charts: Charts) -> str:
    return charts.page.evaluate("document.activeElement.className")


def test_keys_lead_to_the_charts_and_to_checkpoints(charts: Charts) -> None:
    keys = charts.page.keyboard
    keys.press("g")
    assert "graph-plot" in focused(charts)
    keys.press("g")
    assert "timeline-scroll" in focused(charts)
    keys.press("g")
    assert "graph-plot" in focused(charts)
    charts.page.evaluate("document.activeElement.blur()")
    keys.press("]")
    keys.press("]")
    keys.press("[")
    picked = [detail["id"] for name, detail in charts.heard() if name == "state:checkpoint"]
    assert picked == ["all-collected", "first-findings", "all-collected"]


def test_a_key_shows_what_is_active_and_another_lists_them_all(charts: Charts) -> None:
    before = lanes(charts)
    charts.page.keyboard.press("a")
    assert len(lanes(charts)) < len(before)
    charts.page.keyboard.press("a")
    assert lanes(charts) == before
    charts.page.keyboard.press("?")
    listed = charts.page.locator("dialog.keys kbd").all_text_contents()
    assert {"g", "c", "a", "[", "]", "?"} <= set(listed)


def test_a_key_puts_what_is_selected_in_the_middle(charts: Charts) -> None:
    charts.page.evaluate(
        "document.dispatchEvent(new CustomEvent('state:select', {detail: {branch: 'report', step: null}}))"
    )
    charts.page.keyboard.press("c")
    node = charts.node("report")
    low, high = charts.layout("graph")["xaxis"]["range"]
    assert abs((low + high) / 2 - node["x"]) < 1


def swipe(charts: Charts, chart: str, dx: float, dy: float) -> None:
    """With one finger, as the browser itself sees it."""
    box = charts.page.locator(f".{chart}-plot").bounding_box()
    assert box
    start = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session = charts.page.context.new_cdp_session(charts.page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [start]})
    for part in range(1, 11):
        point = {"x": start["x"] + dx * part / 10, "y": start["y"] + dy * part / 10}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


PHONE = {"viewport": {"width": 390, "height": 500}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("chart", ["graph", "timeline"])
def test_a_finger_on_a_chart_scrolls_the_page(open_charts: Open, chart: str) -> None:
    charts = open_charts(research(), **PHONE)
    charts.page.locator(f".{chart}-plot").scroll_into_view_if_needed()
    before = charts.page.evaluate("scrollY")
    way = -120 if before < 60 else 120
    swipe(charts, chart, 0, way)
    charts.until(f"Math.abs(scrollY - {before}) > 40")
    assert charts.complaints == []


@pytest.mark.parametrize("chart", ["graph", "timeline"])
def test_a_finger_moved_sideways_moves_the_chart(open_charts: Open, chart: str) -> None:
    charts = open_charts(research(), **PHONE)
    charts.page.locator(f".{chart}-plot").scroll_into_view_if_needed()
    before = charts.layout(chart)["xaxis"]["range"]
    swipe(charts, chart, -100, 0)
    charts.until(f"document.querySelector('.{chart}-plot').layout.xaxis.range[0] > {before[0]}")
