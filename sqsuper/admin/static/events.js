// The list of events, newest first.

import { clock, timeOf } from "./words.js";

const KEPT = 100;

function item(event, named) {
  const line = document.createElement("li");
  line.className = "event";
  line.classList.add(`kind-${event.kind}`);
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = event.kind;
  line.append(timeOf(event.at, clock(event.at)), kind);
  if (named && event.tenant_id) {
    const link = document.createElement("a");
    link.href = `/tenants/${encodeURIComponent(event.tenant_id)}`;
    link.textContent = event.tenant_id;
    line.append(link);
  }
  const text = document.createElement("span");
  text.className = "text";
  text.textContent = event.text;
  line.append(text);
  return line;
}

export function showEvents(list, events, { anew, named }) {
  if (anew && events.length) list.replaceChildren();
  if (!events.length) return;
  for (const none of list.querySelectorAll(".none")) none.remove();
  list.prepend(...events.slice(-KEPT).reverse().map((event) => item(event, named)));
  while (list.children.length > KEPT) list.lastElementChild.remove();
}
