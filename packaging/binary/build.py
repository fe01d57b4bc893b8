"""Make the single-file program: python packaging/binary/build.py --help."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import elf
from home import Home
from names import file_name

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "sqsuper", "twisted")
GLIBC_LIMIT = "2.34"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the single-file program of this platform.")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to put in")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build" / "binary")
    parser.add_argument("--dist", type=Path, default=CHECKOUT / "dist")
    parser.add_argument("--level", type=int, default=19, help="of compression, 1 to 22")
    parser.add_argument(
        "--glibc",
        default=GLIBC_LIMIT,
        help="fail when a newer C library than this would be needed (Linux; %(default)s)",
    )
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    tools = _tools(given.python, work)
    home = Home(work / "home", given.python)
    home.take_interpreter()
    home.take_installed(_installed(given.python, work))
    home.forget_places()
    needs = f"it needs {platform.system()} on {platform.machine()}"
    if platform.system() == "Linux":
        newest = home.take_libraries(platform.machine(), str(tools / "patchelf"))
        limit = tuple(int(number) for number in given.glibc.split("."))
        if newest > limit:
            return _too_new(home, newest, given.glibc)
        needs = f"it needs the GNU C library (glibc) {given.glibc} or newer, and /proc"
    home.compile()
    _try_out(home)
    _note_parts(work, home)
    packed = subprocess.run(
        [str(tools / "python"), str(HERE / "pack.py"), str(home.root), str(work), str(given.level)],
        check=True,
        capture_output=True,
        text=True,
    )
    print(packed.stdout, end="")
    made = _launcher(work, home, needs)
    given.dist.mkdir(parents=True, exist_ok=True)
    target = given.dist / file_name("sqsuper")
    # Never written over: it may be running.
    draft = target.with_name(f".{target.name}.new")
    shutil.copy(made, draft)
    draft.chmod(0o755)
    os.replace(draft, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, Python {home.facts['full']}; {needs}")
    return 0


def _too_new(home: Home, newest: elf.Version, limit: str) -> int:
    print(f"build.py: it would need glibc {newest[0]}.{newest[1]}, over {limit}:", file=sys.stderr)
    for file in sorted(home.root.rglob("*")):
        if file.is_file() and elf.is_elf(file) and elf.glibc_needed(file) == newest:
            print(f"build.py:   {file.relative_to(home.root)}", file=sys.stderr)
    print("build.py: name another interpreter (--python), or allow it (--glibc)", file=sys.stderr)
    return 1


def _tools(python: str, work: Path) -> Path:
    """Return where the programs are that are needed to build."""
    venv = work / "tools"
    programs = venv / ("Scripts" if os.name == "nt" else "bin")
    if not (venv / "made").exists():
        subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
        _pip(programs, "--require-hashes", "-r", str(HERE / "tools.txt"))
        (venv / "made").touch()
    return programs


def _installed(python: str, work: Path) -> Path:
    """Install sqsuper and what it needs, of the versions in the lock file, into a directory."""
    venv = work / "venv"
    subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
    programs = venv / ("Scripts" if os.name == "nt" else "bin")
    _pip(programs, "--require-hashes", "-r", str(HERE / "requirements.txt"))
    # From a copy: what earlier builds left in the checkout must not get in.
    source = work / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=unwanted)
        else:
            shutil.copy(CHECKOUT / name, source / name)
    _pip(programs, "--no-deps", str(source))
    subprocess.run([str(programs / "python"), "-m", "pip", "check"], check=True)
    subprocess.run(
        [str(programs / "python"), "-m", "pip", "uninstall", "-q", "-y", "setuptools", "pip"],
        check=True,
    )
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run(
        [str(programs / "python"), "-I", "-c", ask], check=True, capture_output=True, text=True
    )
    return Path(found.stdout.strip())


def _pip(programs: Path, *words: str) -> None:
    common = ["-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([str(programs / "python"), *common, *words], check=True)


def _try_out(home: Home) -> None:
    """Import all of ours, so that nothing they need was left out; let twistd note its plugins.

    It need not look for these, nor write into the directory, later.
    """
    program = [str(home.program), "-I", str(HERE / "try_out.py")]
    subprocess.run(program, check=True, cwd=home.root)


def _note_parts(work: Path, home: Home) -> None:
    """Write down, for the list of parts, which interpreter and libraries are in it."""
    libraries = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((home.root / "lib").glob("*.so*"))
    }
    parts = {"python": home.facts["full"], "libraries": libraries}
    (work / "parts.json").write_text(json.dumps(parts, indent=2), "utf-8")


def _launcher(work: Path, home: Home, needs: str) -> Path:
    """Compile the launcher with what `pack.py` made."""
    manifest, contents = work / "manifest", work / "contents"
    digest = hashlib.sha256(manifest.read_bytes() + contents.read_bytes()).hexdigest()
    version: dict[str, str] = {}
    exec((CHECKOUT / "sqsuper" / "__init__.py").read_text("utf-8"), version)  # noqa: S102
    target = work / "target"
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "SQSUPER_VERSION": version["__version__"],
        "SQSUPER_DIGEST": digest,
        "SQSUPER_PROGRAM": home.program.relative_to(home.root).as_posix(),
        "SQSUPER_NEEDS": needs,
        "SQSUPER_MANIFEST": str(manifest),
        "SQSUPER_CONTENTS": str(contents),
    }
    # No library of the system's is needed to say which one is missing; no path of this machine
    # gets into the file.
    flags = [f"--remap-path-prefix={Path.home()}=.", f"--remap-path-prefix={CHECKOUT}=."]
    if platform.system() != "Darwin":
        flags += ["-C", "target-feature=+crt-static"]
    environment["RUSTFLAGS"] = " ".join([os.environ.get("RUSTFLAGS", ""), *flags]).strip()
    words = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run(words, check=True, env=environment, cwd=HERE / "launcher")
    name = "sqsuper-launcher" + (".exe" if os.name == "nt" else "")
    return target / "release" / name


if __name__ == "__main__":
    sys.exit(main())
