"""Certificates made on the spot, and clients that speak TLS like a plain socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

KEYS: dict[str, Callable[[], Any]] = {
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@attrs.frozen
class Made:
    """A certificate of its own authority, in PEM files. `authority`: what clients trust."""

    key: Path
    certificate: Path
    authority: Path

    def endpoint(self, port: int = 0, host: str = "127.0.0.1") -> str:
        return f"ssl:{port}:privateKey={self.key}:certKey={self.certificate}:interface={host}"


def make(
    directory: Path,
    stem: str = "site",
    names: tuple[str, ...] = ("localhost",),
    *,
    kind: str = "ec",
    common_name: str = "test",
    authority: Made | None = None,
) -> Made:
    """Make (or replace) STEM.key and STEM.crt for DNS names; signed by itself or `authority`."""
    key = KEYS[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now() - timedelta(days=1))
        .not_valid_after(datetime.now() + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
    )
    if names:
        alternatives = [x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
    if authority is None:
        issuer, signer = subject, key
    else:
        issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes()).subject
        signer = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.issuer_name(issuer).sign(signer, digest)
    made = Made(
        directory / f"{stem}.key",
        directory / f"{stem}.crt",
        directory / f"{stem}.crt" if authority is None else authority.authority,
    )
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return made


class TlsSocket(ssl.SSLSocket):
    """A client's end that behaves as a plain socket where tests look.

    An end without close_notify is an error, `shutdown` ends the stream below TLS alone, and
    what would block raises BlockingIOError.
    """

    _peeked = b""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            data = self._peeked or super().recv(buflen)
            self._peeked = data if flags & socket.MSG_PEEK else data[buflen:]
            return data[:buflen]
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLEOFError as error:
            # What Python makes of a reset.
            if error.reason == "UNEXPECTED_EOF_WHILE_READING":
                raise
            raise ConnectionResetError from None

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(memoryview(data)[:16_384], flags)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            raise BrokenPipeError from None

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self, how)

    def notify(self) -> None:
        """Send close_notify, and read no further than what is there."""
        timeout = self.gettimeout()
        self.settimeout(0)
        try:
            self.unwrap()
        except ssl.SSLWantReadError:
            pass
        finally:
            self.settimeout(timeout)


def client_context(made: Made | None = None) -> ssl.SSLContext:
    """Return a context that trusts `made` and its name alone, or (None) everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TlsSocket
    if made is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(made.authority)
    return context


def wrap(
    sock: socket.socket, context: ssl.SSLContext | None = None, name: str | None = None
) -> TlsSocket:
    """Return a connected socket wrapped for TLS, its handshake still to be done."""
    wrapped = (context or client_context()).wrap_socket(
        sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    assert isinstance(wrapped, TlsSocket)
    return wrapped
