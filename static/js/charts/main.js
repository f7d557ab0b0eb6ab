// Draws the branch graph into #graph and the timeline into #timeline, and keeps them current.
//
//   <div id="graph" data-charts-url="…/charts.json" data-plotly-url="…"></div>  <div id="timeline"></div>
//
// Listens on document: state:frame, state:reset, state:select, state:checkpoint.
// Sends: state:select { branch, step }, state:checkpoint { id }, both with by: "charts"; charts:ready.

import { onThemeChange, palette } from "./colours.js";
import { foldFrame } from "./fold.js";
import { Graph } from "./graph.js";
import { loadPlotly } from "./load.js";
import { graphFrom, modelFrom } from "./model.js";
import { key } from "../keys.js";
import { isActiveOnly, showActiveOnly } from "../session/active.js";
import { make } from "./tools.js";
import { Timeline } from "./timeline.js";

const PAINT_EVERY = 100;
const MOST_PAUSE = 500;
const FETCH_AFTER = 300;
const MOST_FETCH_PAUSE = 2000;
const MOST_RETRY = 30000;
const NEAR = 200; // pixels
const AGAIN_AFTER = 2000, MOST_TRIES = 5;

class Charts {
  constructor(graphHost, timelineHost) {
    this.host = graphHost;
    this.state = { model: null, selection: selectionOfAddress(), activeOnly: isActiveOnly(), colours: palette(graphHost) };
    this.grouped = true;
    this.unfolded = new Set();
    this.at = Number(document.getElementById("main")?.dataset.at ?? 0) || null; // the event that is looked at; null: the present
    this.early = [];
    const actions = {
      select: (branch, step) => this.tell("state:select", { branch, step }),
      pick: (id) => this.tell("state:checkpoint", { id }),
      group: (grouped) => this.regroup(grouped),
      unfold: (group) => this.unfold(group),
      activeOnly: showActiveOnly,
    };
    this.graph = new Graph(graphHost, actions);
    this.graph.activeSwitch.input.checked = this.state.activeOnly;
    this.timeline = new Timeline(timelineHost, actions);
    this.charts = [this.graph, this.timeline];
    this.listen();
    this.takeKeys();
  }

  listen() {
    document.addEventListener("state:frame", ({ detail }) => this.take(detail));
    document.addEventListener("state:reset", () => this.fetchSoon());
    document.addEventListener("travel:moved", ({ detail }) => detail.until(this.travel(detail.at)));
    document.addEventListener("state:flags", ({ detail }) => this.flag(detail.branches));
    document.addEventListener("state:select", ({ detail }) => this.select(detail));
    document.addEventListener("state:checkpoint", ({ detail }) => this.pick(detail.id));
    document.addEventListener("state:active", ({ detail }) => this.showActive(detail.only));
    document.addEventListener("visibilitychange", () => this.paintSoon());
    document.addEventListener("tab:show", ({ detail }) => { if (detail.tab !== "graph") this.rest(); });
    document.addEventListener("time:choice", () => this.change({}));
    onThemeChange(() => this.change({ colours: palette(this.host) }));
    this.sight = new IntersectionObserver((entries) => entries.forEach((entry) => this.seen(entry)), { rootMargin: `${NEAR}px` });
    for (const chart of this.charts) this.sight.observe(chart.host);
    setInterval(() => this.tick(), 1000);
  }

  // Keys work wherever the focus is; those of arrows and Enter where a chart has it.
  takeKeys() {
    key("g", "Go to the graph, then to the timeline", () => this.goToCharts());
    key("c", "Centre what is selected", () => this.eachInSight((chart) => chart.centre()));
    key("f", "Full screen", () => this.fillScreen());
    if (document.getElementById("travel")) return;
    key("[", "Previous checkpoint", () => this.state.model && this.timeline.nextMark(-1));
    key("]", "Next checkpoint", () => this.state.model && this.timeline.nextMark(1));
  }

  showActive(activeOnly) {
    this.graph.activeSwitch.input.checked = activeOnly;
    this.change({ activeOnly });
  }

  fillScreen() {
    if (document.fullscreenElement) return void document.exitFullscreen();
    this.host.closest("[data-panel]").requestFullscreen().catch(() => this.complain("The browser does not show this in full screen."));
  }

  eachInSight(act) {
    if (!this.state.model || !this.host.offsetParent) return false;
    for (const chart of this.charts) act(chart);
    return true;
  }

