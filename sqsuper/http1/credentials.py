"""Where a request's token stands, and whom it admits."""

from __future__ import annotations

from sqsuper.http1.errors import FramingError

try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and newer
except ImportError:
    try:
        # The interpreter's own: hashlib would load OpenSSL into every engine.
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqsuper.http1.head import Field

MAX_TOKEN_BYTES = 512
AUTHORIZATION = b"authorization"
API_KEY = b"x-sq-api-key"
CREDENTIAL_FIELDS = frozenset({AUTHORIZATION, API_KEY})


class Grant:
    """What one token admits to.

    `tenant`: name; `read_only`: scope `ro`; `not_before`, `expires`: Unix seconds or None;
    `label`: for logs; `enabled`: False when the tenant is switched off. `used`: when it last
    admitted a request, in the seconds of whoever admits; None: not yet.
    """

    __slots__ = ("enabled", "expires", "label", "not_before", "read_only", "tenant", "used")

    def __init__(
        self,
        tenant: str,
        *,
        read_only: bool = False,
        not_before: float | None = None,
        expires: float | None = None,
        label: str | None = None,
        enabled: bool = True,
    ) -> None:
        self.tenant = tenant
        self.read_only = read_only
        self.not_before = not_before
        self.expires = expires
        self.label = label
        self.enabled = enabled
        self.used: float | None = None

    @property
    def is_lasting(self) -> bool:
        """Whether the token is valid at all times."""
        return self.not_before is None and self.expires is None

    def valid_at(self, now: float) -> bool:
        """Whether the token is valid at `now` (Unix seconds): not_before <= now < expires."""
        return (self.not_before is None or self.not_before <= now) and (
            self.expires is None or now < self.expires
        )


def digest(token: bytes) -> bytes:
    """Return the SHA-256 digest (32 bytes) under which a token is known."""
    result: bytes = sha256(token).digest()
    return result


def is_token(value: bytes) -> bool:
    """Whether `value` can be a token at all: 1 to 512 bytes of 0x21-0x7E."""
    return 0 < len(value) <= MAX_TOKEN_BYTES and not value.strip(_VISIBLE)


_VISIBLE = bytes(range(0x21, 0x7F))


def candidates(fields: Sequence[Field]) -> list[bytes]:
    """Return the values (0 to 2) that may be tokens, of the fields of a request's head.

    Only Authorization, less an optional `Bearer` and blanks, and X-SQ-API-Key are looked at.
    Raises FramingError (400) when either stands twice.
    """
    found: list[bytes] = []
    seen: list[bytes] = []
    for name, value, _line in fields:
        if name in CREDENTIAL_FIELDS:
            if name in seen:
                raise FramingError(
                    400, "bad_request", f"more than one {name.decode('ascii')} field"
                )
            seen.append(name)
            if name == AUTHORIZATION and value[:7].lower() == b"bearer ":
                value = value[7:].lstrip(b" ")  # noqa: PLW2901
            if value:
                found.append(value)
    return found


class Rejected:
    """No admission.

    `wrong`: a token was there, and none that is known and valid now.
    """

    __slots__ = ("wrong",)

    def __init__(self, wrong: bool) -> None:
        self.wrong = wrong


def authenticate(
    values: Sequence[bytes], lookup: Callable[[bytes], Grant | None], now: float
) -> Grant | Rejected:
    """Decide whom the values of `candidates` admit.

    `lookup` finds a grant by SHA-256 digest; `now` is in Unix seconds. One known value is
    enough; two of different tenants admit to neither. Of two grants of one tenant the
    narrower scope holds.
    """
    admitted: Grant | None = None
    for value in values:
        if not is_token(value):
            continue
        grant = lookup(digest(value))
        if grant is None or not grant.valid_at(now):
            continue
        if admitted is None or admitted.tenant == grant.tenant:
            if admitted is None or grant.read_only:
                admitted = grant
        else:
            return Rejected(wrong=False)
    return admitted if admitted is not None else Rejected(wrong=bool(values))
