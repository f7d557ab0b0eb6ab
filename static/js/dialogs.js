// Acts on a session. A button [data-act] opens its dialog, which the server writes for the present state;
// confirming sends it. The page is not changed from here: it changes when the log says so.
import "./difference.js";
import { key } from "./keys.js";
import { toast } from "./toast.js";
import { problemWith } from "./json.js";

const FRAGMENT = { headers: { "X-Fragment": "dialog" } };
const dialog = document.getElementById("act-dialog");

// Opening

export async function openFragment(url, options = {}) {
  show(await fragment(url, options));
}

function show(html) {
  dialog.innerHTML = html;
  prepare();
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("input:not([type=hidden]), textarea, select") ?? dialog).focus();
}

async function fragment(url, options) {
  const response = await fetch(url, { ...FRAGMENT, ...options });
  if (response.redirected) location.reload();
  if (response.ok) return response.text();
  throw new Error(await said(response));
}

async function said(response) {
  const text = await response.text();
  const page = new DOMParser().parseFromString(text, "text/html");
  return page.querySelector(".empty p")?.textContent ?? `The server answered ${response.status}.`;
}

function prepare() {
  dialog.querySelector("[data-close]").addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  for (const select of dialog.querySelectorAll("[data-refetch]")) {
    select.addEventListener("change", () => refetch(select));
  }
  document.dispatchEvent(new CustomEvent("time:refresh", { detail: { root: dialog } }));
}

const OF_ONE_LOOK = new Set(["csrfmiddlewaretoken", "asked_at", "answer", "edited", "seq", "expected_seq", "unedited"]);

// Another checkpoint or question was chosen: what follows is another thing then. What was typed stays.
async function refetch(select) {
  const form = select.form;
  const typed = [...new FormData(form)].filter(([name]) => !OF_ONE_LOOK.has(name) && !name.startsWith("answer."));
  const query = new URLSearchParams({ [select.name]: select.value });
  await openFragment(`${form.getAttribute("action")}?${query}`).catch(tell);
  for (const [name, value] of typed) {
    const field = dialog.querySelector("form").elements[name];
    if (field && name !== select.name) field.value = value;
  }
  dialog.querySelector(`[name="${select.name}"]`).focus();
}

const tell = (error) => toast(error.message, "error");

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-act]");
  if (!button || !dialog) return;
  event.preventDefault();
  button.closest("details")?.removeAttribute("open");
  if (button.getAttribute("aria-disabled") === "true") return toast(button.title, "error");
  openFragment(addressOf(button)).catch(tell);
});

function addressOf(button) {
  const url = new URL(button.dataset.href ?? button.form.action, location);
  if (button.dataset.checkpoint) url.searchParams.set("checkpoint", button.dataset.checkpoint);
  if (button.dataset.question) url.searchParams.set("question", button.dataset.question);
  if (button.dataset.choice) url.searchParams.set("answer", button.dataset.choice);
  return url;
}

// Checking before it is sent

export function firstProblem(form) {
  for (const field of form.elements) {
    const problem = problemOf(field);
    if (problem) return { field, problem };
  }
  return null;
}

function problemOf(field) {
  if (field.dataset?.json !== undefined) {
    const problem = problemWith(field.value, field.dataset.json);
    if (problem) return problem;
  }
  if (field.dataset?.equals && field.value.trim() !== field.dataset.equals) return `Type ${field.dataset.equals} to confirm.`;
  if (field.willValidate && !field.validity.valid) return `${labelOf(field)}: ${field.validationMessage}`;
  return "";
}

const labelOf = (field) => (field.labels?.[0]?.firstChild?.textContent ?? field.name).trim();

export function showProblem(form, text, field) {
  const line = form.querySelector("[data-problem]");
  line.textContent = text;
  line.hidden = !text;
  for (const other of form.querySelectorAll("[aria-invalid]")) other.removeAttribute("aria-invalid");
  if (!field?.setAttribute) return;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

// Sending

document.addEventListener("submit", (event) => {
  const form = event.target.closest?.("[data-act-form]");
  if (!form) return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("[data-confirm]");
  if (button.getAttribute("aria-busy") === "true" || button.getAttribute("aria-disabled") === "true") return;
  const found = firstProblem(form);
  showProblem(form, found?.problem ?? "", found?.field);
  if (!found) send(form, button);
});

async function send(form, button) {
  button.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form, button)),
      headers: { Accept: "application/json" },
    });
    done(form, await response.json());
  } catch (error) {
    const words = error instanceof SyntaxError ? "The server's answer could not be read." : "The server could not be reached.";
    showProblem(form, `${words} It is not known whether this was done; look at the log before you repeat it.`);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function done(form, answer) {
  if (!answer.ok) return showProblem(form, answer.error, fieldOf(form, answer.fields));
  if (answer.dialog) return goOn(form, answer.dialog);
  if (answer.location) return void location.assign(answer.location);
  if (!dialog?.contains(form)) return void location.assign(form.querySelector("[data-close]").href);
  dialog.close();
  const link = answer.logged && document.body.dataset.page === "session" ? { href: "?tab=log", text: "See the log" } : null;
  toast(answer.message, "success", link);
  refreshActs();
}

// What follows stands where the form stood: in the dialog, or on a page of its own.
function goOn(form, html) {
  if (dialog?.contains(form)) return show(html);
  form.closest(".card").innerHTML = html;
}

function fieldOf(form, fields = {}) {
  const name = Object.keys(fields)[0];
  return name ? form.elements[name] : undefined;
}

// The buttons follow the session's status

async function refreshActs() {
  const acts = document.querySelector("[data-acts]");
  if (!acts) return;
  const response = await fetch(acts.dataset.acts, FRAGMENT);
  if (response.ok) replaceActs(acts, await response.text());
}

function replaceActs(acts, html) {
  const focused = acts.contains(document.activeElement) && document.activeElement.dataset.act;
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  acts.replaceWith(fresh);
  if (focused) fresh.querySelector(`[data-act="${focused}"]`)?.focus();
}

let status = document.getElementById("main").dataset.status;
document.addEventListener("state:status", ({ detail }) => {
  if (detail.status === status) return;
  status = detail.status;
  refreshActs();
});

// Keys open dialogs; they never act

const press = (...verbs) => () => {
  const buttons = verbs.map((verb) => document.querySelector(`[data-acts] [data-act="${verb}"]`)).filter(Boolean);
  (buttons.find((button) => button.getAttribute("aria-disabled") !== "true") ?? buttons[0])?.click();
};
if (document.querySelector("[data-acts]")) {
  key("Shift+P", "Pause or resume…", press("pause", "resume"));
  key("Shift+R", "Restore checkpoint…", press("restore"));
  key("Shift+N", "Answer…", press("answer"));
}
