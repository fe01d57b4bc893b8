"""Every request of SQ's API, and what is answered where the real sq is unsafe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import xxhash

from sqsuper.engine import views
from sqsuper.engine.answer import Answer
from sqsuper.engine.errors import NotFoundError, WrongMethodError
from sqsuper.engine.loaded import Unloaded
from sqsuper.engine.request import Request
from tests.unit.engine.driving import Tenant, at_most

ORIGIN = "1.1.1/1.1.1/1.1.1"
EMPTY = "99aa06d3014798d86001c324468d497f"
DELIMITERS = b"\x01\x17\x18\x19\x1a\x1c\x1d\x1e\x1f"


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    tenant = Tenant(tmp_path)
    yield tenant
    tenant.close()


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Tenant]:
    tenant = Tenant(tmp_path, lenient=True)
    yield tenant
    tenant.close()


class TestWriting:
    def test_update_replaces_and_counts_bytes(self, tenant: Tenant) -> None:
        assert tenant.post(f"update?p=t&c={ORIGIN}", "hé".encode()) == b"Updated 3 bytes"
        tenant.put(b"again")
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"again"
        assert tenant.files() == {"t.phext": b"again"}

    def test_insert_appends(self, tenant: Tenant) -> None:
        assert tenant.get_text(f"insert?p=t&c={ORIGIN}&s=ab") == b"Inserted 2 bytes"
        assert tenant.post(f"insert?p=t&c={ORIGIN}", b"cd") == b"Inserted 2 bytes"
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"abcd"

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_delete_counts_what_was_there(self, tenant: Tenant, method: str) -> None:
        tenant.put(b"text")
        assert tenant.ask(method, f"delete?p=t&c={ORIGIN}") == (200, b"Removed 4 bytes")
        assert tenant.ask(method, f"delete?p=t&c={ORIGIN}") == (200, b"Removed 0 bytes")
        assert tenant.files() == {"t.phext": b""}

    def test_body_wins_over_s_and_an_empty_one_leaves_it(self, tenant: Tenant) -> None:
        tenant.post(f"update?p=t&c={ORIGIN}&s=query", b"body")
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"body"
        tenant.post(f"update?p=t&c={ORIGIN}&s=query", b"")
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"query"

    @pytest.mark.parametrize("end", ["&s=", "", "&s"])
    def test_no_text_clears(self, tenant: Tenant, end: str) -> None:
        tenant.put(b"text")
        assert tenant.get_text(f"update?p=t&c={ORIGIN}{end}") == b"Updated 0 bytes"
        assert tenant.get_text("get?p=t") == b""

    def test_a_body_of_get_is_no_text(self, tenant: Tenant) -> None:
        assert tenant.ask("GET", f"update?p=t&c={ORIGIN}&s=q", b"body")[1] == b"Updated 1 bytes"

    def test_every_byte_that_is_text_is_kept(self, tenant: Tenant) -> None:
        text = bytes(byte for byte in range(128) if byte not in DELIMITERS) + "ÿ漢😀".encode()
        tenant.put(text)
        tenant.get_text("load?p=t")
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == text

    def test_nothing_written_to_an_absent_phext_makes_none(self, tenant: Tenant) -> None:
        assert tenant.get_text(f"delete?p=t&c={ORIGIN}") == b"Removed 0 bytes"
        assert tenant.get_text(f"update?p=t&c={ORIGIN}&s=") == b"Updated 0 bytes"
        assert tenant.files() == {}


class TestDecoding:
    @pytest.mark.parametrize(
        ("query", "text"),
        [
            (b"s=a%20b", b"a b"),
            (b"s=a+b", b"a b"),
            (b"s=a%2Bb", b"a+b"),
            (b"s=a%2Fb%3Bc;d", b"a/b;c;d"),
            (b"s=a%2fb", b"a/b"),
            (b"s=h\xc3\xa9", b"h\xc3\xa9"),
            (b"s=%C3%A9%c3%a9", b"\xc3\xa9\xc3\xa9"),
            (b"s=100%", b"100%"),
            (b"s=%zz%4", b"%zz%4"),
            (b"s=%2541", b"%41"),
            (b"s=a=b=c", b"a=b=c"),
            (b"s=a?b", b"a?b"),
            (b"s=a&s=b", b"b"),
            (b"s=a&s", b"a"),
            (b"&&s=a&&&", b"a"),
            (b"s=a&unknown=%ff", b"a"),
            (b"%73=a", b"a"),
            (b"S=a", b""),
            (b";s=a", b""),
            (b"s=%0d%0a%09%00", b"\r\n\t\x00"),
        ],
    )
    def test_parameters_are_decoded_as_sq_does(
        self, tenant: Tenant, query: bytes, text: bytes
    ) -> None:
        tenant.put(b"before")
        tenant.get_text(b"update?p=t&c=1.1.1/1.1.1/1.1.1&" + query)
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == text

    @pytest.mark.parametrize(
        "c", ["1.2.3/4.5.6/7.8.9", "1.2.3%2F4.5.6%2f7.8.9", "1.2.3;4.5.6%3B7.8.9"]
    )
    def test_spellings_of_one_coordinate(self, tenant: Tenant, c: str) -> None:
        tenant.put(b"x", "1.2.3/4.5.6/7.8.9")
        assert tenant.get_text(f"select?p=t&c={c}") == b"x"

    def test_doubled_slashes_are_tolerated(self, tenant: Tenant) -> None:
        answer = tenant.api.answer(Request(b"GET", b"//api///v2//version?p=a//b"))
        assert isinstance(answer, Answer)
        assert answer.body == b"0.5.5"

    def test_names_are_decoded_once(self, tenant: Tenant) -> None:
        tenant.put(b"x", name="%252e")
        assert tenant.files() == {"%2e.phext": b"x"}


class TestReading:
    def test_version_needs_no_name_and_minds_none(self, tenant: Tenant) -> None:
        assert tenant.get_text("version") == b"0.5.5"
        assert tenant.get_text("version?p=../x") == b"0.5.5"

    def test_load_reads_the_file_again(self, tenant: Tenant) -> None:
        tenant.put(b"old")
        (tenant.data / "t.phext").write_bytes(b"new")
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"old"
        assert tenant.get_text("load?p=t") == b"Loaded t.phext"
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"new"

    def test_select_without_c_is_the_origin(self, tenant: Tenant) -> None:
        tenant.put(b"origin")
        assert tenant.get_text("select?p=t") == tenant.get_text("select?p=t&c=") == b"origin"

    def test_toc_shows_first_lines(self, tenant: Tenant) -> None:
        tenant.put(b"one\r\nmore")
        tenant.put(b"\nsecond line only", "1.1.1/1.1.1/1.1.2")
        tenant.put(b"ends with LF\n", "1.1.1/1.1.1/1.2.1")
        tenant.put("漢".encode() * 300, "2.1.1/1.1.1/1.1.1")
        assert tenant.get_text("toc?p=t").decode() == (
            "* 1.1.1/1.1.1/1.1.1: one\r...\n"
            "* 1.1.1/1.1.1/1.1.2: ...\n"
            "* 1.1.1/1.1.1/1.2.1: ends with LF...\n"
            f"* 2.1.1/1.1.1/1.1.1: {'漢' * 300}\n"
        )

    def test_an_empty_phext(self, tenant: Tenant) -> None:
        for name in ("absent", "empty"):
            (tenant.data / "empty.phext").write_bytes(b"")
            assert tenant.get_text(f"toc?p={name}") == b"* 1.1.1/1.1.1/1.1.1: \n"
            assert tenant.get_text(f"get?p={name}") == b""
            assert tenant.get_text(f"checksum?p={name}").decode() == EMPTY
            assert tenant.get_text(f"delta?p={name}") == b""
            assert tenant.get_text(f"status?p={name}").endswith(b"Phext Size: 0\nScrolls: 1")
            assert json.loads(tenant.get_text(f"json-export?p={name}")) == [
                {"coord": ORIGIN, "scroll": ""}
            ]

    def test_get_gives_the_file_as_it_is_until_a_write(self, tenant: Tenant) -> None:
        own = b"a\x17\x17\x17b\x17\x17\x01\x01"
        (tenant.data / "t.phext").write_bytes(own)
        assert tenant.get_text("get?p=t") == tenant.get_text("export?p=t") == own
        canonical = b"a\x17\x17\x17b"
        assert tenant.get_text("checksum?p=t").decode() == xxhash.xxh3_128_hexdigest(canonical)
        assert tenant.get_text("delta?p=t") == canonical
        # Also a write that changes no scroll makes the file canonical, as sq does.
        tenant.put(b"a")
        assert tenant.get_text("get?p=t") == tenant.files()["t.phext"] == canonical

    def test_get_of_a_file_changed_behind_us_is_the_loaded_text(self, tenant: Tenant) -> None:
        (tenant.data / "t.phext").write_bytes(b"a\x17\x17")
        assert tenant.get_text("get?p=t") == b"a\x17\x17"
        (tenant.data / "t.phext").write_bytes(b"other\x17\x17")
        assert tenant.get_text("get?p=t") == b"a"

    def test_status_of_a_phext_and_of_the_tenant(self, tenant: Tenant) -> None:
        tenant.put(b"one")
        tenant.put(b"two", "1.1.1/1.1.1/1.1.2", name="u")
        tenant.put(b"three", "1.1.1/1.1.1/1.1.3", name="u")
        assert tenant.get_text("status?p=u").decode() == (
            "Hosting: u.phext\nConnection ID: 7\nPhext Size: 10\nScrolls: 2"
        )
        expected = "Hosting: alice\nConnection ID: 7\nPhext Size: 13\nScrolls: 3"
        assert tenant.get_text("status").decode() == expected
        tenant.stop()
        other = Tenant(tenant.data)
        for _ in range(2):
            assert other.get_text("status?p=").decode() == expected
        assert other.store.loaded == 0
        other.close()

    def test_status_totals_pass_over_what_is_no_phext(self, tenant: Tenant) -> None:
        (tenant.data / "bad.phext").write_bytes(b"\xff")
        (tenant.data / "notes.txt").write_bytes(b"text")
        tenant.put(b"x")
        assert tenant.get_text("status").endswith(b"Phext Size: 1\nScrolls: 1")

    def test_json_export_is_json_in_order(self, tenant: Tenant) -> None:
        nasty = '"q" \\ \n\r\t \x00\x07\x1b / é 😀 \u2028'
        tenant.put(nasty.encode(), "2.1.1/1.1.1/1.1.1")
        tenant.put(b"one", "1.1.1/1.1.1/1.1.10")
        tenant.put(b"two", "1.1.1/1.1.1/1.1.2")
        text = tenant.get_text("json-export?p=t").decode()
        assert json.loads(text) == [
            {"coord": "1.1.1/1.1.1/1.1.2", "scroll": "two"},
            {"coord": "1.1.1/1.1.1/1.1.10", "scroll": "one"},
            {"coord": "2.1.1/1.1.1/1.1.1", "scroll": nasty},
        ]
        lines = text.split("\n")
        assert lines[0] == "["
        assert lines[1].startswith('   { "coord": ')
        assert lines[2].startswith(',   { "coord": ')
        assert lines[-2:] == ["]", ""]
        assert list(tenant.data.glob("*.json")) == []

    def test_json_export_of_a_large_scroll_comes_in_pieces(self, tmp_path: Path) -> None:
        text = 'é\x02"\\\n' * 80_000
        (tmp_path / "t.phext").write_text(f"a\x17{text}\x17b")
        tenant = Tenant(tmp_path)
        tenant.run(tenant.store.loading(Unloaded("t", b"t.phext")))
        answer = tenant.answer("GET", "json-export?p=t")
        assert answer.pieces is not None
        pieces = list(answer.pieces)
        assert max(map(len, pieces)) < len(text)
        assert sum(map(len, pieces)) == answer.length
        scrolls = [entry["scroll"] for entry in json.loads(b"".join(pieces))]
        assert scrolls == ["a", text, "b"]
        tenant.close()

    @pytest.mark.parametrize("what", ["toc", "json-export"])
    def test_blocks_of_long_scrolls_come_in_pieces(self, tmp_path: Path, what: str) -> None:
        (tmp_path / "t.phext").write_bytes(b"\x17".join([b"x" * 20_000] * 200))
        tenant = Tenant(tmp_path)
        tenant.run(tenant.store.loading(Unloaded("t", b"t.phext")))
        answer = tenant.answer("GET", what + "?p=t")
        assert answer.pieces is not None
        pieces = list(answer.pieces)
        assert sum(map(len, pieces)) == answer.length
        assert max(map(len, pieces)) < 500_000
        if what == "json-export":
            snapshot, _group = tenant.run(tenant.store.snapshot("t"))
            assert max(views.json_lengths(snapshot)) < 500_000
        tenant.close()

    def test_long_nonsense_takes_no_time(self, tenant: Tenant) -> None:
        zeros = b"0" * 60_000
        with at_most(20.0):
            assert tenant.ask("GET", b"select?p=t&c=" + zeros)[0] == 400
            assert tenant.ask("POST", "delta?p=t", zeros + b"x: 1\n") == (200, b"")
        assert tenant.ask("GET", b"select?p=t&c=" + b"0" * 99 + b"1.1.1/1.1.1/1.1.1")[0] == 200
        assert tenant.ask("GET", b"select?p=t&c=1.1.1/1.1.1/1.1.000")[0] == 400

    def test_list(self, tenant: Tenant) -> None:
        assert tenant.get_text("list") == b"[]"
        for name in ("b", "a", "ä b"):
            tenant.put(b"x", name=quote(name))
        (tenant.data / ".hidden.phext").write_bytes(b"")
        (tenant.data / "con.phext").write_bytes(b"")
        (tenant.data / "dir.phext").mkdir()
        (tenant.data / "text.txt").write_bytes(b"")
        (tenant.data / "in.phext").symlink_to("a.phext")
        (tenant.data / "out.phext").symlink_to("/etc/passwd")
        os.mkfifo(tenant.data / "fifo.phext")
        with open(os.fsencode(tenant.data) + b"/\xff.phext", "wb"):
            pass
        assert json.loads(tenant.get_text("list")) == ["a", "b", "in", "ä b"]

    @pytest.mark.parametrize(
        ("f", "kind"),
        [
            (None, None),
            ("index.html", b"text/html; charset=utf-8"),
            ("a.b/style.CSS", b"text/css; charset=utf-8"),
            ("app.js", b"text/javascript; charset=utf-8"),
            ("data.json", b"application/json"),
            ("x.unknown", None),
            ("html", None),
            ("", None),
        ],
    )
    def test_select_has_the_type_of_f_or_none(
        self, tenant: Tenant, f: str | None, kind: bytes | None
    ) -> None:
        end = "" if f is None else f"&f={quote(f)}"
        assert tenant.answer("GET", f"select?p=t&c={ORIGIN}{end}").content_type == kind

    def test_other_answers_are_text(self, tenant: Tenant) -> None:
        for target in ("version", "toc?p=t", "list", "json-export?p=t", "status", "get?p=t"):
            assert tenant.answer("GET", target).content_type == b"text/plain; charset=utf-8"

    def test_large_texts_come_in_pieces_of_one_moment(self, tenant: Tenant) -> None:
        # Past the limit on writes, as a file that stood there before.
        scroll = b"line\n" + b"y" * 2000
        (tenant.data / "t.phext").write_bytes(b"\x17".join([scroll] * 500))
        answers = [tenant.answer("GET", f"{kind}?p=t") for kind in ("get", "delta", "json-export")]
        tenant.get_text(f"delete?p=t&c={ORIGIN}")
        for answer in answers:
            if answer.file is not None:
                pieces = [piece for _ in range(100) if (piece := answer.file.read())]
            else:
                assert answer.pieces is not None
                pieces = list(answer.pieces)
            assert sum(map(len, pieces)) == answer.length
            assert max(map(len, pieces)) < answer.length
            assert b"".join(pieces).count(b"y" * 2000) == 500


class TestDelta:
    @pytest.fixture(autouse=True)
    def scrolls(self, tenant: Tenant) -> None:
        tenant.put(b"hello")
        tenant.put(b"world", "1.1.1/1.1.1/1.1.2")

    HELLO = xxhash.xxh3_128_hexdigest(b"hello")
    WORLD = xxhash.xxh3_128_hexdigest(b"world")

    @pytest.mark.parametrize(
        ("listing", "answer"),
        [
            ("", "hello\x17world"),
            (f"{ORIGIN}: {HELLO}\n", "\x17world"),
            (f"{ORIGIN}: {HELLO}\r\n1.1.1/1.1.1/1.1.2: {WORLD}\r\n", ""),
            (f"{ORIGIN}: {HELLO}\n1.1.1/1.1.1/1.1.2: {WORLD}", ""),
            (f"{ORIGIN}: {HELLO.upper()}", "hello\x17world"),
            (f"{ORIGIN}: {HELLO} ", "hello\x17world"),
            (f"{ORIGIN}: {HELLO}: more", "\x17world"),
            (f"{ORIGIN}:{HELLO}", "hello\x17world"),
            (f"{ORIGIN}: 0\n{ORIGIN}: {HELLO}", "\x17world"),
            (f"{ORIGIN}: {HELLO}\n{ORIGIN}: 0", "hello\x17world"),
            (f"1.1.1;1.1.1;1.1.1: {HELLO}", "\x17world"),
            ("garbage line\n\n: \nnote: x", "hello\x17world"),
            (f"1.1.1/1.1.1/1.1.4: {HELLO}", "hello\x17world\x17\x17---sq:Scroll-Missing---"),
            ("2.1.1/1.1.1/1.1.1: ", "hello\x17world\x01---sq:Scroll-Missing---"),
        ],
    )
    def test_what_differs_or_is_missing(self, tenant: Tenant, listing: str, answer: str) -> None:
        assert tenant.post("delta?p=t", listing.encode()).decode() == answer

    @pytest.mark.parametrize("part", ["0", "1000", "99999999999"])
    def test_a_part_out_of_range_is_refused(self, tenant: Tenant, part: str) -> None:
        listing = f"1.1.1/1.1.{part}/1.1.1: x".encode()
        assert tenant.refused("POST", "delta?p=t", listing)[0] == 400

    def test_an_empty_phext_has_the_origin(self, tenant: Tenant) -> None:
        assert tenant.post("delta?p=none", f"{ORIGIN}: {EMPTY}".encode()) == b""


class TestWhere:
    @pytest.mark.parametrize(
        ("query", "body", "text"),
        [
            ("", b"hello", "1.1.1/1.1.1/1.1.1 for input (algo=xor, limit=100)"),
            ("&algo=XOR&limit=0", b"", "0.0.0/0.0.0/0.0.0 for input (algo=xor, limit=0)"),
            ("&limit=2", b"\x17ab\x18\x18cd", "1.1.1/1.1.1/1.3.2 for input (algo=xor, limit=2)"),
            ("&limit=-1", b"x", "1.1.1/1.1.1/1.1.1 for input (algo=xor, limit=100)"),
            ("&limit=%2B7", b"x", "1.1.1/1.1.1/1.1.1 for input (algo=xor, limit=7)"),
            (
                "&limit=99999999999999999999",
                b"x",
                "1.1.1/1.1.1/1.1.1 for input (algo=xor, limit=100)",
            ),
            (
                "&algo=checksum&s=hello",
                b"",
                "166.938.418/956.355.654/170.196.424 for input (algo=checksum, limit=100)",
            ),
        ],
    )
    def test_calculates_a_coordinate(
        self, tenant: Tenant, query: str, body: bytes, text: str
    ) -> None:
        answer = tenant.post(f"where?p=t{query}", body)
        assert answer.decode() == f"Calculated coordinate {text}."
        assert tenant.files() == {}

    def test_xor_composes_coordinates(self, tenant: Tenant) -> None:
        # origin ^ origin ^ 1.1.1/1.1.1/1.1.2
        assert b" 1.1.1/1.1.1/1.1.2 " in tenant.post("where?p=t&limit=1", b"a\x17b")


class TestUnsafe:
    @pytest.mark.parametrize(
        "c",
        [
            "1",
            "1.1.1",
            "1.1.1/1.1.1",
            "1.1.1/1.1.1/1.1",
            "1.1.1/1.1.1/1.1.1.1",
            "1.1.1/1.1.1/1.1.1/",
            "1.1.1/1.1.1/1.1.1%0a",
            "%201.1.1/1.1.1/1.1.1",
            "1.1.1%201.1.1/1.1.1",
            "1.1.1.1.1.1.1.1.1",
            "1/1/1/1/1/1/1/1/1",
            "NS.1.1/user.theme/1.1.1",
            "0.1.1/1.1.1/1.1.1",
            "1.1.1/1.1.1/1.1.0",
            "1000.1.1/1.1.1/1.1.1",
            "1.1.1/1.1.1/1.1.1000",
            "1.1.1/1.1.1/1.1.20260101",
            "1.1.1/1.1.1/1.1.4294967297",
            "-1.1.1/1.1.1/1.1.1",
            "1.1.1/1.1.1/1.1.%D9%A1",
            "1.1.1/1.1.1/1.1.%ff",
            "1.1.1/1.1.1/1.1.1 HTTP/1.0".replace(" ", "%20"),
        ],
    )
    @pytest.mark.parametrize("request_", ["update", "insert", "delete", "select"])
    def test_a_bad_coordinate_changes_nothing(self, tenant: Tenant, c: str, request_: str) -> None:
        tenant.put(b"kept")
        assert tenant.refused("GET", f"{request_}?p=t&s=x&c={c}")[0] == 400
        assert tenant.get_text(f"select?p=t&c={ORIGIN}") == b"kept"

    def test_a_bad_coordinate_is_named_with_the_form(self, tenant: Tenant) -> None:
        _status, reason = tenant.ask("GET", "update?p=t&s=x&c=NS.1.1/user.theme/1.1.1")
        assert b"NS.1.1/user.theme/1.1.1" in reason
        assert b"1.1.1/1.1.1/1.1.1" in reason

    @pytest.mark.parametrize("request_", ["update", "insert", "delete"])
    @pytest.mark.parametrize("c", ["", "&c=", "&c"])
    def test_a_write_without_coordinate(self, tenant: Tenant, request_: str, c: str) -> None:
        assert tenant.refused("GET", f"{request_}?p=t&s=x{c}") == (400, "bad_coordinate")

    @pytest.mark.parametrize(
        ("c", "key"),
        [
            ("", ORIGIN),
            ("no digits", ORIGIN),
            ("5", "1.1.1/1.1.1/1.1.5"),
            ("2.3", "2.1.1/1.1.1/1.1.3"),
            ("/2.3", "2.1.1/1.1.1/1.1.3"),
            ("a2b3.4", "23.1.1/1.1.1/1.1.4"),
            ("NS.1.1/user.theme/2.3.4", None),
            ("1.2.3;4.5.6;7.8.9", "1.2.3/4.5.6/7.8.9"),
            ("1.2.3/4.5.6/7.8.9.10", None),
            ("1.2.3/4.5.6/7.8.1111.9", "1.2.3/4.5.6/7.8.9"),
            ("1..2", None),
            ("1.1.1/", None),
            ("1000", None),
            ("%ff7", "1.1.1/1.1.1/1.1.7"),
        ],
    )
    def test_lenient_coordinates_are_libphexts(
        self, lenient: Tenant, c: str, key: str | None
    ) -> None:
        if c == "NS.1.1/user.theme/2.3.4":
            # 1.1 and the three of the end; two separators in between give zeros
            assert lenient.refused("GET", f"update?p=t&s=x&c={c}")[0] == 400
            return
        if c == "1.2.3/4.5.6/7.8.9.10":
            key = "1.2.3/4.5.6/7.8.10"
        if key is None:
            assert lenient.refused("GET", f"update?p=t&s=x&c={quote(c, safe='%')}")[0] == 400
            return
        lenient.get_text(f"update?p=t&s=x&c={quote(c, safe='%')}")
        assert lenient.get_text("toc?p=t").decode() == f"* {key}: x\n"

    @pytest.mark.parametrize(
        ("text", "offset"),
        [
            (b"ab\xff", 2),
            (b"\xc0\x80", 0),
            (b"ok \xed\xa0\x80", 3),
            (b"x" * 5000 + b"\xe2\x82", 5000),
            (b"\xf4\x90\x80\x80", 0),
        ],
    )
    def test_text_that_is_not_utf8(self, tenant: Tenant, text: bytes, offset: int) -> None:
        tenant.put(b"kept")
        for request_ in ("update", "insert"):
            target = f"{request_}?p=t&c={ORIGIN}"
            assert tenant.refused("POST", target, text) == (400, "not_utf8")
            assert str(offset).encode() in tenant.ask("POST", target, text)[1]
            assert tenant.refused("GET", f"{target}&s={quote(text)}") == (400, "not_utf8")
        assert tenant.get_text("get?p=t") == b"kept"

    def test_names_and_coordinates_that_are_not_utf8(self, tenant: Tenant) -> None:
        assert tenant.refused("GET", "select?p=%c0%ae%c0%ae")[0] == 400
        assert tenant.refused("GET", b"select?p=\xff")[0] == 400

    @pytest.mark.parametrize("delimiter", DELIMITERS)
    def test_delimiters_in_text(self, tenant: Tenant, delimiter: int) -> None:
        text = "é".encode() + bytes([delimiter]) + b"b"
        for request_ in ("update", "insert"):
            status, reason = tenant.ask("POST", f"{request_}?p=t&c={ORIGIN}", text)
            assert status == 400
            assert b"offset 2" in reason
            assert b"0x%02X" % delimiter in reason
        assert tenant.files() == {}

    def test_splice_stores_each_piece_where_its_delimiters_lead(self, tenant: Tenant) -> None:
        tenant.put(b"stays", "1.1.1/1.1.1/1.1.4")
        target = "update?p=t&c=1.1.1/1.1.1/1.1.3&splice=1"
        assert tenant.post(target, b"a\x17\x17c\x18d\x01e") == b"Updated 8 bytes"
        assert tenant.get_text("toc?p=t").decode() == (
            "* 1.1.1/1.1.1/1.1.3: a\n"
            "* 1.1.1/1.1.1/1.1.4: stays\n"
            "* 1.1.1/1.1.1/1.1.5: c\n"
            "* 1.1.1/1.1.1/1.2.1: d\n"
            "* 2.1.1/1.1.1/1.1.1: e\n"
        )
        tenant.get_text("load?p=t")
        tenant.post("insert?p=t&c=1.1.1/1.1.1/1.1.3&splice=1", b"A\x17B")
        assert tenant.get_text("select?p=t&c=1.1.1/1.1.1/1.1.3") == b"aA"
        assert tenant.get_text("select?p=t&c=1.1.1/1.1.1/1.1.4") == b"staysB"

    @pytest.mark.parametrize("value", ["0", "", "true", "2"])
    def test_only_splice_1_splices(self, tenant: Tenant, value: str) -> None:
        target = f"update?p=t&c={ORIGIN}&splice={value}"
        assert tenant.refused("POST", target, b"a\x17b") == (400, "delimiter_in_text")

    @pytest.mark.parametrize(
        ("c", "text"),
        [
            ("1.1.1/1.1.1/1.1.999", b"a\x17b"),
            ("1.1.1/1.1.1/999.1.1", b"a\x17b\x19"),
            ("999.1.1/1.1.1/1.1.1", b"\x01b"),
        ],
    )
    def test_splice_past_the_range(self, tenant: Tenant, c: str, text: bytes) -> None:
        target = f"update?p=t&c={c}&splice=1"
        assert tenant.refused("POST", target, text) == (400, "splice_overflow")

    @pytest.mark.parametrize("query", ["", "?p=", "?p", "?c=1.1.1/1.1.1/1.1.1", "?P=t"])
    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("GET", "load"),
            ("GET", "select"),
            ("POST", "insert"),
            ("POST", "update"),
            ("POST", "delete"),
            ("GET", "toc"),
            ("GET", "get"),
            ("GET", "export"),
            ("GET", "checksum"),
            ("POST", "delta"),
            ("POST", "where"),
            ("GET", "json-export"),
        ],
    )
    def test_no_name(self, tenant: Tenant, method: str, request_: str, query: str) -> None:
        body = b"p=t&c=1.1.1/1.1.1/1.1.1&s=x"
        assert tenant.refused(method, request_ + query, body) == (400, "bad_parameter")
        assert b"query" in tenant.ask(method, request_ + query, body)[1]

    @pytest.mark.parametrize(
        "name",
        [
            "a/b",
            "a\\b",
            "..",
            "a..b",
            "../t",
            "a\x00b",
            "a\nb",
            "\x7f",
            "a\x85",
            ".",
            ".t",
            "x" * 201,
            "é" * 101,
            "con",
            "CON",
            "nul.txt",
            "Com1",
            "LPT¹",
            "conin$",
            "CONOUT$.x",
            "aux .y",
        ],
    )
    @pytest.mark.parametrize("request_", ["select", "update", "load", "get", "delete", "status"])
    def test_bad_names(self, tenant: Tenant, name: str, request_: str) -> None:
        target = f"{request_}?p={quote(name, safe='')}&c={ORIGIN}&s=x"
        assert tenant.refused("GET", target) == (403, "forbidden_name")
        assert tenant.ask("GET", target)[1] == b"Forbidden: invalid phext path"

    @pytest.mark.parametrize(
        "name", ["x" * 200, "é" * 100, "console", "com", "com10", "a.b", "ü 漢"]
    )
    def test_good_names(self, tenant: Tenant, name: str) -> None:
        tenant.put(b"x", name=quote(name))
        assert tenant.files() == {f"{name}.phext": b"x"}

    def test_reading_what_is_absent_leaves_nothing(self, tenant: Tenant) -> None:
        for number in range(50):
            for kind in ("select", "toc", "get", "checksum", "delta", "status", "json-export"):
                tenant.get_text(f"{kind}?p=absent{number}")
            tenant.get_text(f"load?p=absent{number}")
        assert tenant.files() == {}
        assert tenant.store.loaded == 0

    @pytest.mark.parametrize("kind", ["select", "get", "toc", "load", "status", "update", "delete"])
    def test_a_file_that_is_not_utf8_is_left_alone(self, tenant: Tenant, kind: str) -> None:
        (tenant.data / "t.phext").write_bytes("é".encode() * 10 + b"\xfe")
        target = f"{kind}?p=t&c={ORIGIN}&s=x"
        assert tenant.refused("GET", target) == (500, "file_not_utf8")
        assert b"offset 20" in tenant.ask("GET", target)[1]

    def test_too_large_and_over_quota(self, tmp_path: Path) -> None:
        tenant = Tenant(tmp_path, quota=3000)
        (tmp_path / "other").write_bytes(b"x" * 1000)
        tenant.put(b"a" * 1500)
        assert tenant.refused("POST", f"insert?p=t&c={ORIGIN}", b"b" * 501) == (507, "quota")
        assert tenant.refused("POST", f"update?p=u&c={ORIGIN}", b"b" * 501) == (507, "quota")
        tenant.post(f"insert?p=t&c={ORIGIN}", b"b" * 500)
        # What shrinks, or stays as large, still works.
        tenant.put(b"c" * 2000)
        tenant.put(b"c" * 10)
        tenant.close()

    def test_a_phext_does_not_grow_past_its_limit(self, tenant: Tenant) -> None:
        tenant.put(b"x" * 9_990)
        target = "update?p=t&c=1.1.1/1.1.1/1.1.11"
        assert tenant.refused("POST", target, b"y") == (507, "phext_too_large")
        assert tenant.get_text("get?p=t") == b"x" * 9_990


ALLOWED = {
    "version": "GET HEAD",
    "load": "GET",
    "select": "GET HEAD",
    "insert": "GET POST",
    "update": "GET POST",
    "delete": "GET POST DELETE",
    "toc": "GET HEAD",
    "get": "GET HEAD",
    "export": "GET HEAD",
    "checksum": "GET HEAD",
    "delta": "GET POST HEAD",
    "where": "POST",
    "status": "GET HEAD",
    "json-export": "GET HEAD",
    "list": "GET HEAD",
}


class TestRoutes:
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
    @pytest.mark.parametrize(("endpoint", "allowed"), ALLOWED.items())
    def test_wrong_methods_are_told_the_right_ones(
        self, tenant: Tenant, endpoint: str, allowed: str, method: str
    ) -> None:
        answer = tenant.answer(method, f"{endpoint}?p=t&c={ORIGIN}&s=x")
        if method in allowed.split():
            assert answer.status == 200
        else:
            assert isinstance(answer.error, WrongMethodError)
            assert answer.error.allowed == (*allowed.split(), "OPTIONS")

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/api/v2/",
            "/api/v2/selectx",
            "/api/v2/select/",
            "/api/v2/Select",
            "/api/v2/sel%65ct",
            "/api/v1/select",
            "/select",
            "/x/api/v2/select",
            "/api/v2/reload",
            "/favicon.ico",
            "/health",
        ],
    )
    def test_other_paths_are_not_found(self, tenant: Tenant, path: str) -> None:
        answer = tenant.api.answer(Request(b"GET", path.encode() + b"?p=t"))
        assert isinstance(answer, Answer)
        assert isinstance(answer.error, NotFoundError)
        with pytest.raises(NotFoundError):
            tenant.api.check_path(b"GET", path.encode())
