// The table of all tenants: kept up to date, searched, filtered and sorted where it is.

import { Spark } from "./spark.js";
import { NOTHING, ago, digits, milliseconds, put, size } from "./words.js";

export const GROUPS = {
  trouble: ["failed", "unhealthy", "backoff"],
  running: ["healthy"],
  moving: ["starting", "draining", "stopping"],
  idle: ["stopped"],
  disabled: ["disabled"],
};
export const GROUP_OF = {};
const RANK = {};
for (const [group, states] of Object.entries(GROUPS)) {
  for (const state of states) {
    GROUP_OF[state] = group;
    RANK[state] = Object.keys(RANK).length;
  }
}

// What matters most comes first; a second click turns it round.
const SORTS = {
  name: () => 0,
  state: (row) => RANK[row.state],
  port: (row) => row.port || 0,
  memory: (row) => -(row.memory || 0),
  threads: (row) => -(row.threads || 0),
  rate: (row) => -row.rate,
  latency: (row) => -(row.p99 || 0),
  errors: (row) => -row.errors,
  storage: (row) => -(row.storage || 0),
  restarts: (row) => -row.restarts,
  active: (row) => -(row.active || 0),
};
const MOST = 1000;
const RESORT = 4000;

const byName = (one, other) => (one.row.name < other.row.name ? -1 : 1);

const text = (value) => (value === null ? NOTHING : String(value));

// One tenant's row. Its cells are found by their place, and only what is another is written.
class Line {
  constructor(element) {
    this.element = element;
    this.cells = element.cells;
    this.sparks = null;
    this.seen = false;
    this.row = null;
    this.aged = "";
  }

  take(row, now) {
    const before = this.row || {};
    const { cells } = this;
    this.row = row;
    if (before.state !== row.state) this.become(row, before);
    if (before.reason !== row.reason) put(cells[1].children[2], row.reason);
    if (before.mark !== row.mark || before.state !== row.state) {
      put(cells[1].children[1], row.mark === row.state ? "" : row.mark);
    }
    if (before.port !== row.port) put(cells[2], text(row.port));
    if (before.memory !== row.memory) put(cells[3].lastChild, size(row.memory));
    if (before.threads !== row.threads) put(cells[4].lastChild, text(row.threads));
    if (before.rate !== row.rate) put(cells[5], digits(row.rate));
    if (before.p50 !== row.p50) put(cells[6].firstChild, milliseconds(row.p50));
    if (before.p99 !== row.p99) put(cells[6].lastChild, row.p99 === null ? "" : milliseconds(row.p99));
    if (before.errors !== row.errors) this.count(cells[7], row.errors, "bad");
    if (before.storage !== row.storage || before.quota !== row.quota) this.fill(row, before);
    if (before.restarts !== row.restarts) this.count(cells[9], row.restarts, "warn");
    if (before.active !== row.active) this.age(now);
    if (this.sparks) {
      this.sparks[0].add(row.memory === null ? null : row.memory / 1024);
      this.sparks[1].add(row.threads);
      if (this.seen) this.draw();
    }
  }

  become(row, before) {
    const group = GROUP_OF[row.state];
    const badge = this.cells[1].firstChild;
    put(badge, row.state);
    if (GROUP_OF[before.state] === group) return;
    badge.className = `state is-${group}`;
    this.element.className = `of-${group}${before.state ? " changed" : ""}`;
  }

  count(cell, number, kind) {
    put(cell, String(number));
    cell.className = number > 0 ? kind : "";
  }

  fill(row, before) {
    const cell = this.cells[8];
    put(cell.firstChild, size(row.storage));
    const meter = cell.querySelector("meter");
    if (!meter) return;
    if (before.quota !== undefined && before.quota !== row.quota) {
      meter.hidden = row.quota === null;
      meter.max = row.quota || 1;
      meter.low = meter.max * 0.75;
      meter.high = meter.max * 0.9;
      put(cell.querySelector("small"), row.quota === null ? "" : `of ${size(row.quota)}`);
    }
    meter.value = row.storage || 0;
  }

  age(now) {
    const { active } = this.row;
    const told = active === null ? NOTHING : ago(active, now);
    if (told === this.aged) return;
    this.aged = told;
    put(this.cells[10], told);
  }

  draw() {
    if (!this.sparks) return;
    this.sparks[0].draw(this.cells[3]);
    this.sparks[1].draw(this.cells[4]);
  }
}

