"""Write the list of what a release is made of, as CycloneDX JSON: sbom.py FILE.

Taken from the lock files that the builds hold to, and from what the single-file program's build
noted of its interpreter and libraries (build/binary/parts.json), if it was built here. The same
sources give the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PYTHON_LOCK = CHECKOUT / "packaging" / "binary" / "requirements.txt"
RUST_LOCKS = {
    "sqsuper-launcher": CHECKOUT / "packaging" / "binary" / "launcher" / "Cargo.lock",
    "sq": CHECKOUT / "packaging" / "sq" / "Cargo.lock",
}
PARTS = CHECKOUT / "build" / "binary" / "parts.json"

Component = dict[str, Any]

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_CRATE = re.compile(r'^(name|version|checksum) = "(.*)"$', re.MULTILINE)


def component(kind: str, name: str, version: str, digests: list[str]) -> Component:
    """Return a component; `digests`: SHA-256 of each file that it may come in."""
    made: Component = {"type": "library", "name": name, "version": version}
    if kind:
        made["purl"] = made["bom-ref"] = f"pkg:{kind}/{name}@{version}"
    if digests:
        made["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in digests]
    return made


def python_components(text: str) -> list[Component]:
    """Return what a lock file of pip names."""
    found: list[Component] = []
    for block in re.split(r"\n(?=\S)", text):
        pinned = _PINNED.match(block)
        if pinned:
            found.append(component("pypi", pinned[1].lower(), pinned[2], _HASH.findall(block)))
    return found


def rust_components(text: str) -> list[Component]:
    """Return what a lock file of cargo names; crates without a digest are the program itself."""
    found: list[Component] = []
    for block in text.split("[[package]]")[1:]:
        fields = dict(_CRATE.findall(block))
        if "checksum" in fields:
            crate = component("cargo", fields["name"], fields["version"], [fields["checksum"]])
            found.append(crate)
    return found


def interpreter_components(parts: dict[str, Any]) -> list[Component]:
    """Return the interpreter of the single-file program and the libraries brought with it."""
    found: list[Component] = [
        {**component("generic", "python", parts["python"], []), "type": "platform"}
    ]
    for name, digest in parts["libraries"].items():
        found.append(
            {
                "type": "file",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        )
    return found


def bom() -> dict[str, Any]:
    version: dict[str, str] = {}
    exec((CHECKOUT / "sqsuper" / "__init__.py").read_text("utf-8"), version)  # noqa: S102
    components = python_components(PYTHON_LOCK.read_text("utf-8"))
    for lock in RUST_LOCKS.values():
        components += rust_components(lock.read_text("utf-8"))
    components.append(component("cargo", "sq", "0.5.5", []))
    if PARTS.exists():
        components += interpreter_components(json.loads(PARTS.read_text("utf-8")))
    # A crate may be in both locks.
    unique: dict[str, Component] = {str(one.get("bom-ref", one["name"])): one for one in components}
    ordered = [unique[key] for key in sorted(unique)]
    content = json.dumps(ordered, sort_keys=True)
    made: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "sqsuper",
                "version": version["__version__"],
                "bom-ref": f"pkg:pypi/sqsuper@{version['__version__']}",
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": ordered,
    }
    return made


def main(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(bom(), indent=2) + "\n", "utf-8")
    print(f"{file}: {len(bom()['components'])} components")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
