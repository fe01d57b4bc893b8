"""Where the admin listener and its token are, read from no more than is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqsuper.cli.errors import BrokenConfigurationError
from sqsuper.cli.finding import TOKEN_VARIABLE, access, service_account
from sqsuper.config.permissions import Account
from sqsuper.whereabouts import Address, text_of


@pytest.fixture
def file(here: Path) -> Path:
    return here / "t.yaml"


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        (None, Address("127.0.0.1", 1338)),
        ("tcp:7000:interface=127.0.0.1", Address("127.0.0.1", 7000)),
        ("tcp:7000", Address("127.0.0.1", 7000)),
        ("tcp:7000:interface=0.0.0.0", Address("127.0.0.1", 7000)),
        ("tcp6:7000", Address("::1", 7000)),
        ("tcp:7000:interface=\\:\\:1", Address("::1", 7000)),
        ("tcp:port=7000:interface=10.0.0.1", Address("10.0.0.1", 7000)),
        ("unix:/run/a.sock:mode=600", Address(path="/run/a.sock")),
        (
            "ssl:7000:privateKey=/k.pem:certKey=/c.pem",
            Address("127.0.0.1", 7000, certificate="/c.pem"),
        ),
        ("ssl:7000:privateKey=/k.pem", Address("127.0.0.1", 7000, certificate="/k.pem")),
    ],
)
def test_the_address(listen: str | None, address: Address, file: Path) -> None:
    file.write_text("tenants: {}" if listen is None else f"admin: {{listen: ['{listen}']}}")
    assert access(file, {}).address == address


def test_how_a_browser_reaches_it() -> None:
    assert Address("::1", 7000).url == "http://[::1]:7000"
    assert Address("10.0.0.1", 7000, certificate="/c.pem").url == "https://10.0.0.1:7000"


def test_relative_paths_are_the_files(file: Path) -> None:
    file.write_text("admin: {listen: ['unix:run/a.sock']}")
    assert access(file, {}).address.path == str(file.parent / "run/a.sock")


@pytest.mark.parametrize("name", ["t.json", "t.toml"])
def test_other_formats(name: str, here: Path) -> None:
    texts = {
        "t.json": '{"admin": {"listen": ["tcp:7000"]}}',
        "t.toml": '[admin]\nlisten = ["tcp:7000"]',
    }
    (here / name).write_text(texts[name])
    assert access(here / name, {}).address.port == 7000


def test_a_listener_without_a_port_is_passed_over(file: Path) -> None:
    file.write_text("admin: {listen: ['tcp:0', 'systemd:domain=INET:index=0', 'tcp:7']}")
    assert access(file, {}).address.port == 7
    file.write_text("admin: {listen: ['tcp:0']}")
    with pytest.raises(BrokenConfigurationError, match=r"t\.yaml: admin\.listen"):
        access(file, {})


def test_what_else_is_wrong_in_the_file_does_not_matter(file: Path) -> None:
    file.write_text("admin: {listen: ['tcp:7']}\ntenants: {BAD: 5}\nnope: 1\n")
    assert access(file, {}).address.port == 7


def test_the_token_is_where_the_configuration_says(file: Path) -> None:
    file.write_text("tenants: {}")
    assert access(file, {}).token is None
    assert "run/admin.token" in access(file, {}).missing
    (file.parent / "run").mkdir()
    (file.parent / "run/admin.token").write_text("made\n")
    assert access(file, {}).token == "made"
    file.write_text("run_dir: ./r2")
    (file.parent / "r2").mkdir()
    (file.parent / "r2/admin.token").write_text("elsewhere")
    assert access(file, {}).token == "elsewhere"
    file.write_text("admin: {token_file: own}")
    (file.parent / "own").write_text("own-token\r\n")
    assert access(file, {}).token == "own-token"
    file.write_text("admin: {token: plain-token}")
    assert access(file, {}).token == "plain-token"
    assert access(file, {TOKEN_VARIABLE: "from-outside"}).token == "from-outside"


def test_a_digest_alone_is_no_token(file: Path) -> None:
    file.write_text(f"admin: {{token_sha256: '{'0' * 64}'}}")
    found = access(file, {})
    assert found.token is None
    assert TOKEN_VARIABLE in found.missing


def test_the_token_is_in_no_repr(file: Path) -> None:
    file.write_text("admin: {token: plain-token}")
    assert "plain-token" not in repr(access(file, {}))


def test_root_looks_for_whom_the_service_runs_as(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat
    owners = {"tenants.d": (1234, 4321)}

    def looked_at(path: Path) -> os.stat_result:
        found = list(stat(path))
        found[4:6] = owners.get(path.name, (found[4], found[5]))
        return os.stat_result(found)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert service_account(file) is None
    (file.parent / "tenants.d").mkdir()
    monkeypatch.setattr("sqsuper.cli.finding.os.stat", looked_at)
    assert service_account(file) == Account(1234, 4321)
    owners["tenants.d"] = (0, 0)
    assert service_account(file) is None
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    owners["tenants.d"] = (1234, 4321)
    assert service_account(file) is None


RUNNING = Address("127.0.0.1", 7)


def running(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "admin.json").write_text(text_of([RUNNING]))
    (run_dir / "admin.token").write_text("made\n")


def test_a_running_service_is_asked_where_it_is(file: Path) -> None:
    file.write_text("admin: {listen: ['tcp:8']}")
    running(file.parent / "run")
    assert access(file, {}).address == RUNNING


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("t.yaml", "run_dir: ./r  # here\ntenants: {\n"),
        ("t.yaml", 'tenants: {\nrun_dir: "r"\n'),
        ("t.toml", "run_dir = 'r'\n[tenants\n"),
        ("t.json", '{"run_dir": "r", "tenants": {'),
        ("t.json", '{\n  "admin": {},\n  "run_dir": "r",,\n}'),
    ],
)
def test_a_running_service_is_asked_when_its_file_is_broken(
    name: str, broken: str, here: Path
) -> None:
    file = here / name
    file.write_text(broken)
    with pytest.raises(BrokenConfigurationError):
        access(file, {})
    running(here / "r")
    found = access(file, {})
    assert (found.address, found.token) == (RUNNING, "made")


def test_a_broken_file_may_name_no_run_directory(file: Path) -> None:
    file.write_text("tenants: {")
    running(file.parent / "run")
    assert access(file, {}).address == RUNNING
    (file.parent / "run/admin.token").unlink()
    assert file.name in access(file, {}).missing
    file.unlink()
    with pytest.raises(BrokenConfigurationError, match="no such file"):
        access(file, {})


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_no_file_of_others_is_taken_for_the_token(
    link: Callable[[Path, Path], None], file: Path
) -> None:
    # It would be sent to where admin.json says.
    file.write_text("tenants: {}")
    running(file.parent / "run")
    secret, token = file.parent / "secret", file.parent / "run/admin.token"
    secret.write_text("of-root")
    token.unlink()
    link(secret, token)
    found = access(file, {})
    assert found.token is None
    assert str(token) in found.missing
    assert "of-root" not in found.missing


def test_an_address_of_another_user_is_not_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("admin: {listen: ['tcp:8'], token: mine}")
    running(file.parent / "run")
    if os.geteuid() == 0:
        os.chown(file.parent / "run/admin.json", 4321, 4321)
    else:
        monkeypatch.setattr("sqsuper.cli.finding.os.geteuid", lambda: 4321)
    assert access(file, {}).address == Address("127.0.0.1", 8)


@pytest.mark.parametrize("text", ["two\nlines\n", "a b", "caf\u00e9", "x" * 600])
def test_what_can_be_no_token_is_never_sent(text: str, file: Path) -> None:
    file.write_text("tenants: {}")
    running(file.parent / "run")
    (file.parent / "run/admin.token").write_text(text)
    assert access(file, {}).token is None
    assert "no token" in access(file, {TOKEN_VARIABLE: text}).missing
