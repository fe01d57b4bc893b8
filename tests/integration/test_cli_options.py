"""The command line up to the loaded configuration, in this process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError

from sqsuper import __version__
from sqsuper.tap import Options, explain

GOOD = 'tenants: {alice: {token_sha256: ["' + "a" * 64 + '"]}}\n'

# kind: (file name, text, the line that is at fault or None where it is the file as a whole)
BROKEN = {
    "empty": ("t.yaml", "", None),
    "no mapping": ("t.yaml", "- alice\n", 1),
    "YAML syntax": ("t.yaml", "tenants:\n  alice: [\n", None),
    "tab for indentation": ("t.yaml", "tenants:\n\talice: {}\n", 2),
    "unknown key": ("t.yaml", "tenants: {}\ngatway: {}\n", 2),
    "unknown nested key": ("t.yaml", "gateway:\n  listens: []\n", 2),
    "unknown key of a tenant": ("t.yaml", "tenants:\n  a:\n    tokens: []\n    ports: 1\n", 4),
    "duplicate key": ("t.yaml", "tenants: {}\ntenants: {}\n", 2),
    "tag": ("t.yaml", "data_root: !!python/name:os.system x\n", 1),
    "anchor": ("t.yaml", "defaults: &d {}\n", 1),
    "two documents": ("t.yaml", "tenants: {}\n---\ntenants: {}\n", None),
    "NUL": ("t.yaml", "tenants: {}\0\n", None),
    "list for mapping": ("t.yaml", "gateway: []\n", 1),
    "text for number": ("t.yaml", "gateway: {workers: many}\n", 1),
    "number out of range": ("t.yaml", "gateway: {workers: 0}\n", 1),
    "bool for number": ("t.yaml", "gateway: {max_head_bytes: true}\n", 1),
    "unknown unit": ("t.yaml", "gateway: {idle_timeout: 5 fortnights}\n", 1),
    "negative duration": ("t.yaml", "gateway: {idle_timeout: -1s}\n", 1),
    "bad size": ("t.yaml", "log: {max_bytes: 10Q}\n", 1),
    "bad endpoint": ("t.yaml", 'gateway: {listen: ["tcpp:1"]}\n', 1),
    "TLS on the gateway": ("t.yaml", 'gateway: {listen: ["ssl:8443:privateKey=k.pem"]}\n', 1),
    "bad network": ("t.yaml", "gateway: {trusted_proxies: [300.0.0.0/8]}\n", 1),
    "unknown choice": ("t.yaml", "defaults: {engine: mongo}\n", 1),
    "command engine without command": (
        "t.yaml",
        "defaults: {engine: command}\ntenants: {a: {}}\n",
        None,
    ),
    "unknown placeholder": ("t.yaml", 'defaults: {command: ["sq", "{prt}"]}\n', 1),
    "environment of ours": ("t.yaml", "defaults: {environment: {PATH: /x}}\n", 1),
    "tenant's name": ("t.yaml", "tenants: {Alice: {}}\n", 1),
    "name that is a number": ("t.yaml", "tenants: {1: {}}\n", 1),
    "token that is a number": ("t.yaml", "tenants: {a: {tokens: [12345]}}\n", 1),
    "token with a blank": ("t.yaml", 'tenants: {a: {tokens: ["a b"]}}\n', 1),
    "bad digest": ("t.yaml", 'tenants: {a: {token_sha256: ["abc"]}}\n', 1),
    "one token twice": (
        "t.yaml",
        'tenants:\n  a: {tokens: ["same-token"]}\n  b: {tokens: ["same-token"]}\n',
        3,
    ),
    "one port twice": ("t.yaml", "tenants:\n  a: {port: 7001}\n  b: {port: 7001}\n", 3),
    "one data directory twice": ("t.yaml", "tenants:\n  a: {data_dir: d}\n  b: {data_dir: d}\n", 3),
    "port out of range": ("t.yaml", "tenants: {a: {port: 70000}}\n", 1),
    "JSON syntax": ("t.json", '{"tenants": {},}', 1),
    "JSON duplicate key": ("t.json", '{"tenants": {},\n "tenants": {}}', 2),
    "JSON unknown key": ("t.json", '{"tenant": {}}', 1),
    "TOML syntax": ("t.toml", "[gateway\n", 1),
    "TOML wrong type": ("t.toml", "[gateway]\nworkers = 'two'\n", None),
    "other extension": ("t.ini", "[gateway]\n", None),
}

Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Parses arguments that must be refused, and returns the one line that says why."""
    monkeypatch.delenv("SQSUPER_CONFIG", raising=False)

    def parse(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            Options().parseOptions(list(arguments))
        assert ended.value.code == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.endswith("\n")
        [line] = err.splitlines()
        assert "Traceback" not in line
        return line

    return parse


def write(directory: Path, name: str, text: str) -> Path:
    file = directory / name
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_line_and_status_1(
    kind: str, refused: Refused, short_dir: Path
) -> None:
    name, text, at = BROKEN[kind]
    file = write(short_dir, name, text)
    line = refused("-c", str(file))
    assert line.startswith(f"{file}:{at}: " if at else f"{file}:")
    assert [p.name for p in short_dir.iterdir()] == [name]


def test_a_missing_file_is_named(refused: Refused, tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refused("-c", str(tmp_path / "none.yaml"))
    assert str(tmp_path) in refused("-c", str(tmp_path))


def test_a_token_file_that_others_can_read_is_refused(refused: Refused, short_dir: Path) -> None:
    file = write(short_dir, "t.yaml", 'tenants: {a: {tokens: ["a-token-of-alice"]}}\n')
    file.chmod(0o644)
    line = refused("-c", str(file))
    assert str(file) in line
    assert "a-token-of-alice" not in line


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["-x"], ["--config"], ["--config=t.yaml", "start"], ["stray", "arguments"]],
)
def test_a_wrong_command_line_is_one_line_and_status_1(
    arguments: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "t.yaml", GOOD)
    assert "--help" in refused(*arguments)


