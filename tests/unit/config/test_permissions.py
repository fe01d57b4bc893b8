"""Files and directories that others can read, write or own are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from sqsuper.config import permissions
from sqsuper.config import schema as schema_module
from sqsuper.config.errors import ConfigError, ExposedError
from sqsuper.config.load import check_directories, load
from sqsuper.config.model import Config
from tests.unit.config.conftest import Write

PLAIN = "\ntenants:\n  a:\n    tokens: [pmb-v1-0123456789abcdef]\n"
DIGESTS = f"tenants: {{a: {{token_sha256: [{'a' * 64}]}}}}"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


def told(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert isinstance(caught.value, ExposedError)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_plain_tokens_that_others_can_read(write: Write, mode: int) -> None:
    assert told(write("conf/t.yaml", PLAIN, mode)) == (
        "conf/t.yaml:4: tenants.a.tokens[0]: conf/t.yaml holds plain tokens and can be read by "
        "others; chmod 600 conf/t.yaml"
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_plain_tokens_for_us_and_our_group(write: Write, mode: int) -> None:
    assert len(load(write("t.yaml", PLAIN, mode)).tenants) == 1


@as_root
def test_plain_tokens_for_a_foreign_group(write: Write, here: Path) -> None:
    path = write("t.yaml", PLAIN, 0o640)
    os.chown(here / path, -1, 12345)
    assert "can be read by others" in told(path)
    (here / path).chmod(0o600)
    assert load(path).tenants


def test_digests_may_be_read(write: Write) -> None:
    assert load(write("t.yaml", DIGESTS, 0o644)).tenants


def test_an_included_file_is_looked_at_by_itself(write: Write) -> None:
    path = write("t.yaml", DIGESTS.replace("a:", "b:", 1), 0o644)
    write("tenants.d/a.yaml", PLAIN, 0o604)
    assert told(path).startswith("tenants.d/a.yaml:4: tenants.a.tokens[0]: tenants.d/a.yaml holds ")
    write("tenants.d/a.yaml", PLAIN, 0o600)
    assert len(load(path).tenants) == 2


def test_the_admin_token(write: Write, here: Path) -> None:
    path = write("t.yaml", "admin:\n  token: hunter2-hunter2\n", 0o604)
    assert told(path) == (
        "t.yaml:2: admin.token: t.yaml holds a plain token and can be read by others; "
        "chmod 600 t.yaml"
    )
    path = write("t.yaml", "admin:\n  token_file: secret\n", 0o644)
    write("secret", "hunter2-hunter2", 0o604)
    assert told(path) == (
        f"t.yaml:2: admin.token_file: {here}/secret holds a token and can be read by others; "
        f"chmod 600 {here}/secret"
    )


@pytest.mark.parametrize(
    ("key", "name", "text"),
    [
        ("run_dir", "run", "tenants: {}\nrun_dir: run\n"),
        ("data_root", "data", "tenants: {}\ndata_root: data\n"),
        ("tenants.a.data_dir", "x", "tenants:\n  a: {data_dir: x}\n"),
        ("tenants.a.data_dir", "data/a", "tenants:\n  a: {}\n"),
    ],
    ids=["run_dir", "data_root", "data_dir", "default-data_dir"],
)
class TestDirectories:
    def test_written_by_others(
        self, here: Path, write: Write, key: str, name: str, text: str
    ) -> None:
        path = write("t.yaml", text)
        (here / name).mkdir(parents=True, mode=0o700)
        load(path)
        (here / name).chmod(0o755)
        load(path)
        (here / name).chmod(0o702)
        assert told(path) == (
            f"t.yaml:2: {key}: {here}/{name} can be written by others; chmod go-w {here}/{name}"
        )

    @as_root
    def test_a_foreign_group(
        self, here: Path, write: Write, key: str, name: str, text: str
    ) -> None:
        path = write("t.yaml", text)
        (here / name).mkdir(parents=True)
        (here / name).chmod(0o770)
        load(path)
        os.chown(here / name, -1, 12345)
        assert "can be written by others" in told(path)

    @as_root
    def test_owned_by_others(
        self, here: Path, write: Write, key: str, name: str, text: str
    ) -> None:
        path = write("t.yaml", text)
        (here / name).mkdir(parents=True, mode=0o700)
        os.chown(here / name, 12345, -1)
        assert told(path) == (
            f"t.yaml:2: {key}: {here}/{name} belongs to another user (uid 12345); "
            f"chown 0 {here}/{name}"
        )

    def test_no_directory(self, write: Write, key: str, name: str, text: str) -> None:
        path = write("t.yaml", text)
        write(name, "")
        with pytest.raises(ConfigError, match=f"^t.yaml:2: {key}: .* is no directory"):
            load(path)


def test_no_directory_below_a_file(refused: Callable[..., ConfigError], write: Write) -> None:
    write("file", "")
    error = refused("tenants: {}\nrun_dir: file/run\n")
    assert (error.line, error.key) == (2, "run_dir")
    assert str(error).endswith("file/run cannot be looked at: Not a directory")


def test_a_link_is_judged_by_what_it_leads_to(here: Path, write: Write) -> None:
    path = write("t.yaml", "tenants: {}")
    (here / "open").mkdir()
    (here / "open").chmod(0o777)
    (here / "data").symlink_to("open")
    assert "can be written by others" in told(path)


@as_root
def test_a_tenants_own_user_may_own_its_directory(
    here: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = permissions.Account(12345, 12345)
    for module in (permissions, schema_module):
        monkeypatch.setattr(module, "account", lambda name: someone if name == "sam" else None)
    (here / "data/a").mkdir(parents=True)
    os.chown(here / "data/a", 12345, 12345)
    (here / "data/a").chmod(0o770)
    path = write("t.yaml", "tenants: {a: {user: sam}}")
    assert load(path).tenants[0].settings.user == "sam"
    os.chown(here / "data/a", 12346, 12345)
    assert "another user (uid 12346)" in told(path)


def test_a_user_needs_root(
    refused: Callable[..., ConfigError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_module, "account", lambda _name: permissions.Account(1, 1))
    monkeypatch.setattr(schema_module, "is_root", lambda: False)
    assert str(refused("defaults:\n  user: sam\n")) == (
        "t.yaml:2: defaults.user: running a child as another user needs root; start as root"
    )


def test_directories_can_be_looked_at_later(here: Path, loaded: Callable[[str], Config]) -> None:
    config = loaded("tenants: {}")
    check_directories(config)
    (here / "run").mkdir()
    (here / "run").chmod(0o777)
    with pytest.raises(ExposedError) as caught:
        check_directories(config)
    assert str(caught.value).startswith(f"{here}/t.yaml: run_dir: {here}/run can be written")
    check_directories(attrs.evolve(config, run_dir=here / "other"))


def test_another_user_may_run_the_service(here: Path, loaded: Callable[[str], Config]) -> None:
    config = loaded("tenants: {}")
    (here / "data").mkdir(mode=0o700)
    ours = permissions.Account(os.geteuid(), os.getegid())
    check_directories(config, service=ours)
    with pytest.raises(ExposedError) as caught:
        check_directories(config, service=permissions.Account(12345, 12345))
    assert str(caught.value) == (
        f"{here}/t.yaml: data_root: {here}/data belongs to another user"
        f" (uid {os.geteuid()}); chown 12345 {here}/data"
    )
