// Small lines of the last ten minutes: rings of numbers, drawn only where they are seen.

export const STEPS = 40;
const STEP = 15000;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 24;

export class Spark {
  constructor(values) {
    this.values = values || new Array(STEPS).fill(null);
    this.at = Date.now();
    this.last = this.values[STEPS - 1];
  }

  // Goes on to now: what was not told is as it was.
  advance() {
    const passed = Math.min(STEPS, Math.floor((Date.now() - this.at) / STEP));
    if (passed < 1) return;
    this.at += passed * STEP;
    this.values.splice(0, passed);
    for (let n = 0; n < passed; n += 1) this.values.push(this.last);
  }

  add(value) {
    this.advance();
    this.last = value;
    const shown = this.values[STEPS - 1];
    this.values[STEPS - 1] = value === null ? shown : Math.max(shown === null ? value : shown, value);
  }

  // `place`: of which it is the first child.
  draw(place) {
    this.advance();
    let svg = place.firstElementChild;
    if (!(svg instanceof SVGElement)) {
      svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("class", "spark");
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      for (const name of ["area", "line"]) {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("class", name);
        svg.append(path);
      }
      place.prepend(svg);
    }
    const [area, line] = shape(this.values);
    svg.firstChild.setAttribute("d", area);
    svg.lastChild.setAttribute("d", line);
  }
}

function shape(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  most = most * 1.15 || 1;
  let line = "";
  let area = "";
  let begun = -1;
  for (let n = 0; n <= values.length; n += 1) {
    const value = n < values.length ? values[n] : null;
    const x = Math.round((n * WIDTH) / (STEPS - 1));
    if (value === null) {
      if (begun >= 0) {
        const end = Math.round(((n - 1) * WIDTH) / (STEPS - 1));
        if (n - begun === 1) line += `h2`;
        area += `L${end} ${HEIGHT}Z`;
        begun = -1;
      }
      continue;
    }
    const y = (HEIGHT - (value / most) * HEIGHT).toFixed(1);
    if (begun < 0) {
      begun = n;
      line += `M${x} ${y}`;
      area += `M${x} ${HEIGHT}L${x} ${y}`;
    } else {
      line += `L${x} ${y}`;
      area += `L${x} ${y}`;
    }
  }
  return [area, line];
}
