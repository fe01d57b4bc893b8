"""Run by the interpreter that was packed: asks it for all that it shall be able to do."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

import sqsuper

OTHERS = ("service_identity", "twisted.internet.ssl", "twisted.internet.reactor")


def main() -> None:
    for name in OTHERS:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(sqsuper.__path__, "sqsuper."):
        if not found.name.endswith("__main__"):
            _load(found.name)
    if "sqsuper" not in [plugin.tapname for plugin in getPlugins(IServiceMaker)]:
        raise SystemExit("twistd has not found its plugin")


def _load(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Some are loaded by their paths, and load their neighbours so.
        package = importlib.import_module(name.rpartition(".")[0])
        if not any(
            Path(place, f"{error.name}.py").exists() or Path(place, f"{error.name}.pyc").exists()
            for place in package.__path__
        ):
            raise


main()
