"""Which keys a configuration has, and how each is read: one table a section.

Defaults are the model's; the tables only say what a key may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as ReadOnlyMapping
from typing import Any

import attrs

from sqsuper.config.certificates import check_gateway_endpoint
from sqsuper.config.credentials import ADMIN_TOKENS
from sqsuper.config.endpoints import (
    Endpoint,
    check_endpoint,
    take_apart,
)
from sqsuper.config.located import Value
from sqsuper.config.model import (
    Coordinates,
    Engine,
    Launcher,
    Rate,
    RestartPolicy,
    Start,
)
from sqsuper.config.permissions import POSIX, account, is_root
from sqsuper.config.readers import (
    Place,
    Reader,
    argv,
    boolean,
    choice,
    duration,
    integer,
    is_none,
    listing,
    mapping,
    number,
    number_or_text,
    optional,
    parsed,
    path,
    plain_text,
    positive_duration,
    size,
)
from sqsuper.config.values import (
    FRACTION_FORM,
    parse_clock,
    parse_fraction,
    parse_host,
    parse_network,
    parse_port_range,
)

BILLION = 10**9
PLACEHOLDERS = ("{port}", "{key}", "{data_dir}", "{name}")
COMMAND_FORM = 'a list of arguments such as ["sq", "host", "{port}", "--key", "{key}"]'
_BRACES = re.compile(r"\{[^{}]*\}")
# Ours to set, or able to change the programs that start the child.
_OUR_NAMES = {"PATH", "LANG", "TZ", "HOME"}
_OUR_PREFIXES = ("SQSUPER_", "LD_", "DYLD_", "PYTHON")


class Merging:
    """A key whose mapping, given in part, keeps its other keys from what stood there before."""

    def merge(self, value: Value, at: Place, before: Any) -> Any:
        raise NotImplementedError


@attrs.frozen
class Section(Merging):
    """A mapping that becomes one of the model's classes.

    `apart` are keys that are known there but read by someone else: they are passed over.
    """

    keys: ReadOnlyMapping[str, Reader[Any] | Merging]
    apart: tuple[str, ...] = ()

    def merge(self, value: Value, at: Place, before: Any) -> Any:
        """Return `before` with the keys that `value` gives. Raises ConfigError."""
        given = mapping(value, at)
        changes: dict[str, Any] = {}
        for key, item in given.entries.items():
            if key in self.apart:
                continue
            line = given.lines[key]
            reader = self.keys.get(key)
            if reader is None:
                raise at.unknown(key, line, (*self.keys, *self.apart))
            below = at.child(key, line)
            if isinstance(reader, Merging):
                changes[key] = reader.merge(item, below, getattr(before, key))
            else:
                changes[key] = reader(item, below)
        return attrs.evolve(before, **changes) if changes else before


class RateKey(Merging):
    """A rate has no built-in values: both keys are given here or stood there before."""

    keys: ReadOnlyMapping[str, Reader[Any]] = {
        "per_second": number(0, BILLION, above=True),
        "burst": integer(1, BILLION),
    }

    def merge(self, value: Value, at: Place, before: Rate | None) -> Rate | None:
        if is_none(value):
            return None
        given = mapping(value, at, "a mapping such as {per_second: 50, burst: 100}")
        found: dict[str, Any] = {} if before is None else attrs.asdict(before)
        for key, item in given.entries.items():
            if key not in self.keys:
                raise at.unknown(key, given.lines[key], self.keys)
            found[key] = self.keys[key](item, at.child(key, given.lines[key]))
        for key in self.keys:
            if key not in found:
                raise at.wrong(
                    value.line, f"{key} is missing", "such as {per_second: 50, burst: 100}"
                )
        return Rate(**found)


_variable = plain_text("text", secret=True, empty=True)


class EnvironmentKey(Merging):
    """Variables for the child, by name; in the names' order."""

    def merge(
        self, value: Value, at: Place, before: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...]:
        given = mapping(value, at, "a mapping of names to texts")
        found = dict(before)
        for name, item in given.entries.items():
            below = at.child(name, given.lines[name])
            if not name or "=" in name or any(c <= " " or c == "\x7f" for c in name):
                raise below.wrong(
                    given.lines[name], "is no variable's name", "use letters, digits and _"
                )
            if name in _OUR_NAMES or name.startswith(_OUR_PREFIXES):
                raise below.wrong(
                    given.lines[name],
                    "this variable is set by sqsuper or would change how the child starts",
                    "choose another name",
                )
            found[name] = _variable(item, below)
        return tuple(sorted(found.items()))


_argv_of_command = argv(COMMAND_FORM)


def _command(value: Value, at: Place) -> tuple[str, ...]:
    words = _argv_of_command(value, at)
    for index, word in enumerate(words):
        for found in _BRACES.findall(word):
            if found not in PLACEHOLDERS:
                item = at.places[f"{at.path}[{index}]"]
                raise attrs.evolve(at, path=f"{at.path}[{index}]").wrong(
                    item[1], f"unknown placeholder {found}", f"known are {' '.join(PLACEHOLDERS)}"
                )
    return words


_user_text = plain_text("a user's name")


def _user(value: Value, at: Place) -> str:
    name = _user_text(value, at)
    if not POSIX or account(name) is None:
        raise at.wrong(value.line, f"no user {name} on this machine", "create it or name another")
    if not is_root():
        raise at.wrong(value.line, "running a child as another user needs root", "start as root")
    return name


_endpoint_text = plain_text('an endpoint such as "tcp:1337:interface=127.0.0.1"')


def _gateway_endpoint(value: Value, at: Place) -> str:
    return _endpoint(value, at, check_gateway_endpoint)


