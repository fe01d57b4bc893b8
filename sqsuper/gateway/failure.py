"""Why a request ends without an instance's answer."""

from __future__ import annotations

import attrs


@attrs.frozen
class Failure:
    """An answer of 502, 503 or 504.

    `code`, `reason`: as in the answer's JSON; `executed_unknown`: a byte of the request was
    sent, so the instance may have done what it asks; `retry_after`: whole seconds or None;
    `cause`: the class of the failure behind code `failed`.
    """

    status: int
    code: str
    reason: str
    executed_unknown: bool = False
    retry_after: int | None = None
    cause: str | None = None
