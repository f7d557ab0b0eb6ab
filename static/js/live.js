// The live line of a page: one socket, one number. "Give me what comes after n."
//
// The page names it: <body data-socket="/ws/sessions/…">; where it shows one session, <main data-seq>.
// Dispatches on document: state:frame {frame}, state:list {frame}, state:reset, state:gone {message},
// state:peek {status} (of a session whose frames nobody looks at: the tab is hidden or frozen),
// state:presence {people, more} (who looks at the session),
// state:needs {count, more} (questions that wait for a person, over all sessions),
// state:open {again} (the list's line is good), state:missed (the list's page is to be asked for anew),
// state:trouble {message}, state:status {state, status}: when the line, or the session, changes its status.
import { key } from "./keys.js";
import { now, relative, setServerTime, ticking } from "./time.js";

// Whoever comes back soon is not kept waiting; a server that is away for long is left alone.
const FIRST_RETRY = 300, LONGEST_RETRY = 500, SLOW_RETRY = 5000;
const SOON = 120000;
const ACK_FRAMES = 8, ACK_BYTES = 200000, ACK_AFTER = 500;
const SILENCE = 25000; // the server says something every 10 s
const ASK_AGAIN = 2000;
const ALIVE = "/alive/", ANSWER_WITHIN = 5000;
const THIN = "\u202f";
const REFUSED = {
  4401: "Signed out",
  4403: "No permission",
  4404: "Not found",
};

const main = document.getElementById("main");
const badge = document.getElementById("live-badge");
const address = document.body.dataset.socket;
const session = main.dataset.seq !== undefined;

const line = {
  socket: null,
  have: Number(main.dataset.seq ?? 0),
  missing: 0,
  updated: Date.parse(main.dataset.updated) || null, // when something was last applied, on the server's clock
  offlineSince: null,
  storeAway: "",
  refused: 0,
  frozen: false,
  retries: 0,
  heardAt: 0,
  askedAt: 0,
  timer: 0,
  asksIfAlive: false,
  opened: 0,
  heldRows: new Set(), // of a list that is frozen
  unread: { frames: 0, bytes: 0, timer: 0 },
};

export const have = () => line.have;

let concerns = () => true;

// Which rows of a list are counted while it is frozen.
export function countOnly(test) {
  concerns = test;
}

const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
const number = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, THIN);

// Connecting

function connect() {
  clearTimeout(line.timer);
  if (line.refused || line.socket) return;
  const socket = new WebSocket(new URL(address, location.href.replace(/^http/, "ws")));
  line.socket = socket;
  line.heardAt = Date.now();
  socket.addEventListener("open", () => { line.socket === socket ? opened() : socket.close(); });
  socket.addEventListener("message", ({ data }) => { if (line.socket === socket) hear(JSON.parse(data), data.length); });
  socket.addEventListener("close", ({ code }) => { if (line.socket === socket) lost(code); });
}

function lost(code) {
  line.socket = null;
  line.offlineSince ??= Date.now();
  if (REFUSED[code] || line.refused) line.refused ||= code;
  else retryLater();
  show();
}

function opened() {
  line.opened += 1;
  if (document.hidden) say({ rest: true });
  else if (session) ask();
  if (!session && !line.frozen) tell("state:open", { again: line.opened > 1 });
  if (!session && line.frozen) line.heldRows.add("");
}

function retryLater() {
  const isLong = document.hidden || Date.now() - line.offlineSince > SOON;
  const wait = Math.min(isLong ? SLOW_RETRY : LONGEST_RETRY, FIRST_RETRY * 2 ** line.retries);
  line.retries += 1;
  clearTimeout(line.timer);
  line.timer = setTimeout(connectOnceItAnswers, wait * (0.5 + Math.random() / 2));
}

// A browser keeps new sockets waiting after many have failed: Chromium for up to 5 s. So whoever was cut off asks
// by HTTP, which nothing holds back, until the server answers.
async function connectOnceItAnswers() {
  clearTimeout(line.timer);
  if (line.asksIfAlive) return;
  line.asksIfAlive = true;
  const answers = await isAlive();
  line.asksIfAlive = false;
  answers ? connect() : retryLater();
}

async function isAlive() {
  try {
    return (await fetch(ALIVE, { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN) })).ok;
  } catch {
    return false; // the line, or the server, is away: what the badge says
  }
}

function drop() {
  const socket = line.socket;
  if (!socket) return;
  lost(0);
  close(socket);
}

// Closing one that still connects is a complaint in the console: that one closes when it is open, or goes with the page.
function close(socket) {
  if (socket?.readyState === WebSocket.OPEN) socket.close();
}

function retryNow() {
  if (line.socket || line.refused) return;
  line.retries = 0;
  connectOnceItAnswers();
}

export function say(message) {
  if (line.socket?.readyState === WebSocket.OPEN) line.socket.send(JSON.stringify(message));
}

function ask() {
  if (line.frozen || document.hidden) return;
  line.askedAt = Date.now();
  say({ after: line.have });
}

// Hearing

function hear(message, size) {
  line.heardAt = Date.now();
  line.retries = 0;
  if (message.at) setServerTime(message.at);
  HEARD[message.type]?.(message, size);
  show();
}

