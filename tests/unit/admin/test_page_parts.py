"""Parts of the page that decide, or say, something by themselves."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sqsuper.admin.errors import NotFoundError
from sqsuper.admin.guard import Asked
from sqsuper.admin.page import words
from sqsuper.admin.page.pages import gateway_url
from sqsuper.admin.page.rows import Row
from sqsuper.admin.page.sparks import STEPS, spark_of
from sqsuper.admin.page.statics import DIRECTORY, Statics
from sqsuper.admin.page.table import GROUPS, PER_PAGE, SORTS, Selection, select
from sqsuper.admin.page.tale import Tale
from sqsuper.admin.page.templates import Templates
from sqsuper.admin.page.traffic import STEP, Course
from sqsuper.admin.routing import Answer, Call
from sqsuper.config.model import Config, Gateway, Token
from sqsuper.gateway.statistics import Statistics
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.samples import History
from sqsuper.supervisor.tenant_logs import Line
from tests.unit.admin.page_support import Fake, counted
from tests.unit.admin.test_page_board import board_of, renew

# Traffic


def test_a_rate_comes_down_to_nothing() -> None:
    course = Course(Statistics(), 0.0)
    for second in range(1, 60):
        course.take(counted(100), float(second))
    assert course.rate == 0
    assert course.errors == 0


def test_the_history_has_what_was_asked_in_each_step_and_nothing_else() -> None:
    course = Course(Statistics(), 0.0)
    requests = 0
    for second in range(1, 101):
        requests += 5 if 40 < second <= 50 else 0
        course.take(counted(requests, requests // 10), float(second))
    points = course.points()
    assert points["end"] == 100.0
    assert len(points["rate"]) == 60
    asked = [n for n, rate in enumerate(points["rate"]) if rate]
    assert asked == [59 - 5]
    assert points["rate"][54] == 5
    assert points["errors"][54] == 0.5
    assert points["p50"][54] is not None
    assert points["p50"][53] is None
    assert course.errors == 5
    for later in range(100, 800, int(STEP)):
        course.take(counted(requests, requests // 10), float(later))
    assert not any(course.points()["rate"])
    assert course.errors == 0


def test_counters_that_begin_anew_are_no_negative_rate() -> None:
    course = Course(counted(1000), 0.0)
    course.take(counted(3), 1.0)
    course.take(counted(4), 2.0)
    assert 0 < course.rate < 1


@given(st.lists(st.floats(0.01, 30), max_size=80), st.integers(0, 50))
def test_no_request_is_lost_between_two_steps(pauses: list[float], each: int) -> None:
    course = Course(Statistics(), 0.0)
    now, requests = 0.0, 0
    for pause in pauses:
        now += pause
        requests += each
        course.take(counted(requests), now)
    assert course.requests == requests
    assert course.rate >= 0


# Sparks


def test_a_spark_has_the_most_of_each_step() -> None:
    history = History(1.0)
    for at, size in ((0.0, 1), (399.0, 2), (595.0, 9), (596.0, 4), (600.0, 3)):
        history.recent.add(at, size * 1024, size, 0.0)
    memory, threads = spark_of(history.recent.series(), 600.0)
    assert len(memory) == STEPS
    assert memory[-1] == threads[-1] == 9
    assert memory[-14] == 2
    assert [value for value in memory if value is not None] == [2, 9]


# The table


def row(name: str, **values: Any) -> Row:
    given: dict[str, Any] = dict.fromkeys(Row._fields)
    given |= {"state": "healthy", "reason": "", "mark": "", "rate": 0.0, "requests": 0, "errors": 0}
    return Row(**{**given, "restarts": 0, "name": name, **values})


ROWS = [
    row("alice", memory=5, reason="takes requests"),
    row("bob", state="failed", reason="Exit Status 3", memory=9, port=7001),
    row("carol", state="stopped", mark="stopped by hand"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Selection(), ["alice", "bob", "carol"]),
        (Selection(text="OB"), ["bob"]),
        (Selection(text="exit status"), ["bob"]),
        (Selection(text="7001"), ["bob"]),
        (Selection(text="by hand"), ["carol"]),
        (Selection(text="<b>"), []),
        (Selection(group="trouble"), ["bob"]),
        (Selection(group="idle"), ["carol"]),
        (Selection(sort="memory"), ["bob", "alice", "carol"]),
        (Selection(sort="state"), ["bob", "alice", "carol"]),
        (Selection(page=99), ["alice", "bob", "carol"]),
    ],
)
def test_what_is_looked_for_is_found(wanted: Selection, found: list[str]) -> None:
    assert [one.name for one in select(ROWS, wanted).rows] == found


def test_every_state_is_in_one_group_and_every_sort_works_with_nothing_known() -> None:
    states = [state for group in GROUPS.values() for state in group]
    assert sorted(states) == sorted(state.value for state in State)
    for sort in SORTS:
        assert len(select(ROWS, Selection(sort=sort)).rows) == 3


def test_the_script_knows_the_same_groups_and_sorts() -> None:
    script = (DIRECTORY / "table.js").read_text("utf-8")
    groups = re.findall(r"^  (\w+): \[(.*)\],$", script, re.MULTILINE)
    assert {name: tuple(re.findall(r"\w+", states)) for name, states in groups} == GROUPS
    assert re.findall(r"^  (\w+): \((?:row)?\) =>", script, re.MULTILINE) == list(SORTS)


def test_many_are_cut_into_pages() -> None:
    many = [row(f"t{n:05}") for n in range(2 * PER_PAGE + 1)]
    last = select(many, Selection(page=3))
    assert (last.found, last.pages, len(last.rows)) == (2 * PER_PAGE + 1, 3, 1)


# Words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (words.size(None), words.NOTHING),
        (words.size(0), "0 B"),
        (words.size(1000 * 2**20), "1,000 MB"),
        (words.size(1536), "1.5 kB"),
        (words.milliseconds(0.254), "0.25 ms"),
        (words.milliseconds(12_340), "12.3 s"),
        (words.digits(0), "0"),
        (words.digits(99.96), "100"),
        (words.lasting(59), "59 s"),
        (words.lasting(3 * 86400 + 7200), "3 d 2 h"),
        (words.lasting(86400 + 59), "1 d"),
        (words.lasting(7205), "2 h"),
        (words.lasting(61), "1 min 1 s"),
        (words.ago(4.9), "just now"),
        (words.ago(60), "1 min ago"),
        (words.moment(0), "1970-01-01 00:00:00"),
    ],
)
def test_figures_are_told_shortly(text: str, said: str) -> None:
    assert text == said


# Static files


def result_of(steps: Any) -> Any:
    """Run a generator, or a coroutine that waits for nothing, to its end."""
    while True:
        try:
            steps.send(None)
        except StopIteration as done:
            return done.value


def call(version: str, file: str, **headers: str) -> Call:
    fields = {name.replace("_", "-"): [value] for name, value in headers.items()}
    asked = Asked("GET", fields, "127.0.0.1", None)
    return Call(asked, {"version": version, "file": file}, {}, b"", None)


def test_static_files_are_kept_for_good_under_a_name_of_their_own() -> None:
    statics = Statics()
    _, _, version, file = statics.path("page.css").split("/")
    answer: Answer = result_of(statics.get(call(version, file)))
    assert answer.body == (DIRECTORY / "page.css").read_bytes()
    assert "immutable" in answer.headers["Cache-Control"]
    packed = result_of(statics.get(call(version, file, accept_encoding="br, gzip")))
    assert gzip.decompress(packed.body) == answer.body
    again = result_of(statics.get(call(version, file, if_none_match=answer.headers["ETag"])))
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("version", "file"),
    [("0" * 16, "page.css"), ("", "../page.css"), ("", "LICENSE"), ("", "base.html")],
)
def test_nothing_else_is_served(version: str, file: str) -> None:
    statics = Statics()
    version = version or statics.path("page.css").split("/")[2]
    with pytest.raises(NotFoundError):
        result_of(statics.get(call(version, file)))


def test_every_vendored_file_has_its_licence_and_version() -> None:
    for directory in (DIRECTORY / "vendor").iterdir():
        assert (directory / "LICENSE").is_file()
        name, _, version = directory.name.rpartition("-")
        assert name
        script = next(directory.glob("*.js")).read_text("utf-8")
        assert f"v{version}" in script[:500]


def test_no_template_marks_anything_as_safe_and_no_script_writes_html() -> None:
    files: list[Path] = [*DIRECTORY.glob("*.js"), *(DIRECTORY.parent / "templates").iterdir()]
    assert len(files) > 10
    for file in files:
        text = file.read_text("utf-8")
        for never in ("|safe", "| safe", "innerHTML", "insertAdjacentHTML", "eval(", "onclick="):
            assert never not in text, (file.name, never)
        assert " style=" not in text, file.name


def test_templates_escape() -> None:
    templates = Templates(Statics().path)
    values = {"csrf": None, "message": "<script>x</script>"}
    page = result_of(templates.render("error.html", values))
    assert b"&lt;script&gt;x" in page
    assert b"<script>x" not in page


# Where the gateway is


@pytest.mark.parametrize(
    ("listen", "host", "url"),
    [
        ("tcp:1337:interface=127.0.0.1", "localhost:1338", "http://127.0.0.1:1337"),
        ("tcp:1337", "sq.example:1338", "http://sq.example:1337"),
        ("ssl:8443:privateKey=k:certKey=c", "[::1]:1338", "https://[::1]:8443"),
        ("tcp6:1337:interface=\\:\\:1", "x:1", "http://[::1]:1337"),
    ],
)
def test_the_lines_to_try_name_the_gateway(listen: str, host: str, url: str) -> None:
    here = Path("/nowhere")
    config = Config(here / "x.yaml", here, here, gateway=Gateway(listen=(listen,)))
    assert gateway_url(config, host) == url


# One tenant's page


def test_a_tenants_page_is_told_all_and_then_what_is_new() -> None:
    fake = Fake("alice", "bob")
    fake.printed = [Line(1.0, "stderr", "<b>old</b>")]
    fake.histories["alice"] = History(1.0)
    fake.histories["alice"].add(1.0, 2**20, 3, 0.25)
    clock = Clock()
    board = board_of(fake, clock)
    tale = Tale(fake.control, board, "alice")
    first = _said(tale)
    assert (first["all"], first["now"]) == (True, fake.wall())
    assert first["row"]["name"] == "alice"
    assert first["samples"]["cpu"] == [25.0]
    assert first["lines"][0]["text"] == "<b>old</b>"
    assert first["tokens"] == []
    assert tale.more() == b""
    fake.histories["alice"].add(2.0, 2**20, 4, 0.25)
    fake.followers[0]([Line(2.0, "stdout", "new")])
    second = _said(tale)
    assert second["samples"]["threads"] == [4]
    assert [line["text"] for line in second["lines"]] == ["new"]
    assert "row" not in second
    fake.have("bob")
    renew(board)
    assert tale.more() is None
    tale.close()
    assert fake.followers == []


def test_a_tenants_page_is_told_of_its_tokens_as_they_change() -> None:
    fake = Fake("alice", "bob")
    tale = Tale(fake.control, board_of(fake), "alice")
    assert _said(tale)["tokens"] == []
    fake.give("alice", Token(b"\x01" * 32, label="ci"))
    second = _said(tale)
    assert [(token["label"], token["digest8"]) for token in second["tokens"]] == [("ci", "01" * 4)]
    assert second["used"] == {"01" * 4: None}
    fake.give("bob", Token(b"\x02" * 32))
    assert tale.more() == b""
    fake.used[b"\x01" * 32] = 5.0
    assert _said(tale) == {"used": {"01" * 4: 5.0}}
    fake.give("alice", Token(b"\x01" * 32, label="ci"), Token(b"\x03" * 32))
    assert _said(tale)["used"] == {"03" * 4: None}
    fake.used[b"\x03" * 32] = 6.0
    assert _said(tale) == {"used": {"03" * 4: 6.0}}
    tale.close()


def _said(tale: Tale) -> dict[str, Any]:
    said = tale.more()
    assert said
    told: dict[str, Any] = json.loads(said)
    return told
