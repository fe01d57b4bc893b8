// One tenant's page.

import { ask, notice, of, send } from "./act.js";
import { Chart } from "./charts.js";
import { showEvents } from "./events.js";
import { Live } from "./live.js";
import { GROUP_OF } from "./table.js";
import { Tokens } from "./tokens.js";
import { NOTHING, age, clock, dated, digits, lasting, localise, milliseconds, put, size, timeOf } from "./words.js";

const KEPT_LINES = 500;
const BOTTOM = 40;
const AGEING = 1000;

const page = document.getElementById("tenant");
const { name, gateway, overlap } = page.dataset;
const cells = {};
for (const cell of page.querySelectorAll("[data-cell]")) cells[cell.dataset.cell] = cell;
const uptime = page.querySelector("[data-uptime]");
const since = page.querySelector(".since");
const active = page.querySelector(".of-active time");
const log = document.getElementById("log");
const tokens = new Tokens(name, gateway, overlap);
const events = document.getElementById("events");

const figure = (key) => document.querySelector(`[data-chart=${key}]`);
const percent = (value) => `${digits(value)} %`;
const charts = {
  memory: new Chart(figure("memory"), [""], size, 2 ** 20, Array.from({ length: 40 }, (_, n) => 2 ** n)),
  cpu: new Chart(figure("cpu"), [""], percent, 5),
  threads: new Chart(figure("threads"), [""], digits, 4, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
  requests: new Chart(figure("requests"), ["requests/s", "errors/s"], digits, 1),
  latency: new Chart(figure("latency"), ["p50", "p90", "p99"], milliseconds, 1),
};

const number = (value) => (value === null ? NOTHING : String(value));

let row = null;
// Seconds that the server's clock is ahead of this one: its tokens are valid by its own.
let ahead = 0;
const seconds = () => Date.now() / 1000 + ahead;

const BY_HAND = "stopped by hand";
// What explains the state of one that never ran, by its mark.
const NEVER_RAN = {
  "": "It was not needed yet: the first request starts it.",
  disabled: "Its users get 403 until it is enabled.",
  [BY_HAND]: "Its users get errors until it is started.",
};
const RUNS = ["starting", "healthy", "unhealthy"];

function useless(act) {
  if (act === "enable") return false;
  if (row.mark === "disabled") return true;
  if (act === "start") return RUNS.includes(row.state);
  return act === "stop" && row.mark === BY_HAND && row.state === "stopped";
}

function show(now) {
  put(cells.state, row.state);
  cells.state.className = `state is-${GROUP_OF[row.state]}`;
  put(cells.mark, row.mark === row.state ? "" : row.mark);
  put(cells.reason, row.reason || NEVER_RAN[row.mark] || NEVER_RAN[""]);
  put(cells.rate, digits(row.rate));
  put(cells.in_flight, number(row.in_flight));
  put(cells.p50, milliseconds(row.p50));
  put(cells.p99, milliseconds(row.p99));
  put(cells.errors, number(row.errors));
  page.querySelector("[data-tile=errors]").classList.toggle("bad", row.errors > 0);
  put(cells.memory, size(row.memory));
  put(cells.threads, number(row.threads));
  put(cells.restarts, number(row.restarts));
  put(cells.storage, size(row.storage));
  const meter = page.querySelector("meter");
  if (meter) meter.value = row.storage || 0;
  put(cells.pid, number(row.pid));
  put(cells.requests, number(row.requests));
  for (const button of page.querySelectorAll("[data-act]")) button.disabled = useless(button.dataset.act);
  page.querySelector("[data-act=disable]").hidden = row.mark === "disabled";
  page.querySelector("[data-act=enable]").hidden = row.mark !== "disabled";
  times(now);
}

function times(now) {
  tokens.age(now);
  if (row && row.active !== null) active.dataset.at = row.active;
  age(page, now);
  if (!row) return;
  put(uptime, row.started === null ? NOTHING : lasting(now - row.started));
  since.hidden = row.since === null;
  if (row.since !== null) dated(since.querySelector("time"), row.since, lasting(now - row.since));
}

function explain(why) {
  const ending = document.getElementById("ending");
  ending.hidden = !why.ending;
  if (why.ending) {
    put(ending.querySelector("b"), why.ending.reason);
    dated(ending.querySelector("time"), why.ending.at, clock(why.ending.at));
  }
  const next = document.getElementById("next-try");
  next.hidden = !why.next_try;
  if (why.next_try) dated(next.querySelector("time"), why.next_try, clock(why.next_try));
}

function measure({ at, memory, threads, cpu }, anew) {
  for (const [key, values] of Object.entries({ memory, threads, cpu })) {
    if (anew) charts[key].set([at, values]);
    else charts[key].add([at, values]);
  }
}

function draw({ end, step, rate, errors, p50, p90, p99 }) {
  const at = rate.map((_, n) => end - (rate.length - 1 - n) * step);
  charts.requests.set([at, rate, errors]);
  charts.latency.set([at, p50, p90, p99]);
}

function print(lines, anew) {
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < BOTTOM;
  if (anew || log.querySelector(".none")) log.replaceChildren();
  for (const { at, stream, text } of lines) {
    const line = document.createElement("p");
    if (stream === "stderr") line.className = "err";
    else if (stream === "sqsuper") line.className = "own";
    const said = document.createElement("span");
    said.textContent = text;
    line.append(timeOf(at, clock(at)), " ", said);
    log.append(line);
  }
  while (log.children.length > KEPT_LINES) log.firstElementChild.remove();
  if (follows || anew) log.scrollTop = log.scrollHeight;
}

let left = false;

function leave() {
  if (!left) location.replace("/");
  left = true;
}

new Live(`/events/stream/${encodeURIComponent(name)}`, ["tenant", "gone"], (kind, told) => {
  if (kind === "gone") {
    leave();
    return;
  }
  if (told.all) ahead = told.now - Date.now() / 1000;
  if (told.row) {
    row = told.row;
    show(seconds());
  }
  if (told.why) explain(told.why);
  if (told.tokens) tokens.take(told.tokens);
  if (told.used) tokens.use(told.used, seconds());
  if (told.samples) measure(told.samples, told.all);
  if (told.traffic) draw(told.traffic);
  if (told.events) showEvents(events, told.events, { anew: told.all, named: false });
  if (told.lines) print(told.lines, told.all);
});
setInterval(() => document.hidden || times(seconds()), AGEING);
localise(document);
log.scrollTop = log.scrollHeight;

const ACTS = {
  start: ["Start", "Its process is started now, and may be started by requests again if it was stopped by hand.", "started"],
  restart: ["Restart", "Requests under way are finished first, new ones wait until the next process takes them.", "restarted"],
  reset: ["Reset", "Its failures are forgotten; if it waits for its next try, it is tried at once.", "reset"],
  stop: ["Stop", "Requests under way are finished first. Then it stays stopped and its users get errors, also after a restart of sqsuper, until it is started.", "stopped", true],
  disable: ["Disable", "Requests under way are finished first. Then its users get 403, also after a restart of sqsuper, until it is enabled.", "disabled", true],
  enable: ["Enable", "It is served again: the first request starts it.", "enabled"],
};

for (const button of page.querySelectorAll("[data-act]")) {
  button.addEventListener("click", async () => {
    const [title, text, done, danger] = ACTS[button.dataset.act];
    if (!(await ask(`${title} ${name}?`, text, title, { danger }))) return;
    button.disabled = true;
    try {
      await send("POST", of(name, button.dataset.act));
      notice(`${name} was ${done}.`);
    } catch (error) {
      notice(`${title}: ${error.message}`, true);
    } finally {
      button.disabled = useless(button.dataset.act);
      button.focus();
    }
  });
}

const remove = document.getElementById("remove");
remove.addEventListener("click", async () => {
  const text = "Its process is ended and its tokens are good for nothing. Its data is put aside, not deleted.";
  if (!(await ask(`Remove ${name}?`, text, "Remove", { danger: true, typed: name }))) return;
  remove.disabled = true;
  try {
    await send("DELETE", of(name));
    leave();
  } catch (error) {
    notice(`Not removed: ${error.message}`, true);
    remove.disabled = false;
  }
});
