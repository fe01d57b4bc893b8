"""Why a command did not do what it was asked; each cause has its own exit status."""

from __future__ import annotations

from typing import ClassVar

import attrs


@attrs.define
class CommandError(Exception):
    """Base of all. `str()` is for people and may have several lines; `status` ends the program."""

    status: ClassVar[int] = 1
    code: ClassVar[str] = "failed"

    message: str

    def __str__(self) -> str:
        return self.message


class NoConfigurationError(CommandError):
    """No configuration file was named, and none stands where one is looked for."""

    code = "no_configuration"


class BrokenConfigurationError(CommandError):
    """The configuration is not right, or what is asked would make it so."""

    code = "broken_configuration"


class UnreachableError(CommandError):
    """No service answers where the configuration says that it listens."""

    status = 3
    code = "unreachable"


class DeniedError(CommandError):
    """The service does not take the admin token, or there is none to give."""

    status = 4
    code = "denied"


class MissingError(CommandError):
    """There is no such tenant, token or the like."""

    status = 5
    code = "not_found"


class RefusedError(CommandError):
    """The service understood and refused: a clash, a wrong value, a state that forbids it."""

    status = 6
    code = "refused"


class ServiceError(CommandError):
    """The service failed, or what answers is not sqsuper."""

    status = 7
    code = "service_failed"
