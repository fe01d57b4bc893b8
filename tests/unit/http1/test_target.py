"""Decisions about paths; the target itself never changes."""

from __future__ import annotations

import itertools

import pytest

from sqsuper.http1 import target


@pytest.mark.parametrize(
    ("whole", "path", "query"),
    [
        (b"/a", b"/a", b""),
        (b"/a?", b"/a", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/a%3Fb?c", b"/a%3Fb", b"c"),
        (b"?", b"", b""),
        (b"", b"", b""),
    ],
)
def test_split(whole: bytes, path: bytes, query: bytes) -> None:
    assert target.split(whole) == (path, query)


def every_letter_escaped(word: bytes, digits: str) -> bytes:
    return b"".join(f"%{byte:{digits}}".encode() for byte in word)


RELOAD = [
    b"/api/v2/reload",
    b"/api/v2/reload?x=1",
    b"/api/v2/reload/",
    b"/api/v2/reload/x",
    b"/api/v2/reloadx",
    b"/api/v2/reload-all?p=a",
    b"/api/v2/reload;x",
    b"/api/v2/reload%00",
    b"/api/v2/reload%3Fx",
    b"/api/v2/reload%2fx",
    b"/api/v2/reload%",
    b"/api/v2/reload%zz",
    b"/api/v2//reload",
    b"//api//v2///reload",
    b"/api/v2/RELOAD",
    b"/API/V2/Reload",
    b"/api/v2/%72eload",
    b"/api/v2/%52ELOAD",
    b"/%61pi/v2/reload",
    b"/api%2Fv2%2Freload",
    b"/api%2fv2%2freload",
    b"/api/v2%2F%2Freload",
    b"/api\\v2\\reload",
    b"/\\api/v2\\reload",
    b"/api%5Cv2%5creload",
    b"/api/v2/./reload",
    b"/./api/v2/reload",
    b"/api/./v2/././reload",
    b"/api/v2/x/../reload",
    b"/api/v2/select/../reload?p=x",
    b"/../../api/v2/reload",
    b"/a/b/../../api/v2/reload",
    b"/api/v2/%2e/reload",
    b"/api/v2/x/%2E%2e/reload",
    b"/api/v2/x/.%2e/reload",
    b"/api/v2/x%2f..%2freload",
    b"/api/v2/x\\..\\reload",
    b"/x/../api/v2/reload",
    b"/api/v2/x//../reload",
    # One that goes by prefix and resolves nothing takes these for reload too.
    b"/api/v2/reload/../version",
    b"/api/v2/reload/..",
    b"/api/v2/reload/%2e%2e/%2e%2e/x",
    b"/api/v2/reload\\..\\version",
    b"/" + every_letter_escaped(b"api/v2/reload", "02x"),
    b"/" + every_letter_escaped(b"API/V2/RELOAD", "02X"),
    every_letter_escaped(b"/api/v2/reload", "02X"),
]


@pytest.mark.parametrize("whole", RELOAD)
def test_reload(whole: bytes) -> None:
    assert target.is_reload(whole)
    if b"?" not in whole:
        assert target.is_reload(whole + b"?p=x&c=../..")


def test_reload_in_any_case_and_any_escape() -> None:
    choices = [
        (b"reload"[i : i + 1], every_letter_escaped(b"reload"[i : i + 1], "02x")) for i in range(6)
    ]
    for letters in itertools.product(*choices):
        assert target.is_reload(b"/api/v2/" + b"".join(letters))
    for bits in range(64):
        word = "".join(c.upper() if bits >> i & 1 else c for i, c in enumerate("reload"))
        assert target.is_reload(b"/api/v2/" + word.encode())


@pytest.mark.parametrize(
    "whole",
    [
        b"/",
        b"*",
        b"/api/v2/version",
        b"/api/v2/load?p=reload",
        b"/api/v2/version?/api/v2/reload",
        b"/api/v2/update?p=a&s=/api/v2/reload",
        b"/api/v2/update?s=%2Fapi%2Fv2%2Freload",
        b"/?/../api/v2/reload",
        b"/api/v2",
        b"/api/v2/",
        b"/api/v2/reloa",
        b"/api/v2/%2572eload",
        b"/api/v2/%%72eload",
        b"/api/v2/%7 2eload",
        b"/api/v2/rel/oad",
        b"/api/v2/rel/../oad",
        b"/api/v2/xreload",
        b"/x/api/v2/reload",
        b"/api/v3/reload",
        b"/api/reload",
        b"/reload",
        b"/api/v2/select/reload",
        b"/api/v2/.../reload",
        b"/api/v2/select/../../reload",
        b"/api/v2%252Freload",
        b"/api/v2/\xf2eload",
        b"/api/v2/reload"[:-1] + b"\xc4\x91",
        b"/apix/v2/reload",
    ],
)
def test_not_reload(whole: bytes) -> None:
    assert not target.is_reload(whole)


@pytest.mark.parametrize("word", [b"insert", b"update", b"UpDate", b"%69nsert", b"%55PDATE"])
@pytest.mark.parametrize(
    "path",
    [
        b"/api/v2/%b",
        b"//api//v2///%bX",
        b"/api%%2Fv2%%2f%b",
        b"/api\\v2\\%b",
        b"/api/v2/x/../%b",
        b"/api/v2/%b/../version",
    ],
)
def test_growing(path: bytes, word: bytes) -> None:
    assert target.is_growing(path % word)
    assert target.is_growing(path % word + b"?p=x")


@pytest.mark.parametrize("word", [b"delete", b"select", b"toc", b"load", b"delta", b"inser"])
def test_not_growing(word: bytes) -> None:
    assert not target.is_growing(b"/api/v2/" + word + b"?p=insert&s=/api/v2/update")


@pytest.mark.parametrize(
    "whole",
    [
        b"/admin",
        b"/admin/",
        b"/admin/tenants",
        b"/admin?x",
        b"/ADMIN/x",
        b"//admin",
        b"/%61dmin",
        b"/x/../admin",
        b"/\\admin\\x",
        b"/api/v2/admin",
        b"/api/v2/admin/tenants",
        b"/api/v2//admin/x?y",
        b"/api/v2/%61%64min/x",
        b"/API/v2/Admin",
        b"/api%2fv2%2fadmin%2fx",
        b"/api/v2/select/../admin",
    ],
)
def test_admin(whole: bytes) -> None:
    assert target.is_admin(whole)


@pytest.mark.parametrize(
    "whole",
    [
        b"/",
        b"/administrator",
        b"/admins/x",
        b"/api/v2/adminx",
        b"/api/v2/select?p=admin",
        b"/api/v2/select?/admin/",
        b"/x/admin",
        b"/api/admin",
        b"/api/v2/x/admin",
        b"/%2561dmin",
        b"/api/v2/update?s=%2Fadmin%2F",
    ],
)
def test_not_admin(whole: bytes) -> None:
    assert not target.is_admin(whole)


READS = [
    b"version",
    b"select",
    b"toc",
    b"get",
    b"export",
    b"checksum",
    b"delta",
    b"status",
    b"where",
    b"json-export",
    b"list",
    b"search",
]


@pytest.mark.parametrize("name", READS)
def test_what_a_read_only_token_may_ask(name: bytes) -> None:
    for path in (b"/api/v2/", b"/api/v2//", b"//api/v2/", b"/api///v2//"):
        assert target.is_read_only(path + name)
        assert target.is_read_only(path + name + b"?p=x&s=y&c=/insert")


@pytest.mark.parametrize("name", READS)
def test_nothing_that_only_looks_like_it(name: bytes) -> None:
    escaped = every_letter_escaped(name[:1], "02x") + name[1:]
    api = b"/api/v2/"
    for whole in (
        api + name + b"x",
        api + name + b"/",
        api + name + b"//",
        api + name + b"/../insert",
        api + name + b";x",
        api + name + b"%20",
        api + name + b"%3Fp=x",
        api + name + b".",
        api + name[:-1],
        api + name.upper(),
        api + name.capitalize(),
        api + escaped,
        api + b"x/../" + name,
        api + b"./" + name,
        b"/API/v2/" + name,
        b"/api%2Fv2/" + name,
        b"/api/v2\\" + name,
        b"/" + name,
        b"/x/api/v2/" + name,
        name,
    ):
        assert not target.is_read_only(whole), whole


@pytest.mark.parametrize(
    "name", [b"insert", b"update", b"delete", b"load", b"batch", b"insertx", b"reload", b""]
)
def test_what_a_read_only_token_may_not_ask(name: bytes) -> None:
    assert not target.is_read_only(b"/api/v2/" + name)
    assert not target.is_read_only(b"/api/v2/" + name + b"?/api/v2/select")


def test_the_read_only_list_is_whole() -> None:
    assert {b"/api/v2/" + name for name in READS} == target.READ_ONLY


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (b"/api/v2/delta", True),
        (b"/api/v2/delta?p=x", True),
        (b"/api/v2//delta?p=x", True),
        (b"/x/delta", True),
        (b"http://h/api/v2/delta?p", True),
        (b"/api/v2/delta/", False),
        (b"/api/v2/deltas", False),
        (b"/api/v2/xdelta", False),
        (b"/api/v2/select?p=/delta", False),
        (b"", False),
    ],
)
def test_delta(whole: bytes, expected: bool) -> None:
    assert target.is_delta(whole) is expected