def test_without_any_file_the_line_says_where_it_looked(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sqsuper.tap.SEARCHED", ("conf/tenants.yaml", "other/tenants.yaml"))
    line = refused()
    for place in ("-c", "$SQSUPER_CONFIG", "conf/tenants.yaml", "other/tenants.yaml"):
        assert place in line


def test_the_file_is_that_of_c_then_the_environments_then_the_working_directorys(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short_dir / "conf").mkdir()
    by_option = write(short_dir, "option.yaml", GOOD)
    by_environment = write(short_dir, "environment.yaml", GOOD)
    found = write(short_dir / "conf", "tenants.yaml", GOOD)
    monkeypatch.chdir(short_dir)

    def chosen(*arguments: str) -> Path:
        options = Options()
        options.parseOptions(list(arguments))
        return options.configuration.file

    monkeypatch.delenv("SQSUPER_CONFIG", raising=False)
    assert chosen() == found
    monkeypatch.setenv("SQSUPER_CONFIG", str(by_environment))
    assert chosen() == by_environment
    assert chosen("-c", str(by_option)) == by_option
    assert chosen("--config=option.yaml") == by_option
    monkeypatch.setenv("SQSUPER_CONFIG", "")
    assert chosen() == found


def test_loading_creates_nothing(short_dir: Path) -> None:
    file = write(short_dir, "t.yaml", GOOD)
    before = os.umask(0o022)
    os.umask(before)
    Options().parseOptions(["-c", str(file)])
    assert [p.name for p in short_dir.iterdir()] == ["t.yaml"]
    assert os.umask(before) == before


def test_help_explains_what_it_is_and_what_twistd_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for word in ("--config", "twistd -n sqsuper -c", "--pidfile", "--logfile", "token", "tenants"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


def test_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"sqsuper {__version__} ")


def test_only_a_taken_port_has_a_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = {
            number: explain(CannotListenError("127.0.0.1", port, OSError(number, "why")))
            for number in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
        }
    assert f"(held by pid {os.getpid()}, " in str(told[errno.EADDRINUSE])
    assert told[errno.EADDRNOTAVAIL] == f"cannot listen on 127.0.0.1:{port}: why"
