from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PACKAGING = Path(__file__).parents[3] / "packaging"


def loaded(name: str) -> ModuleType:
    """Import a program of packaging/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def manpages() -> Iterator[ModuleType]:
    path = list(sys.path)
    yield loaded("manpages")
    sys.path[:] = path


@pytest.fixture(scope="module")
def sources() -> ModuleType:
    return loaded("sources")
