"""`sqsuper import`: every tenant told, clashes named, nothing done by halves."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqsuper import tokens
from sqsuper.cli import copying
from sqsuper.cli.errors import CommandError
from sqsuper.cli.formats.found import Found
from sqsuper.cli.takeover import name_of
from sqsuper.config.load import load
from tests.unit.cli.conftest import Command

T = [f"pmb-v1-{number:032x}" for number in range(9)]
Router = Callable[..., Path]


@pytest.fixture
def conf(here: Path) -> Path:
    """A configuration with one tenant, `old`."""
    file = here / "conf/tenants.yaml"
    file.parent.mkdir(mode=0o700)
    file.touch(mode=0o600)
    digest = tokens.digest(T[0]).hex()
    file.write_text(f"tenants: {{old: {{token_sha256: ['{digest}'], port: 7001}}}}\n")
    return file


@pytest.fixture
def router(here: Path) -> Router:
    """Write a router configuration of these entries; data directories are made."""

    def write(*entries: dict[str, Any], name: str = "router.json") -> Path:
        for entry in entries:
            if "data_dir" in entry:
                (here / entry["data_dir"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        file = here / name
        file.write_text(json.dumps({"tenants": entries}))
        return file

    return write


def tree(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def test_tenants_are_taken_over_in_place(
    conf: Path, here: Path, router: Router, command: Command
) -> None:
    file = router(
        {"token": T[1], "port": 7101, "data_dir": "a", "name": "Anna"},
        {"token": T[2], "port": 7102, "data_dir": "b", "active": False},
    )
    done = command("import", file)
    assert done.status == 0
    tenants = {tenant.name: tenant for tenant in load(conf).tenants}
    assert tenants.keys() == {"old", "anna", "b"}
    anna, b = tenants["anna"], tenants["b"]
    assert (anna.data_dir, anna.port, anna.enabled) == (here / "a", 7101, True)
    assert (b.data_dir, b.port, b.enabled) == (here / "b", 7102, False)
    assert anna.tokens[0].sha256 == tokens.digest(T[1])
    assert anna.tokens[0].label == "imported, rotate me"
    assert anna.origin.managed
    files = list((conf.parent / "tenants.d").iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not any(T[1] in path.read_text() for path in files)
    assert T[1] not in done.out + done.err
    assert "its name was Anna" in done.out
    assert "token rotate" in done.out


def test_quota_and_address_are_taken_over(
    conf: Path, here: Path, router: Router, command: Command
) -> None:
    entries = [
        {"api_key": T[1], "data_dir": "a", "email": 'Anna "A: #" <a@box.example>'},
        {"api_key": T[2], "data_dir": "b", "quota_mb": 7, "tier": "gold"},
    ]
    file = router(*entries)
    file.write_text(json.dumps({"default_quota_mb": 500, "tenants": entries}))
    done = command("import", file)
    assert done.status == 0, done.err
    tenants = {tenant.name: tenant for tenant in load(conf).tenants}
    told = {name: (one.admin_email, one.settings.quota_mb) for name, one in tenants.items()}
    assert told["a"] == ('Anna "A: #" <a@box.example>', 500)
    assert told["b"] == (None, 7)
    assert "tier is not taken over" in done.out


def test_a_second_time_nothing_changes(conf: Path, router: Router, command: Command) -> None:
    file = router({"token": T[1], "port": 7101, "data_dir": "a"})
    assert command("import", file).status == 0
    before = tree(conf.parent)
    done = command("import", file, "--json")
    assert done.status == 0
    assert done.json["changed"] is False
    assert [one["result"] for one in done.json["tenants"]] == ["unchanged"]
    assert tree(conf.parent) == before


def test_a_dry_run_changes_nothing(
    conf: Path, here: Path, router: Router, command: Command
) -> None:
    file = router({"token": T[1], "port": 7101, "data_dir": "a"})
    before = tree(here)
    for more in ([], ["--copy"]):
        done = command("import", "--dry-run", *more, file)
        assert done.status == 0
        assert "importable: a" in done.out
        assert tree(here) == before


def wants(token: str = T[3], **more: Any) -> dict[str, Any]:
    return {"token": token, "data_dir": "x", **more}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (wants(T[0]), f"(sha256 {tokens.label(tokens.digest(T[0]))}...) is already that of old"),
        (wants(port=7001), "port 7001 is already that of old"),
        (wants(port=1337), "port 1337 is already that of gateway.listen"),
        (wants(port=1338), "port 1338 is already that of admin.listen"),
        (wants(name="old"), "the name old is already that of old (tenants.yaml)"),
        (wants(data_dir="conf/data/old"), "data/old is already that of old"),
        (wants(data_dir="conf/data/old/below"), "is already that of old"),
        (wants(data_dir="conf"), "conf holds data_root"),
        (wants(data_dir="conf/run/x"), "is already that of run_dir"),
        (wants(T[1]), "is already that of first"),
        (wants(port=7101), "port 7101 is already that of first"),
        (wants(name="First"), "the name first is already that of first"),
        (wants(data_dir="link"), "link is already that of first"),
        ({"data_dir": "x"}, "it has no token"),
        (wants("a b"), "its token is not one"),
        (wants("t" * 513), "its token is not one"),
        (wants("\u00e9" * 20), "its token is not one"),
    ],
)
def test_a_clash_is_named_and_nothing_changes(
    entry: dict[str, Any], told: str, conf: Path, router: Router, command: Command
) -> None:
    here = conf.parents[1]
    (here / "a").mkdir(mode=0o700)
    (here / "link").symlink_to("a")
    file = router({"token": T[1], "port": 7101, "data_dir": "a", "name": "first"}, entry)
    before = tree(conf.parent)
    done = command("import", file)
    assert done.status == 1
    assert told in done.out
    assert "tenants[1]" in done.out
    assert tree(conf.parent) == before
    done = command("import", "--skip-clashes", "--json", file)
    assert done.status == 1
    assert [one["result"] for one in done.json["tenants"]] == ["imported", "refused"]
    assert {tenant.name for tenant in load(conf).tenants} == {"old", "first"}


def test_two_files_that_overlap(conf: Path, here: Path, router: Router, command: Command) -> None:
    file = router({"token": T[1], "port": 1341, "data_dir": "a", "name": "a"})
    other = here / "map.conf"
    other.write_text(f'map $http_authorization $p {{\n"Bearer {T[1]}" "1341";\n}}\n')
    done = command("import", file, other)
    assert done.status == 1
    assert f"refused: port-1341 ({other}:2): its token" in done.out
    assert "port 1341 is already that of a" in done.out


def test_a_directory_that_others_can_write(
    conf: Path, here: Path, router: Router, command: Command
) -> None:
    file = router({"token": T[1], "data_dir": "a"})
    (here / "a").chmod(0o777)
    done = command("import", file)
    assert done.status == 1
    assert "can be written by others; chmod go-w" in done.out


def test_data_is_copied(conf: Path, here: Path, router: Router, command: Command) -> None:
    file = router({"token": T[1], "data_dir": "a/deep", "name": "anna"})
    source = here / "a/deep"
    (source / "notes.phext").write_bytes(b"x" * 3_000_000)
    (source / "sub").mkdir()
    (source / "sub/more.phext").write_text("more")
    (source / "link.phext").symlink_to("/etc/passwd")
    (source / "links").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    (source / "sub/more.phext").chmod(0o666)
    before = tree(source / "sub")
    done = command("import", "--copy", file, "--json")
    assert done.status == 0, done.err
    target = conf.parent / "data/anna"
    (told,) = done.json["tenants"]
    assert (told["data_dir"], told["copied_from"]) == (str(target), str(source))
    assert sum("link or no file" in note for note in told["notes"]) == 3
    assert tree(target) == {
        "notes.phext": b"x" * 3_000_000,
        "sub": None,
        "sub/more.phext": b"more",
    }
    assert {path.stat().st_mode & 0o077 for path in [target, *target.rglob("*")]} == {0}
    assert tree(source / "sub") == before
    (anna,) = (tenant for tenant in load(conf).tenants if tenant.name == "anna")
    assert anna.data_dir == target


@pytest.mark.parametrize("obstacle", ["target", "source"])
def test_what_cannot_be_copied(
    obstacle: str, conf: Path, here: Path, router: Router, command: Command
) -> None:
    file = router({"token": T[1], "data_dir": "a"})
    if obstacle == "source":
        (here / "a").rmdir()
    else:
        (conf.parent / "data/a").mkdir(parents=True, mode=0o700)
    done = command("import", "--copy", file)
    assert done.status == 1
    assert "copied to it" in done.out or "nothing to copy" in done.out


def test_a_copy_that_fails_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a").mkdir()
    (here / "a/x").write_text("x")

    def full(_count: int) -> None:
        raise OSError(28, "No space left on device", "x")

    with pytest.raises(CommandError, match="No space left"):
        copying.copy_directory(here / "a", here / "b", full)
    assert not (here / "b").exists()
    assert {path.name for path in here.iterdir()} == {"a"}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 0}))
    with pytest.raises(CommandError, match="0 bytes free"):
        copying.copy_directory(here / "a", here / "b", lambda _: None)


def test_an_include_that_takes_in_no_file_of_ours(
    conf: Path, here: Path, router: Router, command: Command
) -> None:
    conf.write_text("include: [others/*.yaml]\n")
    file = router({"token": T[1], "data_dir": "a"})
    done = command("import", "--copy", file)
    assert done.status == 1
    assert "include takes in no tenants.d/a.yaml" in done.err
    assert list((conf.parent / "tenants.d").iterdir()) == []
    assert not (conf.parent / "data/a").exists()


def test_a_file_that_is_there_is_not_overwritten(
    conf: Path, router: Router, command: Command
) -> None:
    file = router({"token": T[1], "data_dir": "a"}, {"token": T[2], "data_dir": "b"})
    (conf.parent / "tenants.d").mkdir(mode=0o700)
    hand = conf.parent / "tenants.d/b.yaml"
    hand.touch(mode=0o600)
    hand.write_text("tenants: {}\n")
    done = command("import", file)
    assert done.status == 1
    assert "b.yaml is there already" in done.err
    assert tree(conf.parent / "tenants.d") == {"b.yaml": b"tenants: {}\n"}


def test_a_program_that_still_serves_is_told(conf: Path, router: Router, command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = command(
            "import", "--dry-run", router({"token": T[1], "port": port, "data_dir": "a"})
        )
    assert done.status == 0
    assert f"note: port {port} is served by pid {os.getpid()}" in done.out


def test_without_ports(conf: Path, router: Router, command: Command) -> None:
    file = router({"token": T[1], "port": 7001, "data_dir": "a"})
    assert command("import", "--no-ports", file).status == 0
    assert {tenant.name: tenant.port for tenant in load(conf).tenants} == {"a": None, "old": 7001}


def test_what_cannot_be_read_is_told(conf: Path, here: Path, command: Command) -> None:
    (here / "x").write_text("what is this")
    done = command("import", here / "x")
    assert done.status == 1
    assert "no format that is known" in done.err
    conf.write_text("nope: 1\n")
    (here / "x").write_text(f"API_KEY={T[1]}\n")
    assert "nope: unknown key" in command("import", here / "x").err


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (Found("f", name="anna"), "anna"),
        (Found("f", name="Anna B\u00e4r!"), "anna-b-r"),
        (Found("f", name="../../etc"), "etc"),
        (Found("f", name="x" * 80), "x" * 63),
        (Found("f", name="\u00e4", data_dir=Path("/srv/sq-7")), "sq-7"),
        (Found("f", data_dir=Path("/"), port=7), "port-7"),
        (Found("f", name=T[1], port=7), "port-7"),
        (Found("f", token=T[1]), f"token-{tokens.label(tokens.digest(T[1]))}"),
        (Found("f"), "unnamed"),
    ],
)
def test_names(found: Found, name: str) -> None:
    assert name_of(found)[0] == name
