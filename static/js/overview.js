// Charts of the overview, drawn from their table twins: what the picture shows is what the table says.
import { onThemeChange } from "./charts/colours.js";
import { loadPlotly } from "./charts/load.js";
import { hasTwelveHours, offset } from "./clock.js";
import { colour } from "./palette.js";
import { refresh } from "./time.js";

const place = document.getElementById("figures");
const AGAIN = 5000; // ms between two looks, however much happens
const READING = 1000; // while steps are still being read
const LONGEST_LABEL = 34;
const DAY = 86400000; // ms
// Plotly's own words for a time of day have 24 hours.
const TWELVE_HOURS = [{ dtickrange: [null, DAY - 1], value: "%-I:%M %p\n%b %-d, %Y" }];

// From the table

function read(figure) {
  const table = figure.querySelector("table");
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  return {
    kind: figure.dataset.kind,
    unit: figure.dataset.unit,
    names: rows.map((row) => row.cells[0].dataset.value),
    series: heads.map((head, index) => ({
      label: head.textContent,
      colour: head.dataset.colourName,
      values: rows.map((row) => (row.cells[index + 1].dataset.value === "" ? null : Number(row.cells[index + 1].dataset.value))),
      texts: rows.map((row) => row.cells[index + 1].textContent),
    })),
  };
}

const short = (name) => (name.length > LONGEST_LABEL ? `${name.slice(0, LONGEST_LABEL - 1)}…` : name);
// Plotly reads a few tags in texts; what agents wrote is none.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function traces({ kind, names, series }) {
  const flat = kind !== "stacked";
  return series.map(({ label, colour: name, values, texts }) => {
    const marker = { color: colour(name || "accent") };
    const at = flat ? names.map((_, index) => index) : names.map((moment) => Date.parse(moment) + offset(moment));
    const common = { type: "bar", name: label, marker, customdata: texts.map(plain), hovertext: names.map(plain) };
    return flat
      ? { ...common, orientation: "h", x: values, y: at, hovertemplate: `%{hovertext}<br>${label}: %{customdata}<extra></extra>` }
      : { ...common, x: at, y: values, hovertemplate: `${label}: %{customdata}<extra></extra>` };
  });
}

function layout({ kind, names, series, unit }) {
  const axis = { color: colour("muted"), gridcolor: colour("line"), zerolinecolor: colour("line"), fixedrange: true, automargin: true };
  const flat = kind !== "stacked";
  const largest = Math.max(...series.flatMap((one) => one.values));
  const whole = series.every((one) => one.values.every(Number.isInteger));
  const values = { ...axis, rangemode: "tozero", ticksuffix: unit && ` ${unit}`, nticks: 6 };
  if (unit === "B") Object.assign(values, { tickformat: "~s", ticksuffix: unit });
  if (whole && largest < 6) values.dtick = 1;
  const labels = { ...axis, showgrid: false, zeroline: false };
  if (flat) Object.assign(labels, { ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)", tickvals: names.map((_, index) => index), ticktext: names.map((name) => plain(short(name))), autorange: "reversed" });
  return {
    barmode: kind === "stacked" ? "stack" : "group",
    bargap: 0.25,
    margin: { l: 8, r: 14, t: 8, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 11, color: colour("text") },
    showlegend: series.length > 1,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: flat ? values : { ...labels, type: "date", tickformatstops: hasTwelveHours() ? TWELVE_HOURS : [] },
    yaxis: flat ? labels : values,
    uirevision: "kept",
  };
}

const CONFIG = { displayModeBar: false, responsive: true };

async function draw() {
  const figures = [...place.querySelectorAll("[data-chart]")].filter((figure) => figure.querySelector("[data-plot]"));
  if (!figures.length) return;
  const Plotly = await loadPlotly(new URL(place.dataset.plotly, location).href);
  for (const figure of figures) {
    const facts = read(figure);
    const plot = figure.querySelector("[data-plot]");
    if (facts.kind !== "stacked") plot.style.height = `${60 + 26 * facts.names.length * facts.series.length}px`;
    await Plotly.react(plot, traces(facts), { ...layout(facts), height: plot.clientHeight }, CONFIG);
  }
}

function drawOrSay() {
  draw().catch((error) => {
    for (const plot of place.querySelectorAll("[data-plot]")) plot.textContent = `${error.message} The tables below say the same.`;
    for (const twin of place.querySelectorAll(".twin")) twin.open = true;
  });
}

// Keeping up: what is drawn stays where it is, what is open stays open.

let timer = 0, lookedAt = Date.now(), due = false;

function lookSoon(pause = AGAIN) {
  due = true;
  if (timer || document.hidden) return;
  timer = setTimeout(look, Math.max(0, lookedAt + pause - Date.now()));
}

const goesOn = () => place.querySelector("[data-goes-on]");

async function look() {
  lookedAt = Date.now();
  due = false;
  const response = await fetch(place.dataset.href, { headers: { "X-Fragment": "figures" } }).catch(() => null);
  timer = 0;
  if (response?.redirected) return void location.reload();
  if (response?.ok) merge(await response.text());
  if (goesOn()) lookSoon(READING);
  else if (due) lookSoon();
}

function merge(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content;
  replace(place.querySelector(".tiles"), fresh.querySelector(".tiles"));
  for (const figure of fresh.querySelectorAll("[data-chart]")) {
    const present = place.querySelector(`[data-chart="${figure.dataset.chart}"]`);
    const hadPlot = present.querySelector("[data-plot]"), hasPlot = figure.querySelector("[data-plot]");
    if (!hadPlot !== !hasPlot) present.replaceWith(figure);
    else for (const part of ["figcaption", "table"]) replace(present.querySelector(part), figure.querySelector(part));
  }
  refresh(place);
  drawOrSay();
}

function replace(present, fresh) {
  if (!present.isEqualNode(fresh) && !present.contains(document.activeElement)) present.replaceWith(fresh);
}

document.addEventListener("state:list", ({ detail }) => (detail.rows?.length || detail.gone?.length) && lookSoon());
document.addEventListener("visibilitychange", () => due && lookSoon());
onThemeChange(drawOrSay);
document.addEventListener("time:choice", drawOrSay);
drawOrSay();
if (goesOn()) lookSoon(READING);
