"""Build the real `sq` from its published crate with our lock file: build.py WORK TARGET.

The crate's own lock file names a libphext that it does not run well with; without one, every
build would be another. TARGET gets the program, and beside it its licence as `TARGET.LICENSE`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = "0.5.5"
SHA256 = "4cee1136db9cd8e893555ba460998a6c9e3d816cbe49fed1526e96608bc27ed7"

# So that cargo brings the crate; nothing of this package is compiled.
MANIFEST = f"""\
[package]
name = "fetching"
version = "0.0.0"
edition = "2021"

[lib]
path = "lib.rs"

[dependencies]
sq = "={VERSION}"

[workspace]
"""


def main(work: Path, target: Path) -> None:
    source = _source(work)
    shutil.copy(HERE / "Cargo.lock", source / "Cargo.lock")
    flags = [f"--remap-path-prefix={Path.home()}=.", f"--remap-path-prefix={source}=."]
    flags.append("--cap-lints=allow")  # what the compiler says of it is for its authors
    if platform.system() != "Darwin":
        flags += ["-C", "target-feature=+crt-static"]
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(work / "target"),
        "CARGO_PROFILE_RELEASE_STRIP": "true",
        "RUSTFLAGS": " ".join([os.environ.get("RUSTFLAGS", ""), *flags]).strip(),
    }
    # Named, so that the flags are not for what runs while it is built.
    machine = _machine()
    words = ["cargo", "build", "--release", "--locked", "--quiet", "--target", machine]
    subprocess.run(words, cwd=source, env=environment, check=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.new")
    made = work / "target" / machine / "release"
    shutil.copy(made / ("sq.exe" if os.name == "nt" else "sq"), draft)
    os.replace(draft, target)
    Path(f"{target}.LICENSE").write_text(_licence(source), "utf-8")


def _licence(source: Path) -> str:
    """Return the licence that the crate's manifest names (it brings no text), for its authors."""
    manifest = (source / "Cargo.toml").read_text("utf-8")
    if '\nlicense = "MIT"\n' not in manifest:
        raise SystemExit("the crate is no longer under the MIT licence")
    found = re.search(r"^authors = \[(.*?)\]$", manifest, re.MULTILINE | re.DOTALL)
    authors = ", ".join(re.findall(r'"(.*?)"', found[1])) if found else "the authors of sq"
    return (HERE / "LICENSE.in").read_text("utf-8").replace("{authors}", authors)


def _machine() -> str:
    """Return the compiler's name of this platform."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[1] for line in said.splitlines() if line.startswith("host:"))


def _source(work: Path) -> Path:
    """Return the crate's source, unpacked, checked against its digest."""
    fetching = work / "fetching"
    fetching.mkdir(parents=True, exist_ok=True)
    (fetching / "Cargo.toml").write_text(MANIFEST, "utf-8")
    (fetching / "lib.rs").write_text("", "utf-8")
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    subprocess.run(["cargo", "fetch", "--quiet"], cwd=fetching, check=True)
    for crate in home.glob(f"registry/cache/*/sq-{VERSION}.crate"):
        if hashlib.sha256(crate.read_bytes()).hexdigest() == SHA256:
            shutil.rmtree(work / "source", ignore_errors=True)
            with tarfile.open(crate) as archive:
                archive.extractall(work / "source")  # noqa: S202 - its digest is the one we know
            return work / "source" / f"sq-{VERSION}"
    raise SystemExit(f"sq {VERSION}: no crate with SHA-256 {SHA256} was fetched")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
