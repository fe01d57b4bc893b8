"""Where the text comes from: files that cannot be read, and included ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqsuper.config import load as load_module
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import ensure_tenants_dir, load
from sqsuper.config.model import Config
from tests.unit.config.conftest import Write

Refused = Callable[..., ConfigError]


def told(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["t.yaml", "./no/t.json", "t.toml"])
def test_missing(here: Path, name: str) -> None:
    assert told(Path(name)) == f"{Path(name)}: no such file; check the path"


def test_directory(here: Path) -> None:
    (here / "t.yaml").mkdir()
    assert told(Path("t.yaml")) == "t.yaml: is a directory; name a file"


def test_fifo_does_not_wait(here: Path) -> None:
    os.mkfifo(here / "t.yaml")
    assert told(Path("t.yaml")) == "t.yaml: is no regular file; name a file"


def test_unreadable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = write("t.yaml", "tenants: {}")
    monkeypatch.setattr(os, "open", denied)
    assert told(path) == "t.yaml: permission denied; make it readable for this user"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300 + ".yaml", "t.yaml/t.yaml"])
def test_no_path(write: Write, name: str) -> None:
    write("t.yaml", "tenants: {}")
    assert ": " in told(Path(name))


def test_absolute_name_is_kept(write: Write, here: Path) -> None:
    write("t.yaml", "zzz: 1")
    assert told(here / "t.yaml").startswith(f"{here}/t.yaml:1: zzz: ")


def test_included_files_add_tenants(here: Path, write: Write) -> None:
    write("etc/t.yaml", "tenants: {m: {}}")
    write("etc/tenants.d/b.yaml", "tenants: {b: {port: 7002}}")
    write("etc/tenants.d/a.yaml", "\ntenants:\n  a: {}\n  c: {}\n")
    write("etc/tenants.d/.hidden.yaml", "zzz: 1")
    write("etc/tenants.d/notes.txt", "zzz: 1")
    config = load(Path("etc/t.yaml"))
    assert [t.name for t in config.tenants] == ["a", "b", "c", "m"]
    assert config.tenants[0].origin.file == here / "etc/tenants.d/a.yaml"
    assert config.tenants[0].origin.line == 3
    assert config.tenants[0].data_dir == here / "etc/data/a"


def test_included_files_of_other_formats(write: Write) -> None:
    write("d/a.json", '{"tenants": {"a": {}}}')
    write("d/b.toml", "[tenants.b]\n")
    config = load(write("t.yaml", 'include: ["d/*"]'))
    assert [t.name for t in config.tenants] == ["a", "b"]


def test_included_files_start_from_defaults(write: Write) -> None:
    write("tenants.d/a.yaml", "tenants: {a: {}}")
    config = load(write("t.yaml", "defaults: {queue: 7}"))
    assert config.tenants[0].settings.queue == 7


def test_the_main_file_is_not_included_in_itself(write: Write) -> None:
    write("u.yaml", "tenants: {a: {}}")
    config = load(write("t.yaml", 'include: ["*.yaml"]'))
    assert [t.name for t in config.tenants] == ["a"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tenants: {}\ngateway: {}", ":2: gateway: an included file holds tenants: alone; "
         "move the key to the main file"),
        ("tenants: {a: {port: 7001}}\n", ":1: tenants.a.port: 7001 is already m's"),
        ("tenants:\n  m: {}\n", ":2: tenants.m: the tenant is already defined in etc/t.yaml:2; "
         "keep one of them"),
        ("tenants:\n  a: {zzz: 1}\n", ":2: tenants.a.zzz: unknown key; the keys here are "),
        ("tenants: [", ":1: not valid YAML: while parsing a flow node, "),
        ("", ": is empty; a file without settings holds at least tenants: {}"),
        ("- a", ':1: must hold keys and values; such as "tenants: {}"'),
    ],
)  # fmt: skip
def test_broken_included_file(write: Write, text: str, line: str) -> None:
    write("etc/t.yaml", "tenants:\n  m: {port: 7001}\n")
    write("etc/tenants.d/a.yaml", text)
    assert told(Path("etc/t.yaml")).startswith("etc/tenants.d/a.yaml" + line)


def test_one_tenant_in_two_included_files(write: Write) -> None:
    write("tenants.d/a.yaml", "tenants: {a: {}}")
    write("tenants.d/b.yaml", "\ntenants: {a: {}}")
    assert told(write("t.yaml", "tenants: {}")) == (
        "tenants.d/b.yaml:2: tenants.a: the tenant is already defined in tenants.d/a.yaml:1; "
        "keep one of them"
    )


def test_links_may_not_lead_out(here: Path, write: Write) -> None:
    write("other/a.yaml", "tenants: {a: {}}")
    write("etc/tenants.d/b.yaml", "tenants: {b: {}}")
    write("etc/real/c.yaml", "tenants: {c: {}}")
    (here / "etc/tenants.d/c.yaml").symlink_to("../real/c.yaml")
    config = load(write("etc/t.yaml", "tenants: {}"))
    assert [t.name for t in config.tenants] == ["b", "c"]
    (here / "etc/tenants.d/a.yaml").symlink_to("../../other/a.yaml")
    assert told(Path("etc/t.yaml")) == (
        f"etc/tenants.d/a.yaml: is included, but lies outside {here}/etc; "
        "move it below the configuration's directory"
    )


def test_linked_directories_may_not_lead_out(here: Path, write: Write) -> None:
    write("other/a.yaml", "tenants: {a: {}}")
    path = write("etc/t.yaml", "tenants: {}")
    (here / "etc/tenants.d").symlink_to("../other")
    assert told(path).startswith("etc/tenants.d/a.yaml: is included, but lies outside ")


def test_a_dangling_link_is_told(here: Path, write: Write) -> None:
    path = write("t.yaml", "tenants: {}")
    (here / "tenants.d").mkdir()
    (here / "tenants.d/a.yaml").symlink_to("gone.yaml")
    assert told(path) == "tenants.d/a.yaml: cannot be read: No such file or directory"


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_only_regular_files_are_included(here: Path, write: Write, kind: str) -> None:
    path = write("t.yaml", "tenants: {}")
    (here / "tenants.d").mkdir()
    if kind == "fifo":
        os.mkfifo(here / "tenants.d/a.yaml")
    else:
        (here / "tenants.d/a.yaml").mkdir()
    assert told(path) == "tenants.d/a.yaml: is no regular file; include files alone"


def test_a_directory_that_cannot_be_listed(
    here: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("t.yaml", "tenants: {}")
    (here / "tenants.d").mkdir()
    monkeypatch.setattr(os, "access", lambda *_args: False)
    assert told(path) == "tenants.d: cannot be listed; chmod u+rx it"


def test_too_many_included_files(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MAX_INCLUDED", 2)
    for name in "abc":
        write(f"tenants.d/{name}.yaml", f"tenants: {{{name}: {{}}}}")
    path = write("t.yaml", 'tenants: {}\ninclude: ["tenants.d/*.yaml"]\n')
    assert told(path) == (
        "t.yaml:2: include: more than 2 files match; put several tenants into one file"
    )
    path.write_text("include: [tenants.d/a.yaml, tenants.d/b.yaml]")
    assert len(load(path).tenants) == 2


def test_tenants_dir_that_is_a_file(
    here: Path, write: Write, loaded: Callable[[str], Config]
) -> None:
    config = loaded("include: []")
    write("tenants.d", "")
    with pytest.raises(ConfigError, match="cannot be made"):
        ensure_tenants_dir(config)
