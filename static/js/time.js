// Times and durations that go on by themselves: <time data-relative datetime>, [data-since].
// The formats are those of templatetags/state.py. The server's clock counts, not the browser's.
import { clock, isRelative, moment, stamp } from "./clock.js";

const MINUTE = 60, HOUR = 3600, DAY = 86400;
let offset = 0;

export function setServerTime(iso) {
  const server = Date.parse(iso);
  if (!Number.isNaN(server)) offset = server - Date.now();
}

export const now = () => Date.now() + offset;

export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  return long(Math.round(s));
}

function long(whole) {
  const two = (n) => String(n).padStart(2, "0");
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} m ${two(whole % MINUTE)} s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)} h ${two(Math.floor((whole % HOUR) / MINUTE))} m`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

// Durations that tick have no tenths: they would flicker.
export function ticking(seconds) {
  const s = Math.max(0, seconds);
  return s < MINUTE ? `${Math.floor(s)} s` : long(Math.floor(s));
}

export function relative(iso) {
  const seconds = (now() - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return "";
  if (seconds < 10) return "just now";
  for (const [size, unit] of [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

function write(element, text) {
  if (text && element.textContent !== text) element.textContent = text;
}

// Somebody who looks at the past sees its clock stand: <main data-at-time>.
const present = () => Date.parse(document.getElementById("main")?.dataset.atTime) || now();

export function refresh(root = document) {
  for (const time of root.querySelectorAll("time[data-relative]")) write(time, isRelative() ? relative(time.dateTime) : moment(time.dateTime, now()));
  for (const time of root.querySelectorAll("time[data-clock]")) write(time, clock(time.dateTime));
  for (const span of root.querySelectorAll("[data-since]")) {
    write(span, ticking((present() - Date.parse(span.dataset.since)) / 1000));
  }
}

document.addEventListener("time:choice", () => {
  for (const time of document.querySelectorAll("time[data-exact]")) delete time.dataset.exact;
  refresh();
});

// The exact time is written when somebody asks for it.
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("time[datetime]");
  if (time && !time.dataset.exact) {
    time.dataset.exact = "1";
    time.title = `${stamp(time.dateTime)} (${time.dateTime})`;
  }
});

setServerTime(document.body.dataset.now);
refresh();
setInterval(() => document.hidden || refresh(), 1000);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
document.addEventListener("time:refresh", (event) => refresh(event.detail?.root ?? document));
