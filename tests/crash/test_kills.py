"""The engine's process, killed under load: a few rounds of the long run."""

from __future__ import annotations

from pathlib import Path

from tests.crash import kills


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    assert kills.run(tmp_path, rounds=6, seed=1) > 60
