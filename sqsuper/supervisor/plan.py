"""What to run for a tenant: arguments and environment, from the configuration alone."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Set
from pathlib import Path

import attrs

import sqsuper
from sqsuper import interpreter
from sqsuper.config.model import MIB, Config, Engine, Gateway, Launcher, Settings, Tenant
from sqsuper.sockets.capabilities import HERE, NEEDED
from sqsuper.supervisor import child
from sqsuper.supervisor.errors import LaunchError
from sqsuper.supervisor.groups import MARKER

CHILD = Path(__file__).with_name("child.py")

CONTROL_FD = 3
REPORT_FD = 4
SOCKET_FD = 5
PORT_FD = 6

_PLACEHOLDER = re.compile(r"\{(port|key|data_dir|name)\}")


@attrs.frozen
class Plan:
    """One process to start: `argv` holds a command engine's key, hence no repr."""

    tenant: str
    argv: tuple[str, ...] = attrs.field(repr=False)
    environment: Mapping[str, str] = attrs.field(repr=False)
    marker: str = attrs.field(repr=False)
    forks: bool
    """Whether the program may start processes of its own."""
    preloaded: bool = False
    """Whether a process that has the engine loaded may be forked for it."""
    control: int | None = CONTROL_FD
    """The child's descriptor that brings it our lines; None: it has none."""
    report: int | None = REPORT_FD
    """The child's descriptor on which it reports; None: it has none."""
    directory: str | None = None
    """Where it is started; None: it goes to its directory by itself."""

    @property
    def words(self) -> tuple[str, ...]:
        """What `child.main` is given."""
        return self.argv[self.argv.index(str(CHILD)) + 1 :]


def fill(argument: str, values: Mapping[str, str]) -> str:
    """Fill the four placeholders, once: what a value brings in is not looked at again."""
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], argument)


def engine_paths() -> tuple[str, ...]:
    """Return the directories that the embedded engine is imported from."""
    found = [str(Path(sqsuper.__file__).resolve().parent.parent)]
    spec = importlib.util.find_spec("xxhash")
    if spec is not None and spec.origin is not None:
        place = Path(spec.origin).parent
        if spec.submodule_search_locations is not None:
            place = place.parent
        found.append(str(place))
    return tuple(dict.fromkeys(found))


