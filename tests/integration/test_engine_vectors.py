"""The recorded requests, byte for byte, against the engine and against the real sq itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.servers import Client, Running, running_engine, running_sq

VECTORS = Path(__file__).parents[1] / "vectors" / "sq-0.5.5.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["cases"]
NAMES = [case["case"] for case in CASES]


def raw(value: dict[str, str] | None) -> bytes:
    if value is None:
        return b""
    if "base64" in value:
        return base64.b64decode(value["base64"])
    return value["text"].encode("utf-8")


def play(case: dict[str, Any], client: Client, *, real: bool) -> None:
    for step in case["steps"]:
        body = raw(step["body"]) if "body" in step else None
        reply = client.request(step["method"], step["target"], body)
        seen = reply.body
        if real and "/load?" in step["target"]:
            # The recording has the server's path cut.
            seen = b"Loaded " + seen.rpartition(b"/")[2]
        assert (reply.status, seen) == (step["status"], raw(step["response"])), step["target"]


def files(data: Path) -> dict[str, bytes]:
    return {
        path.name: content
        for path in sorted(data.iterdir())
        if path.is_file() and path.suffix == ".phext" and (content := path.read_bytes())
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Running]:
    with running_engine(tmp_path / "data") as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_engine_answers_as_recorded(case: dict[str, Any], engine: Running) -> None:
    with engine.client() as client:
        play(case, client, real=False)
    assert engine.end() == 0
    assert files(engine.data) == {name: raw(text) for name, text in case["files"].items()}


@pytest.mark.real_sq
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_recording_is_what_the_real_sq_answers(case: dict[str, Any], tmp_path: Path) -> None:
    with running_sq(tmp_path / "data") as sq, sq.client(reconnect=True) as client:
        play(case, client, real=True)
        assert files(sq.data) == {name: raw(text) for name, text in case["files"].items()}
