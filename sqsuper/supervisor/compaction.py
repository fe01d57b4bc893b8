"""Moves together in memory what runs, before a process is forked from.

A page that is written to after the fork is each child's own, and every object that is used
is written to: its reference count. What children use, and what they make, stands together
after this, instead of everywhere between what they do not.

In the zygote only, and started by path with it: standard library alone.
"""

import ctypes
import gc
import sys
from opcode import opmap
from types import CodeType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

# As CPython's allocator has them: what is larger comes from the C library.
_POOL_BYTES, _POOL_HEAD = 16 * 1024, 64
_STEP, _LARGEST_SMALL = 16, 512
# So many side by side, and no gaps are left; so many gaps there are at most.
_IN_A_ROW, _MOST = 4, 50_000
# What the C library keeps by size when it is given back; what it takes from the end of all.
_KEPT_SIZES, _FAR = range(24, 1040, 16), 100_000
_ARENA_MAX = -8

_EMPTY = sys.getsizeof(b"")

_EXTENDED, _ATTRIBUTE, _GLOBAL = (opmap[n] for n in ("EXTENDED_ARG", "LOAD_ATTR", "LOAD_GLOBAL"))
# These have a bit in their argument that says whether what they load is called.
_MARKS_CALLS = frozenset(
    operation
    for operation, since in ((_GLOBAL, (3, 11)), (_ATTRIBUTE, (3, 12)))
    if sys.version_info >= since
)

_libc = ctypes.CDLL(None)
_GLIBC = hasattr(_libc, "gnu_get_libc_version")
_malloc = _libc.malloc
_malloc.argtypes = [ctypes.c_size_t]
_malloc.restype = ctypes.c_void_p


def one_arena() -> None:
    """Have the C library take what threads ask for from the same memory as everything else."""
    if _GLIBC:
        _libc.mallopt(_ARENA_MAX, 1)


def executed(work: "Callable[[], None]") -> "list[CodeType]":
    """Return what Python code runs during `work`, in that order."""
    codes: dict[CodeType, None] = {}

    def note(frame: "FrameType", event: str, _argument: object) -> None:
        if event == "call":
            codes[frame.f_code] = None

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(codes)


def gather(codes: "Iterable[CodeType]") -> "list[object]":
    """Make the functions of `codes` anew, side by side in that order, and put them in place.

    Classes and modules have the new ones then; what else refers to an old one keeps it, with
    the new code. Returns what `fill` does.
    """
    chosen = list(dict.fromkeys(codes))
    objects = gc.get_objects()
    functions = _concerned(chosen, objects)
    members = _members(set(functions), objects)
    copies = _Copies(chosen)
    made: dict[object, FunctionType] = {}
    held = fill(whole=False)
    for code in chosen:
        copies.code(code)
    for function in functions:
        made[function] = _again(function, copies.code(function.__code__))
    for function in functions:
        function.__code__ = made[function].__code__
    for owner, name, value in members:
        others = [made.get(each, each) for each in _inside(value)]
        setattr(owner, name, others[0] if type(value) is FunctionType else type(value)(*others))
    return held


def _concerned(chosen: "list[CodeType]", objects: "list[object]") -> "list[FunctionType]":
    """Return the functions that run, in order, then those that they pass on, and so touch."""
    place = {code: number for number, code in enumerate(chosen)}
    named: set[str] = set()
    for code in chosen:
        named |= _passed_on(code)
    # Those that wrap others have attributes of their own, and stay.
    functions = [
        each for each in objects if type(each) is FunctionType and not hasattr(each, "__wrapped__")
    ]
    modules = {each.__module__ for each in functions if each.__code__ in place}
    found = [
        each
        for each in functions
        if each.__code__ in place or (each.__name__ in named and each.__module__ in modules)
    ]
    return sorted(found, key=lambda each: place.get(each.__code__, len(place)))


