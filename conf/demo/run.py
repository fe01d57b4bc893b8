"""What `make run` does: two demo tenants, The Odyssey for the first, and lines to try.

Runs twistd in this very process, so that whatever ends it ends everything.
"""

from __future__ import annotations

import http.client
import os
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.scripts import twistd

from sqsuper import tokens
from sqsuper.cli.errors import CommandError
from sqsuper.cli.finding import access
from sqsuper.cli.page import sign_in_link
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import Config

CONF = Path(__file__).resolve().parent.parent
FILE = CONF / "tenants.yaml"
ODYSSEY = CONF / "demo" / "the-odyssey.phext"
DEMO = {"alice": 7001, "bob": 7002}
PATIENCE = 60.0  # seconds until the gateway must answer
PAGE_PATIENCE = 5.0  # and then the admin listener

TENANT = """\
# A demo tenant, made by `make run`; it is yours now and never overwritten. `make run` reads the
# token from here to print it. A real tenant is better kept by digest (token_sha256).
tenants:
  {name}:
    tokens: ["{token}"]
    port: {port}
"""

LINES = """
The gateway answers on {url}. In another terminal:

  export ALICE={alice} BOB={bob}

  # read a scroll of The Odyssey, which is alice's
  curl -H "Authorization: Bearer $ALICE" '{url}/api/v2/select?p=the-odyssey&c=1.1.1/1.1.1/3.1.3'

  # its table of contents
  curl -H "Authorization: Bearer $ALICE" '{url}/api/v2/toc?p=the-odyssey'

  # write a scroll, and read it back
  curl -H "Authorization: Bearer $ALICE" --data-binary 'Hello, phext' \\
    '{url}/api/v2/update?p=notes&c=1.1.1/1.1.1/1.1.1'
  curl -H "Authorization: Bearer $ALICE" '{url}/api/v2/select?p=notes&c=1.1.1/1.1.1/1.1.1'

  # bob sees nothing of it: his scroll at that place is empty
  curl -H "Authorization: Bearer $BOB" '{url}/api/v2/select?p=notes&c=1.1.1/1.1.1/1.1.1'

Phext Notepad: endpoint {url}/api/v2, and the token.

How the tenants do, for operators: {page}
Ctrl-C ends everything. The tenants are in conf/tenants.d/, their data in conf/data/.
"""


def prepare(config: Config) -> None:
    """Add the demo tenants that are not there. Nothing that exists is changed."""
    tenants_dir = CONF / "tenants.d"
    tenants_dir.mkdir(mode=0o700, exist_ok=True)
    names = {tenant.name for tenant in config.tenants}
    taken = {tenant.port for tenant in config.tenants}
    for name, port in DEMO.items():
        file = tenants_dir / f"{name}.yaml"
        if name in names or file.exists():
            continue
        if name == "alice":
            load_odyssey(config.data_root / name)
        free = next(p for p in (port, *range(*config.port_range)) if p not in taken)
        taken.add(free)
        text = TENANT.format(name=name, token=tokens.make(), port=free)
        write_new(file, text.encode())


def load_odyssey(data_dir: Path) -> None:
    """Put The Odyssey into a tenant's data directory, unless one is there."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = data_dir / ODYSSEY.name
    if not target.exists():
        write_new(target, ODYSSEY.read_bytes())


def write_new(file: Path, content: bytes) -> None:
    """Make `file`, 0600, whole or not at all; FileExistsError when there is one already."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def token_of(name: str) -> str:
    """Return a demo tenant's token, or a hint when it is only kept as a digest."""
    with suppress(OSError, yaml.YAMLError, LookupError, TypeError):
        file = CONF / "tenants.d" / f"{name}.yaml"
        token = yaml.safe_load(file.read_text())["tenants"][name]["tokens"][0]
        if isinstance(token, str):
            return token
    return f"'<{name}, whose token only its owner knows>'"


def address(listen: Sequence[str]) -> tuple[str, int]:
    """Return host and port of the gateway's first plain listener."""
    for endpoint in listen:
        if port := re.match(r"tcp:(?:port=)?(\d+)", endpoint):
            interface = re.search(r":interface=([^:]+)", endpoint)
            return (interface[1] if interface else "127.0.0.1"), int(port[1])
    raise SystemExit("make run: gateway.listen has no tcp: endpoint")


def page(config: Config, stopped: threading.Event) -> str:
    """Return where the status page is: a link that signs in once, where that can be had."""
    try:
        address = access(FILE, os.environ).address
    except CommandError as error:
        return f"see {error}"
    if address.path is not None:
        return f"the page is on the socket {address}"
    for _ in range(int(PAGE_PATIENCE / 0.05)):
        found = access(FILE, os.environ)
        if found.token is None and config.admin.token_sha256 is not None:
            return f"{address.url}/ (sign in with your admin token)"
        with suppress(CommandError):
            link, seconds = sign_in_link(found)
            minutes = round(seconds / 60)
            return f"{link}\n(signs in once, within {minutes} minutes; later: {address.url}/)"
        if stopped.wait(0.05):
            break
    return f"{address.url}/"


def announce(config: Config, stopped: threading.Event) -> None:
    """Wait until the gateway answers, then print the lines to try."""
    host, port = address(config.gateway.listen)
    for _ in range(int(PATIENCE / 0.05)):
        if stopped.wait(0.05):
            return
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                break
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    else:
        return
    url = f"http://{host}:{port}"
    text = LINES.format(
        url=url, alice=token_of("alice"), bob=token_of("bob"), page=page(config, stopped)
    )
    terminal = os.dup(1)  # sys.stdout is twistd's log by now
    with open(terminal, "w") as out:
        out.write(text)


def main() -> None:
    os.umask(0o077)
    try:
        prepare(load(FILE))
        config = load(FILE)
    except (ConfigError, OSError) as error:
        raise SystemExit(f"make run: {error}") from None
    stopped = threading.Event()
    loop: Any = reactor
    loop.addSystemEventTrigger("before", "shutdown", stopped.set)
    loop.callWhenRunning(loop.callInThread, announce, config, stopped)
    config.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    pidfile = config.run_dir / "twistd.pid"
    sys.argv[1:] = ["--nodaemon", f"--pidfile={pidfile}", "sqsuper", "--config", str(FILE)]
    twistd.run()


if __name__ == "__main__":
    main()
