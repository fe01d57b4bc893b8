from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqsuper.gateway.admission import OwnAnswer, admit
from sqsuper.gateway.rate import TokenBucket
from sqsuper.http1.credentials import Grant
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead
from sqsuper.instances import Full
from tests.unit.gateway.support import Bench, head_of


def of(bench: Bench, raw: bytes) -> Grant | bytes:
    found = admit(bench, "192.0.2.1", head_of(raw))
    return found.render(keep=True) if isinstance(found, OwnAnswer) else found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"OPTIONS /api/v2/reload HTTP/1.1\nHost: h\nAuthorization: a\nAuthorization: b", 204),
        (b"GET /health HTTP/1.1\nHost: h\nAuthorization: no", 200),
        (b"GET /health/ HTTP/1.1\nHost: h", 401),
        (b"GET /api/v2/reload HTTP/1.1\nHost: h", 401),
        (b"GET /api/v2/reload HTTP/1.1\nHost: h\nAuthorization: tok", 403),
        (b"GET /api/v2/admin HTTP/1.1\nHost: h\nAuthorization: tok", 404),
    ],
)
def test_the_order_of_the_rules(bench: Bench, raw: bytes, status: int) -> None:
    answer = of(bench, raw)
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_a_known_token_is_admitted(bench: Bench) -> None:
    grant = of(bench, b"GET /health2 HTTP/1.1\nHost: h\nAuthorization: Bearer tok")
    assert isinstance(grant, Grant)
    assert grant.tenant == "alice"


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        (b"GET /api/v2/insert?p=x&c=1.1.1/1.1.1/1.1.1&s=t", True),
        (b"POST //api/v2//update?p=x", True),
        (b"GET /api/v2/insertX?p=x", True),
        (b"GET /api/v2/%75pdate?p=x", True),
        (b"GET /api/v2/delete?p=x", False),
        (b"GET /api/v2/select?p=insert&s=/api/v2/update", False),
        (b"GET /api/v2/toc?p=update", False),
    ],
)
def test_data_that_must_not_grow(bench: Bench, line: bytes, refused: bool) -> None:
    raw = line + b" HTTP/1.1\nHost: h\nAuthorization: tok"
    assert isinstance(of(bench, raw), Grant)
    bench.full["bob"] = Full("quota", "no room")
    assert isinstance(of(bench, raw), Grant)
    bench.full["alice"] = Full("quota", "no room")
    bench.rates["alice"] = bucket = TokenBucket(1.0, 1, 0.0)
    answer = of(bench, raw)
    if refused:
        assert isinstance(answer, bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 507 ")
        assert json.loads(body)["code"] == "quota"
        # What is refused takes nothing of the rate.
        assert bucket.take(0.0) is None
    else:
        assert isinstance(answer, Grant)


def test_a_doubled_credential_is_a_framing_error(bench: Bench) -> None:
    with pytest.raises(FramingError) as caught:
        of(bench, b"GET / HTTP/1.1\nHost: h\nX-SQ-API-Key: tok\nX-SQ-API-KEY: tok")
    assert caught.value.status == 400


def test_only_wrong_tokens_are_counted(tmp_path: Path) -> None:
    counted: list[str] = []

    class Counting(Bench):
        def wrong_token(self, peer: str, head: RequestHead) -> int | None:
            counted.append(peer)
            return 7

    bench = Counting(tmp_path)
    missing = of(bench, b"GET / HTTP/1.1\nHost: h")
    assert isinstance(missing, bytes)
    assert missing.startswith(b"HTTP/1.1 401 ")
    assert counted == []
    wrong = of(bench, b"GET / HTTP/1.1\nHost: h\nAuthorization: no")
    assert isinstance(wrong, bytes)
    assert wrong.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 7\r\n" in wrong
    assert counted == ["192.0.2.1"]
