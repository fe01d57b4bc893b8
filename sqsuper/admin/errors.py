"""What the admin API answers instead of doing what it was asked; text is for people."""

from __future__ import annotations


class AdminError(Exception):
    """Base of all. `status`: of the answer; `code`: a word for programs; `fields`: more of it.

    `headers`: header fields that belong to the answer.
    """

    status = 500
    code = "internal"

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields
        self.headers: dict[str, str] = {}


class BadRequestError(AdminError):
    """What was given is wrong; the message says what would be right."""

    status, code = 400, "bad_request"


class UnauthorizedError(AdminError):
    """No admin token, no session, or a wrong one."""

    status, code = 401, "unauthorized"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers["WWW-Authenticate"] = "Bearer"


class ForbiddenError(AdminError):
    """Whoever asks may not do that in this way."""

    status, code = 403, "forbidden"


class NotFoundError(AdminError):
    """There is no such thing."""

    status, code = 404, "not_found"


class MethodError(AdminError):
    """The path is there, but not for this method; `allowed` are those it is there for."""

    status, code = 405, "method_not_allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"this path takes {', '.join(allowed)}")
        self.headers["Allow"] = ", ".join(allowed)


class ConflictError(AdminError):
    """It cannot be done as things are."""

    status, code = 409, "conflict"


class TooLargeError(AdminError):
    """The request's body is too long."""

    status, code = 413, "too_large"


class UnsupportedMediaError(AdminError):
    """The body's type is not one that is taken here."""

    status, code = 415, "unsupported_media_type"


class MisdirectedError(AdminError):
    """The Host field names none of ours."""

    status, code = 421, "misdirected"


class TooManyError(AdminError):
    """Too many wrong tokens came from there; try again in `wait` seconds."""

    status, code = 429, "too_many_wrong_tokens"

    def __init__(self, wait: int) -> None:
        super().__init__("too many wrong tokens came from this address")
        self.headers["Retry-After"] = str(wait)


class UnavailableError(AdminError):
    """It cannot be done now, but perhaps later."""

    status, code = 503, "unavailable"
