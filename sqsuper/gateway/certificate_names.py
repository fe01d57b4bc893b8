"""The names that a certificate is for, read from its DER (RFC 5280, 4.1 and 4.2.1.6)."""

from __future__ import annotations

from collections.abc import Iterator

from sqsuper.gateway.der import items

_OID, _OCTETS, _SEQUENCE = 0x06, 0x04, 0x30
_EXTENSIONS = 0xA3  # [3] of the certificate
_DNS_NAME = 0x82  # [2] of a GeneralName
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"  # 2.5.29.17
_COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3
_SUBJECT = 3  # after the algorithm, the issuer and the validity


def names_of(certificate: bytes) -> tuple[str, ...]:
    """Return the DNS names of a certificate in DER, in lower case; `*.` begins a wildcard.

    Without any, its common name, which no client takes any more. Raises ValueError when it is
    no certificate.
    """
    try:
        ((_, signed),) = items(certificate)
        (_, body), *_ = items(signed)
        parts = list(items(body))
        names = [name for value in _alternatives(parts) for name in _dns_names(value)]
        if not names:
            subject = [value for tag, value in parts if tag == _SEQUENCE][_SUBJECT]
            names = _common_names(subject)
    except IndexError:
        raise ValueError("it is cut short") from None
    return tuple(dict.fromkeys(name.decode("latin-1").lower() for name in names))


def _alternatives(parts: list[tuple[int, bytes]]) -> Iterator[bytes]:
    for tag, wrapped in parts:
        if tag != _EXTENSIONS:
            continue
        ((_, extensions),) = items(wrapped)
        for _, extension in items(extensions):
            fields = list(items(extension))
            if fields[0] == (_OID, _SUBJECT_ALT_NAME) and fields[-1][0] == _OCTETS:
                yield fields[-1][1]


def _dns_names(value: bytes) -> list[bytes]:
    ((_, names),) = items(value)
    return [name for tag, name in items(names) if tag == _DNS_NAME]


def _common_names(subject: bytes) -> list[bytes]:
    return [
        attribute[1][1]
        for _, relative in items(subject)
        for _, pair in items(relative)
        if (attribute := list(items(pair)))[0] == (_OID, _COMMON_NAME)
    ]
