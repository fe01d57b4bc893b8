"""What every client does, in this order, and what it must see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

FIRST = "1.1.1/1.1.1/1.1.1"
TEXT = "line one\r\nline two & more + 100% \t\x7f caf\u00e9 \u6f22 \U0001f600"
METHODS = "GET, POST, DELETE, HEAD, OPTIONS"
# Requests on one connection; lines of the bodies; bytes of a body that is not read.
MANY = 25
CHUNKED = 349_526
LARGE = 932_068
REFUSED = 2 << 20

Report = dict[str, Any]


@attrs.frozen
class Job:
    """Where a client goes. `counted`: another way there, on which connections are counted."""

    base: str
    counted: str
    token: str
    wrong: str
    name: str

    def as_json(self) -> str:
        """Return the argument of the programs that read JSON."""
        facts = {key.capitalize(): value for key, value in attrs.asdict(self).items()}
        numbers = {"Many": MANY, "Chunked": CHUNKED, "Large": LARGE, "Refused": REFUSED}
        return json.dumps({**facts, **numbers, "Text": TEXT})

    def as_words(self) -> list[str]:
        """Return the arguments of those that read none."""
        words = [self.base, self.counted, self.token, self.wrong, TEXT.encode().hex(), self.name]
        return [*words, *map(str, (MANY, CHUNKED, LARGE, REFUSED))]


@attrs.frozen
class Reply:
    """An answer; fields' names in lower case."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def seen(self) -> list[Any]:
        return seen(self.status, self.body)


Body = bytes | list[bytes] | None


@attrs.frozen
class Asked:
    """A request. A body in pieces is sent in chunks; `expect`: with `Expect: 100-continue`."""

    method: str
    url: str
    query: dict[str, str]
    token: str
    body: Body = None
    expect: bool = False

    @property
    def fields(self) -> dict[str, str]:
        """Return the fields that a client does not add of itself."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def content(self) -> bytes | Iterator[bytes] | None:
        """Return the body as clients that know iterators take it."""
        return iter(self.body) if isinstance(self.body, list) else self.body


Ask = Callable[[Asked], Reply]


def seen(status: int, body: bytes) -> list[Any]:
    """Return what a report says of an answer."""
    return [status, len(body), hashlib.sha256(body).hexdigest()]


def lines(count: int) -> bytes:
    """Return so many lines of nine bytes."""
    return b"".join(b"%08d\n" % number for number in range(count))


def run(ask: Ask, job: Job, *, expects: bool = False) -> Report:
    """Let a client of Python do it. `expects`: it knows `Expect: 100-continue`."""

    def to(what: str, name: str = job.name, at: str = FIRST) -> tuple[str, dict[str, str]]:
        return f"{job.base}/api/v2/{what}", {"p": name, "c": at}

    def get(what: str, name: str = job.name, at: str = FIRST) -> list[Any]:
        return ask(Asked("GET", *to(what, name, at), job.token)).seen

    def post(what: str, body: Body, name: str = job.name, at: str = FIRST) -> list[Any]:
        return ask(Asked("POST", *to(what, name, at), job.token, body)).seen

    def one_of_several(index: int) -> list[list[Any]]:
        text, at = b"text of %d" % index, f"1.1.1/1.1.1/2.1.{index + 1}"
        results = []
        for _ in range(3):
            results += [post("update", text, at=at), get("select", at=at)]
        return results

    report: Report = {"update": post("update", TEXT.encode()), "select": get("select")}
    report["insert"] = post("insert", b"more")
    report["inserted"] = get("select")
    report["get"] = get("get")
    report["delete"] = get("delete")
    report["deleted"] = get("select")
    version = f"{job.counted}/api/v2/version"
    report["kept"] = [ask(Asked("GET", version, {}, job.token)).seen for _ in range(MANY)]
    with ThreadPoolExecutor(8) as several:
        report["parallel"] = list(several.map(one_of_several, range(8)))
    large, whole = f"{job.name}-large", lines(LARGE)
    report["chunked"] = post("update", list(pieces(whole[: CHUNKED * 9])), large)
    report["streamed"] = get("select", large)
    report["large"] = post("update", whole, large)
    report["downloaded"] = get("get", large)
    wrong = ask(Asked("GET", *to("select"), job.wrong))
    report["wrong"] = [wrong.status, wrong.fields.get("www-authenticate")]
    refused = whole[:REFUSED]
    report["refused"] = ask(Asked("POST", *to("update"), job.wrong, refused)).status
    report["after refused"] = post("update", b"after")
    if expects:
        asked = Asked("POST", *to("update", large), job.token, refused, expect=True)
        report["expected"] = ask(asked).seen
        report["expected in vain"] = ask(attrs.evolve(asked, token=job.wrong)).status
    report["after all"] = get("select")
    options = ask(Asked("OPTIONS", *to("select"), job.wrong))
    report["options"] = [options.status, options.fields.get("access-control-allow-methods")]
    head = ask(Asked("HEAD", *to("select"), job.token))
    report["head"] = [int(head.fields.get("content-length", "-1")), *head.seen]
    return report


def pieces(whole: bytes, size: int = 50_000) -> Iterator[bytes]:
    """Return `whole` in pieces."""
    for at in range(0, len(whole), size):
        yield whole[at : at + size]


def expected(engine: str, *, expects: bool) -> Report:
    """Return the report of a client that saw every byte as it should."""
    text, whole = TEXT.encode(), lines(LARGE)

    def said(word: str, count: int) -> list[Any]:
        return seen(200, f"{word} {count} bytes".encode())

    report: Report = {
        "update": said("Updated", len(text)),
        "select": seen(200, text),
        "insert": said("Inserted", 4),
        "inserted": seen(200, text + b"more"),
        "get": seen(200, text + b"more"),
        "delete": said("Removed", len(text) + 4),
        "deleted": seen(200, b""),
        "kept": [seen(200, b"0.5.5")] * MANY,
        "parallel": [
            [said("Updated", 9), seen(200, b"text of %d" % index)] * 3 for index in range(8)
        ],
        "chunked": said("Updated", CHUNKED * 9),
        "streamed": seen(200, whole[: CHUNKED * 9]),
        "large": said("Updated", LARGE * 9),
        "downloaded": seen(200, whole),
        "wrong": [401, "Bearer"],
        "refused": 401,
        "after refused": said("Updated", 5),
        "after all": seen(200, b"after"),
        "options": [204, METHODS],
        "head": [5, *seen(200, b"")],
    }
    if expects:
        report["expected"] = said("Updated", REFUSED)
        report["expected in vain"] = 401
    if engine == "sq":
        # It knows no HEAD.
        del report["head"]
    return report