  goToCharts() {
    if (!this.host.offsetParent) document.querySelector('[data-tab="graph"][href]')?.click();
    const target = this.graph.plot.contains(document.activeElement) ? this.timeline.scroll : this.graph.plot;
    target.focus();
    target.scrollIntoView({ block: "nearest" });
  }

  async start() {
    const [Plotly] = await Promise.all([loadPlotly(this.host.dataset.plotlyUrl), this.fetch()]);
    // The answer was for an event that nobody looks at any more.
    while (!this.state.model) await this.fetch();
    await nextTask(); // what was fetched has just been taken apart
    this.wanted = false;
    this.sayEmpty();
    this.graph.take(this.state, Plotly);
    this.graph.draw();
    await nextTask();
    this.Plotly = Plotly;
    this.timeline.take(this.state, Plotly);
    this.timeline.draw();
    this.host.dataset.seq = this.state.model.seq;
    if (this.wanted) this.paintSoon();
    document.dispatchEvent(new CustomEvent("charts:ready"));
  }

  tell(name, detail) {
    document.dispatchEvent(new CustomEvent(name, { detail: { ...detail, by: "charts" } }));
  }

  // Data

  async fetch() {
    const began = performance.now();
    this.fetched = began;
    const address = new URL(this.host.dataset.chartsUrl, location.href);
    if (this.at !== null) address.searchParams.set("at", this.at);
    if (!this.grouped) address.searchParams.set("groups", "open");
    for (const group of this.unfolded) address.searchParams.append("unfolded", group);
    const response = await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" });
    if (!response.ok) throw new Error(await reasonOf(response));
    const json = await response.json();
    this.cost = performance.now() - began;
    this.accept(json);
  }

  // What rules say of branches: id → words.
  flag(branches) {
    if (!branches.size && !this.flags?.size) return;
    this.flags = branches;
    if (!this.state.model) return;
    this.state.model.flags = branches;
    this.paintSoon();
  }

  // Another event is looked at, or the present again (null): what was asked for before counts no more.
  async travel(at) {
    this.at = at;
    await this.fetch().catch((error) => this.complain(`The charts could not be read: ${error.message}`));
  }

  accept(json) {
    const { model } = this.state;
    if ((json.at ?? null) !== this.at) return;
    if (!json.at && model?.past === null && json.seq < model.seq && json.session_id === model.sessionId) return this.acceptLayout(json);
    this.state.model = modelFrom(json, Date.now());
    this.state.model.flags = this.flags;
    this.state.figure = json.timeline.figure;
    this.stale = false;
    this.graph.setLayout(graphFrom(json));
    const waiting = this.early.splice(0);
    for (const frame of waiting) this.take(frame);
    this.complain("");
    this.paintSoon();
  }

  // Frames overtook the answer: what it says of statuses is old, where its boxes stand is not.
  acceptLayout(json) {
    this.complain("");
    if (this.stale) return this.fetchSoon();
    this.graph.setLayout(graphFrom(json));
    if (!this.graph.holdsAll(this.state.model)) this.fetchSoon();
    this.paintSoon();
  }

  // At once, where the last time is long enough ago; a costly picture is asked for less often.
  get pause() {
    const pause = Math.min(Math.max(FETCH_AFTER, 4 * (this.cost ?? 0)), MOST_FETCH_PAUSE);
    return Math.max(0, pause - (performance.now() - (this.fetched ?? 0)));
  }

  fetchSoon(delay = this.pause) {
    if (this.fetching) {
      this.again = true;
      return;
    }
    this.fetching = setTimeout(async () => {
      try {
        await this.fetch();
        this.failures = 0;
      } catch (error) {
        this.failures = (this.failures ?? 0) + 1;
        this.complain(`The charts could not be read: ${error.message}`);
        this.again = true;
      }
      this.fetching = null;
      if (this.again) this.fetchAgain();
    }, delay);
  }

  fetchAgain() {
    this.again = false;
    this.fetchSoon(this.failures ? Math.min(MOST_RETRY, 1000 * 2 ** this.failures) : undefined);
  }

  take(frame) {
    const { model } = this.state;
    if (!model) {
      this.early.push(frame);
      return;
    }
    if (frame.after > model.seq) {
      this.fetchSoon();
      return;
    }
    const changes = foldFrame(model, frame);
    this.stale ||= changes.refetch;
    if (changes.structure || changes.refetch) this.fetchSoon();
    if (changes.branches.size || changes.session || changes.checkpoints) this.paintSoon();
  }

