"""What the source can say is found in it, whatever the way it is written."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from docs.tools import messages
from sqsuper.admin.errors import AdminError
from sqsuper.config.errors import ConfigError
from sqsuper.engine.errors import EngineError
from sqsuper.supervisor.errors import SupervisorError

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "sqsuper"


def found(tmp_path: Path, source: str) -> dict[str, messages.Known]:
    (tmp_path / "one.py").write_text(dedent(source))
    return messages.by_code(tmp_path, ("one.py",))


@pytest.mark.parametrize(
    "source",
    [
        "raise FramingError(431, 'full', 'it is full')",
        "FULL = (431, 'full', 'it is full')",
        "WHY = 'it is full'\nanswer(431, 'full', WHY)",
        "def f():\n    why = 'it is full'\n    answer(431, 'full', why)",
        "def f(why):\n    return Failure(431, 'full', why)\nf('it is full')",
        """
        class Place:
            def wrong(self, line, why):
                return WrongError(431, "full", why)
        raise at.wrong(1, "it is full")
        """,
        "class FullError(E):\n    status, code = 431, 'full'\nraise FullError('it is full')",
        """
        class FullError(E):
            status = 431
            code = "full"
            def __init__(self) -> None:
                super().__init__("it is full")
        """,
        """
        class FullError(E):
            status = 431
            code = "full"
        class TooFullError(FullError):
            pass
        raise TooFullError("it is full")
        """,
    ],
)
def test_a_code_with_its_status_and_message(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source) == {"full": messages.Known({431}, {"it is full"})}


def test_two_of_one_condition_stay_apart(tmp_path: Path) -> None:
    source = """
    def f(stopping):
        code = "draining" if stopping else "full"
        why = "it is stopping" if stopping else "it is full"
        answer(503, code, why)
    """
    assert found(tmp_path, source) == {
        "draining": messages.Known({503}, {"it is stopping"}),
        "full": messages.Known({503}, {"it is full"}),
    }


def test_what_is_filled_in_is_left_open(tmp_path: Path) -> None:
    source = (
        "answer(400, 'bad', f'no {name}{more} here' + end())\nUnavailable('late', 'it is late', 1)"
    )
    assert found(tmp_path, source) == {
        "bad": messages.Known({400}, {"no … here…"}),
        "late": messages.Known({503}, {"it is late"}),
    }


def subclasses(kind: type[Exception]) -> list[type[Exception]]:
    below: list[type[Exception]] = kind.__subclasses__()
    return [kind, *(inner for one in below for inner in subclasses(one))]


def test_every_code_of_an_error_type_is_found() -> None:
    answers = messages.by_code(PACKAGE, messages.ANSWERS)
    admin = messages.by_code(PACKAGE, messages.ADMIN)
    for base, known in ((EngineError, answers), (AdminError, admin)):
        for kind in subclasses(base):
            if kind.__module__.startswith("sqsuper."):
                code = kind.code  # type: ignore[attr-defined]
                assert kind.status in known[code].statuses, kind  # type: ignore[attr-defined]


def test_codes_that_tests_see_answered_are_found() -> None:
    """What other tests read from real answers is a second witness."""
    seen: set[str] = set()
    for file in (ROOT / "tests").rglob("*.py"):
        seen.update(re.findall(r"X-SQ-Code: ([a-z][a-z_-]+)", file.read_text(encoding="utf-8")))
    assert {"rate_limited"} <= seen <= messages.by_code(PACKAGE, messages.ANSWERS).keys()


def test_every_type_that_ends_a_start_is_found() -> None:
    known = messages.at_start(PACKAGE)
    kinds = {
        kind.__name__
        for base in (ConfigError, SupervisorError)
        for kind in subclasses(base)[1:]
        if kind.__module__.startswith("sqsuper.")
    }
    assert kinds | {"WorkerError", "UnsharableError", "PassedSocketError"} <= known.keys()
    assert {"CannotListenError", "OSError", "UsageError"} <= known.keys()
    assert any("is in use by another sqsuper" in text for text in known["RunDirInUseError"])