def environment(
    tenant: Tenant, marker: str, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a child's whole environment."""
    source = os.environ if inherited is None else inherited
    result = dict(tenant.settings.environment)
    result["PATH"] = source.get("PATH") or os.defpath
    for name in ("LANG", "TZ", *NEEDED):
        if name in source:
            result.setdefault(name, source[name])
    result["HOME"] = str(tenant.data_dir)
    result[MARKER] = marker
    return result


def embedded(
    config: Config,
    tenant: Tenant,
    marker: str,
    paths: tuple[str, ...] | None = None,
    patience: float | None = None,
) -> Plan:
    """Plan the embedded engine; its key is not part of it (control line).

    `patience`: how many seconds it waits for the engine that has its data directory.
    """
    settings = tenant.settings
    argv = _interpreter(settings, tenant)
    if settings.limits.memory_hard is not None:
        # Monitoring ends it at the limit; this is for what grows faster than that looks.
        argv += ["--address-space", str(address_space(settings.limits.memory_hard))]
    argv += ["--embedded"]
    for path in engine_paths() if paths is None else paths:
        argv += ["--path", path]
    argv += ["--", "host", "--data-dir", str(tenant.data_dir), "--name", tenant.name]
    control, report = (CONTROL_FD, REPORT_FD) if HERE.inheritance else (0, 1)
    argv += _listening(tenant)
    argv += ["--control-fd", str(control), "--report-fd", str(report)]
    if patience is not None:
        argv += ["--lock-seconds", f"{patience}"]
    argv += engine_options(config.gateway, tenant)
    return Plan(
        tenant.name,
        tuple(argv),
        environment(tenant, marker),
        marker,
        forks=False,
        preloaded=may_preload(tenant),
        control=control,
        report=report,
    )


def _listening(tenant: Tenant) -> list[str]:
    if HERE.inheritance:
        words = ["--listen-fd", str(SOCKET_FD)]
        return words if tenant.port is None else [*words, "--listen-fd", str(PORT_FD)]
    words = ["--gateway-port", "0"]
    return words if tenant.port is None else [*words, str(tenant.port)]


def address_space(memory_hard: int) -> int:
    """Return the bytes that an embedded engine may map; more than it may use for long."""
    return 2 * memory_hard + 512 * MIB


def engine_options(gateway: Gateway, tenant: Tenant) -> list[str]:
    """Return the options of an embedded engine that it can be told anew while it runs."""
    settings, checkpoint = tenant.settings, tenant.settings.checkpoint
    words = ["--coordinates", settings.coordinates.value]
    words += ["--max-head-bytes", str(gateway.max_head_bytes)]
    words += ["--max-body-bytes", str(gateway.max_body_bytes)]
    words += ["--max-phext-mb", str(settings.max_phext_mb)]
    if settings.quota_mb is not None:
        words += ["--quota-mb", str(settings.quota_mb)]
    words += ["--max-loaded", str(settings.max_loaded)]
    words += ["--checkpoint-idle", f"{checkpoint.idle}"]
    words += ["--checkpoint-age", f"{checkpoint.age}"]
    words += ["--checkpoint-journal", str(checkpoint.journal)]
    # The other half of the grace is for what it writes then.
    words += ["--stop-seconds", f"{settings.stop_grace / 2}"]
    if tenant.port is not None:
        words += _clients_limits(gateway)
    return words


def may_preload(tenant: Tenant) -> bool:
    """Whether the tenant's engine may be forked from a process that has it loaded."""
    settings = tenant.settings
    return settings.engine is Engine.EMBEDDED and settings.launcher is not Launcher.SPAWN


def _clients_limits(gateway: Gateway) -> list[str]:
    """Return the limits that hold for clients at a tenant's own port as at the gateway.

    At the Unix socket the gateway keeps them.
    """
    of_address = gateway.max_connections_per_address
    if of_address is None:
        of_address = max(1, gateway.max_connections // 4)
    given = {
        "--max-connections": gateway.max_connections,
        "--max-connections-per-address": of_address,
        "--head-timeout": gateway.head_timeout,
        "--idle-timeout": gateway.idle_timeout,
        "--body-timeout": gateway.body_timeout,
        "--body-rate": gateway.body_rate,
        "--send-timeout": gateway.send_timeout,
        "--wrong-tokens-per-minute": gateway.wrong_tokens_per_minute,
    }
    # Without a value these two are as the idle timeout, there too.
    return [word for key, value in given.items() if value is not None for word in (key, f"{value}")]


def data_dirs(config: Config) -> frozenset[str]:
    """Return where all tenants' data is, links resolved."""
    return frozenset(os.path.realpath(tenant.data_dir) for tenant in config.tenants)


def command(
    config: Config,
    tenant: Tenant,
    *,
    marker: str,
    key: str,
    port: int,
    never_from: Set[str] = frozenset(),
) -> Plan:
    """Plan a command engine that shall listen at `port` and take `key`.

    The program is taken neither from the tenant's data directory nor from one of
    `never_from` (`data_dirs`).
    """
    settings = tenant.settings
    values = {
        "port": str(port),
        "key": key,
        "data_dir": str(tenant.data_dir),
        "name": tenant.name,
    }
    words = [fill(word, values) for word in settings.command or ()]
    if words and os.path.dirname(words[0]):
        words[0] = str(config.file.parent / words[0])
    variables = environment(tenant, marker)
    if not HERE.execution:
        return _direct(tenant, words, variables, marker, never_from)
    argv = [*_interpreter(settings, tenant)]
    for directory in _tempting(words[:1], variables["PATH"], never_from):
        argv += ["--avoid", directory]
    if "LC_CTYPE" not in variables:
        # The interpreter of child.py sets it in its own environment for a C locale.
        argv += ["--drop", "LC_CTYPE"]
    return Plan(tenant.name, (*argv, "--", *words), variables, marker, forks=True)


def _direct(
    tenant: Tenant, words: list[str], variables: Mapping[str, str], marker: str, avoided: Set[str]
) -> Plan:
    """Plan a program that is started by itself, as nothing can become it. Raises `LaunchError`."""
    homes = [os.path.realpath(tenant.data_dir), *avoided]
    try:
        program = child.look_up(words[0].replace(os.sep, "/"), homes, variables["PATH"])
    except child.RefusalError as refusal:
        raise LaunchError(tenant.name, refusal.reason) from refusal
    return Plan(
        tenant.name,
        (program, *words[1:]),
        variables,
        marker,
        forks=True,
        control=None,
        report=None,
        directory=str(tenant.data_dir),
    )


def plan_for(
    config: Config,
    tenant: Tenant,
    *,
    marker: str,
    key: str,
    port: int,
    paths: tuple[str, ...] | None = None,
    never_from: Set[str] = frozenset(),
    patience: float | None = None,
) -> Plan:
    """Plan whichever engine the tenant has; `patience` is for an embedded one.

    Raises `LaunchError` where a command engine's program must be there already, and is not.
    """
    if tenant.settings.engine is Engine.EMBEDDED:
        return embedded(config, tenant, marker, paths, patience)
    return command(config, tenant, marker=marker, key=key, port=port, never_from=never_from)


def _tempting(program: list[str], path: str, data_dirs: Set[str]) -> list[str]:
    """Return which of `data_dirs` the program might be found in."""
    found: dict[str, None] = {}
    for place in (*program, *path.split(os.pathsep)):
        real = Path(os.path.realpath(place)) if place else Path("/")
        found.update(dict.fromkeys(str(d) for d in (real, *real.parents) if str(d) in data_dirs))
    return list(found)


def _interpreter(settings: Settings, tenant: Tenant) -> list[str]:
    argv = [*interpreter.with_file(CHILD), "--parent", str(os.getpid())]
    argv += ["--data-dir", str(tenant.data_dir)]
    if not HERE.inheritance:
        return [*argv, "--standard"]
    if settings.limits.open_files is not None:
        argv += ["--open-files", str(settings.limits.open_files)]
    if settings.limits.nice:
        argv += ["--nice", str(settings.limits.nice)]
    if settings.user is not None:
        argv += ["--user", settings.user]
    return argv
