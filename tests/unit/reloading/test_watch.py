"""When a changed file is noticed, and when it has come to rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqsuper.reloading.watch import REST, Watch


class Watched:
    def __init__(self, directory: Path, *include: str) -> None:
        self.directory = directory
        self.file = directory / "tenants.yaml"
        self.file.write_text("tenants: {}")
        self.now = 0.0
        self.watch = Watch(self.file, include or ("tenants.d/*.yaml",))

    def polls(self, seconds: float = 2.0) -> int:
        """Return how often something at rest is told of within so long."""
        count = 0
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            count += self.watch.poll(self.now)
        return count


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d" / "alice.yaml").write_text("a")
    return Watched(tmp_path)


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)


def replace(file: Path, text: str) -> None:
    part = file.with_name(".part")
    part.write_text(text)
    os.replace(part, file)


def test_nothing_changes(watched: Watched) -> None:
    assert watched.polls() == 0


@pytest.mark.parametrize("how", [rewrite, replace])
@pytest.mark.parametrize("name", ["tenants.yaml", "tenants.d/alice.yaml", "tenants.d/bob.yaml"])
def test_a_changed_and_a_new_file(
    watched: Watched, name: str, how: Callable[[Path, str], None]
) -> None:
    how(watched.directory / name, "other")
    assert watched.polls() == 1
    assert watched.polls() == 0


def test_the_same_text_in_another_file_is_a_change(watched: Watched) -> None:
    replace(watched.file, watched.file.read_text())
    assert watched.polls() == 1


def test_a_file_that_goes(watched: Watched) -> None:
    (watched.directory / "tenants.d" / "alice.yaml").unlink()
    assert watched.polls() == 1
    watched.file.unlink()
    assert watched.polls() == 1


def test_other_files_beside_them_are_nobodys_business(watched: Watched) -> None:
    (watched.directory / "tenants.d" / ".alice.yaml.swp").write_text("x")
    (watched.directory / "notes").write_text("x")
    assert watched.polls() == 0


def test_it_waits_until_it_is_at_rest(watched: Watched) -> None:
    for number in range(10):
        rewrite(watched.file, "x" * number)
        watched.now += REST / 2
        assert not watched.watch.poll(watched.now)
        assert watched.watch.restless
    watched.now += REST - 0.01
    assert not watched.watch.poll(watched.now)
    watched.now += 0.02
    assert watched.watch.poll(watched.now)
    assert not watched.watch.restless


def test_what_is_about_to_be_read_is_no_change_any_more(watched: Watched) -> None:
    rewrite(watched.file, "another text")
    watched.watch.poll(0.1)
    for _ in watched.watch.catch_up():
        pass
    assert watched.polls() == 0


def test_a_directory_that_is_made_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d" / "alice.yaml").write_text("a")
    assert watched.polls() == 1


def test_directories_by_a_pattern(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "*/t.yaml")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert watched.polls() == 0
        (tmp_path / name / "t.yaml").write_text("x")
        assert watched.polls() == 1
    rewrite(tmp_path / "a" / "t.yaml", "other")
    assert watched.polls() == 1


def test_other_patterns(watched: Watched) -> None:
    (watched.directory / "more.yaml").write_text("x")
    watched.watch.follow(["more.yaml"])
    # It is not known what it looked like when it was read.
    assert watched.polls() == 1
    rewrite(watched.directory / "tenants.d" / "alice.yaml", "other")
    assert watched.polls() == 0
    rewrite(watched.directory / "more.yaml", "other")
    assert watched.polls() == 1


def test_each_of_many_files_is_looked_at_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "tenants.d").mkdir()
    files = [tmp_path / "tenants.d" / f"t{number}.yaml" for number in range(450)]
    for file in files:
        file.write_text("x")
    watched = Watched(tmp_path)
    for file in (files[0], files[-1]):
        rewrite(file, "other")
        assert watched.polls(3.0) == 1
