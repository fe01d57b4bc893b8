"""A short run of what `make chaos` does for long, and judges by the clock too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.run import CALAMITIES, STOPPED, run

# Nobody is kept waiting; for how long depends on what else this machine does meanwhile.
PATIENCE = 3.0

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")


def test_what_befalls_one_tenant_does_not_reach_another(short_dir: Path) -> None:
    result = run(short_dir, 30.0, seed=1)
    assert result.failed == []
    assert result.lost == []
    assert result.slowest < PATIENCE
    assert result.status in STOPPED
    assert len(result.deeds) >= len(CALAMITIES)
