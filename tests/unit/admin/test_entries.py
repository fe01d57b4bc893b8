"""Tenants' files and the overlay as the admin API writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqsuper.admin import entries
from sqsuper.admin.errors import BadRequestError, ConflictError
from sqsuper.config.load import load
from sqsuper.config.overlay import Patch, overlay_of
from tests.unit.admin.support import HUMAN, ONE, TWO, configured, tenant

ENTRY: dict[str, Any] = {
    "quota_mb": 50,
    "port": 7003,
    "limits": {"threads": 9},
    "token_sha256": [{"sha256": "a" * 64, "label": "x", "expires": "2030-01-01T00:00:00Z"}],
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = configured(tmp_path)
    undo = entries.write(config, "bob", ENTRY)
    file = tmp_path / "tenants.d" / "bob.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(file.parent) == ["bob.yaml"]
    read = load(config.file)
    bob = tenant(read, "bob")
    assert bob.origin.managed
    assert not tenant(read, "human").origin.managed
    # What it was checked as is what it is.
    assert attrs.evolve(entries.checked(config, "bob", ENTRY), origin=bob.origin) == bob
    assert entries.read(bob) == ENTRY
    undo()
    assert not file.exists()


def test_what_was_there_is_put_back(tmp_path: Path) -> None:
    config = configured(tmp_path)
    entries.write(config, "bob", ENTRY)
    file = tmp_path / "tenants.d" / "bob.yaml"
    before = file.read_text()
    entries.write(config, "bob", {})()
    assert file.read_text() == before
    entries.remove(config, "bob")()
    assert file.read_text() == before
    entries.remove(config, "bob")
    assert not file.exists()


@pytest.mark.parametrize("name", ["123", "1e5", "null", "true", "2030-01-01", "0x1f", "a.b-c_d"])
def test_any_name(tmp_path: Path, name: str) -> None:
    config = configured(tmp_path)
    entries.write(config, name, ENTRY)
    assert entries.read(tenant(load(config.file), name)) == ENTRY


@settings(max_examples=40)
@example("\x85")
@example("\u2028ä")
@given(label=st.text(min_size=1, max_size=20))
def test_any_label(tmp_path_factory: pytest.TempPathFactory, label: str) -> None:
    config = configured(tmp_path_factory.mktemp("c"))
    entry = {"token_sha256": [{"sha256": "a" * 64, "label": label}]}
    try:
        entries.checked(config, "bob", entry)
    except BadRequestError:
        return
    entries.write(config, "bob", entry)
    # The word that means null does so here, too.
    wanted = None if label == "none" else label
    assert tenant(load(config.file), "bob").tokens[0].label == wanted


class TestByHand:
    def test_another_file_is_refused_with_its_place(self, tmp_path: Path) -> None:
        human = tenant(configured(tmp_path), "human")
        with pytest.raises(ConflictError) as caught:
            entries.read(human)
        assert f"{tmp_path}/tenants.yaml:2" in caught.value.message
        assert caught.value.fields == {"file": str(tmp_path / "tenants.yaml"), "line": 2}

    @pytest.mark.parametrize("name", ["bob.yaml", "mine.yaml"])
    def test_so_is_one_in_the_same_place(self, tmp_path: Path, name: str) -> None:
        config = configured(tmp_path)
        entries.write(config, "bob", ENTRY)
        file = tmp_path / "tenants.d" / "bob.yaml"
        text = file.read_text()
        if name == "bob.yaml":
            text = text.partition("\n")[2]
        file.rename(file.with_name(name))
        file.with_name(name).write_text(text)
        assert not tenant(load(config.file), "bob").origin.managed

    def test_one_with_two_tenants_is_never_ours(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        entries.write(config, "bob", ENTRY)
        file = tmp_path / "tenants.d" / "bob.yaml"
        file.write_text(file.read_text() + "  carol: {}\n")
        assert not any(one.origin.managed for one in load(config.file).tenants)

    def test_one_that_became_so_meanwhile(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        entries.write(config, "bob", ENTRY)
        bob = tenant(load(config.file), "bob")
        file = tmp_path / "tenants.d" / "bob.yaml"
        file.write_text("# mine\n" + file.read_text())
        with pytest.raises(ConflictError):
            entries.read(bob)
        file.write_text("tenants: [")
        with pytest.raises(ConflictError):
            entries.read(bob)

    def test_a_file_that_is_there_is_not_overwritten(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        entries.check_place(config, "bob")
        (tmp_path / "tenants.d").mkdir()
        (tmp_path / "tenants.d" / "bob.yaml").write_text("tenants: {}")
        with pytest.raises(ConflictError):
            entries.check_place(config, "bob")


@pytest.mark.parametrize(
    ("include", "is_so"),
    [
        (("tenants.d/*.yaml",), True),
        (("other/*.yaml", "./tenants.d/*"), True),
        (("*/*.yaml",), True),
        ((), False),
        (("tenants.d/*.yml",), False),
        (("*.yaml",), False),
        (("tenants.d/a*.yaml",), False),
    ],
)
def test_whether_the_file_is_included(
    tmp_path: Path, include: tuple[str, ...], is_so: bool
) -> None:
    config = attrs.evolve(configured(tmp_path), include=include)
    assert entries.is_included(config, "bob") is is_so
    if not is_so:
        with pytest.raises(ConflictError):
            entries.check_place(config, "bob")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"quota_mb": "x"}, 'quota_mb: must be a whole number from 1 to 1000000000, not "x"'),
        ({"prot": 1}, "prot: unknown key; did you mean port?"),
        ({"limits": {"threads": 0}}, "limits.threads: "),
        ({"port": 70000}, "port: "),
        ({"token_sha256": [{"sha256": "a" * 64, "scope": "x"}]}, "scope: must be "),
        ({"token_sha256": [{"sha256": "a" * 64, "expires": "soon"}]}, "expires: must be a time"),
        ({"idle_stop": [1]}, "idle_stop: "),
        ({"admin_email": ""}, "admin_email: "),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(
    tmp_path: Path, entry: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        entries.checked(configured(tmp_path), "bob", entry)
    assert told in caught.value.message
    assert "tenants.bob" not in caught.value.message


def test_the_defaults_are_those_of_the_configuration(tmp_path: Path) -> None:
    config = configured(tmp_path, "defaults: {quota_mb: 7, limits: {threads: 3}}\ntenants: {}\n")
    made = entries.checked(config, "bob", {"limits": {"nice": 1}})
    assert (made.settings.quota_mb, made.settings.limits.threads) == (7, 3)


@pytest.mark.parametrize("key", entries.IN_FILES_ALONE)
def test_what_decides_which_program_runs_is_for_files_alone(key: str) -> None:
    with pytest.raises(BadRequestError):
        entries.without_files_alone({"quota_mb": 1, key: None})


def test_so_is_another_engine() -> None:
    assert entries.without_files_alone({"engine": "embedded"}) == {"engine": "embedded"}
    with pytest.raises(BadRequestError):
        entries.without_files_alone({"engine": "command"})


class TestOverlay:
    def test_it_is_applied(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        one = bytes.fromhex(ONE)
        entries.patch(config, "human", lambda p: attrs.evolve(p, revoked=(one,), disabled=True))
        entries.patch(config, "human", lambda p: attrs.evolve(p, stopped=True))
        file = overlay_of(config.file)
        assert file.stat().st_mode & 0o777 == 0o600
        human = tenant(load(config.file), "human")
        assert [token.sha256.hex() for token in human.tokens] == [TWO]
        assert human.origin.overlay == ("stopped", "disabled", "revoked")
        assert (human.enabled, human.stopped) == (False, True)
        assert (tmp_path / "tenants.yaml").read_text() == HUMAN % (ONE, TWO)

    def test_it_goes_when_nothing_is_left_in_it(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        undo = entries.patch(config, "human", lambda p: attrs.evolve(p, stopped=True))
        entries.patch(config, "human", lambda _: Patch())
        assert not overlay_of(config.file).exists()
        entries.patch(config, "human", lambda _: Patch())()
        undo()
        assert not overlay_of(config.file).exists()

    def test_one_change_leaves_the_others(self, tmp_path: Path) -> None:
        config = configured(tmp_path, "tenants: {a: {}, b: {}}")
        undo = entries.patch(config, "a", lambda p: attrs.evolve(p, stopped=True))
        entries.patch(config, "b", lambda p: attrs.evolve(p, disabled=True))
        read = load(config.file)
        assert [one.origin.overlay for one in read.tenants] == [("stopped",), ("disabled",)]
        undo()

    def test_of_a_tenant_that_is_disabled_anyhow_it_says_nothing(self, tmp_path: Path) -> None:
        config = configured(tmp_path, "tenants: {a: {enabled: false}}")
        entries.patch(config, "a", lambda p: attrs.evolve(p, disabled=True))
        assert load(config.file).tenants[0].origin.overlay == ()

    def test_of_one_that_is_no_more_neither(self, tmp_path: Path) -> None:
        config = configured(tmp_path)
        entries.patch(config, "gone", lambda p: attrs.evolve(p, disabled=True))
        assert load(config.file).tenants == configured(tmp_path).tenants

    @pytest.mark.parametrize(
        "text",
        ["tenants: [", "other: 1", "tenants: {a: {b: 1}}", "tenants: {a: {revoked: [x]}}", ""],
    )
    def test_a_broken_one_is_not_written_over(self, tmp_path: Path, text: str) -> None:
        config = configured(tmp_path)
        file = overlay_of(config.file)
        file.parent.mkdir()
        file.write_text(text)
        with pytest.raises(ConflictError) as caught:
            entries.patch(config, "human", lambda p: attrs.evolve(p, stopped=True))
        assert str(file) in caught.value.message
        assert file.read_text() == text
