"""A configuration's directory of its own, and what is loaded from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import Config

Write = Callable[..., Path]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that files are named as a user would name them."""
    directory = Path(os.path.realpath(tmp_path))
    directory.chmod(0o700)
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def write(here: Path) -> Write:
    """Write a file (0600) below `here`; give its path as it was named."""

    def write(name: str, text: str | bytes, mode: int = 0o600) -> Path:
        path = Path(name)
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        (here / path).chmod(mode)
        return path

    return write


@pytest.fixture
def loaded(write: Write) -> Callable[[str], Config]:
    """Load a YAML text as `t.yaml`."""
    return lambda text: load(write("t.yaml", text))


@pytest.fixture
def refused(write: Write) -> Callable[..., ConfigError]:
    """Load a text that must be refused; give the error."""

    def refused(text: str | bytes, name: str = "t.yaml") -> ConfigError:
        path = write(name, text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        return caught.value

    return refused
