"""The plugin is found after an install from the wheel or as editable, and gone after removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import setuptools
import twisted

from sqsuper import __version__
from tests.running import ROOT, TWISTD

SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "sqsuper", "twisted")
# From here on setuptools makes wheels by itself, without fetching anything.
OFFLINE = (
    ("--no-build-isolation",)
    if tuple(map(int, setuptools.__version__.split(".")[:2])) >= (70, 1)
    else ()
)


def run(*command: str | Path) -> str:
    """Run a command from a directory that has nothing to do with ours; return its output."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SQSUPER"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from."""
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignore)
        else:
            shutil.copy(source, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *OFFLINE, "-w", into, checkout)
    [made] = into.glob("*.whl")
    return made


@attrs.frozen
class Installation:
    """A virtual environment with a Twisted of its own; other libraries are those of the tests."""

    directory: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def packages(self) -> Path:
        [found] = self.directory.glob("lib/python*/site-packages")
        return found

    def pip(self, *arguments: str | Path) -> str:
        return run(sys.executable, "-m", "pip", "--python", self.python, *arguments)

    def twistd(self, *arguments: str) -> str:
        return run(self.python, *TWISTD[1:], *arguments)

    def knows_sqsuper(self) -> bool:
        output = self.twistd("--help")
        assert "Traceback" not in output
        return any(line.split()[:1] == ["sqsuper"] for line in output.splitlines())


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    made = Installation(tmp_path / "venv")
    theirs = Path(twisted.__path__[0])
    ignore = shutil.ignore_patterns("test", "dropin.cache", "__pycache__")
    shutil.copytree(theirs, made.packages / "twisted", ignore=ignore)
    (made.packages / "libraries.pth").write_text(f"{theirs.parent}\n")
    assert not made.knows_sqsuper()
    yield made
    shutil.rmtree(tmp_path / "venv")


def test_the_wheel_holds_the_package_and_the_plugin_and_no_part_of_twisted(
    wheel: Path, checkout: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        str(file.relative_to(checkout))
        for file in (checkout / "sqsuper").rglob("*")
        if file.is_file()
    }
    assert names == sources | {"twisted/plugins/sqsuper_plugin.py"}


def test_from_the_wheel_twistd_finds_the_plugin_until_it_is_removed(
    wheel: Path, installation: Installation
) -> None:
    installation.pip("install", "-q", "--no-deps", "--no-index", wheel)
    assert installation.knows_sqsuper()
    assert __version__ in installation.twistd("sqsuper", "--version")
    command = installation.directory / "bin" / "sqsuper"
    assert run(command, "version").startswith(f"sqsuper {__version__} (Twisted ")
    run(command, "init", installation.directory / "made" / "tenants.yaml")
    installation.pip("uninstall", "-q", "-y", "sqsuper")
    assert not installation.knows_sqsuper()
    assert list(installation.packages.glob("**/*sqsuper*")) == []
    assert list((installation.packages / "twisted").glob("__init__.py"))


def test_an_editable_install_is_found_until_it_is_removed(
    checkout: Path, installation: Installation
) -> None:
    installation.pip("install", "-q", "--no-deps", *OFFLINE, "-e", checkout)
    assert installation.knows_sqsuper()
    where = run(installation.python, "-c", "import sqsuper; print(sqsuper.__file__)")
    assert Path(where.strip()).is_relative_to(checkout)
    installation.pip("uninstall", "-q", "-y", "sqsuper")
    assert not installation.knows_sqsuper()


def test_a_plugin_cache_that_cannot_be_written_or_read_is_no_trouble(
    wheel: Path, installation: Installation
) -> None:
    installation.pip("install", "-q", "--no-deps", "--no-index", wheel)
    cache = installation.packages / "twisted" / "plugins" / "dropin.cache"
    cache.unlink(missing_ok=True)
    cache.mkdir()  # holds up root too
    assert installation.knows_sqsuper()
    cache.rmdir()
    cache.write_bytes(b"no pickle")
    assert installation.knows_sqsuper()
    assert __version__ in installation.twistd("sqsuper", "--version")