  complain(text) {
    this.complaint ??= this.host.appendChild(make("p", "chart-error"));
    this.complaint.setAttribute("role", "status");
    this.complaint.textContent = text;
  }

  // A group shows its members; null folds all of them again.
  unfold(group) {
    if (group) this.unfolded.add(group);
    else this.unfolded.clear();
    this.graph.foldButton.hidden = !this.unfolded.size;
    this.graph.view = null;
    this.graph.cursor = null;
    this.fetchSoon(0);
  }

  regroup(grouped) {
    this.grouped = grouped;
    this.unfolded.clear();
    this.graph.foldButton.hidden = true;
    this.graph.view = null;
    this.fetchSoon(0);
  }

  // Selection

  select({ branch = null, step = null }) {
    this.change({ selection: { branch, step, checkpoint: null } });
    if (branch) this.timeline.revealBranch(branch);
  }

  pick(id) {
    this.change({ selection: { ...this.state.selection, checkpoint: id } });
  }

  change(values) {
    Object.assign(this.state, values);
    this.wanted = true;
    if (this.Plotly && this.state.model) this.paint();
  }

  // Painting: at most ten times a second, less often where it is costly, and never while nobody looks.

  paintSoon() {
    this.wanted = true;
    if (!this.Plotly || this.painting || document.hidden) return;
    const pause = Math.min(Math.max(PAINT_EVERY, 2 * (this.paintCost ?? 0)), MOST_PAUSE);
    const wait = Math.max(0, pause - (performance.now() - (this.painted ?? 0)));
    this.painting = setTimeout(() => requestAnimationFrame(() => this.paint()), wait);
  }

  paint() {
    clearTimeout(this.painting);
    this.painting = null;
    const began = performance.now();
    this.sayEmpty();
    for (const chart of this.charts) {
      chart.take(this.state, this.Plotly);
      chart.isLate = chart.isOutOfSight;
      if (!chart.isLate) chart.draw();
    }
    this.painted = performance.now();
    this.paintCost = this.painted - began;
    if (!this.stale) this.host.dataset.seq = this.state.model.seq;
  }

  // The page then says what will be here, in the place of charts of nothing.
  sayEmpty() {
    const panel = this.host.closest("[data-empty]");
    if (panel) panel.dataset.empty = this.state.model.branches.size === 0;
  }

  // What is far out of sight is drawn when it comes near.
  seen({ target, isIntersecting }) {
    const chart = this.charts.find(({ host }) => host === target);
    chart.isOutOfSight = !isIntersecting;
    if (chart.isLate && isIntersecting) this.paintSoon();
  }

  // Nobody sees them: their elements go. They are drawn again once they have a width.
  rest() {
    for (const chart of this.charts) {
      chart.following = false;
      this.Plotly?.purge(chart.plot);
    }
  }

  tick() {
    if (!this.Plotly || !this.state.model || document.hidden || !this.host.offsetParent) return;
    for (const chart of this.charts) if (!chart.isOutOfSight) chart.tick();
  }
}

// What the page asked for ahead comes as a page where it fails, what is asked for here as JSON.
async function reasonOf(response) {
  const isJson = response.headers.get("Content-Type")?.includes("json");
  return (isJson && (await response.json()).error) || `The server answered ${response.status}.`;
}

function selectionOfAddress() {
  const query = new URLSearchParams(location.search);
  return { branch: query.get("branch"), step: query.get("step"), checkpoint: null };
}

// A line that is cut while the page opens leaves nobody without charts: they are asked for again, once it is back.
async function begin(charts, tries = 1) {
  try {
    await charts.start();
  } catch (error) {
    charts.complain(`The charts could not be drawn: ${error.message}`);
    if (tries === MOST_TRIES) throw error;
    await (isOnline() ? pause(AGAIN_AFTER * 2 ** (tries - 1)) : online());
    await begin(charts, tries + 1);
  }
}

const isOnline = () => document.getElementById("live-badge")?.dataset.state !== "offline";
const nextTask = () => pause(0);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function online() {
  return new Promise((resolve) => {
    document.addEventListener("state:status", function heard() {
      if (!isOnline()) return;
      document.removeEventListener("state:status", heard);
      resolve();
    });
  });
}

const graphHost = document.getElementById("graph");
const timelineHost = document.getElementById("timeline");
if (graphHost && timelineHost) {
  const charts = new Charts(graphHost, timelineHost);
  begin(charts);
}
