"""A configuration on disk, as the admin API changes it."""

from __future__ import annotations

from pathlib import Path

from sqsuper.config.load import load
from sqsuper.config.model import Config, Tenant

HUMAN = """\
tenants:
  human:
    token_sha256:
      - {sha256: "%s", label: laptop}
      - "%s"
"""
ONE, TWO = "1" * 64, "2" * 64


def configured(directory: Path, text: str = HUMAN % (ONE, TWO)) -> Config:
    """Write a configuration file and return what it says."""
    file = directory / "tenants.yaml"
    file.write_text(text)
    file.chmod(0o600)
    return load(file)


def tenant(config: Config, name: str) -> Tenant:
    return next(one for one in config.tenants if one.name == name)
