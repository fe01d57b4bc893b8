"""Clients that people use, each through the same sequence."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import attrs
import pytest

from tests.integration.clients import adapters
from tests.integration.clients.conftest import HERE, CountingRelay, missing, program
from tests.integration.clients.sequence import MANY, Ask, Job, Report, expected, run, seen
from tests.integration.test_main_job import ALICE
from tests.running import Running


@pytest.fixture
def job(service: Running, relay: CountingRelay, request: pytest.FixtureRequest) -> Job:
    name = re.sub(r"\W+", "-", request.node.name)
    counted = f"http://127.0.0.1:{relay.port}"
    return Job(service.url, counted, ALICE, ALICE[:-1] + "x", name)


def check(report: Report, engine: str, *, expects: bool) -> None:
    if engine == "sq":
        report.pop("head")
    wanted = expected(engine, expects=expects)
    assert set(report) == set(wanted)
    for step, value in wanted.items():
        assert report[step] == value, step


def run_program(*arguments: str) -> Report:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report: Report = json.loads(done.stdout)
    return report


@attrs.frozen
class Python:
    """A client of Python: its package, how it is used, whether it can wait for a 100."""

    package: str
    client: Callable[[], AbstractContextManager[Ask]]
    expects: bool = False


@pytest.mark.parametrize(
    "python",
    [
        Python("requests", adapters.requests_session),
        Python("httpx", adapters.httpx_client),
        Python("aiohttp", adapters.aiohttp_session, expects=True),
    ],
    ids=lambda python: python.package,
)
def test_python(engine: str, job: Job, relay: CountingRelay, python: Python) -> None:
    if importlib.util.find_spec(python.package) is None:
        missing(python.package)
    with python.client() as ask:
        check(run(ask, job, expects=python.expects), engine, expects=python.expects)
    assert relay.connections == 1


def test_curl(engine: str, job: Job, relay: CountingRelay, tmp_path: Path) -> None:
    curl = adapters.Curl(program("curl"), tmp_path)
    check(run(curl, job, expects=True), engine, expects=True)
    # Several requests of one run are on one connection, also behind one that was refused.
    before = relay.connections
    token = ("-H", f"Authorization: Bearer {job.token}")
    version = f"{job.counted}/api/v2/version?n=[1-{MANY}]"
    codes = curl.run(*token, "-o", f"{tmp_path}/#1", "-w", "%{http_code} ", version)
    assert codes.split() == ["200"] * MANY
    assert [(tmp_path / str(n + 1)).read_bytes() for n in range(MANY)] == [b"0.5.5"] * MANY
    assert relay.connections == before + 1
    wrong = ("-H", f"Authorization: Bearer {job.wrong}")
    one = f"{job.counted}/api/v2/version"
    shown = ("-o", "/dev/null", "-w", "%{http_code}:%{num_connects} ")
    codes = curl.run(*wrong, *shown, one, "--next", "-sS", *token, *shown, one)
    assert codes.split() == ["401:1", "200:0"]


def test_node_fetch(engine: str, job: Job, relay: CountingRelay) -> None:
    node = program("node")
    check(run_program(node, str(HERE / "client.mjs"), job.as_json()), engine, expects=False)
    # It asks again a moment before it knows that the connection is free.
    assert relay.connections <= 2


def test_go_net_http(
    engine: str, job: Job, relay: CountingRelay, go_client: Callable[[], str]
) -> None:
    check(run_program(go_client(), job.as_json()), engine, expects=True)
    assert relay.connections == 1


def test_java_http_client(engine: str, job: Job, relay: CountingRelay) -> None:
    java = program("java")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False)
    if "jdk.compiler" not in modules.stdout:
        missing("Java with its compiler")
    check(run_program(java, str(HERE / "Client.java"), *job.as_words()), engine, expects=True)
    assert relay.connections == 1


def test_the_sequence_finds_a_byte_that_is_another() -> None:
    report = expected("embedded", expects=True)
    report["streamed"] = seen(200, b"x")
    with pytest.raises(AssertionError, match="streamed"):
        check(report, "embedded", expects=True)
