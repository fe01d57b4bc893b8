"""Connections to servers on this machine whose client is gone, while the server has them open.

When a process ends its connections are closed with it, and a server that is at work for one of
them goes on until it is done. The system's table of sockets tells for which that is so; no
process is asked, and none is looked into.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, sender
_ASKED = struct.Struct("=BBBxI")  # family, protocol, extensions, states
# Any ports, addresses and interface; no cookie.
_OF_ANY = bytes(36) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
# What is told of a socket: family and state, ..., its port and the peer's, ..., inode.
_PORTS = struct.Struct("!HH")
_INODE = struct.Struct("=I")
_STATE_AT, _PORTS_AT, _PEER_AT, _INODE_AT = 1, 4, 24, 68
_FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 4, 5, 8
# Connections in use have other states: the answer is short, however many there are.
_STATES = 1 << _FIN_WAIT1 | 1 << _FIN_WAIT2 | 1 << _CLOSE_WAIT
_BUFFER = 65_536
_LOOPBACK_6 = bytes(15) + b"\x01"
_MAPPED_LOOPBACK = bytes(10) + b"\xff\xff\x7f"


def orphaned() -> Mapping[int, set[int]] | None:
    """Return the clients' ports of such connections, by the server's port.

    TCP over loopback addresses alone. None: the system does not tell.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    left: set[tuple[int, int]] = set()
    half_closed: set[tuple[int, int]] = set()
    try:
        for state, own, peer, inode in _ends():
            if state == _CLOSE_WAIT:
                left.add((own, peer))
            elif inode:
                # Its process has it open and only says no more.
                half_closed.add((peer, own))
            elif state == _FIN_WAIT1:
                # That it ends is still behind what the server has not taken.
                left.add((peer, own))
    except OSError:
        return None
    found: dict[int, set[int]] = {}
    for server, client in left - half_closed:
        found.setdefault(server, set()).add(client)
    return found


def _ends() -> Iterator[tuple[int, int, int, int]]:
    """Yield state, port, peer's port and inode (0: no process has it) of sockets that end."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as sock:
        # The answer is there when the question was asked; this is so that nothing can hang.
        sock.settimeout(1.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, _STATES) + _OF_ANY
            length = _HEADER.size + len(asked)
            sock.send(_HEADER.pack(length, _BY_FAMILY, _REQUEST_DUMP, 1, 0) + asked)
            for told in _answer(sock):
                if _is_loopback(family, told[_PEER_AT : _PEER_AT + 16]):
                    own, peer = _PORTS.unpack_from(told, _PORTS_AT)
                    yield told[_STATE_AT], own, peer, _INODE.unpack_from(told, _INODE_AT)[0]


def _answer(sock: socket.socket) -> Iterator[bytes]:
    while True:
        data = sock.recv(_BUFFER)
        at = 0
        while at < len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError("the system does not tell of its sockets")
            yield data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3


def _is_loopback(family: int, address: bytes) -> bool:
    if family == socket.AF_INET:
        return address[0] == 127
    return address == _LOOPBACK_6 or address.startswith(_MAPPED_LOOPBACK)