const HEARD = {
  frame: hearFrame,
  list(message) {
    online();
    if (line.frozen) return void [...message.rows, ...message.gone].filter(concerns).forEach(({ store, id }) => line.heldRows.add(`${store}/${id}`));
    line.updated = now();
    tell("state:list", message);
  },
  missed: () => tell("state:missed", {}),
  pulse(message) {
    online();
    if (!session) return;
    line.missing = Math.max(0, message.seq - line.have);
    if (line.frozen || document.hidden) return void tell("state:peek", { status: message.status });
    if (line.missing && Date.now() - line.askedAt > ASK_AGAIN) ask();
  },
  store(message) {
    line.storeAway = message.reachable ? "" : message.message;
    line.awaySince = message.reachable ? null : line.awaySince ?? Date.now();
  },
  needs: (message) => tell("state:needs", message),
  presence: (message) => tell("state:presence", message),
  trouble: (message) => tell("state:trouble", message),
  gone(message) {
    line.refused = 4404;
    tell("state:gone", message);
  },
  refused(message) {
    if (REFUSED[message.code]) line.refused = message.code;
    tell("state:trouble", message);
  },
};

function hearFrame(frame, size) {
  if (line.frozen || document.hidden) {
    line.missing = frame.last - line.have;
    tell("state:peek", { status: frame.status });
    return;
  }
  if (frame.after > line.have) return gap(frame);
  if (frame.seq < line.have) return;
  online();
  apply(frame);
  acknowledge(size);
}

function gap(frame) {
  line.missing = frame.last - line.have;
  if (Date.now() - line.askedAt > ASK_AGAIN || line.askedAt === 0) ask();
}

// A frame may begin before what is here, after a reconnection: its rows show the present, its events are
// those that are new.
function apply(frame) {
  if (frame.after < line.have) {
    const have = line.have;
    frame.events = frame.events.filter((event) => event.seq > have);
    frame.after = have;
  }
  line.have = frame.seq;
  line.missing = Math.max(0, frame.last - frame.seq);
  line.askedAt = 0;
  if (frame.events.length) line.updated = now();
  tell("state:frame", frame);
  if (frame.reset) tell("state:reset", { seq: frame.seq });
}

// The server stops sending to who has too much unread. Not each frame is worth a message of its own.
function acknowledge(size) {
  const { unread } = line;
  unread.frames += 1;
  unread.bytes += size;
  if (unread.frames >= ACK_FRAMES || unread.bytes >= ACK_BYTES) sayRead();
  else unread.timer ||= setTimeout(sayRead, ACK_AFTER);
}

function sayRead() {
  clearTimeout(line.unread.timer);
  line.unread = { frames: 0, bytes: 0, timer: 0 };
  say({ ack: line.have });
}

function online() {
  line.offlineSince = null;
}

// Hidden tabs and frozen pages read nothing; then they catch up.

function catchUp() {
  if (!line.socket) return retryNow();
  if (session) ask();
  else say({ rest: false });
}

document.addEventListener("visibilitychange", () => { document.hidden ? say({ rest: true }) : catchUp(); });
addEventListener("online", retryNow);
addEventListener("offline", drop);
addEventListener("pagehide", () => close(line.socket));
addEventListener("pageshow", (event) => { if (event.persisted) retryNow(); });

function freeze() {
  line.frozen = !line.frozen;
  if (!line.frozen) goLive();
  show();
}

function goLive() {
  if (line.heldRows.size) tell("state:missed", {});
  line.heldRows.clear();
  catchUp();
}

// The badge

function state() {
  if (line.refused) return "offline";
  if (line.frozen) return "frozen";
  if (line.storeAway) return "offline";
  if (line.offlineSince) return "offline";
  if (!line.socket || line.socket.readyState !== WebSocket.OPEN) return "connecting";
  return line.missing > 0 ? "behind" : "live";
}

const seconds = (since) => ticking((Date.now() - since) / 1000);

const TEXTS = {
  live: () => ["Live", line.updated && `updated ${age()}`, session && `event ${number(line.have)}`],
  behind: () => [`Catching up ${number(line.missing)}`],
  frozen: () => ["Frozen", line.missing > 0 && `${number(line.missing)} behind`, line.heldRows.size > 0 && `${number(line.heldRows.size)} changed`],
  connecting: () => ["Connecting"],
  offline() {
    if (line.refused) return [REFUSED[line.refused] ?? "Closed"];
    if (line.storeAway) return [`Store away ${seconds(line.awaySince)}`, "retrying"];
    return [`Offline ${seconds(line.offlineSince)} – retrying`];
  },
};

function age() {
  const since = Math.max(0, (now() - line.updated) / 1000);
  if (since < 1) return "just now";
  return since < 60 ? `${ticking(since)} ago` : relative(new Date(line.updated).toISOString());
}

const label = document.createElement("span");
const button = document.createElement("button");
let shown = "";

function show() {
  const is = state();
  const text = TEXTS[is]().filter(Boolean).join(" · ");
  if (label.textContent !== text) label.textContent = text;
  if (is === shown) return;
  shown = is;
  badge.dataset.state = is;
  button.textContent = line.frozen ? "Go live" : "Freeze";
  button.hidden = !line.frozen && is !== "live";
  tell("state:status", { state: is, status: main.dataset.status });
}

button.type = "button";
button.className = "quiet";
button.title = "Stop or go on showing what happens (l)";
button.addEventListener("click", freeze);
key("l", "Freeze, or go live", freeze);
badge.append(label, button);

setInterval(() => {
  if (line.socket && Date.now() - line.heardAt > SILENCE) drop();
  if (!document.hidden) show();
}, 1000);

// After every module of the page had its turn to listen, and before what is large has come.
document.addEventListener("DOMContentLoaded", connect);
if (document.readyState === "complete") connect();
show();
