"""Put into the packed interpreter: imports the modules that `modules.py` has gathered.

A file system takes its time over each file that it makes, and a first start makes them all; so
modules stand behind one another in a few. They are found as if each were a file of its own where
it was. Imported by `encodings`, which every interpreter imports first: nothing may be imported
here but what is built in or frozen.
"""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.machinery import FileFinder
    from importlib.readers import FileReader
    from types import CodeType, ModuleType

# Of a module: its file's name below its directory, the part that holds its code, and where that
# begins there and how long it is.
Entry = tuple[str, str, int, int]

SEPARATOR = "\\" if sys.platform == "win32" else "/"
PACKAGE = f"{SEPARATOR}__init__.pyc"


class Loader:
    """Loads one module."""

    def __init__(self, path: str, part: str, at: int, size: int) -> None:
        """`path`: where its file would be, beside other files of its package."""
        self.path = path
        self._part = part
        self._at = at
        self._size = size

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the interpreter."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(), module.__dict__)  # noqa: S102 - it is an import

    def get_code(self, fullname: str = "") -> CodeType:
        # Not kept open: processes of ours close what they do not know.
        with FileIO(self._part) as file:
            file.seek(self._at)
            code: CodeType = marshal.loads(file.read(self._size))  # noqa: S302 - ours
        return code

    def get_source(self, fullname: str) -> None:
        """Tell that there is none."""

    def get_filename(self, fullname: str) -> str:
        return self.path

    def is_package(self, fullname: str) -> bool:
        return self.path.endswith(PACKAGE)

    def get_data(self, path: str) -> bytes:
        with FileIO(path) as file:
            return bytes(file.readall())

    def get_resource_reader(self, fullname: str) -> FileReader:
        from importlib.readers import FileReader  # noqa: PLC0415 - large, and rarely needed

        return FileReader(self)  # type: ignore[arg-type]


class Finder:
    """Finds the modules of one directory: those that were gathered, then those in files."""

    def __init__(self, root: str, directory: str, entries: Mapping[str, Entry]) -> None:
        """`root`, where the parts are, ends with a separator; `directory` does not."""
        self._root = root
        self._directory = directory
        self._entries = entries
        self._files = _in_files(directory)

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        entry = self._entries.get(fullname.rpartition(".")[2])
        if entry is None:
            return self._files.find_spec(fullname, target) if self._files else None
        name, part, at, size = entry
        path = f"{self._directory}{SEPARATOR}{name}"
        loader = Loader(path, self._root + part, at, size)
        package = path.endswith(PACKAGE)
        spec = ModuleSpec(fullname, loader, origin=path, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [path[: -len(PACKAGE)]]
        return spec

    def invalidate_caches(self) -> None:
        if self._files:
            self._files.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Yield names and whether they are packages, as `pkgutil` asks for them."""
        if self._files:
            import pkgutil  # noqa: PLC0415 - large, and rarely needed

            yield from pkgutil.iter_importer_modules(self._files, prefix)  # type: ignore[attr-defined]
        for name, (file, *_) in self._entries.items():
            if name != "__init__":
                yield prefix + name, file.endswith(PACKAGE)


def _in_files(directory: str) -> FileFinder | None:
    try:
        found: FileFinder = sys.path_hooks[-1](directory)  # type: ignore[assignment]
    except ImportError:
        return None  # no file was left there, and so no directory
    return found


def install() -> None:
    """Let this interpreter find what was gathered in the directory of this module's file."""
    root = __file__.rpartition(SEPARATOR)[0] + SEPARATOR
    with FileIO(root + "modules.index") as file:
        text = file.readall()
    # Each directory's entries are packed: most are asked for none, and every process pays for them.
    gathered: dict[str, bytes] = marshal.loads(text)  # noqa: S302 - ours

    def hook(directory: str) -> Finder:
        entries = None
        if f"{directory}{SEPARATOR}".startswith(root):
            entries = gathered.get(directory[len(root) :])
        if entries is None:
            raise ImportError
        return Finder(root, directory, marshal.loads(entries))  # noqa: S302 - ours

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


install()
