"""Until when a certificate is valid, read from its DER (RFC 5280, 4.1.2.5)."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone

from sqsuper.gateway.der import items

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x17, 0x18
# Of the signed part's sequences: after the algorithm and the issuer.
_VALIDITY = 2


def ends_of(pem: bytes) -> datetime:
    """Return when the first certificate of a PEM text ends. Raises ValueError."""
    text = pem.decode("latin-1")
    start = text.find(_BEGIN)
    end = text.find(_END, start)
    if start < 0 or end < 0:
        raise ValueError("there is no certificate (PEM) in it")
    der = ssl.PEM_cert_to_DER_cert(text[start : end + len(_END)])
    try:
        whole = list(items(der))
        parts = list(items(whole[0][1]))
        signed = items(parts[0][1])
        validity = [value for tag, value in signed if tag == _SEQUENCE][_VALIDITY]
        tag, ends = list(items(validity))[1]
        return _moment(tag, ends.decode("ascii"))
    except (IndexError, UnicodeDecodeError):
        raise ValueError("its certificate is cut short") from None


def _moment(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        # Two digits of the year: 50 and up are of the last century (RFC 5280, 4.1.2.5.1).
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("its certificate has no time of its end")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