def _passed_on(code: CodeType) -> "set[str]":
    """Return the names of attributes and globals that `code` asks for without calling them."""
    found = set()
    instructions = code.co_code
    more = 0
    for at in range(0, len(instructions), 2):
        operation, argument = instructions[at], instructions[at + 1] | more << 8
        more = argument if operation == _EXTENDED else 0
        if operation in _MARKS_CALLS:
            if not argument & 1:
                found.add(code.co_names[argument >> 1])
        elif operation in (_ATTRIBUTE, _GLOBAL):
            found.add(code.co_names[argument])
    return found


def _members(
    functions: "set[FunctionType]", objects: "list[object]"
) -> "list[tuple[object, str, object]]":
    """Return owner, name and value of what modules and classes have of `functions`."""
    return [
        (owner, name, value)
        for owner in objects
        if isinstance(owner, (type, ModuleType))
        for name, value in vars(owner).items()
        if not functions.isdisjoint(_inside(value))
    ]


def _inside(value: object) -> "tuple[FunctionType, ...]":
    """Return the functions that a member of a class or module is, or is made of."""
    found: tuple[object, ...] = ()
    if type(value) is FunctionType:
        return (value,)
    if type(value) is property:
        found = (value.fget, value.fset, value.fdel)
    elif type(value) in (staticmethod, classmethod):
        found = (value.__func__,)  # type: ignore[attr-defined]
    return found  # type: ignore[return-value]  # None is no function, and stays None


def _again(function: FunctionType, code: CodeType) -> FunctionType:
    other = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    other.__kwdefaults__ = function.__kwdefaults__
    other.__qualname__ = function.__qualname__
    other.__doc__ = function.__doc__
    other.__module__ = function.__module__
    return other


class _Copies:
    """Copies of chosen code, with the code inside of it and the constants."""

    def __init__(self, chosen: "list[CodeType]") -> None:
        self._codes: dict[CodeType, CodeType | None] = dict.fromkeys(chosen)
        self._constants: dict[int, object] = {}

    def code(self, code: CodeType) -> CodeType:
        """Return the copy; the code itself if it is not chosen."""
        if code not in self._codes:
            return code
        copy = self._codes[code]
        if copy is None:
            copy = code.replace(co_consts=tuple(map(self._constant, code.co_consts)))
            self._codes[code] = copy
        return copy

    def _constant(self, value: object) -> object:
        if isinstance(value, CodeType):
            return self.code(value)
        # One that several have is copied once. (They live as long as the code that has them.)
        if id(value) not in self._constants:
            self._constants[id(value)] = self._copy(value)
        return self._constants[id(value)]

    def _copy(self, value: object) -> object:
        if type(value) is tuple:
            return tuple(map(self._constant, value))
        if type(value) is bytes:
            return bytes(bytearray(value))
        if type(value) is float:
            return float.fromhex(value.hex())
        if type(value) is int:
            return int(str(value))
        # What is a name is one object everywhere, and compared so.
        if type(value) is str and value.isascii() and not value.isidentifier():
            return value.encode().decode()
        return value


def fill(*, whole: bool) -> "list[object]":
    """Take what is free between objects, so that the next ones stand side by side.

    `whole`: from a page on that nothing else is on. It is taken for as long as what is returned
    is kept.
    """
    held: list[object] = []
    for size in range(_STEP, _LARGEST_SMALL + 1, _STEP):
        before = row = 0
        for number in range(_MOST):
            piece = _of_size(size, number)
            held.append(piece)
            place = id(piece)
            # One after the other, from the first of a pool on where that is wanted: no more gaps.
            if place % _POOL_BYTES < _POOL_HEAD:
                row = 1
            elif place != before + size:
                row = 0
            elif row or not whole:
                row += 1
            if row == _IN_A_ROW:
                break
            before = place
    if _GLIBC:
        _fill_heap()
    return held


def _fill_heap() -> None:
    left = _MOST
    for _ in range(2):
        edge = _malloc(_FAR)
        for size in _KEPT_SIZES:
            while left and _malloc(size) < edge:
                left -= 1


def _of_size(size: int, number: int) -> object:
    if size == _STEP:
        return object()
    if size < _EMPTY:
        return (1 << 20) + number
    return bytes(size - _EMPTY)
