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

let shownBefore = Promise.resolve();

// Shows a new token; nothing of it is left in the page once the dialog is closed. `scope`: what
// it may, for the lines to try. One that comes while another one is shown waits: each is seen.
export function showToken(...shown) {
  const seen = shownBefore.then(() => showNow(...shown));
  shownBefore = seen.catch(() => {});
  return seen;
}

function showNow(title, token, gateway, scope = "rw") {
  const dialog = document.getElementById("secret");
  const shown = document.getElementById("secret-token");
  const lines = document.getElementById("secret-lines");
  const said = document.getElementById("secret-said");
  const copies = dialog.querySelectorAll("[data-copies]");
  const forget = () => {
    for (const place of [shown, lines, said]) place.textContent = "";
  };
  document.getElementById("secret-title").textContent = title;
  shown.textContent = token;
  const curl = 'curl -H "Authorization: Bearer $TOKEN"';
  const place = "p=notes&c=1.1.1/1.1.1/1.1.1";
  const written = `${curl} --data-binary 'Hello, phext' \\\n  '${gateway}/api/v2/update?${place}'`;
  const read = `${curl} \\\n  '${gateway}/api/v2/select?${place}'`;
  lines.textContent = [`export TOKEN=${token}`, ...(scope === "ro" ? [] : [written]), read].join("\n");
  for (const copy of copies) {
    copy.textContent = "Copy";
    copy.onclick = async () => {
      const source = document.getElementById(copy.dataset.copies);
      let done = "Copied";
      try {
        await navigator.clipboard.writeText(source.textContent);
      } catch {
        getSelection().selectAllChildren(source);
        done = "Selected";
      }
      for (const other of copies) other.textContent = other === copy ? done : "Copy";
      said.textContent = done;
    };
  }
  document.getElementById("secret-close").onclick = () => {
    forget();
    dialog.close();
  };
  // It is shown once: a stray Escape must not lose it.
  dialog.oncancel = (event) => event.preventDefault();
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

// A form that makes something: `make()` sends what it says and resolves to the answer, `made(answer)`
// goes on with that. What is wrong is told in the form, where it is seen and heard.
export function making(form, make, made) {
  const error = form.querySelector(".error");
  const button = form.querySelector("[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    button.disabled = true;
    try {
      const answer = await make(form.elements);
      form.reset();
      await made(answer);
    } catch ({ message }) {
      error.textContent = `${message[0].toUpperCase()}${message.slice(1)}.`;
    } finally {
      button.disabled = false;
    }
  });
  form.addEventListener("reset", () => {
    error.textContent = "";
  });
}

// A dialog with such a form: opened by a button, and begun anew each time.
export function opening(button, dialog, form) {
  button.addEventListener("click", () => {
    form.reset();
    dialog.showModal();
  });
  form.querySelector("[type=button]").addEventListener("click", () => dialog.close());
}

// The form that adds a tenant: `begun()` once it is there, `added(name)` once its token was seen.
export function adding(form, gateway, begun, added) {
  making(
    form,
    ({ tenant_id: name, quota_mb: quota }) => {
      const given = { tenant_id: name.value.trim() };
      if (quota.value.trim()) given.quota_mb = Number(quota.value);
      return send("POST", `${TENANTS}/add`, given);
    },
    async (answer) => {
      begun();
      await showToken(`Token of ${answer.tenant_id}`, answer.api_key, gateway);
      added(answer.tenant_id);
    },
  );
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
