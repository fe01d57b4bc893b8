"""`python -m docs.tools.screenshots [SECONDS]` makes docs/screenshots anew, in Chromium.

For SECONDS (660: the charts are full) 40 tenants are asked, fail, wait and sleep before.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.admin_support import Admin
from tests.integration.page_support import Seat, chromium, seat, service
from tests.running import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

PICTURES = Path(__file__).resolve().parents[1] / "screenshots"
WIDE: ViewportSize = {"width": 1440, "height": 900}
FIRST: ViewportSize = {"width": 1000, "height": 1000}
PHONE: ViewportSize = {"width": 390, "height": 844}
LASTS = 660.0
NAMES = [
    "acme",
    "atlas",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "iris",
    "juniper",
    "koala",
    "lumen",
    "maple",
    "nova",
    "orbit",
    "pearl",
    "raven",
    "quartz",
    "river",
    "sage",
    "tundra",
    "umber",
    "vela",
    "willow",
    "xenon",
    "yarrow",
    "zephyr",
    "amber",
    "basil",
    "coral",
    "dune",
    "elm",
    "fern",
    "ginger",
    "hazel",
    "ivory",
    "jade",
    "kelp",
    "lotus",
]
ASKED = NAMES[:16]
FULL, NEARLY_FULL = "iris", "juniper"
ADDED = "fjord"
"""Added by the admin API, as its page has more to offer then."""
BROKEN = """\
import sys
print("opening the index", flush=True)
print("error: index.phext: checksum mismatch at 7.2.1/4.4.9/1.1.3", file=sys.stderr)
sys.exit(3)
"""


def tenants() -> dict[str, dict[str, Any]]:
    """Return their entries: of every state that there is."""
    entries: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(one for one in NAMES if one != ADDED):
        tokens = [{"sha256": _digest(name), "label": "laptop"}]
        if at % 3 == 0:
            tokens.append({"sha256": _digest(name + "/ci"), "label": "ci", "scope": "ro"})
        entries[name] = {"token_sha256": tokens, "quota_mb": (100, 500, 1000)[at % 3]}
    broken = {"engine": "command", "start": "eager", "command": [sys.executable, "-c", BROKEN]}
    entries["quartz"].update(broken)
    patient = {"backoff": "20s", "intensity": 1000}
    entries["raven"].update(broken, restart=patient)
    entries["umber"]["enabled"] = False
    entries[FULL]["quota_mb"] = entries[NEARLY_FULL]["quota_mb"] = 2
    return entries


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Users:
    """What asks the tenants: more and less of each in turn, at a few requests a second."""

    def __init__(self, admin: Admin, tokens: Mapping[str, str]) -> None:
        """`tokens`: by tenant, where it is not the tenant's name."""
        self._gateway = admin.running
        self._tokens = tokens
        self._random = random.Random(4)  # noqa: S311 - the same pictures each time
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._done.wait(0.5):
            passed = time.monotonic() - begun
            for at, name in enumerate(ASKED):
                mean = (1 + math.sin(passed / 60 + at)) * (1 + at % 4) * 0.6
                for _ in range(int(mean + self._random.random())):
                    with contextlib.suppress(OSError):
                        self._ask(name)

    def _ask(self, name: str) -> None:
        place = f"1.1.1/1.1.{self._random.randint(1, 40)}/1.1.{self._random.randint(1, 70)}"
        if name in (FULL, NEARLY_FULL):
            full = self._random.random() < (0.4 if name == FULL else 0.1)
            text = b"A long scroll. " * (4000 if full else 1)
        else:
            text = b"A scroll about nothing in particular. " * self._random.randint(20, 400)
        token = self._tokens.get(name, name)
        if self._random.random() < 0.2:
            path = f"/api/v2/update?p=notes&c={place}"
            self._gateway.request("POST", path, token=token, body=text)
        else:
            self._gateway.request("GET", f"/api/v2/select?p=notes&c={place}", token=token)


@contextlib.contextmanager
def scene(more: Mapping[str, Any] = {}) -> Iterator[Admin]:
    """Run a service whose tenants do all kinds of things; `more` tenants beside them."""
    directory = Path(tempfile.mkdtemp(prefix="sqs-"))
    with service(directory, {"tenants": {**tenants(), **more}}) as admin:
        contact = f"ops@{ADDED}.example"
        new = {"tenant_id": ADDED, "quota_mb": 100, "label": "laptop", "admin_email": contact}
        added = admin.done("POST", "/tenants/add", {**new, "port": "none"}, 201)
        ci = {"label": "ci", "scope": "ro", "expires": "2160h"}
        admin.done("POST", f"/tenants/{ADDED}/tokens", ci, 201)
        users = Users(admin, {ADDED: added["api_key"]})
        try:
            eventually(lambda: admin.get("/tenants/delta")["pid"], "delta runs", 60)
            os.kill(admin.get("/tenants/delta")["pid"], signal.SIGKILL)
            admin.done("POST", "/tenants/vela/stop", {})
            yield admin
        finally:
            users.stop()


def settled(page: Page, path: str = "") -> None:
    """Open a page and wait until it is live and drawn."""
    if path:
        page.goto(path)
    page.locator("#live.is-on").wait_for()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 2500)))")


def _take(here: Seat, page: Page, scheme: str) -> None:
    def picture(name: str) -> None:
        page.screenshot(path=PICTURES / f"{name}-{scheme}.png")

    settled(page, f"{here.url}/?sort=state")
    picture("tenants")
    settled(page, f"{here.url}/tenants/{ADDED}")
    picture("tenant")
    page.set_viewport_size(PHONE)
    settled(page, f"{here.url}/?sort=state")
    picture("phone")
    settled(page, f"{here.url}/tenants/{ADDED}")
    picture("phone-tenant")


def take(browser: Browser, seconds: float) -> None:
    """Take the pictures of a service with tenants after so many seconds."""
    with scene() as admin:
        time.sleep(seconds)
        for scheme in ("light", "dark"):
            with seat(browser, admin, viewport=WIDE, color_scheme=scheme) as here:
                _take(here, here.sign_in(), scheme)


def take_first(browser: Browser) -> None:
    """Take the one of a service without any."""
    directory = Path(tempfile.mkdtemp(prefix="sqs-"))
    with service(directory, {}) as admin, seat(browser, admin, viewport=FIRST) as here:
        here.sign_in().screenshot(path=PICTURES / "first-light.png")


def main(arguments: list[str]) -> None:
    with chromium() as browser:
        take_first(browser)
        take(browser, float(arguments[0]) if arguments else LASTS)


if __name__ == "__main__":
    main(sys.argv[1:])
