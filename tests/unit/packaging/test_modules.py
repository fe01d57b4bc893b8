"""The single-file program's interpreter finds what was gathered as if each module were a file."""

from __future__ import annotations

import marshal
import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.packaging.conftest import PACKAGING, loaded

FILES = {
    "encodings/__init__.py": "",
    "encodings/aliases.py": "",
    "os.py": "",
    "__future__.py": "",
    "plain.py": "NAME = __name__",
    "site-packages/pack/__init__.py": "PATH = __path__",
    "site-packages/pack/inner.py": "from pack.deep import well",
    "site-packages/pack/__main__.py": "import pack.inner; print('run', pack.inner.well.DEPTH)",
    "site-packages/pack/deep/__init__.py": "",
    "site-packages/pack/deep/well.py": "DEPTH = 3",
    "site-packages/twisted/plugins/one.py": "",
}


@pytest.fixture(scope="module")
def modules() -> Iterator[ModuleType]:
    path = list(sys.path)
    sys.path.insert(0, str(PACKAGING / "binary"))
    yield loaded("binary/modules")
    sys.path[:] = path


@pytest.fixture(scope="module")
def library(modules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose modules were gathered; a program and data were left."""
    made = tmp_path_factory.mktemp("library").resolve()
    for name, text in FILES.items():
        file = made / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    modules.hook(made)
    for source in list(made.rglob("*.py")):
        py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
        source.unlink()
    (made / "site-packages/pack/data.txt").write_text("beside it")
    (made / "site-packages/pack/program.py").write_text("STARTED = __file__")
    modules.gather(made)
    return made


def said(library: Path, program: str) -> list[str]:
    """Return what a program prints whose interpreter finds what is in `library` alone."""
    begin = (
        "import sys, pkgutil, importlib.resources, importlib.machinery, runpy\n"
        f"root = {str(library)!r}\n"
        "loader = importlib.machinery.SourcelessFileLoader(\n"
        "    '_sqsuper_importing', root + '/_sqsuper_importing.pyc')\n"
        "spec = importlib.util.spec_from_loader(loader.name, loader)\n"
        "loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "sys.path[:0] = [root, root + '/site-packages']\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_only_what_must_be_a_file_is_left(modules: ModuleType, library: Path) -> None:
    left = {file.relative_to(library).as_posix() for file in library.rglob("*") if file.is_file()}
    assert left == {
        *modules.FIRST,
        "modules.00",
        "modules.index",
        "site-packages/pack/data.txt",
        "site-packages/pack/program.py",
        "site-packages/twisted/plugins/one.pyc",
    }
    assert not (library / "site-packages/pack/deep").exists()


def test_a_process_unpacks_the_tables_of_the_directories_it_looks_into(library: Path) -> None:
    tables = marshal.loads((library / "modules.index").read_bytes())
    assert {type(table) for table in tables.values()} == {bytes}
    assert list(marshal.loads(tables["site-packages/pack/deep"])) == ["well"]


def test_modules_and_packages_are_where_their_files_were(library: Path) -> None:
    program = """
import plain, pack.inner
for module in (plain, pack, pack.inner, pack.inner.well):
    print(module.__name__, module.__file__, module.__package__)
print(*pack.PATH)
"""
    pack = library / "site-packages/pack"
    assert said(library, program) == [
        f"plain {library / 'plain.pyc'} ",
        f"pack {pack / '__init__.pyc'} pack",
        f"pack.inner {pack / 'inner.pyc'} pack",
        f"pack.deep.well {pack / 'deep/well.pyc'} pack.deep",
        str(pack),
    ]


def test_programs_and_data_beside_them_are_found(library: Path) -> None:
    program = """
import pack.program, pack
print(pack.program.STARTED)
print(importlib.resources.files("pack").joinpath("data.txt").read_text())
print(pkgutil.get_data("pack", "data.txt").decode())
print(sorted(found.name for found in pkgutil.iter_modules(pack.__path__)))
sys.argv = ["pack"]
runpy.run_module("pack", run_name="__main__")
"""
    assert said(library, program) == [
        str(library / "site-packages/pack/program.py"),
        "beside it",
        "beside it",
        "['__main__', 'deep', 'inner', 'program']",
        "run 3",
    ]


def test_a_directory_given_as_a_path_is_looked_into_and_no_other(library: Path) -> None:
    program = """
sys.path[:] = [root + "/site-packages/pack/deep"]
import well
print(well.__name__, well.DEPTH)
for name in ("plain", "pack"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error.name)
"""
    assert said(library, program) == ["well 3", "plain", "pack"]


def test_parts_are_held_to_their_size(
    modules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "PART_SIZE", 300)
    (tmp_path / "encodings").mkdir()
    (tmp_path / "encodings/__init__.py").write_text("")
    modules.hook(tmp_path)
    for number in range(5):
        source = tmp_path / f"one{number}.py"
        source.write_text(f"NUMBER = {number}")
    for source in list(tmp_path.rglob("*.py")):
        py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
        source.unlink()
    modules.gather(tmp_path)
    assert len(list(tmp_path.glob("modules.0*"))) > 2
    program = "import one0, one4; print(one0.NUMBER, one4.NUMBER)"
    assert said(tmp_path, program) == ["0 4"]
