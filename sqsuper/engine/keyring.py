"""Which tokens an instance takes, and for what."""

from __future__ import annotations

from sqsuper.http1.credentials import Grant, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Keyring:
    """The key of this run, and the tenant's own tokens, by digest.

    `tenant`: the name that all grants carry. `lookup_key` knows the key alone (for the
    gateway's socket), `lookup` the tokens too (for the tenant's own port).
    """

    __slots__ = ("_key", "_key_grant", "_tenant", "_tokens")

    def __init__(self, tenant: str, key: str) -> None:
        self._tenant = tenant
        self._key = digest(key.encode("utf-8"))
        self._key_grant = Grant(tenant)
        self._tokens: dict[bytes, Grant] = {}

    def replace(self, tokens: Iterable[Mapping[str, object]]) -> None:
        """Take a new list of tokens in place of the old one.

        Each with `sha256` (hex), `label`, `scope` (`rw` or `ro`), `not_before` and `expires`
        (Unix seconds or None). Raises ValueError for a malformed one; the old list then
        stays.
        """
        fresh = {}
        for token in tokens:
            sha256, scope = token.get("sha256"), token.get("scope", "rw")
            label = token.get("label")
            if not isinstance(sha256, str) or scope not in ("rw", "ro"):
                raise ValueError("a token needs sha256 in hex, and scope rw or ro")
            known = bytes.fromhex(sha256)
            if len(known) != 32:
                raise ValueError("a token's sha256 has 64 hex digits")
            fresh[known] = Grant(
                self._tenant,
                read_only=scope == "ro",
                not_before=_seconds(token.get("not_before")),
                expires=_seconds(token.get("expires")),
                label=label if isinstance(label, str) else None,
            )
        self._tokens = fresh

    def lookup_key(self, known: bytes) -> Grant | None:
        """Return the key's grant for its digest, else None."""
        return self._key_grant if known == self._key else None

    def lookup(self, known: bytes) -> Grant | None:
        """Return the grant of the key or of a token, by digest."""
        return self._key_grant if known == self._key else self._tokens.get(known)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("not_before and expires are Unix seconds or null")
    return float(value)
