"""A directory with an interpreter, its library and what is installed, that runs anywhere."""

from __future__ import annotations

import json
import os
import py_compile
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import elf
import modules

# Of the standard library: tests, other programs, and what asks for libraries we do not bring.
LEFT_OUT = {
    "__pycache__",
    "curses",
    "dbm",
    "dist-packages",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "sqlite3",
    "test",
    "tests",
    "tkinter",
    "turtle.py",
    "turtledemo",
    "venv",
}
LEFT_OUT_PATTERNS = re.compile(
    r"config-.*|.*\.(a|exe|whl|pdb|pyi|h|chm)"
    r"|(_crypt|_tkinter|_test\w*|xx\w+|_sqlite3|_dbm|_gdbm|readline|_curses\w*|ossaudiodev|nis)\..*"
)
# Of what is installed: tests, what tells of the place where it was made, and parts that nothing
# of ours asks for (a first start is as slow as it has files to write).
LEFT_OUT_INSTALLED = {"__pycache__", "bin", "test", "tests", "newsfragments", "direct_url.json"}
UNUSED: dict[str, set[str]] = {
    "pygments": {"lexers", "formatters", "styles"},
    "twisted": {
        "conch",
        "enterprise",
        "mail",
        "pair",
        "positioning",
        "runner",
        "tap",
        "trial",
        "words",
    },
    # Which rich asks for to show Markdown and code.
    "markdown_it": set(),
    "mdurl": set(),
}
PLUGINS = {"__init__.py", "sqsuper_plugin.py"}
LEFT_OUT_INSTALLED_PATTERNS = re.compile(r"RECORD|REQUESTED|INSTALLER|.*\.(pyi|pxd|pyx|c|h)")
OURS = "sqsuper"

_ASK = """
import json, os, sys, sysconfig
json.dump({
    "executable": os.path.realpath(sys.executable),
    "prefix": os.path.realpath(sys.base_prefix),
    "library": os.path.realpath(sysconfig.get_path("stdlib")),
    "version": "%d.%d" % sys.version_info[:2],
    "full": "%d.%d.%d" % sys.version_info[:3],
}, sys.stdout)
"""


class Home:
    """The directory `root`, as it is filled."""

    def __init__(self, root: Path, python: str) -> None:
        """`python`: the interpreter to take, whose library is taken with it."""
        asked = subprocess.run(
            [python, "-I", "-c", _ASK], check=True, capture_output=True, text=True
        )
        self.facts: dict[str, Any] = json.loads(asked.stdout)
        self.root = root
        self.windows = os.name == "nt"
        version = self.facts["version"]
        self.library = root / ("Lib" if self.windows else f"lib/python{version}")
        self.site = self.library / "site-packages"
        self.program = root / ("python.exe" if self.windows else "bin/python3")

    def take_interpreter(self) -> None:
        """Copy the interpreter and its library."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.program.parent.mkdir(parents=True)
        shutil.copy(self.facts["executable"], self.program)
        prefix = Path(self.facts["prefix"])
        _copy(Path(self.facts["library"]), self.library, LEFT_OUT, LEFT_OUT_PATTERNS)
        if self.windows:
            for file in prefix.glob("*.dll"):
                shutil.copy(file, self.root)
            _copy(prefix / "DLLs", self.root / "DLLs", LEFT_OUT, LEFT_OUT_PATTERNS)
        else:
            # Libraries that the program asks for by a path relative to itself.
            for file in prefix.glob("lib/libpython*.dylib"):
                shutil.copy(file, self.root / "lib")
        for name in ("LICENSE.txt", "LICENSE"):
            for place in (self.library, prefix):
                if (place / name).is_file():
                    shutil.copy(place / name, self.root / "PYTHON-LICENSE.txt")

    def take_installed(self, directory: Path) -> None:
        """Copy what pip has installed into `directory`."""
        _copy(directory, self.site, LEFT_OUT_INSTALLED, LEFT_OUT_INSTALLED_PATTERNS)
        for package, parts in UNUSED.items():
            for part in parts or {"."}:
                shutil.rmtree(self.site / package / part)
        for plugin in (self.site / "twisted" / "plugins").iterdir():
            if plugin.name not in PLUGINS:
                plugin.unlink()

    def forget_places(self) -> None:
        """Let no text name the directory that the interpreter was taken from."""
        prefix = self.facts["prefix"]
        if prefix in ("/usr", "/usr/local"):
            return
        for file in self.library.glob("_sysconfigdata_*.py"):
            file.write_text(file.read_text("utf-8").replace(prefix, "/usr/local"), "utf-8")

    def take_libraries(self, machine: str, patchelf: str) -> elf.Version:
        """Bring the libraries along that it needs, C library aside; return its version (Linux)."""
        waiting = [file for file in self._files() if elf.is_elf(file)]
        newest = (0, 0)
        taken: dict[str, Path] = {}
        while waiting:
            file = waiting.pop()
            outside = [
                (name, place)
                for name, place in elf.needed_libraries(file)
                if not place.resolve().is_relative_to(self.root.resolve())
            ]
            for name, place in outside:
                if name not in taken:
                    taken[name] = self.root / "lib" / name
                    shutil.copy(place, taken[name])
                    waiting.append(taken[name])
            file.chmod(0o755)
            subprocess.run(["strip", "--strip-unneeded", str(file)], check=True)
            if outside:
                up = os.path.relpath(self.root / "lib", file.parent)
                path = "$ORIGIN" if up == "." else f"$ORIGIN/{up}"
                # Not the newer kind, which LD_LIBRARY_PATH goes before.
                words = [patchelf, "--force-rpath", "--set-rpath", path, str(file)]
                subprocess.run(words, check=True)
            elf.ask_for_first(file, machine)
            newest = max(newest, elf.glibc_needed(file))
        return newest

    def compile(self) -> None:
        """Compile all modules, so that none is compiled or written when it runs.

        Only the compiled form is kept, most of it in a few files, but for programs that are
        started by their files.
        """
        modules.hook(self.library)
        for directory in [self.library, *(p for p in self.library.rglob("*") if p.is_dir())]:
            for source in directory.glob("*.py"):
                program = directory.is_relative_to(self.site / OURS) and _is_program(source)
                made = None if program else str(source.with_suffix(".pyc"))
                py_compile.compile(
                    str(source),
                    cfile=made,
                    dfile=source.relative_to(self.root).as_posix(),
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
                if not program:
                    source.unlink()
        modules.gather(self.library)

    def _files(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink())


def _is_program(source: Path) -> bool:
    return source.stem != "__main__" and '__name__ == "__main__"' in source.read_text("utf-8")


def _copy(source: Path, to: Path, names: set[str], patterns: re.Pattern[str]) -> None:
    def left_out(_directory: str, found: list[str]) -> set[str]:
        return {name for name in found if name in names or patterns.fullmatch(name)}

    shutil.copytree(source, to, ignore=left_out, dirs_exist_ok=True)
