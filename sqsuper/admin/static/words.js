// Figures and times as people read them; the server says the same where there is no script.

export const NOTHING = "–";
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function digits(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value === 0) return "0";
  if (value < 10) return String(Math.round(value * 100) / 100);
  if (value < 100) return String(Math.round(value * 10) / 10);
  return Math.round(value).toLocaleString("en-US");
}

export function size(value) {
  if (value === null || value === undefined) return NOTHING;
  let unit = 0;
  let amount = value;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit ? digits(amount) : value} ${UNITS[unit]}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return NOTHING;
  return value < 1000 ? `${digits(value)} ms` : `${digits(value / 1000)} s`;
}

export function lasting(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  const both = (count, unit, more, name) => (more ? `${count} ${unit} ${more} ${name}` : `${count} ${unit}`);
  const days = Math.floor(left / 86400);
  const hours = Math.floor(left / 3600) % 24;
  const minutes = Math.floor(left / 60) % 60;
  if (days) return both(days, "d", hours, "h");
  if (hours) return both(hours, "h", minutes, "min");
  return minutes ? both(minutes, "min", left % 60, "s") : `${left} s`;
}

export function ago(at, now) {
  const seconds = now - at;
  return seconds < 5 ? "just now" : `${lasting(seconds)} ago`;
}

const two = (number) => String(number).padStart(2, "0");

// In the reader's own time; the date only if it is not today's.
export function clock(at) {
  const then = new Date(at * 1000);
  const time = `${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
  if (then.toDateString() === new Date().toDateString()) return time;
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
}

// Writes only what is another text: most figures are the same most of the time.
export function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function timeOf(at, text) {
  const time = document.createElement("time");
  dated(time, at, text);
  return time;
}

// Writes a time into its element, as `text`.
export function dated(time, at, text) {
  const then = new Date(at * 1000);
  time.dateTime = then.toISOString();
  time.title = then.toLocaleString();
  put(time, text);
}

// The times that the server wrote, in the reader's own.
export function localise(root) {
  for (const time of root.querySelectorAll("time[data-clock]")) {
    const at = Number(time.dataset.clock);
    time.title = new Date(at * 1000).toLocaleString();
    time.textContent = clock(at);
  }
}

export function age(root, now) {
  for (const time of root.querySelectorAll("time[data-at]")) {
    const at = Number(time.dataset.at);
    const text = ago(at, now);
    if (time.textContent !== text) dated(time, at, text);
  }
}
