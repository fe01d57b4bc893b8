// The page of all tenants.

import { adding, opening } from "./act.js";
import { showEvents } from "./events.js";
import { Live } from "./live.js";
import { GROUPS, Table } from "./table.js";
import { age, ago, digits, localise, milliseconds, put, size, timeOf } from "./words.js";

const AGEING = 5000;
const { title } = document;
const ASCENDING = ["name", "state", "port"];

const search = document.getElementById("search");
const text = document.getElementById("q");
const groups = document.getElementById("groups");
const heads = document.querySelectorAll("th[data-sort]");
const sorting = document.getElementById("sort");
const more = document.getElementById("more");
const events = document.getElementById("events");

const query = new URLSearchParams(location.search);
const wanted = {
  text: text.value.trim().toLowerCase(),
  group: query.get("group") in GROUPS ? query.get("group") : "",
  sort: sorting.value,
  turned: false,
};

const table = new Table(wanted, () => {
  document.getElementById("empty").hidden = table.shown > 0;
  document.getElementById("pages").hidden = true;
  more.hidden = table.shown === table.found;
  put(more.firstElementChild, `${table.shown} of ${table.found}`);
});

function remember() {
  const told = new URLSearchParams();
  if (wanted.text) told.set("q", wanted.text);
  if (wanted.group) told.set("group", wanted.group);
  if (wanted.sort !== "name") told.set("sort", wanted.sort);
  history.replaceState(null, "", told.size ? `/?${told}` : "/");
}

function selectAnew() {
  table.most = 1000;
  table.select(true);
  for (const head of heads) {
    if (head.dataset.sort !== wanted.sort) head.removeAttribute("aria-sort");
    else head.ariaSort = ASCENDING.includes(wanted.sort) !== wanted.turned ? "ascending" : "descending";
  }
  for (const link of groups.children) {
    if (link.dataset.group === wanted.group) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  sorting.value = wanted.sort;
  remember();
}

text.addEventListener("input", () => {
  wanted.text = text.value.trim().toLowerCase();
  selectAnew();
});
search.addEventListener("submit", (event) => event.preventDefault());
groups.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  wanted.group = link.dataset.group;
  selectAnew();
});
function sortBy(key, turned) {
  wanted.turned = turned;
  wanted.sort = key;
  selectAnew();
}
for (const head of heads) {
  head.firstElementChild.addEventListener("click", (event) => {
    event.preventDefault();
    sortBy(head.dataset.sort, wanted.sort === head.dataset.sort && !wanted.turned);
  });
}
sorting.addEventListener("change", () => sortBy(sorting.value, false));
more.lastElementChild.addEventListener("click", () => {
  table.most += 1000;
  table.select(true);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, dialog")) return;
  event.preventDefault();
  text.focus();
});

const SHOWN = {
  rate: digits,
  p50: milliseconds,
  p99: milliseconds,
  memory: size,
  storage: size,
};

function total(totals) {
  const counts = { ...totals, running: totals.states.healthy || 0 };
  for (const link of groups.children) {
    const { group } = link.dataset;
    const states = group ? GROUPS[group] : Object.keys(totals.states);
    const count = states.reduce((sum, state) => sum + (totals.states[state] || 0), 0);
    put(link.querySelector("b"), String(count));
    link.classList.toggle("some", count > 0);
    if (group === "trouble") counts.trouble = count;
  }
  document.title = `${counts.trouble ? `(${counts.trouble}) ` : ""}${title}`;
  for (const place of document.querySelectorAll("[data-total]")) {
    const key = place.dataset.total;
    put(place, SHOWN[key] ? SHOWN[key](counts[key]) : String(counts[key]));
  }
  for (const tile of document.querySelectorAll("[data-tile]")) {
    tile.classList.toggle("bad", counts[tile.dataset.tile] > 0);
  }
  backup(totals.backup);
}

function backup(told) {
  const tile = document.getElementById("backup");
  tile.hidden = !told;
  if (!told) return;
  tile.classList.toggle("bad", told.overdue);
  put(tile.querySelector("small"), told.overdue ? "overdue" : "");
  const shown = tile.querySelector("b");
  if (told.last) {
    const time = timeOf(told.last, ago(told.last, Date.now() / 1000));
    time.dataset.at = told.last;
    shown.replaceChildren(time);
  } else {
    put(shown, "none yet");
  }
}

new Live("/events/stream", ["rows"], (name, told) => {
  const began = performance.now();
  table.take(told, Date.now() / 1000);
  if (told.totals) total(told.totals);
  if (told.events) showEvents(events, told.events, { anew: told.all, named: true });
  performance.measure("event", { start: began, end: performance.now(), detail: told.rows.length });
});
setInterval(() => {
  if (document.hidden) return;
  table.age(Date.now() / 1000);
  age(document.getElementById("totals"), Date.now() / 1000);
}, AGEING);
localise(document);

const opener = document.getElementById("add-open");
const dialog = document.getElementById("adding");
if (dialog) {
  const form = document.getElementById("add");
  opening(opener, dialog, form);
  adding(
    form,
    dialog.dataset.gateway,
    () => dialog.close(),
    (tenant) => location.assign(`/tenants/${encodeURIComponent(tenant)}`),
  );
}
