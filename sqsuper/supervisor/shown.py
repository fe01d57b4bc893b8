"""What the process table shows of the zygote, and of those forked from it (Linux)."""

import ctypes
import signal
import struct
from ctypes import memmove

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_MM = 35
PR_SET_MM_MAP = 14
# The system's interface takes words, ctypes would pass half of one.
_ZERO, _MAP, _MAP_SIZE = ctypes.c_ulong(0), ctypes.c_ulong(PR_SET_MM_MAP), ctypes.c_ulong(104)

# More is not written over, whatever the places say.
_MOST = 64 * 1024


class Shown:
    """What the process table shows of this process, and of those forked from it."""

    __slots__ = (
        "_arguments",
        "_arguments_room",
        "_environment",
        "_environment_room",
        "_layout",
        "_packed",
        "_prctl",
        "_sbrk",
    )

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            text = file.read()
        # From the third on; places are as proc(5) counts them.
        fields = [b""] * 3 + text[text.rindex(b")") + 2 :].split()
        places = (26, 27, 45, 46, 47, 28, 48, 49, 50, 51)
        code_and_data = [int(fields[place]) for place in places[:5]]
        stack, arguments, arguments_end, environment, end = (int(fields[p]) for p in places[5:])
        self._arguments = arguments
        self._arguments_room = arguments_end - arguments - 2
        self._environment = environment
        self._environment_room = end - environment
        # A zero where the heap's end comes; then no new vector, and no new program.
        rest = [stack, arguments, arguments_end, environment, end, 0, 0, 0xFFFFFFFF]
        self._layout = [*code_and_data, 0, *rest]
        libc = ctypes.CDLL(None)
        self._prctl = libc.prctl
        self._sbrk = libc.sbrk
        self._sbrk.restype = ctypes.c_void_p
        self._packed = struct.Struct("=11QQII").pack

    def title(self, arguments: str, name: str) -> None:
        """Show `arguments` as far as there is room, and `name` (15 bytes) as the program's."""
        self._prctl(PR_SET_NAME, name.encode()[:15] + b"\0", _ZERO, _ZERO, _ZERO)
        room = self._arguments_room
        if 0 <= room <= _MOST:
            # A last byte that is not zero tells the kernel to end the text at its first zero.
            text = arguments.encode()[:room].ljust(room + 1, b"\0") + b" "
            memmove(self._arguments, text, room + 2)

    def environment(self, variables: bytes) -> None:
        """Show variables, `NAME=VALUE` and a zero each: the first ones that there is room for.

        The C library must not have a pointer to the old ones: after `os.environ.clear()`.
        """
        room = self._environment_room
        if not 0 < room <= _MOST:
            return
        if len(variables) > room:
            variables = variables[: variables.rfind(b"\0", 0, room) + 1]
        memmove(self._environment, variables.ljust(room, b"\0"), room)
        # Where the kernel cannot be told where it ends now, zeros follow.
        layout = self._layout
        layout[5] = self._sbrk(_ZERO)
        layout[10] = self._environment + len(variables)
        self._prctl(PR_SET_MM, _MAP, self._packed(*layout), _MAP_SIZE, _ZERO)

    def die_with_parent(self) -> None:
        """Ask for SIGKILL when the parent ends; a fork does not inherit that."""
        self._prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), _ZERO, _ZERO, _ZERO)
