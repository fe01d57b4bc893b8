"""Nothing acknowledged is lost, nothing else is torn: random lives, and proof that they see it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sqsuper.engine.journal
from sqsuper.engine.journal import format as form
from sqsuper.engine.journal.errors import RecordError
from tests.crash.disk import Site
from tests.crash.store import Store
from tests.crash.workload import Broken, Workload

JOURNAL = Path(sqsuper.engine.journal.__path__[0])
# Far more than any break below needs to be seen
ROUNDS = 400


def is_seen(skip: Site | None = None) -> bool:
    """Whether some life shows that a promise is broken."""
    for seed in range(ROUNDS):
        try:
            Workload(seed, skip).run()
        except (Broken, RecordError):
            return True
    return False


def sites() -> set[Site]:
    """All places in the journal's code that sync."""
    found = set()
    for path in JOURNAL.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("fsync", "fdatasync")
                ):
                    found.add((path.name, function.name, node.lineno))
    return found


@pytest.mark.parametrize("start", range(0, 1500, 300))
def test_random_lives(start: int) -> None:
    counts: dict[str, int] = {}
    for seed in range(start, start + 300):
        workload = Workload(seed)
        try:
            workload.run()
        except Broken as broken:
            pytest.fail(f"seed {seed}: {broken.args}")
        for what, count in workload.counts.items():
            counts[what] = counts.get(what, 0) + count
    # All of these happen: the lives are not idle ones.
    for what in (
        "groups",
        "checkpoints",
        "holds",
        "failures",
        "renewals",
        "stopped",
        "torn",
        "came through",
        "dropped",
        "replaced",
        "clean stops",
        "start failed",
    ):
        assert counts[what] > 0, what


def test_lives_reach_every_sync() -> None:
    reached: set[Site] = set()
    for seed in range(40):
        workload = Workload(seed)
        workload.run()
        reached |= workload.sites
    assert reached == sites()


@pytest.mark.parametrize("site", sorted(sites()), ids=lambda site: f"{site[0]}:{site[2]}")
def test_no_sync_can_be_left_out(site: Site) -> None:
    assert is_seen(site)


def test_rename_before_the_target_is_durable_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "wait", False)
    assert is_seen()


def test_groups_without_a_checksum_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "xxh3_64_intdigest", lambda data, seed=0: 0)
    # Torn groups are then read as if they were whole.
    assert is_seen()
