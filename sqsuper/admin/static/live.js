// The stream of events: held while the page is seen, and what the page says of it.

const WAIT = 3000;
const HIDDEN_FOR = 20000;

export class Live {
  // `take(name, value)` is called with each event of `names`, and with "gone" where there is
  // nothing to be told of any more.
  constructor(path, names, take) {
    this.path = path;
    this.names = names;
    this.take = take;
    this.source = null;
    this.sign = document.getElementById("live");
    this.leaving = 0;
    document.addEventListener("visibilitychange", () => this.seen());
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
    this.open();
  }

  say(kind, text) {
    this.sign.hidden = false;
    this.sign.className = `live is-${kind}`;
    if (this.sign.textContent !== text) this.sign.textContent = text;
  }

  open() {
    if (this.source) return;
    const source = new EventSource(this.path);
    this.source = source;
    for (const name of this.names) {
      source.addEventListener(name, (event) => {
        this.say("on", "Live");
        this.take(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("open", () => this.say("on", "Live"));
    source.addEventListener("error", () => {
      this.say("off", "Connecting again…");
      if (source.readyState === EventSource.CLOSED) this.refused();
    });
  }

  close() {
    if (this.source) this.source.close();
    this.source = null;
  }

  // The browser does not come again by itself when it was refused.
  async refused() {
    this.close();
    let status = 0;
    try {
      status = (await fetch(this.path, { method: "HEAD" })).status;
    } catch {
      // Nobody is there: tried again below.
    }
    if (status === 401) {
      this.say("off", "Signed out");
      location.reload();
    } else if (status === 404) {
      this.take("gone", {});
    } else {
      setTimeout(() => this.open(), WAIT);
    }
  }

  // Nobody looks at a hidden page: it costs nothing.
  seen() {
    clearTimeout(this.leaving);
    if (document.hidden) {
      this.leaving = setTimeout(() => {
        this.close();
        this.say("idle", "Paused");
      }, HIDDEN_FOR);
    } else {
      this.open();
    }
  }
}
