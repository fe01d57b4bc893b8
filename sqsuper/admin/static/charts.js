// A tenant's charts, by uPlot; each says in words what it shows.

/* global uPlot */
const SPAN = 600;
const HEIGHT = 150;
const COLOURS = ["--accent", "--second", "--third"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const isNumber = (value) => value !== null && value !== undefined;

export class Chart {
  // `series`: the lines' names; `shown(value)`: a value as text; `least`: the scale reaches up to
  // that at least, so that next to nothing looks so; `steps`: between marks.
  constructor(figure, series, shown, least, steps) {
    this.place = figure.querySelector(".plot");
    this.title = figure.querySelector("figcaption").firstChild.textContent.trim();
    this.told = figure.querySelector(".told");
    this.series = series;
    this.shown = shown;
    this.least = least;
    this.steps = steps;
    this.data = [[], ...series.map(() => [])];
    this.plot = null;
    this.width = 0;
    this.say();
    new ResizeObserver(() => this.fit()).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.renew());
  }

  set(data) {
    this.data = data;
    this.say();
    this.draw();
  }

  add(columns) {
    const first = Date.now() / 1000 - SPAN - 30;
    const old = this.data[0].findIndex((at) => at >= first);
    this.set(this.data.map((column, n) => column.slice(Math.max(0, old)).concat(columns[n])));
  }

  say() {
    const parts = this.series.map((name, n) => {
      const values = this.data[n + 1].filter(isNumber);
      if (!values.length) return name && `${name} –`;
      const last = this.data[n + 1][this.data[n + 1].length - 1];
      const now = isNumber(last) ? this.shown(last) : "–";
      return { name, now, most: this.shown(Math.max(...values)) };
    });
    const known = parts.filter((part) => typeof part !== "string");
    this.told.replaceChildren();
    for (const [n, part] of parts.entries()) {
      const key = document.createElement("span");
      if (this.series.length > 1) key.className = `key key-${n}`;
      if (typeof part === "string") key.textContent = part;
      else if (this.series.length > 1) key.textContent = `${part.name} ${part.now}`;
      else key.textContent = `${part.now}, at most ${part.most}`;
      this.told.append(key);
    }
    const words = known.map((part) => `${part.name || ""} now ${part.now}, at most ${part.most}`.trim());
    this.place.classList.toggle("is-empty", !known.length);
    this.place.setAttribute("aria-label", `${this.title}: ${words.join("; ") || "no figures yet"}`);
  }

  draw() {
    const width = this.place.clientWidth;
    if (!width || typeof uPlot === "undefined" || this.place.matches(".is-empty")) return;
    if (this.plot) {
      this.plot.setData(this.data, false);
      this.scale();
    } else this.make(width);
  }

  make(width) {
    const line = colour("--line");
    const soft = colour("--soft");
    const axis = { stroke: soft, font: "11px system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false } };
    const filled = this.series.length === 1;
    this.width = width;
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [10, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (plot, least, most) => [0, Math.max(most * 1.15, this.least)] } },
        axes: [
          { ...axis, size: 24, space: 80, values: (plot, ticks) => ticks.map((at) => new Date(at * 1000).toTimeString().slice(0, 5)) },
          { ...axis, size: 62, space: 34, incrs: this.steps, values: (plot, ticks) => ticks.map((value) => this.shown(value)) },
        ],
        series: [
          {},
          ...this.series.map((name, n) => ({
            label: name,
            stroke: colour(COLOURS[n]),
            width: 1.6,
            fill: filled ? `${colour(COLOURS[n])}22` : undefined,
            points: { show: false },
            spanGaps: false,
          })),
        ],
      },
      this.data,
      this.place,
    );
    this.scale();
  }

  scale() {
    const now = Date.now() / 1000;
    this.plot.setScale("x", { min: now - SPAN, max: now });
  }

  fit() {
    const width = this.place.clientWidth;
    if (!this.plot) this.draw();
    else if (width && width !== this.width) {
      this.width = width;
      this.plot.setSize({ width, height: HEIGHT });
    }
  }

  // In other colours.
  renew() {
    if (this.plot) this.plot.destroy();
    this.plot = null;
    this.draw();
  }
}
