"""The reference and the example file agree with the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs

from sqsuper.config import model as m
from sqsuper.config import schema
from sqsuper.config.credentials import ADMIN_TOKENS
from sqsuper.config.load import load
from tests.unit.config.conftest import Write

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"\| `([a-z_.0-9]+)` \| (.+?) \| (?:`(.+?)`)? ?\| .*\|")


def rows() -> dict[str, str]:
    text = (ROOT / "docs/configuration.md").read_text()
    found = [ROW.fullmatch(line) for line in text.splitlines()]
    return {row[1]: row[3] for row in found if row}


def keys(model: Any, prefix: str) -> set[str]:
    """Every key path of a model's instance; a nested class is its own keys alone."""
    found: set[str] = set()
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        path = prefix + field.name
        found |= keys(value, path + ".") if attrs.has(type(value)) else {path}
    return found


def test_every_key_is_in_the_reference() -> None:
    config = m.Config(file=Path(), data_root=Path(), run_dir=Path())
    own = {"file", "tenants", "warnings"}
    wanted = keys(config, "") - own | keys(m.Settings(), "defaults.")
    wanted |= {f"admin.{key}" for key in ADMIN_TOKENS}
    wanted |= {*schema.TENANT_KEYS, *schema.TENANT_TOKENS}
    wanted |= {field.name for field in attrs.fields(m.Token)} | {"token"}
    assert set(rows()) == wanted


def test_the_defaults_of_the_reference_are_the_models(here: Path, write: Write) -> None:
    tree: dict[str, Any] = {}
    for path, default in rows().items():
        *above, key = path.split(".")
        if default is None or (not above and key not in schema.TOP.keys):
            continue
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[key] = default

    def lines(place: dict[str, Any], indent: str) -> list[str]:
        text = []
        for key, value in place.items():
            if isinstance(value, dict):
                text += [f"{indent}{key}:", *lines(value, indent + "  ")]
            else:
                text.append(f"{indent}{key}: {value}")
        return text

    tenant = {key: rows()[key] for key in (*schema.TENANT_KEYS, *schema.TENANT_TOKENS)}
    text = lines({**tree, "tenants": {"a": tenant}}, "")
    config = load(write("t.yaml", "\n".join(text)))
    assert len(text) > 80
    wanted = m.Config(file=here / "t.yaml", data_root=here / "data", run_dir=here / "run")
    assert attrs.evolve(config, tenants=(), warnings=()) == wanted
    origin = config.tenants[0].origin
    assert config.tenants == (m.Tenant("a", (), here / "data/a", origin),)


def test_every_model_key_can_be_given() -> None:
    for section, model in (
        (schema.GATEWAY, m.Gateway), (schema.ADMIN, m.Admin), (schema.HOST_MEMORY, m.HostMemory),
        (schema.BACKUP, m.Backup), (schema.LOG, m.Log), (schema.RESTART, m.Restart),
        (schema.MONITOR, m.Monitor), (schema.CHECKPOINT, m.Checkpoint), (schema.HEALTH, m.Health),
        (schema.LIMITS, m.Limits), (schema.SETTINGS, m.Settings),
    ):  # fmt: skip
        names = {field.name for field in attrs.fields(model)}
        assert names <= {*section.keys, *section.apart}


def test_the_example_file_is_good_and_holds_no_secret() -> None:
    config = load(ROOT / "conf/tenants.yaml")
    wanted = m.Config(
        file=ROOT / "conf/tenants.yaml",
        data_root=ROOT / "conf/data",
        run_dir=ROOT / "conf/run",
    )
    assert attrs.evolve(config, tenants=(), warnings=()) == wanted
    text = (ROOT / "conf/tenants.yaml").read_text()
    assert not re.search(r"[0-9a-f]{24}|pmb-v1-", text)
    assert re.search(r"^tenants: \{\}$", text, re.MULTILINE)
