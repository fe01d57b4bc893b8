// A tenant's tokens: as they are, and what is done to them.

import { ask, making, notice, of, opening, send, showToken } from "./act.js";
import { NOTHING, ago, clock, dated, put, timeOf } from "./words.js";

export class Tokens {
  // `overlap`: how long a rotated token stays valid, in words.
  constructor(tenant, gateway, overlap) {
    this.tenant = tenant;
    this.gateway = gateway;
    this.overlap = overlap;
    this.body = document.getElementById("tokens");
    this.model = document.getElementById("token").content.querySelector("tr");
    this.tokens = [];
    // By digest: there may be thousands.
    this.rows = new Map([...this.body.rows].map((row) => [row.dataset.digest, row]));
    this.none = document.getElementById("no-token");
    this.body.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-does]");
      if (button) this[button.dataset.does](button, button.closest("tr").dataset.digest);
    });
    const dialog = document.getElementById("issuing");
    if (dialog) this.offer(dialog, document.getElementById("issue"));
  }

  // Takes all that there are; what is the same stays as it is, and so does the focus.
  take(tokens) {
    this.tokens = tokens;
    const digests = new Set(tokens.map((token) => token.digest8));
    for (const [digest, row] of this.rows) {
      if (digests.has(digest)) continue;
      // What has the focus must not take it along.
      if (row.contains(document.activeElement)) this.body.closest(".frame").focus();
      row.remove();
      this.rows.delete(digest);
    }
    let next = this.body.firstElementChild;
    for (const token of tokens) {
      const row = this.rows.get(token.digest8) || this.model.cloneNode(true);
      this.rows.set(token.digest8, row);
      this.write(row, token);
      if (row === next) next = row.nextElementSibling;
      else this.body.insertBefore(row, next);
    }
    this.none.hidden = tokens.length > 0;
  }

  write(row, { digest8, label, scope, state, not_before: begin, expires: end }) {
    const [name, digest, may, standing] = row.cells;
    row.dataset.digest = digest8;
    put(name, label || NOTHING);
    name.title = label || "";
    put(digest.firstChild, digest8);
    put(may, scope);
    put(standing.firstElementChild, state);
    const until = standing.lastElementChild;
    until.replaceChildren();
    if (state === "pending") until.append("from ", timeOf(begin, clock(begin)));
    else if (state === "valid" && end !== null) until.append("until ", timeOf(end, clock(end)));
    for (const button of row.querySelectorAll("[data-does]")) {
      const { does } = button.dataset;
      button.hidden = state === "revoked" || (state === "expired" && does === "rotate");
      button.ariaLabel = `${does === "rotate" ? "Rotate" : "Revoke"} token ${label || digest8}`;
    }
  }

  // Takes when some were last used, by digest.
  use(used, now) {
    for (const [digest, at] of Object.entries(used)) {
      const row = this.rows.get(digest);
      if (!row || at === null) continue;
      const time = row.querySelector("td:nth-child(5) time");
      time.dataset.at = at;
      dated(time, at, ago(at, now));
    }
  }

  // Some come to be valid, or expire, by themselves.
  age(now) {
    for (const token of this.tokens) {
      if (token.state === "revoked") continue;
      const due = token.not_before !== null && now < token.not_before ? "pending" : "valid";
      const state = token.expires !== null && token.expires <= now ? "expired" : due;
      if (state === token.state) continue;
      token.state = state;
      this.write(this.rows.get(token.digest8), token);
    }
  }

  offer(dialog, form) {
    const { expires, day } = form.elements;
    const choose = () => {
      day.required = expires.value === "day";
      day.parentElement.hidden = !day.required;
    };
    expires.addEventListener("change", choose);
    form.addEventListener("reset", () => setTimeout(choose));
    opening(document.getElementById("issue-open"), dialog, form);
    making(
      form,
      ({ label, scope }) => {
        const given = { label: label.value.trim() || null, scope: scope.value };
        if (day.required) given.expires = new Date(`${day.value}T23:59:59`).toISOString();
        else if (expires.value) given.expires = expires.value;
        return send("POST", of(this.tenant, "tokens"), given);
      },
      (made) => {
        dialog.close();
        return this.show(made);
      },
    );
  }

  show({ token, scope }) {
    return showToken(`New token of ${this.tenant}`, token, this.gateway, scope);
  }

  async rotate(button, digest) {
    const text = `A new token is made, and shown once. The old one (${digest}) stays valid for ${this.overlap}.`;
    if (!(await ask("Rotate the token?", text, "Rotate"))) return;
    button.disabled = true;
    try {
      await this.show(await send("POST", of(this.tenant, "tokens", digest, "rotate")));
    } catch (error) {
      notice(`Not rotated: ${error.message}`, true);
    } finally {
      button.disabled = false;
      button.focus();
    }
  }

  async revoke(button, digest) {
    const text = `Whoever uses it (${digest}) is cut off within a second, for good.`;
    if (!(await ask("Revoke the token?", text, "Revoke", { danger: true }))) return;
    button.disabled = true;
    try {
      await send("DELETE", of(this.tenant, "tokens", digest));
      notice(`The token ${digest} was revoked.`);
    } catch (error) {
      notice(`Not revoked: ${error.message}`, true);
    } finally {
      button.disabled = false;
      button.focus();
    }
  }
}
