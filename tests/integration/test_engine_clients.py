"""A real document, and what the clients in the field send."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import xxhash
from phext.phext import Phext

from tests.unit.engine.servers import KEY, ROOT, Client, Running, running_engine, running_sq

ODYSSEY = ROOT / "conf" / "demo" / "the-odyssey.phext"
CHECKSUM = "9dd0ca3402f6f9e6ee5ecdee786664f9"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Running]:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copyfile(ODYSSEY, data / "the-odyssey.phext")
    with running_engine(data) as running:
        yield running


@pytest.fixture
def client(engine: Running) -> Iterator[Client]:
    with engine.client() as client:
        yield client


def scrolls() -> dict[str, str]:
    """The document's scrolls as the format's own library reads them."""
    found = Phext().explode(ODYSSEY.read_text("utf-8"))
    return {str(coordinate): text for coordinate, text in found.items() if text}


def test_the_library_and_the_engine_read_the_same(client: Client) -> None:
    expected = scrolls()
    assert len(expected) == 52
    rows = json.loads(client.get("/api/v2/json-export?p=the-odyssey").body)
    assert {row["coord"]: row["scroll"] for row in rows} == expected
    for coordinate, text in expected.items():
        assert client.get(f"/api/v2/select?p=the-odyssey&c={coordinate}").text == text
    assert client.get("/api/v2/checksum?p=the-odyssey").text == CHECKSUM
    assert client.get("/api/v2/get?p=the-odyssey").body == ODYSSEY.read_bytes()


@pytest.mark.real_sq
def test_the_real_sq_and_the_engine_answer_the_same(client: Client, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copyfile(ODYSSEY, theirs / "the-odyssey.phext")
    with running_sq(theirs) as sq, sq.client(reconnect=True) as other:
        for kind in ("toc", "get", "checksum", "delta"):
            target = f"/api/v2/{kind}?p=the-odyssey"
            assert client.get(target).body == other.get(target).body
        target = "/api/v2/status?p=the-odyssey"
        assert client.get(target).body.split(b"\n")[2:] == other.get(target).body.split(b"\n")[2:]


def test_phext_notepad_pulls_pushes_and_syncs_on_one_connection(client: Client) -> None:
    kind = "Content-Type: application/phext; charset=utf-8"
    place = "1.1.1/1.1.1/3.1.3"
    old = client.get(f"/api/v2/select?p=the-odyssey&c={place}").body
    assert old
    reply = client.post(f"/api/v2/update?p=the-odyssey&c={place}", b"pushed", kind)
    assert reply.text == "Updated 6 bytes"
    # It has everything but the scroll that was pushed.
    listing = "".join(
        f"{coordinate}: {xxhash.xxh3_128_hexdigest(text.encode())}\n"
        for coordinate, text in scrolls().items()
    )
    reply = client.post("/api/v2/delta?p=the-odyssey&c=1.1.1/1.1.1/1.1.1", listing.encode(), kind)
    assert reply.body == b"\x19\x19\x17\x17pushed"
    reply = client.post("/api/v2/delta?p=..&c=1.1.1/1.1.1/1.1.1", listing.encode(), kind)
    assert (reply.status, reply.body) == (403, b"")
    assert reply.field("x-sq-error")


def test_agents_percent_encode_everything(client: Client) -> None:
    client.get(
        "/api/v2/update?p=mem&c=1.1.1%2F1.1.1%2F1.1.2&s=caf%C3%A9%20%26%20t%C3%A9a",
        "Content-Type: text/plain",
    )
    assert client.get("/api/v2/toc?p=mem").text == "* 1.1.1/1.1.1/1.1.2: café & téa\n"
    assert client.post("/api/v2/delete?p=mem&c=1.1.1%2F1.1.1%2F1.1.2").text.startswith("Removed")
    assert client.get("/api/v2/update?p=mem&c=NS.1.1/user.theme/1.1.1&s=x").status == 400


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
def test_bodies_are_text_whatever_their_type(client: Client, kind: str) -> None:
    body = b"a=b&c=%zz+d&p=other"
    client.post("/api/v2/update?p=t&c=1.1.1/1.1.1/1.1.1", body, f"Content-Type: {kind}")
    assert client.get("/api/v2/select?p=t&c=1.1.1/1.1.1/1.1.1").body == body


def test_requests_session(engine: Running) -> None:
    base = f"http://127.0.0.1:{engine.port}/api/v2"
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        where = {"p": "notes", "c": "1.1.1/1.1.1/1.1.1"}
        text = "line one\nline two & more + 100% é 😀"
        assert session.post(f"{base}/update", params=where, data=text.encode()).ok
        answer = session.get(f"{base}/select", params=where)
        assert answer.content.decode() == text
        assert "content-type" not in answer.headers
        # A body in pieces, as of a generator, comes in chunks.
        pieces = iter([b"one ", b"two ", b"three"])
        assert session.post(f"{base}/update", params=where, data=pieces).text == "Updated 13 bytes"
        assert re.search(r"^Scrolls: 53$", session.get(f"{base}/status").text, re.MULTILINE)
        assert session.head(f"{base}/select", params=where).headers["content-length"] == "13"
        assert session.options(f"{base}/select", headers={"Authorization": ""}).status_code == 204


def test_large_bodies_and_targets(client: Client) -> None:
    where = "/api/v2/update?p=big&c=1.1.1/1.1.1/1.1.1"
    body = b"0123456789abcdef" * (1_100_000 // 16)
    assert client.post(where, body).text == f"Updated {len(body)} bytes"
    assert client.get("/api/v2/get?p=big").body == body
    for size in (9_000, 20_000, 60_000):
        assert client.get(f"{where}&s={'y' * size}").text == f"Updated {size} bytes"
    assert client.get(f"{where}&s={'y' * 70_000}").status == 414


def test_bodies_with_every_byte_that_is_text(client: Client) -> None:
    where = "p=t&c=1.1.1/1.1.1/1.1.1"
    client.post(f"/api/v2/update?{where}", b"kept")
    everything = bytes(range(256))
    assert client.post(f"/api/v2/update?{where}", everything).status == 400
    assert client.get(f"/api/v2/select?{where}").body == b"kept"
    text = "".join(map(chr, range(0x100))).encode()
    for delimiter in b"\x01\x17\x18\x19\x1a\x1c\x1d\x1e\x1f":
        text = text.replace(bytes([delimiter]), b"")
    assert client.post(f"/api/v2/update?{where}", text).status == 200
    assert client.get(f"/api/v2/select?{where}").body == text


def test_every_answer_has_the_cors_fields_once(client: Client) -> None:
    replies = [
        client.get("/api/v2/version"),
        client.get("/api/v2/nothing"),
        client.get("/api/v2/select?p=.."),
        client.request("OPTIONS", "/"),
        client.request("HEAD", "/api/v2/toc?p=t"),
        client.post("/api/v2/select?p=t"),
    ]
    client.key = None
    replies.append(client.get("/api/v2/version"))
    replies.append(client.request("PUT", "/api/v2/version"))
    assert [reply.status for reply in replies] == [200, 404, 403, 204, 200, 405, 401, 405]
    for reply in replies:
        assert reply.all("access-control-allow-origin") == ["*"]
        exposed = reply.all("access-control-expose-headers")
        assert len(exposed) == (0 if reply.status == 204 else 1)
        assert ("x-sq-code" in dict(reply.fields)) == (reply.status >= 400)
        assert "nosniff" not in str(reply.fields)
