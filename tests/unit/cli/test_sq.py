"""What a program called `sq` takes."""

from __future__ import annotations

import pytest

from sqsuper.cli import main as ours
from sqsuper.cli import sq
from sqsuper.engine.api import API_VERSION


def test_version_is_the_api_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        sq.main(["version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{API_VERSION}\n"


@pytest.mark.parametrize("words", [["host", "1", "--key", "k"], ["route", "r.json", "80"]])
def test_host_and_route_are_ours(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []

    def run(arguments: list[str]) -> None:
        taken.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(ours, "main", run)
    with pytest.raises(SystemExit):
        sq.main(words)
    assert taken == [words]


@pytest.mark.parametrize("words", [[], ["push"], ["version", "x"], ["run"], ["status"]])
def test_others_are_refused_with_what_there_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        sq.main(words)
    assert end.value.code == 2
    assert "sq host PORT" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        sq.main(["--help"])
    assert end.value.code == 0
    assert "sq route" in capsys.readouterr().out