export class Table {
  // `wanted`: {text, group, sort, turned}; `changed()` is called when another selection is shown.
  constructor(wanted, changed) {
    this.wanted = wanted;
    this.changed = changed;
    this.body = document.getElementById("rows");
    this.model = document.getElementById("row").content.querySelector("tr");
    this.lines = new Map();
    this.most = MOST;
    this.found = 0;
    this.shown = 0;
    this.sortedAt = 0;
    this.begun = false;
    this.body.addEventListener("mouseover", ({ target }) => {
      if (target.matches(".reason, th a")) target.title = target.textContent;
    });
    this.eye = new IntersectionObserver((entries) => this.look(entries), { rootMargin: "200px" });
    for (const element of this.body.rows) this.lines.set(element.dataset.name, this.watched(element));
  }

  watched(element) {
    const line = new Line(element);
    element.line = line;
    this.eye.observe(element);
    return line;
  }

  look(entries) {
    for (const entry of entries) {
      const { line } = entry.target;
      line.seen = entry.isIntersecting;
      if (line.seen) line.draw();
    }
  }

  made(row) {
    const element = this.model.cloneNode(true);
    element.dataset.name = row.name;
    const link = element.querySelector("th a");
    link.textContent = row.name;
    link.href = `/tenants/${encodeURIComponent(row.name)}`;
    if (row.engine === "command") {
      const tag = document.createElement("small");
      tag.className = "tag";
      tag.textContent = "command";
      link.after(" ", tag);
    }
    const line = this.watched(element);
    line.row = { quota: 0 };
    return line;
  }

  take(told, now) {
    let other = false;
    if (told.all) {
      const names = new Set(told.rows.map((row) => row.name));
      for (const [name, line] of this.lines) if (!names.has(name)) other = this.drop(name, line) || other;
    }
    for (const row of told.rows) {
      let line = this.lines.get(row.name);
      if (!line) {
        line = this.made(row);
        this.lines.set(row.name, line);
        other = true;
      }
      if (told.all) {
        const spark = told.sparks[row.name] || [];
        line.sparks = [new Spark(spark[0]), new Spark(spark[1])];
      } else if (!line.sparks) line.sparks = [new Spark(), new Spark()];
      line.take(row, now);
    }
    for (const name of told.gone || []) {
      const line = this.lines.get(name);
      if (line) other = this.drop(name, line) || other;
    }
    if (told.all && !this.begun) this.begun = other = true;
    // An order that changes under the eyes is of no use: it is made anew now and then.
    const due = this.wanted.sort !== "name" && Date.now() - this.sortedAt > RESORT;
    if (other || due || this.wanted.group || this.wanted.text) this.select(other || due);
  }

  drop(name, line) {
    this.lines.delete(name);
    this.eye.unobserve(line.element);
    line.element.remove();
    return true;
  }

  matches(row) {
    const { text, group } = this.wanted;
    if (group && GROUP_OF[row.state] !== group) return false;
    if (!text) return true;
    const { name, reason, mark, port } = row;
    return [name, reason.toLowerCase(), mark].some((told) => told.includes(text)) || String(port) === text;
  }

  select(anew) {
    const all = [...this.lines.values()].filter((line) => line.row);
    let order = all;
    if (anew) {
      this.sortedAt = Date.now();
      const key = SORTS[this.wanted.sort];
      const way = this.wanted.turned ? -1 : 1;
      for (const line of all) line.key = key(line.row);
      order = all.sort((one, other) => way * (one.key - other.key || byName(one, other)));
      this.order = order;
    } else order = this.order || all;
    this.found = 0;
    this.shown = 0;
    let place = this.body.firstElementChild;
    for (const line of order) {
      const found = this.matches(line.row);
      if (found) this.found += 1;
      const shown = found && this.shown < this.most;
      if (shown) this.shown += 1;
      if (line.element.hidden === shown) line.element.hidden = !shown;
      if (!shown && !line.element.isConnected) continue;
      if (!anew) {
        if (!line.element.isConnected) this.body.append(line.element);
      } else if (place === line.element) place = place.nextElementSibling;
      else this.body.insertBefore(line.element, place);
    }
    this.changed();
  }

  age(now) {
    for (const line of this.lines.values()) {
      if (!line.row) continue;
      if (line.seen) line.draw();
      line.age(now);
    }
  }
}
