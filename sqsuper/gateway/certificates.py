"""The certificates of one TLS port: which one a client gets, and that they stay fresh."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable

import attrs
from twisted.logger import Logger

from sqsuper.config.certificates import CertificateError, CertificateFiles, Material
from sqsuper.gateway.certificate_names import names_of

# Forward secrecy and authenticated encryption alone. TLS 1.3 has its own list, all such.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
ALPN = ("http/1.1",)
# Without any, a client that does not set NODELAY waits 40 ms for its delayed ACK. A second one
# costs each full handshake 10 to 20 us; a client that resumes is given a new one.
TICKETS = 1

_TRIAL_STEPS = 10

log = Logger()


def new_context(files: CertificateFiles, material: Material) -> tuple[ssl.SSLContext, bytes]:
    """Return a server's context that was tried out, and its certificate in DER.

    TLS 1.2 and up; `http/1.1` is offered by ALPN and never required; no renegotiation. Raises
    CertificateError when no TLS connection can be made with it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(ALPN)
    context.num_tickets = TICKETS
    context.options |= ssl.OP_NO_RENEGOTIATION
    files.load(material, context)
    try:
        return context, _try_out(context)
    except (ssl.SSLError, ValueError) as error:
        problem = f"no connection can be made with it ({getattr(error, 'reason', error)})"
        raise CertificateError(files.certificate, problem) from None


def _try_out(context: ssl.SSLContext) -> bytes:
    """Make a connection in memory; return the server's certificate in DER."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_TRIAL_STEPS):
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
        if done == 2:
            break
    return client.getpeercert(binary_form=True) or b""


@attrs.frozen
class CertificateState:
    """How one certificate is doing. `names`: those of the one that is served.

    `problem`: why a changed one is not served instead, or None; `changes` and `failures`
    count what was taken and what was not since the start.
    """

    files: CertificateFiles
    names: tuple[str, ...]
    changes: int
    failures: int
    problem: str | None


class _Certificate:
    """One certificate, and the context that serves it."""

    def __init__(self, files: CertificateFiles) -> None:
        self.files = files
        self._seen = self._look()
        self._served = files.read()
        self.context, der = new_context(files, self._served)
        self.names = _names(der)
        self._refused: Material | str | None = None
        self._settled = False
        self.changes = 0
        self.failures = 0
        self.problem: str | None = None

    def look_again(self) -> bool:
        """Read the files when they may have changed; whether there is a new context.

        What was read before is not tried twice, so each failure is told once. Files are
        settled when they were read once more after they looked the same twice: within one
        tick of the file system's clock a second change would show nowhere else.
        """
        seen = self._look()
        if seen == self._seen and self._settled:
            return False
        self._settled = seen == self._seen and self._refused is None
        self._seen = seen
        try:
            material = self.files.read()
        except CertificateError as error:
            self._refuse(str(error), error)
            return False
        if material == self._served:
            # As it was, perhaps again.
            self._refused = self.problem = None
            return False
        if material == self._refused:
            return False
        try:
            context, der = new_context(self.files, material)
        except CertificateError as error:
            self._refuse(material, error)
            return False
        self._served, self.context, self.names = material, context, _names(der)
        self._refused = self.problem = None
        self._settled = False
        self.changes += 1
        log.info("the certificate {file} was read anew", file=self.files.certificate)
        return True

    def _refuse(self, what: Material | str, error: CertificateError) -> None:
        if what == self._refused:
            return
        self._refused = what
        self.problem = str(error)
        self.failures += 1
        log.error(
            "the changed certificate {file} cannot be used, the one before is served on: {problem}",
            file=self.files.certificate,
            problem=self.problem,
        )

    def _look(self) -> tuple[tuple[int, ...] | None, ...]:
        looks: list[tuple[int, ...] | None] = []
        for file in self.files.all:
            try:
                s = os.stat(file)
            except OSError:
                looks.append(None)
            else:
                looks.append((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
        return tuple(looks)


class Certificates:
    """The certificates of one port, in their order. A client gets the one whose name it asks
    for (SNI); by no name, or an unknown one, the first.

    A context is never changed, but replaced by a new one, so that connections that are open,
    or opening, keep what they began with.
    """

    def __init__(self, files: Iterable[CertificateFiles]) -> None:
        """Read them. Raises CertificateError."""
        self._certificates = [_Certificate(one) for one in files]
        self._arrange()

    def current(self) -> ssl.SSLContext:
        """Return what a new connection begins with."""
        return self._certificates[0].context

    def __len__(self) -> int:
        return len(self._certificates)

    def add(self, files: CertificateFiles) -> None:
        """Add one at the end. Raises CertificateError, and then nothing is changed."""
        self._certificates.append(_Certificate(files))
        self._arrange()

    def remove(self, files: CertificateFiles) -> None:
        """Serve one of those added no longer; the last one stays."""
        for certificate in self._certificates:
            if certificate.files == files and len(self._certificates) > 1:
                self._certificates.remove(certificate)
                self._arrange()
                return

    def look_again(self) -> None:
        """Take what changed in the files, where it can be used (to be called every 2 s)."""
        changed = [certificate.look_again() for certificate in self._certificates]
        if any(changed):
            self._arrange()

    def states(self) -> tuple[CertificateState, ...]:
        """Return how each is doing."""
        return tuple(
            CertificateState(one.files, one.names, one.changes, one.failures, one.problem)
            for one in self._certificates
        )

    def _arrange(self) -> None:
        by_name: dict[str, ssl.SSLContext] = {}
        for certificate in self._certificates:
            certificate.context.sni_callback = self._choose
            for name in certificate.names:
                by_name.setdefault(name, certificate.context)
        self._by_name = by_name

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name is None:
            return
        name = name.lower().rstrip(".")
        by_name = self._by_name
        context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if context is not None:
            connection.context = context


def _names(der: bytes) -> tuple[str, ...]:
    try:
        return names_of(der)
    except ValueError:
        # It can still be the first one, for clients that ask for no name it is known by.
        return ()
