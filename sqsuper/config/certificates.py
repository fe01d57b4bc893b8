"""Certificate and key of an `ssl:` endpoint: read from their files, loaded into a context."""

from __future__ import annotations

import os
import select
import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

from sqsuper.config.endpoints import Endpoint, check_endpoint, take_apart, without_tls

MAX_BYTES = 1 << 20

# The arguments of the gateway's `ssl:`, and those of Twisted's that would change nothing.
_ARGUMENTS = {"port", "interface", "backlog", "privateKey", "certKey", "extraCertChain"}
_USELESS = {
    "dhParameters": "as only ECDHE is spoken",
    "sslmethod": "as TLS 1.2 and up is spoken",
}

_CERTIFICATE = b"CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
# What OpenSSL says of a key that is not the certificate's, of its kind or of another.
_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


class CertificateError(Exception):
    """A certificate cannot be used. `file`: the one at fault; `problem`: what is wrong."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{problem}: {file}")
        self.file = file
        self.problem = problem


@attrs.frozen
class Material:
    """What stood in the files, at one moment: PEM. `certificate`: with the whole chain."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)


@attrs.frozen
class CertificateFiles:
    """The files of one certificate. `chain`: further certificates, or None."""

    key: str
    certificate: str
    chain: str | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> CertificateFiles:
        """Return those of an `ssl:` endpoint: without certKey, privateKey holds both."""
        arguments = endpoint.arguments
        key = arguments["privateKey"]
        return cls(key, arguments.get("certKey", key), arguments.get("extraCertChain"))

    @property
    def all(self) -> tuple[str, ...]:
        """Every file, each once."""
        files = (self.key, self.certificate, self.chain)
        return tuple(dict.fromkeys(file for file in files if file is not None))

    def read(self) -> Material:
        """Return what stands in the files now. Raises CertificateError."""
        certificate = _read(self.certificate, _CERTIFICATE, "there is no certificate (PEM) in it")
        if self.chain is not None:
            chain = _read(self.chain, _CERTIFICATE, "there is no certificate (PEM) in it")
            certificate += b"\n" + chain
        return Material(certificate, _read(self.key, _KEY, "there is no private key (PEM) in it"))

    def load(self, material: Material, context: ssl.SSLContext) -> None:
        """Give a new context what was read. Raises CertificateError when it does not fit."""
        with ExitStack() as stack:
            try:
                certificate = stack.enter_context(_as_file(material.certificate))
                key = stack.enter_context(_as_file(material.key))
                # Without a password of ours a locked key would be asked for at the terminal.
                context.load_cert_chain(certificate, key, password=_no_password)
            except _LockedError:
                raise CertificateError(self.key, "the key is locked by a password") from None
            except ssl.SSLError as error:
                if error.reason in _OF_ANOTHER:
                    problem = f"the key does not belong to the certificate {self.certificate}"
                    raise CertificateError(self.key, problem) from None
                problem = f"it cannot be used ({error.reason or 'no valid PEM'})"
                raise CertificateError(self.certificate, problem) from None
            except (OSError, ValueError) as error:
                raise CertificateError(self.certificate, str(error)) from None


class _LockedError(Exception):
    pass


def _no_password() -> str:
    raise _LockedError


_FLAGS = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)


def _read(file: str, needed: bytes, otherwise: str) -> bytes:
    try:
        # What is no file, such as a FIFO, must not hold us up.
        fd = os.open(file, _FLAGS)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise CertificateError(file, "it is no regular file")
        with open(fd, "rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise CertificateError(file, error.strerror or str(error)) from None
    if len(data) > MAX_BYTES:
        raise CertificateError(file, "it is over 1 MiB")
    if needed not in data:
        raise CertificateError(file, otherwise)
    return data


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give `data` a path, as `ssl` loads nothing else: in memory where the system can."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("pem", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
            memory.write(data)
            yield f"/proc/self/fd/{memory.fileno()}"
        return
    fd, path = tempfile.mkstemp()
    try:
        with open(fd, "wb") as file:
            file.write(data)
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


def check_gateway_endpoint(endpoint: Endpoint) -> None:
    """Refuse what the gateway cannot listen on. Raises ValueError saying what would be right.

    Of `ssl:` the certificate and its key are read, as they must be there at the start.
    """
    if endpoint.kind != "ssl":
        check_endpoint(endpoint)
        return
    if not hasattr(select, "epoll"):
        raise ValueError(
            "an endpoint without ssl:, for which this system lacks epoll"
            " (put tcp: here and terminate TLS in front of it)"
        )
    if not endpoint.text.startswith("ssl:"):
        raise ValueError("an endpoint with ssl: in front, as TLS is served without wrappers")
    for name in endpoint.arguments:
        if name in _USELESS:
            raise ValueError(f"an endpoint without {name}, {_USELESS[name]}")
        if name not in _ARGUMENTS:
            known = ", ".join(sorted(_ARGUMENTS))
            raise ValueError(f"an endpoint whose arguments are among {known}")
    check_endpoint(take_apart(without_tls(endpoint), Path()))
    files = CertificateFiles.of(endpoint)
    try:
        files.load(files.read(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except CertificateError as error:
        raise ValueError(f"an endpoint whose certificate can be used ({error})") from None
