"""The script that confines a child: what can be shown without a child."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sqsuper.supervisor import child


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return place


def look_up(name: str, home: Path) -> str:
    return child.look_up(name, [str(home.parent / "elsewhere"), str(home)])


def refused(name: str, home: Path) -> tuple[int, str]:
    with pytest.raises(child.RefusalError) as raised:
        look_up(name, home)
    return raised.value.status, raised.value.reason


def test_it_imports_nothing_of_ours_at_module_level() -> None:
    tree = ast.parse(Path(child.__file__).read_text())
    top = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {alias.name for n in top if isinstance(n, ast.Import) for alias in n.names}
    assert names <= set(sys.stdlib_module_names)
    froms = [
        n
        for n in top
        if isinstance(n, ast.ImportFrom)
        and str(n.module).partition(".")[0] not in sys.stdlib_module_names
    ]
    assert [n.module for n in froms] == ["sqsuper.engine.__main__"]
    assert not any(n in tree.body for n in froms)


def test_arguments() -> None:
    argv = ["--embedded", "--path", "/a", "--path", "/b", "--nice", "3", "--", "host", "--", "x"]
    assert child.options(argv) == (
        {"--embedded": "", "--nice": "3"},
        {"--path": ["/a", "/b"], "--avoid": []},
        ["host", "--", "x"],
    )


def test_the_first_executable_in_path_is_taken(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "one" / "prog", 0o644)
    (tmp_path / "two" / "prog").mkdir(parents=True)
    wanted = program(tmp_path / "three" / "prog")
    program(tmp_path / "four" / "prog")
    places = [str(tmp_path / name) for name in ("none", "one", "two", "three", "four")]
    monkeypatch.setenv("PATH", os.pathsep.join(places))
    assert look_up("prog", home) == str(wanted)


@pytest.mark.parametrize("path", ["", ".", ":", "bin", "./bin"])
def test_relative_directories_in_path_do_not_count(
    home: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    program(home / "prog")
    program(home / "bin" / "prog")
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", path)
    assert refused("prog", home) == (child.NOT_FOUND, "prog: not found in PATH")


def test_a_program_in_the_data_directory_is_refused(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = program(home / "bin" / "prog")
    link = tmp_path / "link"
    link.symlink_to(inside)
    monkeypatch.setenv("PATH", str(home / "bin"))
    for name in ("prog", str(inside), str(link), f"{tmp_path}/x/../data/bin/prog"):
        (tmp_path / "x").mkdir(exist_ok=True)
        status, reason = refused(name, home)
        assert status == child.NOT_EXECUTABLE, name
        assert "data directory" in reason


def test_a_neighbour_with_a_longer_name_is_not_inside(tmp_path: Path, home: Path) -> None:
    other = program(tmp_path / "data2" / "prog")
    assert look_up(str(other), home) == str(other)


def test_what_cannot_run_is_told_apart(tmp_path: Path, home: Path) -> None:
    plain = program(tmp_path / "plain", 0o644)
    assert refused(str(plain), home) == (child.NOT_EXECUTABLE, f"{plain}: not executable")
    assert refused(str(tmp_path), home)[0] == child.NOT_EXECUTABLE
    assert refused(str(tmp_path / "none"), home)[0] == child.NOT_FOUND
    assert refused("./prog", home)[0] == child.NOT_FOUND


def test_an_engine_that_cannot_be_imported_is_told_in_one_line(home: Path) -> None:
    control, ours = os.pipe()
    theirs, report = os.pipe()
    os.write(ours, b"\n")
    # The child finds its pipes at the numbers that it expects.
    script = (
        "import fcntl, os, sys;"
        "a, b = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]);"
        "os.dup2(a, 3); os.dup2(b, 4); os.execv(sys.executable, [sys.executable, *sys.argv[3:]])"
    )
    confined = ["-I", "-S", child.__file__, "--parent", str(os.getpid()), "--data-dir", str(home)]
    words = [*confined, "--embedded", "--path", "/nowhere", "--", "host"]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(control), str(report), *words],
        pass_fds=(control, report),
        stderr=subprocess.PIPE,
        check=False,
    )
    for fd in (control, ours, report):
        os.close(fd)
    with open(theirs, "rb") as reports:
        told = json.loads(reports.read())
    assert ended.returncode == child.NOT_EXECUTABLE
    assert told["event"] == "refused"
    assert "cannot import the engine" in told["reason"]
    assert "/nowhere" in told["reason"]
    assert ended.stderr.decode() == f"sqsuper: {told['reason']}\n"
