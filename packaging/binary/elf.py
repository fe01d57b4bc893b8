"""What a Linux program or library needs of the system, and how to make it need less."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Of the system's C library, which cannot be brought along, and of the compiler, which that asks
# for itself.
SYSTEM = re.compile(
    r"(linux-vdso|ld-linux[\w-]*|lib(c|m|pthread|dl|rt|util|resolv|nsl|anl|nss_\w+|gcc_s))\.so\b.*"
)
GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?\Z")

Version = tuple[int, int]

# Functions that got a newer version only for what it leaves undone (an old kind of error report),
# with the machine's first version of them, which every C library has.
FIRST = {"x86_64": "GLIBC_2.2.5", "aarch64": "GLIBC_2.17"}
SAME = {"hypot": "GLIBC_2.35"}


def is_elf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def needed_libraries(file: Path) -> Iterator[tuple[str, Path]]:
    """Yield each library that would be loaded with `file`: the name it is asked by, its place.

    Those of the C library aside. Raises LookupError for one that is not found.
    """
    ended = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)
    for line in ended.stdout.splitlines():
        name, arrow, found = line.strip().partition(" => ")
        if not arrow or SYSTEM.fullmatch(name):
            continue
        if found.startswith("not found"):
            raise LookupError(f"{file}: {name} is not found")
        yield name, Path(found.rpartition(" (")[0])


def glibc_needed(file: Path) -> Version:
    """Return the newest version of the GNU C library that `file` asks for."""
    newest = (0, 0)
    for _, name, _ in _Versions(file.read_bytes()).needs():
        version = GLIBC.match(name)
        if version:
            newest = max(newest, (int(version[1]), int(version[2])))
    return newest


def ask_for_first(file: Path, machine: str) -> bool:
    """Let `file` take the first version of the functions in `SAME`; return whether it changed."""
    text = bytearray(file.read_bytes())
    versions = _Versions(text)
    changed = False
    for place, name, index in versions.needs():
        users = [symbol for symbol in versions.symbols(index) if SAME.get(symbol) != name]
        if name in SAME.values() and not users:
            versions.rename(place, FIRST[machine])
            changed = True
    if changed:
        file.write_bytes(text)
    return changed


class _Versions:
    """The tables of symbol versions in a 64-bit little-endian ELF file."""

    def __init__(self, text: bytes | bytearray) -> None:
        self._text = text
        names = self._sections(text)
        self._needs = names.get(".gnu.version_r")
        self._indexes = names.get(".gnu.version")
        self._symbols = names.get(".dynsym")
        self._strings = names.get(".dynstr", (0, 0))

    def needs(self) -> Iterator[tuple[int, str, int]]:
        """Yield each version that is needed: its entry's place, its name, its index."""
        if self._needs is None:
            return
        at = self._needs[0]
        while True:
            _, count, _, first, following = struct.unpack_from("<HHIII", self._text, at)
            place = at + first
            for _ in range(count):
                _, _, index, name, next_one = struct.unpack_from("<IHHII", self._text, place)
                yield place, self._string(name), index & 0x7FFF
                place += next_one
            if not following:
                return
            at += following

    def symbols(self, index: int) -> Iterator[str]:
        """Yield the names of the symbols that have the version of that index."""
        assert self._indexes is not None
        assert self._symbols is not None
        start, size = self._indexes
        for number in range(size // 2):
            (own,) = struct.unpack_from("<H", self._text, start + 2 * number)
            if own & 0x7FFF == index:
                place = self._symbols[0] + 24 * number
                yield self._string(struct.unpack_from("<I", self._text, place)[0])

    def rename(self, place: int, name: str) -> None:
        """Let the needed version at `place` be `name`, which the file must know already."""
        start, size = self._strings
        known = bytes(self._text[start : start + size]).find(name.encode() + b"\0")
        if known < 0:
            raise LookupError(f"no {name} among its strings")
        struct.pack_into("<I", self._text, place, _hash(name))
        struct.pack_into("<I", self._text, place + 8, known)

    def _string(self, offset: int) -> str:
        start = self._strings[0] + offset
        return bytes(self._text[start : self._text.index(b"\0", start)]).decode()

    @staticmethod
    def _sections(text: bytes | bytearray) -> dict[str, tuple[int, int]]:
        (table,) = struct.unpack_from("<Q", text, 40)
        size, count, names = struct.unpack_from("<HHH", text, 58)
        headers = [struct.unpack_from("<IIQQQQ", text, table + size * n) for n in range(count)]
        if not headers:
            return {}
        first = headers[names][4]
        found = {}
        for name, _, _, _, offset, length in headers:
            end = text.index(b"\0", first + name)
            found[bytes(text[first + name : end]).decode()] = (offset, length)
        return found


def _hash(name: str) -> int:
    """Return the hash of a version's name, as the System V ABI defines it."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value ^= high >> 24
        value &= ~high
    return value & 0xFFFFFFFF
