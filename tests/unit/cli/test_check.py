"""`sqsuper check`: every error, each once, and none that only follows from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqsuper.cli.survey import MAX_ERRORS, PATIENCE, survey
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from tests.unit.cli.conftest import Command
from tests.unit.config.broken import YAML, Case

TOKEN_DIGEST = "ab" * 32


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)
    return file


BAD = f"""\
gatway: {{}}
gateway: {{workers: 0, idle_timeout: 5x, listen: ["tcp:1:interface=127.0.0.1", "foo", "bar:3"]}}
tenants:
  A: {{}}
  alice:
    port: 7001
    token_sha256: ["zz", "{TOKEN_DIGEST}", "yy"]
    engine: command
    command: 5
  bob:
    port: 7001
    token_sha256: ["{TOKEN_DIGEST}"]
    thisisaverylongunknownkeyforatenant: 1
    data_dir: data/alice
"""


def test_all_errors_of_a_file(here: Path) -> None:
    found = survey(write(here / "t.yaml", BAD))
    assert found.config is None
    assert found.complete
    assert sorted((error.line, error.key) for error in found.errors) == [
        (1, "gatway"),
        (2, "gateway.idle_timeout"),
        (2, "gateway.listen[1]"),
        (2, "gateway.listen[2]"),
        (2, "gateway.workers"),
        (4, "tenants.A"),
        (7, "tenants.alice.token_sha256[0]"),
        (7, "tenants.alice.token_sha256[2]"),
        (9, "tenants.alice.command"),
        (11, "tenants.bob.port"),
        (12, "tenants.bob.token_sha256[0]"),
        (13, 'tenants.bob."thisisav..."'),
        (14, "tenants.bob.data_dir"),
    ]


def test_all_errors_of_several_files(here: Path) -> None:
    main = write(here / "t.yaml", "admin: {nope: 1}\n")
    write(here / "tenants.d/a.yaml", "tenants: {a: {port: 0}}\n")
    write(here / "tenants.d/b.yaml", "tenants: [\n")
    write(here / "tenants.d/c.yaml", "gateway: {}\ntenants: {c: {quota_mb: -1}}\n")
    found = survey(main)
    assert [(Path(error.file).name, error.key) for error in found.errors] == [
        ("t.yaml", "admin.nope"),
        ("a.yaml", "tenants.a.port"),
        ("b.yaml", ""),
        ("c.yaml", "gateway"),
        ("c.yaml", "tenants.c.quota_mb"),
    ]


def test_a_readable_file_of_tokens_is_told_once(here: Path) -> None:
    main = write(
        here / "t.yaml", "tenants: {a: {tokens: [secret-one, secret-two, secret-three]}}\n"
    )
    main.chmod(0o644)
    found = survey(main)
    assert len(found.errors) == 1
    assert "chmod 600" in str(found.errors[0])


def test_a_broken_overlay_ends_the_search(here: Path) -> None:
    main = write(here / "t.yaml", "tenants: {a: {port: 0}, b: {port: 0}}\n")
    write(here / "tenants.d/.overlay.yaml", "tenants: {a: {nope: 1}}\n")
    found = survey(main)
    assert [error.key for error in found.errors] == [
        "tenants.a.port",
        "tenants.b.port",
        "tenants.a.nope",
    ]
    assert not found.complete


def test_not_for_ever(here: Path) -> None:
    unknown = "".join(f"x{number}: 1\n" for number in range(MAX_ERRORS + 5))
    main = write(here / "t.yaml", unknown)
    found = survey(main)
    assert (len(found.errors), found.complete) == (MAX_ERRORS, False)
    times = iter([0.0, 1.0, PATIENCE + 1])
    found = survey(main, lambda: next(times))
    assert (len(found.errors), found.complete) == (2, False)


def test_a_right_file_is_loaded_as_ever(here: Path) -> None:
    main = write(here / "t.yaml", f"tenants: {{a: {{token_sha256: ['{TOKEN_DIGEST}']}}}}\n")
    found = survey(main)
    assert found.errors == ()
    assert found.config == load(main)


@pytest.mark.parametrize("case", YAML, ids=lambda case: case.name)
def test_the_first_error_is_the_one_of_the_start(case: Case, here: Path) -> None:
    main = write(here / "t.yaml", case.text)
    with pytest.raises(ConfigError) as caught:
        load(main)
    found = survey(main)
    assert str(found.errors[0]) == str(caught.value)
    assert len({str(error) for error in found.errors}) == len(found.errors)


def test_the_command(here: Path, command: Command) -> None:
    write(here / "conf/tenants.yaml", f"tenants: {{a: {{token_sha256: ['{TOKEN_DIGEST}']}}}}\n")
    done = command("check")
    assert done.status == 0
    assert done.out == "conf/tenants.yaml: right, 1 tenant\n"
    assert command("check", "--json").json["valid"] is True
    bad = write(here / "t.yaml", BAD)
    done = command("check", bad)
    assert done.status == 1
    assert done.out == ""
    assert len(done.err.splitlines()) == 13
    as_json = command("check", bad, "--json")
    assert as_json.status == 1
    assert [error["message"] for error in as_json.json["errors"]] == done.err.splitlines()


def test_a_missing_file(command: Command) -> None:
    done = command("check", "nope.yaml")
    assert done.status == 1
    assert done.err.startswith("nope.yaml: no such file")
