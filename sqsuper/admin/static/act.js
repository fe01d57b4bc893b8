// Changes: asked for in a dialog, sent with what proves that this page sends them.

const TENANTS = "/api/v2/admin/tenants";
const SHOWN_FOR = 6000;

export async function send(method, path, body = {}) {
  const csrf = document.querySelector("meta[name=csrf]");
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf ? csrf.content : "" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("sqsuper does not answer");
  }
  const text = await answer.text();
  let value = {};
  try {
    value = JSON.parse(text);
  } catch {
    // Told by its status below.
  }
  if (!answer.ok) throw new Error((value.error && value.error.message) || `status ${answer.status}`);
  return value;
}

export const of = (...parts) => [TENANTS, ...parts.map(encodeURIComponent)].join("/");

export function notice(text, bad = false) {
  const line = document.createElement("p");
  line.textContent = text;
  if (bad) line.className = "is-bad";
  document.getElementById("notices").append(line);
  setTimeout(() => line.remove(), bad ? 2 * SHOWN_FOR : SHOWN_FOR);
}

// Resolves to whether `what` is to be done; `typed`: what must be typed before it can be.
export function ask(title, text, what, { danger = false, typed = "" } = {}) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  const [no, yes] = dialog.querySelectorAll("button");
  yes.textContent = what;
  yes.classList.toggle("danger", danger);
  const label = document.getElementById("ask-typed");
  const field = label.querySelector("input");
  const check = () => {
    yes.disabled = typed !== "" && field.value.trim() !== typed;
  };
  label.hidden = !typed;
  label.firstElementChild.textContent = `Type “${typed}” to go on`;
  field.value = "";
  field.oninput = check;
  field.onkeydown = (event) => {
    if (event.key !== "Enter" || yes.disabled) return;
    // Else it would press the button that has the focus once the dialog is closed.
    event.preventDefault();
    yes.click();
  };
  check();
  dialog.returnValue = "no";
  no.onclick = () => dialog.close("no");
  yes.onclick = () => dialog.close("yes");
  dialog.showModal();
  if (typed) field.focus();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}

// Shows a new token; nothing of it is left in the page once the dialog is closed.
export function showToken(title, token, gateway) {
  const dialog = document.getElementById("secret");
  const shown = document.getElementById("secret-token");
  const lines = document.getElementById("secret-lines");
  const copy = document.getElementById("secret-copy");
  const forget = () => {
    shown.textContent = "";
    lines.textContent = "";
  };
  document.getElementById("secret-title").textContent = title;
  shown.textContent = token;
  lines.textContent = [
    `export TOKEN=${token}`,
    `curl -H "Authorization: Bearer $TOKEN" --data-binary 'Hello, phext' '${gateway}/api/v2/update?p=notes&c=1.1.1/1.1.1/1.1.1'`,
    `curl -H "Authorization: Bearer $TOKEN" '${gateway}/api/v2/select?p=notes&c=1.1.1/1.1.1/1.1.1'`,
  ].join("\n");
  copy.textContent = "Copy";
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      copy.textContent = "Selected";
    }
  };
  document.getElementById("secret-close").onclick = () => dialog.close();
  window.addEventListener("pagehide", forget, { once: true });
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener(
      "close",
      () => {
        forget();
        done();
      },
      { once: true },
    );
  });
}

// The form that adds a tenant: `added(name)` once its token was seen.
export function adding(form, gateway, begun, added) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    const given = { tenant_id: form.elements.tenant_id.value.trim() };
    const quota = form.elements.quota_mb.value.trim();
    if (quota) given.quota_mb = Number(quota);
    button.disabled = true;
    try {
      const made = await send("POST", `${TENANTS}/add`, given);
      begun();
      form.reset();
      await showToken(`Token of ${made.tenant_id}`, made.api_key, gateway);
      added(made.tenant_id);
    } catch (error) {
      notice(`Not added: ${error.message}`, true);
    } finally {
      button.disabled = false;
    }
  });
}

const out = document.getElementById("sign-out");
if (out) {
  out.addEventListener("click", async () => {
    try {
      await send("DELETE", "/api/v2/admin/session");
    } catch (error) {
      notice(`Not signed out: ${error.message}`, true);
      return;
    }
    location.replace("/");
  });
}
