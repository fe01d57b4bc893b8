"""Where clean roots come from: what this machine's apt knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.packaging.conftest import PACKAGING, loaded


@pytest.fixture(scope="module")
def roots() -> Iterator[ModuleType]:
    path = list(sys.path)
    sys.path.insert(0, str(PACKAGING))
    yield loaded("roots")
    sys.path[:] = path


def test_a_suite_comes_first_and_its_updates_follow(roots: ModuleType) -> None:
    told = (
        "http://mirror.test/security/ bookworm-security main\n"
        "http://mirror.test/debian/ bookworm-updates main\n"
        "http://mirror.test/debian/ bookworm main\n"
        "http://mirror.test/debian/ bookworm main\n"
        "http://mirror.test/debian/ bookworm contrib\n"
        "http://other.test/tools/ nodistro main\n"
        "http://other.test/flat/ /\n"
    )
    assert roots.sources(told, "bookworm") == [
        ("http://mirror.test/debian/", "bookworm", "main"),
        ("http://mirror.test/debian/", "bookworm-updates", "main"),
        ("http://mirror.test/security/", "bookworm-security", "main"),
    ]
    assert roots.sources(told, "trixie") == []


def test_a_list_of_mirrors_is_read_for_who_cannot(roots: ModuleType, tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors.txt"
    mirrors.write_text("# nearest first\nhttp://near.test/ubuntu/\tpriority:1\nhttp://far.test/\n")
    told = f"mirror+file:{mirrors}/ noble main\nmirror+file:{mirrors}/ noble universe\n"
    assert roots.sources(told, "noble") == [
        ("http://near.test/ubuntu/", "noble", "main"),
        ("http://near.test/ubuntu/", "noble", "universe"),
    ]
