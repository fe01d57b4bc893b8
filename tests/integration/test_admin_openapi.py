"""Every operation of the OpenAPI file answers as the file says, whatever it is asked with."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from sqsuper.admin.api import described
from tests.integration.admin_support import Admin
from tests.integration.test_main_job import digest
from tests.running import eventually, free_port, start

SCHEMA = schemathesis.openapi.from_dict(described())
OPERATIONS: dict[str, Any] = {}
for found in SCHEMA.get_all_operations():
    one: Any = found
    OPERATIONS[one.ok().label] = one.ok()
MODES = [
    (name, mode)
    for name, operation in OPERATIONS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # Where nothing is to be given nothing can be wrong.
    if mode is GenerationMode.POSITIVE or operation.body or operation.query
]
# Of each operation, as it should be asked and as it should not.
EXAMPLES = 6


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    directory = Path(f"/tmp/sqs-o{os.getpid()}-{tmp_path_factory.getbasetemp().name}")
    directory.mkdir(mode=0o700)
    port, admin_port, first = free_port(), free_port(), free_port()
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    config = {
        "gateway": {
            "listen": [f"tcp:{port}:interface=127.0.0.1"],
            "wrong_tokens_per_minute": 100_000,
        },
        "admin": {"listen": [f"tcp:{admin_port}:interface=127.0.0.1"]},
        "port_range": f"{first}-{min(65535, first + 3000)}",
        "tenants": {"human": {"token_sha256": [{"sha256": digest("human"), "label": "x"}]}},
    }
    file.write_text(json.dumps(config))
    running = start(directory, file, port)
    running.admin_port = admin_port
    try:
        eventually(running.healthy, "GET /health answers 200", 20)
        one = Admin.of(running)
        for name in ("bob", "carol"):
            one.done("POST", "/tenants/add", {"tenant_id": name, "port": "none", "label": "x"}, 201)
        yield one
    finally:
        with contextlib.suppress(FileNotFoundError):
            running.close()
        shutil.rmtree(directory)


def test_all_are_there() -> None:
    assert len(OPERATIONS) == 36


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_it_answers_as_described(admin: Admin, name: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[name]
    base = f"http://127.0.0.1:{admin.running.admin_port}"

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        tenant=st.sampled_from(["human", "bob", "carol", None]),
    )
    def ask(case: Any, tenant: str | None) -> None:
        if "tenant" in (case.path_parameters or {}) and tenant is not None:
            case.path_parameters["tenant"] = tenant
        if "follow" in (case.query or {}):
            case.query["follow"] = "0"  # the other one has no end
        headers = {"Authorization": f"Bearer {admin.token}"}
        answer = case.call(base_url=base, headers=headers, timeout=30)
        # One that was asked for in vain is told so as described: 503.
        if answer.status_code != 503:
            case.validate_response(answer, checks=CHECKS)
        assert "traceback" not in answer.text.lower()

    ask()


CHECKS = [
    schemathesis.checks.not_a_server_error,
    *schemathesis.checks.CHECKS.get_by_names(
        ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    ),
]
