"""What the engine adds to SQ's API: conditions on scrolls, search, batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

from sqsuper.engine import batch, search
from sqsuper.engine.answer import Answer
from sqsuper.engine.batch import MAX_BYTES, MAX_OPERATIONS
from sqsuper.engine.errors import BadBatchError
from sqsuper.engine.loaded import Unloaded
from sqsuper.engine.request import Request
from tests.unit.engine.driving import Tenant, at_most

ORIGIN = "1.1.1/1.1.1/1.1.1"
SECOND = "1.1.1/1.1.1/1.1.2"
HERE = f"?p=t&c={ORIGIN}"


def tag(text: str) -> str:
    return f'"{xxhash.xxh3_128_hexdigest(text.encode())}"'


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    tenant = Tenant(tmp_path)
    yield tenant
    tenant.close()


class TestConditions:
    def test_answers_on_a_scroll_carry_its_tag(self, tenant: Tenant) -> None:
        def seen(method: str, target: str, body: bytes = b"") -> str:
            answer = tenant.answer(method, target, body)
            assert answer.etag is not None
            assert b"ETag: %b\r\n" % answer.etag in answer.head(b"")
            return answer.etag.decode()

        assert seen("GET", "select" + HERE) == tag("")
        assert seen("POST", "update" + HERE, b"one") == tag("one")
        assert seen("POST", "insert" + HERE, b"two") == tag("onetwo")
        assert seen("HEAD", "select" + HERE) == tag("onetwo")
        assert seen("GET", "delete" + HERE) == tag("")
        assert tenant.answer("GET", "toc?p=t").etag is None

    @pytest.mark.parametrize(
        ("value", "matches"),
        [
            (tag("text"), True),
            (f"W/{tag('text')}", True),
            (f'"other", W/"x",{tag("text")} ', True),
            (f",, {tag('text')}, ,", True),
            ("*", True),
            (tag(""), False),
            ('""', False),
            (f'"other,{tag("text")[1:]}', False),
        ],
    )
    def test_if_none_match_on_reads(self, tenant: Tenant, value: str, matches: bool) -> None:
        tenant.put(b"text")
        answer = tenant.answer("GET", "select" + HERE, if_none_match=value)
        assert answer.status == (304 if matches else 200)
        if matches:
            head = answer.head(b"")
            assert head.startswith(b"HTTP/1.1 304 Not Modified\r\n")
            assert b"Content-Length" not in head
            assert b"Content-Type" not in head
            assert tag("text").encode() in head

    @pytest.mark.parametrize("method", ["update", "insert", "delete"])
    @pytest.mark.parametrize(
        ("value", "passes"),
        [
            (tag("text"), True),
            (f'"other" , {tag("text")}', True),
            ("*", True),
            # RFC 9110 13.1.1: compared strongly
            (f"W/{tag('text')}", False),
            (tag("other"), False),
        ],
    )
    def test_if_match_on_writes(
        self, tenant: Tenant, method: str, value: str, passes: bool
    ) -> None:
        tenant.put(b"text")
        answer = tenant.answer("POST", method + HERE, b"new", if_match=value)
        assert answer.status == (200 if passes else 412)
        if not passes:
            assert tenant.get_text("select" + HERE) == b"text"
            assert answer.error is not None
            assert answer.error.code == "precondition_failed"

    @pytest.mark.parametrize("value", ["*", tag("text"), f"W/{tag('text')}"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_if_none_match_on_writes(self, tenant: Tenant, method: str, value: str) -> None:
        target = "update" + HERE + "&s=text"
        assert tenant.answer(method, target, if_none_match=value).status == 200
        assert tenant.answer(method, target, if_none_match=value).status == 412
        assert tenant.answer(method, target, if_none_match='"other"').status == 200

    def test_of_an_absent_scroll(self, tenant: Tenant) -> None:
        assert tenant.answer("POST", "update" + HERE, b"x", if_match="*").status == 412
        assert tenant.answer("GET", "select" + HERE, if_none_match="*").status == 200
        assert tenant.answer("GET", "select" + HERE, if_match=tag("x")).status == 412
        assert tenant.answer("GET", "select" + HERE, if_none_match=tag("")).status == 304
        assert tenant.answer("POST", "update" + HERE, b"x", if_match=tag("")).status == 200
        assert tenant.store.names() == ["t"]

    def test_long_malformed_ones_take_no_time(self, tenant: Tenant) -> None:
        with at_most(20.0):
            for value in (tag("x") + "," * 60_000 + "x", tag("x") + ", \t" * 20_000 + "x"):
                assert tenant.answer("GET", "select" + HERE, if_none_match=value).status == 400

    @pytest.mark.parametrize("value", ["", "text", "**", '"a" "b"', '"a', '*, "a"', 'w/"a"'])
    def test_malformed_ones_change_nothing(self, tenant: Tenant, value: str) -> None:
        for name in ("if_match", "if_none_match"):
            answer = tenant.answer("POST", "update" + HERE, b"x", **{name: value})
            assert answer.status == 400
        assert tenant.store.names() == []


class TestSearch:
    def find(self, tenant: Tenant, query: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(tenant.get_text("search?p=t&" + query))
        return found

    def places(self, tenant: Tenant, query: str) -> list[str]:
        return [result["coord"] for result in self.find(tenant, query)["results"]]

    @pytest.fixture
    def filled(self, tenant: Tenant) -> Tenant:
        for coordinate, text in {
            ORIGIN: "first line\nthe needle, and a needle\nlast",
            "1.1.1/1.1.1/1.1.10": "NEEDLE",
            "1.5.1/1.1.1/1.1.1": "é needle",
            "1.50.1/1.1.1/1.1.1": "needle",
            "2.1.1/1.1.1/1.1.1": "ÉTÉ.",
        }.items():
            tenant.put(text.encode(), coordinate)
        return tenant

    def test_literal_once_a_scroll_in_order(self, filled: Tenant) -> None:
        assert self.find(filled, "q=needle") == {
            "results": [
                {"coord": ORIGIN, "offset": 15, "text": "the needle, and a needle"},
                {"coord": "1.5.1/1.1.1/1.1.1", "offset": 3, "text": "é needle"},
                {"coord": "1.50.1/1.1.1/1.1.1", "offset": 0, "text": "needle"},
            ],
            "more": False,
        }
        assert self.places(filled, "q=n.*e") == []
        assert self.places(filled, "q=needle&i=0") == self.places(filled, "q=needle")

    def test_ignoring_case(self, filled: Tenant) -> None:
        assert len(self.places(filled, "q=Needle&i=1")) == 4
        assert self.places(filled, "q=été.&i=1") == ["2.1.1/1.1.1/1.1.1"]
        assert self.find(filled, "q=EEDLE&i=1&prefix=1.5")["results"][0]["offset"] == 4

    @pytest.mark.parametrize(
        ("prefix", "count"),
        [("", 3), ("1", 3), ("1.5", 1), ("1.5.", 1), ("1.50", 1), ("2", 0), ("1.1.1/1", 1),
         ("1.1.1/1.1.1/1.1.1", 1), ("1.1.1;1.1.1;1.1.2", 0), ("999", 0)],
    )  # fmt: skip
    def test_within_a_prefix(self, filled: Tenant, prefix: str, count: int) -> None:
        assert len(self.places(filled, f"q=needle&prefix={prefix}")) == count

    def test_bounded(self, filled: Tenant) -> None:
        found = self.find(filled, "q=needle&limit=2")
        assert (len(found["results"]), found["more"]) == (2, True)
        found = self.find(filled, "q=needle&limit=3")
        assert (len(found["results"]), found["more"]) == (3, False)

    def test_long_lines_are_cut(self, tenant: Tenant) -> None:
        tenant.put(b"a" * 4000 + b"needle" + b"b" * 4000)
        (found,) = self.find(tenant, "q=needle")["results"]
        assert found["text"] == "a" * 80 + "needle" + "b" * 80

    @pytest.mark.parametrize(
        "query",
        ["", "q=", "q=x&prefix=0", "q=x&prefix=1000", "q=x&prefix=a", "q=x&prefix=.1",
         "q=x&prefix=1.1.1/1.1.1/1.1.1.1", "q=x&limit=0", "q=x&limit=x", "q=%ff",
         "q=" + "x" * 5000, "q=x&prefix=" + "1" * 5000],
    )  # fmt: skip
    def test_bad_parameters(self, tenant: Tenant, query: str) -> None:
        status, _text = tenant.ask("GET", "search?p=t&" + query)
        assert status == 400
        assert tenant.store.loaded == 0

    def test_a_scroll_in_steps_is_as_one_in_a_piece(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = "é\u20ac😀aB" * 30 + "\nx Needle: é😀É y\n" + "😀" * 200 + "needle"
        tenant.put(text.encode())
        queries = ["q=Needle", "q=needle", "q=nEEDLE&i=1", "q=%C3%A9%F0%9F%98%80%C3%A9&i=1",
                   "q=ab%C3%A9&i=1", "q=nowhere", "q=nowhere&i=1"]  # fmt: skip
        whole = [self.find(tenant, query) for query in queries]
        offset = text.encode().index(b"Needle")
        assert whole[2]["results"][0] == {
            "coord": ORIGIN, "offset": offset, "text": "x Needle: é😀É y"
        }  # fmt: skip
        for step in range(4, 12):
            monkeypatch.setattr(search, "_STEP_BYTES", step)
            monkeypatch.setattr(search, "_STEP_COMPARISONS", step)
            monkeypatch.setattr(search, "_LEAST_STEP_BYTES", step)
            assert [self.find(tenant, query) for query in queries] == whole

    @pytest.mark.parametrize("case", ["", "&i=1"])
    def test_a_long_scroll_is_looked_at_in_steps(self, tmp_path: Path, case: str) -> None:
        (tmp_path / "t.phext").write_bytes(b"a" * 3_000_000)
        tenant = Tenant(tmp_path)
        tenant.run(tenant.store.loading(Unloaded("t", b"t.phext")))
        request = Request(b"GET", b"/api/v2/search?p=t&q=aaaaaaaab" + case.encode(), b"", 7, [])
        job = tenant.api.answer(request)
        assert not isinstance(job, Answer)
        assert sum(1 for _ in job) >= 2
        tenant.close()


class TestBatch:
    def post(self, tenant: Tenant, operations: object) -> tuple[int, Any]:
        status, body = tenant.ask("POST", "batch", json.dumps(operations).encode())
        return status, json.loads(body) if status == 200 else body.decode()

    def test_all_see_each_other_and_are_answered_together(self, tenant: Tenant) -> None:
        tenant.put(b"old", SECOND)
        status, results = self.post(
            tenant,
            [
                {"op": "update", "p": "t", "c": ORIGIN, "s": "é"},
                {"op": "insert", "p": "t", "c": ORIGIN, "s": "b"},
                {"op": "select", "p": "t"},
                {"op": "delete", "p": "t", "c": SECOND},
                {"op": "select", "p": "t", "c": SECOND},
                {"op": "insert", "p": "other", "c": SECOND, "s": "x"},
                {"op": "delete", "p": "other", "c": ORIGIN},
            ],
        )
        assert status == 200
        assert results == [
            {"bytes": 2, "etag": tag("é")},
            {"bytes": 1, "etag": tag("éb")},
            {"s": "éb", "etag": tag("éb")},
            {"bytes": 3, "etag": tag("")},
            {"s": "", "etag": tag("")},
            {"bytes": 1, "etag": tag("x")},
            {"bytes": 0, "etag": tag("")},
        ]
        assert tenant.files() == {"t.phext": "éb".encode(), "other.phext": b"\x17x"}

    def test_nothing_and_reads_alone(self, tenant: Tenant) -> None:
        assert self.post(tenant, []) == (200, [])
        assert self.post(tenant, [{"op": "select", "p": "t"}])[0] == 200
        assert tenant.files() == {}

    @pytest.mark.parametrize(
        ("bad", "status"),
        [
            ({"op": "update", "p": "t", "c": "1.1", "s": "x"}, 400),
            ({"op": "update", "p": "t", "s": "x"}, 400),
            ({"op": "update", "p": "t", "c": ORIGIN, "s": "a\x17b"}, 400),
            ({"op": "update", "p": "t", "c": ORIGIN, "s": "\ud800"}, 400),
            ({"op": "update", "p": "../t", "c": ORIGIN, "s": "x"}, 403),
            ({"op": "update", "p": "", "c": ORIGIN, "s": "x"}, 400),
            ({"op": "update", "c": ORIGIN, "s": "x"}, 400),
            ({"op": "load", "p": "t"}, 400),
            ({"op": ["update"], "p": "t"}, 400),
            ({"op": "update", "p": "t", "c": ORIGIN, "s": 5}, 400),
            ({"op": "update", "p": 5, "c": ORIGIN}, 400),
            ({"op": "update", "p": "t", "c": ORIGIN, "x": 1}, 400),
            ({"op": "update", "p": "big", "c": ORIGIN, "s": "x" * 10_001}, 507),
            ("update", 400),
            (None, 400),
        ],
    )
    def test_one_that_fails_fails_all(self, tenant: Tenant, bad: object, status: int) -> None:
        tenant.put(b"old")
        before = tenant.files()
        operations = [
            {"op": "update", "p": "t", "c": ORIGIN, "s": "new"},
            {"op": "insert", "p": "u", "c": ORIGIN, "s": "new"},
            bad,
        ]
        answer = tenant.answer("POST", "batch", json.dumps(operations).encode())
        assert answer.status == status
        if isinstance(answer.error, BadBatchError):
            assert answer.error.operation == 2
            assert "operation 2: " in str(answer.error)
        assert tenant.get_text("select" + HERE) == b"old"
        assert tenant.store.names() == ["t"]
        assert tenant.files() == before

    @pytest.mark.parametrize("body", [b"", b"{}", b"[", b"\xff", b"[" * 100_000, b'"x"', b"5"])
    def test_what_is_no_list(self, tenant: Tenant, body: bytes) -> None:
        assert tenant.ask("POST", "batch", body)[0] == 400

    def test_bounds(self, tenant: Tenant) -> None:
        operations = [{"op": "select", "p": "t"}] * (MAX_OPERATIONS + 1)
        assert self.post(tenant, operations)[0] == 413
        assert self.post(tenant, operations[1:])[0] == 200
        assert tenant.ask("POST", "batch", b" " * (MAX_BYTES + 1))[0] == 413

    def test_a_scroll_that_changes_often_is_kept_once(self, tmp_path: Path) -> None:
        tenant = Tenant(tmp_path)
        inserts = [{"op": "insert", "p": "t", "c": ORIGIN, "s": "0123456789"}] * MAX_OPERATIONS
        status, results = self.post(tenant, inserts)
        assert status == 200
        assert results[1] == {"bytes": 10, "etag": tag("0123456789" * 2)}
        assert results[-1] == {"bytes": 10, "etag": tag("0123456789" * MAX_OPERATIONS)}
        # Of all its states the journal has the last.
        journal = b"".join(path.read_bytes() for path in tmp_path.glob(".journal-*"))
        assert journal.count(b"0123456789") == MAX_OPERATIONS
        assert tenant.get_text("select" + HERE) == b"0123456789" * MAX_OPERATIONS
        tenant.close()

    def test_what_comes_and_goes_in_one_makes_no_phext(self, tenant: Tenant) -> None:
        write = {"op": "update", "p": "t", "c": ORIGIN, "s": "x"}
        delete = {"op": "delete", "p": "t", "c": ORIGIN}
        assert self.post(tenant, [write, delete])[1][1] == {"bytes": 1, "etag": tag("")}
        assert tenant.store.names() == []
        tenant.put(b"old")
        select = {"op": "select", "p": "t", "c": ORIGIN}
        results = self.post(tenant, [delete, select, write, {**write, "op": "insert"}, select])[1]
        assert [result.get("s") for result in results] == [None, "", None, None, "xx"]
        assert tenant.get_text("select" + HERE) == b"xx"

    def test_what_is_shown_and_looked_at_is_bounded(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tenant.put(b"x" * 10)
        select = {"op": "select", "p": "t", "c": ORIGIN}
        insert = {"op": "insert", "p": "t", "c": ORIGIN, "s": "y"}
        monkeypatch.setattr(batch, "MAX_SHOWN_BYTES", 21)
        assert self.post(tenant, [select, insert, select])[0] == 200
        assert self.post(tenant, [insert, select, select])[0] == 413
        monkeypatch.setattr(batch, "MAX_READ_BYTES", 10)
        assert self.post(tenant, [insert, insert])[0] == 413
        assert tenant.get_text("select" + HERE) == b"x" * 10 + b"y"

    def test_it_takes_post_alone(self, tenant: Tenant) -> None:
        assert tenant.ask("GET", "batch")[0] == 405

    def test_more_phexts_than_may_be_loaded_and_large_ones(self, tmp_path: Path) -> None:
        for number in range(4):
            (tmp_path / f"p{number}.phext").write_bytes(b"\x18".join([b"x" * 4000] * 100))
        tenant = Tenant(tmp_path, max_loaded=1)
        operations = [
            {"op": "update", "p": f"p{number}", "c": ORIGIN, "s": "y"} for number in range(4)
        ]
        status, results = self.post(tenant, operations)
        assert status == 200
        assert len(results) == 4
        tenant.stop()
        for number in range(4):
            assert (tmp_path / f"p{number}.phext").read_bytes().startswith(b"y\x18xxx")

    def test_a_crash_brings_back_all_of_it(self, tenant: Tenant, tmp_path: Path) -> None:
        operations = [
            {"op": "update", "p": name, "c": ORIGIN, "s": name} for name in ("a", "b", "c")
        ]
        assert self.post(tenant, operations)[0] == 200
        tenant.close()
        again = Tenant(tmp_path)
        assert again.store.names() == ["a", "b", "c"]
        assert again.get_text(f"select?p=c&c={ORIGIN}") == b"c"
        again.close()
