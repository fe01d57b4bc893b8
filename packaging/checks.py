"""What the tests of the package say, and how they ask the service."""

from __future__ import annotations

import http.client
import ssl
import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PORT = 1337
SCROLL = "/api/v2/select?p=notes&c=1.1.1/1.1.1/1.1.1"
WRITE = "/api/v2/update?p=notes&c=1.1.1/1.1.1/1.1.1&s=kept"

steps: list[str] = []


class Failed(Exception):  # noqa: N818 - what a test says
    """A check failed; the text says which."""


def check(condition: object, what: str) -> None:
    if not condition:
        raise Failed(what)


def eventually(condition: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Call `condition` until it gives something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (got := condition()):
        check(time.monotonic() < deadline, f"not within {timeout} s: {what}")
        time.sleep(0.05)
    return got


def step(text: str) -> None:
    """Tell that a step has passed."""
    steps.append(text)
    sys.stdout.write(f"   {text}\n")
    sys.stdout.flush()


def request(target: str, token: str, port: int = PORT, *, tls: bool = False) -> tuple[int, bytes]:
    """Return status and body of the service's answer; the certificate is not looked at."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
