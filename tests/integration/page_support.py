"""The status page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.integration.admin_support import Admin
from tests.running import Running, eventually, free_port, start

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

AXE = Path(__file__).with_name("vendor") / "axe-core-4.14.1" / "axe.min.js"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Told to the console, where the test looks.
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@contextlib.contextmanager
def service(directory: Path, config: Mapping[str, Any]) -> Iterator[Admin]:
    """Run a sqsuper of its own in `directory`, which is removed at the end."""
    port, admin_port = free_port(), free_port()
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    listen = {
        "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
        "admin": {"listen": [f"tcp:{admin_port}:interface=127.0.0.1"]},
    }
    file.write_text(json.dumps({**listen, **config}))
    running: Running = start(directory, file, port)
    running.admin_port = admin_port
    try:
        eventually(running.healthy, "GET /health answers 200", 30)
        yield Admin.of(running)
    finally:
        try:
            running.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def printing(*lines: str) -> list[str]:
    """Return the command of an engine that prints these to standard error, and fails."""
    return [
        sys.executable,
        "-c",
        f"import sys; print({chr(10).join(lines)!r}, file=sys.stderr); sys.exit(3)",
    ]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser. Without one a test is a visible skip, and in CI a failure."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        missing = "chromium and playwright are needed (apt-get install chromium)"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, as whom containers run.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@attrs.define
class Seat:
    """Somebody at a browser. `complaints`: errors of scripts and of the policy."""

    admin: Admin
    context: BrowserContext
    complaints: list[str] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.admin.running.admin_port}"

    def open(self, path: str) -> Page:
        """Open a page in a tab of its own, signed in or not."""
        page = self.context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.goto(self.url + path)
        return page

    def _heard(self, kind: str, text: str) -> None:
        # Chromium tells of each answer that is an error, also when it is what was asked for.
        if kind == "error" and "the server responded with a status of 40" not in text:
            self.complaints.append(text)

    def sign_in(self) -> Page:
        """Open the page by a link, which makes a session."""
        page = self.open(self.admin.done("POST", "/session/link", {}, 201)["path"])
        page.wait_for_url(self.url + "/")
        return page


@contextlib.contextmanager
def seat(browser: Browser, admin: Admin, **options: Any) -> Iterator[Seat]:
    """Sit down at a fresh browser; fails at the end when anything complained."""
    options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
    context = browser.new_context(**options)
    context.add_init_script(REPORT_VIOLATIONS)
    one = Seat(admin, context)
    try:
        yield one
    finally:
        context.close()
    assert one.complaints == []


def holds(page: Page, expression: str) -> None:
    """Wait until `expression` is true in the page.

    Playwright's own `wait_for_function` evaluates in the page when it looks again, which the
    page's policy forbids.
    """
    eventually(lambda: bool(page.evaluate(expression)), expression, 30)


def violations(page: Page) -> list[str]:
    """Return what axe finds on the page, as rule and element; of colours in light and dark."""
    # As if it were part of the browser: the page's own policy allows no script of others.
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE.read_text("utf-8")})
    said = _violations(session, "{}")
    page.emulate_media(color_scheme="dark")
    said += _violations(session, "{runOnly: ['color-contrast']}")
    page.emulate_media(color_scheme="light")
    session.detach()
    return said


def _violations(session: CDPSession, options: str) -> list[str]:
    found = session.send(
        "Runtime.evaluate",
        {
            "expression": f"axe.run({options}).then((r) => JSON.stringify(r.violations.flatMap("
            "(v) => v.nodes.map((n) => `${v.id}: ${n.target} ${n.failureSummary}`))))",
            "awaitPromise": True,
        },
    )
    said: list[str] = json.loads(found["result"]["value"])
    return said