def _admin_endpoint(value: Value, at: Place) -> str:
    return _endpoint(value, at, check_endpoint)


def _endpoint(value: Value, at: Place, check: Callable[[Endpoint], None]) -> str:
    """Return an endpoint string that `check` takes (else ValueError: what would be right)."""
    text = _endpoint_text(value, at)
    try:
        endpoint = take_apart(text, at.base)
    except ValueError as error:
        raise at.not_right(value, str(error)) from None
    try:
        check(endpoint)
    except ValueError as error:
        raise at.not_right(value, str(error)) from None
    return endpoint.text


def _listen(reader: Reader[str]) -> Reader[tuple[str, ...]]:
    return listing(
        reader, 'a list of endpoints such as ["tcp:1337:interface=127.0.0.1"]', empty=False
    )


def _access_log(value: Value, at: Place) -> str:
    file = path(value, at)
    return "-" if file == at.base / "-" else str(file)


def _pattern(value: Value, at: Place) -> str:
    text = plain_text("a pattern such as tenants.d/*.yaml")(value, at)
    if text.startswith("/") or ".." in text.split("/"):
        raise at.wrong(
            value.line,
            "included files stand below the configuration's own directory",
            "give a pattern such as tenants.d/*.yaml",
        )
    return text


_time = positive_duration
_count = integer(1, BILLION)

GATEWAY = Section(
    {
        "listen": _listen(_gateway_endpoint),
        "workers": integer(1, 1024),
        "trusted_proxies": listing(
            parsed(parse_network, "an address or network"), "a list of networks"
        ),
        "max_head_bytes": size(256),
        "max_body_bytes": size(),
        "head_timeout": _time,
        "idle_timeout": _time,
        "body_timeout": optional(_time, never=True),
        "body_rate": size(0),
        "send_timeout": optional(_time, never=True),
        "upstream_timeout": _time,
        "max_connections": _count,
        "max_connections_per_address": optional(_count),
        "wrong_tokens_per_minute": integer(0, BILLION),
        "access_log": optional(_access_log),
    }
)
ADMIN = Section(
    {
        "listen": _listen(_admin_endpoint),
        "hosts": listing(parsed(parse_host, "a host name"), "a list of host names"),
    },
    ADMIN_TOKENS,
)
HOST_MEMORY = Section(
    {
        "stop_idle": optional(number_or_text(parse_fraction, FRACTION_FORM)),
        "refuse": optional(number_or_text(parse_fraction, FRACTION_FORM)),
    }
)
BACKUP = Section(
    {
        "at": optional(parsed(parse_clock, 'a time of day such as "03:30"'), never=True),
        "keep": _count,
        "dir": optional(path),
    }
)
LOG = Section({"dir": optional(path), "max_bytes": size(1024), "keep": integer(0, 100_000)})
RESTART = Section(
    {
        "policy": choice(RestartPolicy),
        "backoff": duration,
        "backoff_max": duration,
        "jitter": number(0, 1),
        "reset_after": duration,
        "intensity": integer(0, BILLION),
        "period": _time,
        "retry_failed": optional(_time, never=True),
    }
)
MONITOR = Section({"interval": _time, "detail": _time})
CHECKPOINT = Section({"idle": _time, "age": _time, "journal": size(1)})
HEALTH = Section(
    {
        "interval": _time,
        "timeout": _time,
        "unhealthy_after": _count,
        "healthy_after": _count,
        "start_timeout": _time,
        "busy_max": _time,
    }
)
LIMITS = Section(
    {
        "memory_soft": optional(size()),
        "memory_hard": optional(size()),
        "threads": optional(_count),
        "open_files": optional(_count),
        "nice": integer(-20, 19),
    }
)
SETTINGS = Section(
    {
        "engine": choice(Engine),
        "launcher": choice(Launcher),
        "command": optional(_command),
        "start": choice(Start),
        "idle_stop": optional(_time, never=True),
        "quota_mb": optional(integer(1, BILLION)),
        "coordinates": choice(Coordinates),
        "restart": RESTART,
        "monitor": MONITOR,
        "checkpoint": CHECKPOINT,
        "max_loaded": _count,
        "environment": EnvironmentKey(),
        "health": HEALTH,
        "limits": LIMITS,
        "drain": duration,
        "stop_grace": duration,
        "max_inflight": _count,
        "queue": integer(0, BILLION),
        "queue_timeout": duration,
        "max_phext_mb": integer(1, BILLION),
        "rate": RateKey(),
        "user": optional(_user),
    }
)
# The whole file; `defaults` and `tenants` are read apart, as they depend on one another.
TOP = Section(
    {
        "gateway": GATEWAY,
        "admin": ADMIN,
        "data_root": path,
        "port_range": parsed(parse_port_range, "two ports such as 7001-7999"),
        "spawn_concurrency": optional(integer(1, 10_000)),
        "host_memory": HOST_MEMORY,
        "on_event": optional(argv('a list of arguments such as ["/usr/local/bin/notify"]')),
        "backup": BACKUP,
        "log": LOG,
        "token_overlap": duration,
        "run_dir": path,
        "include": listing(_pattern, 'a list of patterns such as ["tenants.d/*.yaml"]'),
    },
    ("defaults", "tenants"),
)
TENANT_KEYS: ReadOnlyMapping[str, Reader[Any]] = {
    "port": optional(integer(1, 65535)),
    "data_dir": optional(path),
    "enabled": boolean,
    "admin_email": optional(plain_text("an e-mail address")),
}
TENANT_TOKENS = ("tokens", "token_sha256")
TENANT_SETTINGS = Section(SETTINGS.keys, (*TENANT_KEYS, *TENANT_TOKENS))
