"""The status page as operators use it: a real Chromium at a real service."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.admin_support import Admin
from tests.integration.page_support import (
    Seat,
    chromium,
    holds,
    printing,
    seat,
    service,
    violations,
)
from tests.integration.test_main_job import digest
from tests.running import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = '<script>alert("log")</script><img src=x onerror=alert(1)>'
LABEL = "<b onmouseover=alert(2)>laptop</b>"
TOKEN = re.compile(r"pmb-v1-[0-9a-f]{32}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    directory = Path(f"/tmp/sqs-p{os.getpid()}-{tmp_path_factory.getbasetemp().name}")
    directory.mkdir(mode=0o700)
    command = {"engine": "command", "command": printing(HOSTILE), "start": "eager"}
    config = {
        "defaults": {"monitor": {"interval": "500ms", "detail": "2s"}},
        "backup": {"at": "03:30"},
        "tenants": {
            "alice": {
                "token_sha256": [{"sha256": digest("alice"), "label": LABEL}],
                "start": "eager",
            },
            "bob": {"token_sha256": [digest("bob")], "start": "eager"},
            "carol": {"token_sha256": [digest("carol")]},
            "mallory": {"token_sha256": [digest("mallory")], **command},
        },
    }
    with service(directory, config) as one:
        one.done("POST", "/tenants/add", {"tenant_id": "dana", "port": "none"}, 201)
        yield one


@pytest.fixture
def here(browser: Browser, admin: Admin) -> Iterator[Seat]:
    with seat(browser, admin) as one:
        yield one


def state_of(page: Page, name: str) -> str:
    return page.locator(f"tr[data-name={name}] .state").inner_text()


def shows(page: Page, name: str, state: str) -> None:
    page.locator(f"tr[data-name={name}] .state", has_text=re.compile(f"^{state}$")).wait_for()


def confirmed(page: Page, action: str) -> None:
    """Press a button and say yes to what it asks."""
    page.click(f"[data-act={action}]")
    with page.expect_response(re.compile(f"/{action}$")) as answered:
        page.locator("#ask button[value=yes]").click()
    assert answered.value.ok
    page.locator("#notices p").last.wait_for()


# Who may see it


def test_a_wrong_token_gets_nowhere_and_the_right_one_in(here: Seat) -> None:
    page = here.open("/tenants/alice")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.locator("#sign-in-error", has_text="this is not the admin token").wait_for()
    page.fill("#token", here.admin.token)
    page.keyboard.press("Enter")
    page.locator("h1", has_text="alice").wait_for()
    assert page.url == f"{here.url}/tenants/alice"
    assert here.admin.token not in page.content()


def test_a_link_signs_in_once_and_signing_out_ends_it(here: Seat, browser: Browser) -> None:
    path = here.admin.done("POST", "/session/link", {}, 201)["path"]
    page = here.open(path)
    page.wait_for_url(here.url + "/")
    page.locator("#live.is-on").wait_for()
    with seat(browser, here.admin) as other:
        assert "used already" in other.open(path).content()
    page.click("#sign-out")
    page.locator("#sign-in").wait_for()
    assert page.goto(f"{here.url}/tenants/alice").status == 401  # type: ignore[union-attr]
    [cookie] = here.context.cookies() or [{"value": ""}]
    assert cookie["value"] == ""


def test_an_open_page_asks_to_sign_in_again_when_the_session_ends(here: Seat) -> None:
    page = here.sign_in()
    page.locator("#live.is-on").wait_for()
    headers = {"X-CSRF-Token": page.locator("meta[name=csrf]").get_attribute("content") or ""}
    other = here.context.new_page()
    other.goto(here.url + "/health")
    other.evaluate(
        "(headers) => fetch('/api/v2/admin/session', {method: 'DELETE', headers})", headers
    )
    page.locator("#sign-in").wait_for()


# Live


def test_what_happens_is_seen_without_loading_again(here: Seat) -> None:
    page = here.sign_in()
    page.evaluate("window.same = true")
    shows(page, "alice", "healthy")
    page.locator("tr[data-name=alice] .spark .line").first.wait_for(state="attached")
    page.locator("#backup time", has_text=re.compile("now|ago")).wait_for()
    pid = here.admin.get("/tenants/alice")["pid"]
    os.kill(pid, signal.SIGKILL)
    page.locator("#events li", has_text="alice").filter(has_text="restarted").first.wait_for()
    shows(page, "alice", "healthy")
    here.admin.done("POST", "/tenants/bob/stop", {})
    shows(page, "bob", "stopped")
    page.locator("tr[data-name=bob] .mark", has_text="stopped by hand").wait_for()
    here.admin.done("POST", "/tenants/bob/start", {})
    shows(page, "bob", "healthy")
    here.admin.done("POST", "/tenants/add", {"tenant_id": "erin", "port": "none"}, 201)
    shows(page, "erin", "stopped")
    here.admin.done("DELETE", "/tenants/erin", {})
    page.locator("tr[data-name=erin]").wait_for(state="detached")
    assert page.evaluate("window.same")


def test_search_filter_and_sort(here: Seat) -> None:
    page = here.sign_in()
    page.locator("#live.is-on").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("ali")
    seen = page.locator("#rows tr:visible")
    holds(page, "document.querySelectorAll('#rows tr:not([hidden])').length === 1")
    assert seen.first.get_attribute("data-name") == "alice"
    assert page.url.endswith("/?q=ali")
    page.fill("#q", "no such tenant")
    page.locator("#empty").wait_for()
    page.fill("#q", "")
    page.click("[data-group=trouble]")
    holds(page, "document.querySelectorAll('#rows tr:not([hidden])').length === 1")
    assert seen.first.get_attribute("data-name") == "mallory"
    page.click("[data-group='']")
    page.click("th[data-sort=state] a")
    assert seen.first.get_attribute("data-name") == "mallory"
    assert page.locator("th[aria-sort]").get_attribute("data-sort") == "state"
    page.click("th[data-sort=state] a")
    assert seen.last.get_attribute("data-name") == "mallory"


# A tenant's page


def test_buttons_ask_first_and_then_do_it(here: Seat) -> None:
    here.sign_in()
    page = here.open("/tenants/carol")
    page.locator("#live.is-on").wait_for()
    page.click("[data-act=start]")
    page.locator("#ask button[value=no]").click()
    assert here.admin.get("/tenants/carol")["state"] == "stopped"
    for action, state in (("start", "healthy"), ("restart", "healthy"), ("stop", "stopped")):
        confirmed(page, action)
        page.locator(".now .state", has_text=state).wait_for()
        assert here.admin.get("/tenants/carol")["state"] == state
    confirmed(page, "reset")
    page.locator("#events li", has_text="tenant.reset").wait_for()


def test_a_tenant_is_disabled_enabled_and_removed_by_its_name(here: Seat) -> None:
    made = here.admin.done("POST", "/tenants/add", {"tenant_id": "gina", "port": "none"}, 201)
    gateway = here.admin.running

    def status() -> int:
        return gateway.request("GET", "/api/v2/toc?p=x", token=made["api_key"]).status

    here.sign_in()
    page = here.open("/tenants/gina")
    page.locator("#live.is-on").wait_for()
    assert not page.locator("[data-act=enable]").is_visible()
    page.locator(".why", has_text="the first request starts it").wait_for()
    confirmed(page, "stop")
    page.locator(".why", has_text="errors until it is started").wait_for()
    confirmed(page, "disable")
    page.locator("[data-act=enable]").wait_for()
    assert status() == 403
    assert page.locator("[data-act=start]").is_disabled()
    assert not page.locator("[data-act=disable]").is_visible()
    confirmed(page, "enable")
    page.locator("[data-act=disable]").wait_for()
    confirmed(page, "start")
    eventually(lambda: status() == 200, "it is served", 20)
    page.click("[data-does=revoke]")
    page.locator("#ask button[value=yes]").click()
    page.locator("#no-token").wait_for()
    assert page.locator("#tokens tr").count() == 0
    assert status() == 401
    page.click("#remove")
    yes = page.locator("#ask button[value=yes]")
    assert yes.is_disabled()
    page.keyboard.type("gin")
    page.keyboard.press("Enter")
    assert yes.is_disabled()
    assert page.locator("#ask").is_visible()
    page.keyboard.type("a")
    assert violations(page) == []
    page.keyboard.press("Enter")
    page.wait_for_url(f"{here.url}/")
    here.admin.refused("GET", "/tenants/gina", None, 404)


def test_who_writes_the_file_is_told_where_a_tenant_stands(here: Seat) -> None:
    here.sign_in()
    page = here.open("/tenants/bob")
    page.click("#remove")
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    page.locator("#notices p", has_text="tenants.yaml:1, which is kept by hand").wait_for()
    assert page.locator("#remove").is_enabled()
    page.click("#remove")
    assert page.locator("#ask-typed input").input_value() == ""


def test_charts_are_drawn_and_say_in_words_what_they_show(here: Seat) -> None:
    for _ in range(20):
        here.admin.running.request("GET", "/api/v2/toc?p=x", token="alice")
    here.sign_in()
    page = here.open("/tenants/alice")
    page.locator("[data-chart=memory] [aria-label*='now']").wait_for()
    for key in ("memory", "cpu", "threads", "requests"):
        page.locator(f"[data-chart={key}] [aria-label*='now'] canvas").wait_for()
    here.admin.done("POST", "/tenants/add", {"tenant_id": "kira", "port": "none"}, 201)
    page.goto(f"{here.url}/tenants/kira")
    page.locator("#live.is-on").wait_for()
    assert page.locator(".plot.is-empty[aria-label*='no figures yet']").count() == 5
    assert not page.locator(".plot canvas").count()
    here.admin.done("DELETE", "/tenants/kira", {})
    assert page.locator(".tiles [data-cell=requests], .facts [data-cell=requests]").count() == 1


def test_a_new_token_is_shown_once_and_kept_nowhere(here: Seat) -> None:
    here.sign_in()
    page = here.open("/tenants/dana")
    page.locator("#live.is-on").wait_for()
    page.click("[data-does=rotate]")
    page.locator("#ask button[value=yes]").click()
    token = page.locator("#secret-token", has_text=TOKEN).inner_text()
    assert here.admin.running.request("GET", "/api/v2/toc?p=x", token=token).status == 200
    page.locator("#tokens tr:nth-child(2) time", has_text="just now").wait_for()
    for _ in range(3):
        page.keyboard.press("Escape")
    assert page.locator("#secret").is_visible()
    assert violations(page) == []
    page.click("#secret-close")
    holds(page, "document.activeElement.dataset.does === 'rotate'")
    page.locator("#tokens tr", has_text="until").wait_for()
    gone(here, page, token)


def gone(here: Seat, page: Page, token: str) -> None:
    """Check that nothing of a token is left in the page, the browser or the log."""
    kept = page.evaluate(
        "[document.documentElement.outerHTML, location.href, JSON.stringify(history.state),"
        " JSON.stringify({...localStorage, ...sessionStorage})]"
    )
    assert not TOKEN.search(" ".join(filter(None, kept)))
    assert token not in here.admin.running.output


def test_tokens_are_valid_by_the_clock_of_the_service(here: Seat) -> None:
    here.admin.done("POST", "/tenants/add", {"tenant_id": "hugo", "port": "none"}, 201)
    given = {"label": "brief", "expires": "1h"}
    here.admin.done("POST", "/tenants/hugo/tokens", given, 201)
    here.context.add_init_script(
        "Date.now = ((now) => () => now() + 7200e3)(Date.now); window.ticks = 0;"
        "window.setInterval = ((every) => (call, time) =>"
        " every(() => { call(); window.ticks += 1; }, time))(window.setInterval);"
    )
    here.sign_in()
    page = here.open("/tenants/hugo")
    page.locator("#live.is-on").wait_for()
    seen = page.evaluate("window.ticks")
    # States are looked at anew each second.
    eventually(lambda: page.evaluate("window.ticks") > seen + 1, "it is looked at again", 20)
    assert "valid" in page.locator("#tokens tr", has_text="brief").inner_text()
    here.admin.done("DELETE", "/tenants/hugo", {})


def test_two_tokens_made_at_once_are_both_shown(here: Seat) -> None:
    made = here.admin.done("POST", "/tenants/add", {"tenant_id": "jane", "port": "none"}, 201)
    here.sign_in()
    page = here.open("/tenants/jane")
    page.locator("#live.is-on").wait_for()
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/tenants/jane/tokens", hold)
    page.click("#issue-open")
    page.fill("#issue [name=label]", "slow")
    with page.expect_request("**/tenants/jane/tokens"):
        page.click("#issue [type=submit]")
    page.keyboard.press("Escape")
    page.click("[data-does=rotate]")
    page.locator("#ask button[value=yes]").click()
    first = page.locator("#secret-token", has_text=TOKEN).inner_text()
    held[0].continue_()
    # It is in the table before it is shown.
    page.locator("#tokens tr", has_text="slow").wait_for()
    holds(page, "!document.querySelector('#issue [name=label]').value")
    assert page.locator("#secret-token").inner_text() == first
    page.click("#secret-close")
    page.locator("#secret-title", has_text="New token").wait_for()
    second = page.locator("#secret-token", has_text=TOKEN).inner_text()
    assert len({made["api_key"], first, second}) == 3
    page.click("#secret-close")
    gone(here, page, second)
    here.admin.done("DELETE", "/tenants/jane", {})


def test_a_tenant_without_a_token_gets_its_first_one(here: Seat) -> None:
    here.admin.done("POST", "/tenants/add", {"tenant_id": "ines", "port": "none"}, 201)
    [made] = here.admin.get("/tenants/ines/tokens")
    here.admin.done("DELETE", f"/tenants/ines/tokens/{made['digest8']}", {})
    here.sign_in()
    page = here.open("/tenants/ines")
    page.locator("#live.is-on").wait_for()
    page.locator("#no-token").wait_for()
    page.click("#issue-open")
    page.fill("#issue [name=label]", "first")
    page.select_option("#issue [name=scope]", "ro")
    page.select_option("#issue [name=expires]", "day")
    page.fill("#issue [name=day]", "2001-01-01")
    assert violations(page) == []
    with page.expect_request("**/tenants/ines/tokens") as asked:
        page.click("#issue [type=submit]")
    assert asked.value.headers["x-csrf-token"]
    token = page.locator("#secret-token", has_text=TOKEN).inner_text()
    assert "update" not in page.locator("#secret-lines").inner_text()
    assert f"export TOKEN={token}" in page.locator("#secret-lines").inner_text()
    page.click("#secret-close")
    row = page.locator("#tokens tr")
    row.filter(has_text="expired").wait_for()
    assert not row.locator("[data-does=rotate]").is_visible()
    gone(here, page, token)
    page.click("#issue-open")
    assert page.locator("#issue [name=label]").input_value() == ""
    page.keyboard.press("Enter")
    token = page.locator("#secret-token", has_text=TOKEN).inner_text()
    assert here.admin.running.request("GET", "/api/v2/toc?p=x", token=token).status == 200
    page.click("#secret-close")
    holds(page, "document.activeElement.id === 'issue-open'")
    here.admin.done("DELETE", "/tenants/ines", {})


def test_a_tenant_kept_by_hand_says_where_its_tokens_are_made(here: Seat) -> None:
    here.sign_in()
    page = here.open("/tenants/bob")
    page.locator("#live.is-on").wait_for()
    assert "tenants.yaml:1" in page.locator(".hint").inner_text()
    assert not page.locator("#issue-open").count()
    assert not page.locator("[data-does=rotate]").is_visible()
    assert page.locator("[data-does=revoke]").is_visible()


def test_a_tenant_is_added_with_a_line_to_try(here: Seat) -> None:
    page = here.sign_in()
    page.click("#add-open")
    page.fill("#add [name=tenant_id]", "frank")
    page.keyboard.press("Enter")
    page.locator("#secret-token", has_text=TOKEN).wait_for()
    assert here.admin.running.url in page.locator("#secret-lines").inner_text()
    page.click("#secret-close")
    page.wait_for_url(f"{here.url}/tenants/frank")
    page.goto(here.url)
    page.click("#add-open")
    page.fill("#add [name=tenant_id]", "frank")
    page.keyboard.press("Enter")
    page.locator("#adding .error", has_text="frank").wait_for()
    page.goto(f"{here.url}/tenants/frank")
    here.admin.done("DELETE", "/tenants/frank", {})
    page.wait_for_url(f"{here.url}/")


def test_a_page_of_a_tenant_that_went_while_nobody_was_told_is_left(here: Seat) -> None:
    here.admin.done("POST", "/tenants/add", {"tenant_id": "hugo", "port": "none"}, 201)
    here.sign_in()
    page = here.context.new_page()
    page.route("**/events/stream/hugo", lambda route: route.abort())
    page.goto(f"{here.url}/tenants/hugo")
    page.locator("#live.is-off").wait_for()
    here.admin.done("DELETE", "/tenants/hugo", {})
    page.unroute("**/events/stream/hugo")
    page.wait_for_url(f"{here.url}/")


def test_what_tenants_print_and_are_called_is_text(here: Seat) -> None:
    here.sign_in()
    page = here.open("/tenants/mallory")
    page.locator("#live.is-on").wait_for()
    page.locator("#log p", has_text=HOSTILE).first.wait_for()
    assert page.locator("main img, main script").count() == 0
    page = here.open("/tenants/alice")
    assert page.locator(".tokens tbody th").inner_text() == LABEL
    assert page.locator(".tokens tbody b").count() == 0
    page.goto(f"{here.url}/tenants/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert "there is no such tenant" in page.content().lower()
    assert page.locator("main script").count() == 0


# Without a script, without a mouse, without sight, on a phone


def test_without_scripts_there_is_a_plain_table(browser: Browser, admin: Admin) -> None:
    with seat(browser, admin, java_script_enabled=False) as here:
        page = here.sign_in()
        assert page.locator("#rows tr").count() >= 5
        assert state_of(page, "alice") == "healthy"
        assert not page.locator("#add-open").is_visible()
        page.fill("#q", "mallory")
        page.click("#search button")
        page.wait_for_url(f"{here.url}/?*q=mallory*")
        assert page.locator("#rows tr").count() == 1
        page.click("text=mallory")
        page.locator("#log p", has_text=HOSTILE).first.wait_for()
        assert not page.locator("[data-act=stop]").is_visible()


def test_the_keyboard_is_enough(here: Seat) -> None:
    page = here.sign_in()
    page.locator("#live.is-on").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "bob":
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"{here.url}/tenants/bob")
    page.locator("#live.is-on").wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.act") == "restart":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.value") == "no"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#notices p", has_text="bob was restarted").wait_for()
    holds(page, "document.activeElement.dataset.act === 'restart'")


def test_axe_finds_nothing_in_light_and_dark(browser: Browser, admin: Admin) -> None:
    with seat(browser, admin) as here:
        found = violations(here.open("/"))
        page = here.sign_in()
        for path in ("/", "/tenants/alice", "/tenants/mallory", "/tenants/nobody"):
            page.goto(here.url + path)
            if path != "/tenants/nobody":
                page.locator("#live.is-on").wait_for()
            found += violations(page)
        page.goto(here.url + "/tenants/alice")
        page.click("[data-act=stop]")
        found += violations(page)
        page.goto(here.url)
        page.click("#add-open")
        found += violations(page)
        assert found == []


def test_a_phone_scrolls_in_one_direction(browser: Browser, admin: Admin) -> None:
    with seat(browser, admin, viewport={"width": 360, "height": 740}, has_touch=True) as here:
        page = here.sign_in()
        page.locator("#live.is-on").wait_for()
        found = violations(page)
        for path in ("/", "/tenants/alice", "/tenants/mallory"):
            page.goto(here.url + path)
            page.locator("#live.is-on").wait_for()
            wide: Any = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, path
            assert page.locator("h1").count() == 1
        assert found == []


def test_the_first_page_leads_to_the_first_tenant(browser: Browser, short_dir: Path) -> None:
    with service(short_dir, {}) as admin, seat(browser, admin) as here:
        page = here.sign_in()
        assert admin.running.url in page.locator(".steps").inner_text()
        assert violations(page) == []
        page.fill("#add [name=tenant_id]", "alice")
        page.click("#add [type=submit]")
        token = page.locator("#secret-token", has_text=TOKEN).inner_text()
        assert admin.running.request("GET", "/api/v2/toc?p=x", token=token).status == 200
        page.click("#secret-close")
        page.locator("tr[data-name=alice]").wait_for()
