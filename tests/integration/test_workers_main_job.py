"""The main job again, with the gateway in processes of its own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import StartSqsuper
from tests.integration import test_main_job as main_job
from tests.running import Running


@pytest.fixture
def sqsuper_process(sqsuper_process: StartSqsuper) -> StartSqsuper:
    """As everywhere, but with two workers."""

    def start(config: dict[str, Any] | None = None, **more: Any) -> Running:
        config = dict(config or {})
        config["gateway"] = {"workers": 2, **config.get("gateway", {})}
        return sqsuper_process(config, **more)

    return start


class TestOdyssey(main_job.TestOdyssey):
    pass


class TestPhextNotepad(main_job.TestPhextNotepad):
    pass


class TestRealClients(main_job.TestRealClients):
    pass


class TestDeath(main_job.TestDeath):
    pass


class TestApart(main_job.TestApart):
    def test_tokens_and_keys_are_in_no_log_argv_or_environment(
        self, sqsuper_process: StartSqsuper
    ) -> None:
        running = sqsuper_process(main_job.tenants("embedded"))
        running.request("GET", "/api/v2/version", token=main_job.ALICE)
        running.request("GET", "/api/v2/version", token=main_job.ALICE + "x")
        children = running.children()
        assert len(children) >= 3
        shown = running.output + "".join(
            " ".join(child.cmdline()) + json.dumps(child.environ()) for child in children
        )
        assert main_job.ALICE not in shown
        assert not re.search(r"Bearer", shown)
        for child in children:
            known = {"PATH", "LANG", "LC_CTYPE", "TZ", "HOME", "SQSUPER_INSTANCE"}
            assert set(child.environ()) <= known
