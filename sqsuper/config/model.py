"""The configuration as frozen classes; every default of the contract lives here and nowhere else.

Durations are seconds (float), sizes are bytes (int), `None` means "none" or "never".
Names are the public contract's own keys.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import attrs

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Where a configuration is looked for when none is named, in this order.
SEARCHED = ("conf/tenants.yaml", "/etc/sqsuper/tenants.yaml")

# Relative paths of a configuration, like these, are taken from its file's directory.
DATA_ROOT = "./data"
RUN_DIR = "./run"


class Engine(Enum):
    EMBEDDED = "embedded"
    COMMAND = "command"


class Launcher(Enum):
    AUTO = "auto"
    ZYGOTE = "zygote"
    SPAWN = "spawn"


class Start(Enum):
    LAZY = "lazy"
    EAGER = "eager"


class Coordinates(Enum):
    STRICT = "strict"
    LENIENT = "lenient"


class RestartPolicy(Enum):
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Scope(Enum):
    READ_WRITE = "rw"
    READ_ONLY = "ro"


@attrs.frozen
class Token:
    """One credential of a tenant, known by its SHA-256 digest alone."""

    sha256: bytes = attrs.field(repr=lambda d: d.hex()[:8])
    label: str | None = None
    scope: Scope = Scope.READ_WRITE
    not_before: datetime | None = None
    expires: datetime | None = None
    created: datetime | None = attrs.field(default=None, eq=False)
    """When it was made; for people alone."""


@attrs.frozen
class Gateway:
    listen: tuple[str, ...] = ("tcp:1337:interface=127.0.0.1",)
    workers: int = 1
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_head_bytes: int = 64 * KIB
    max_body_bytes: int = 64 * MIB
    head_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_timeout: float | None = None
    body_rate: int = 512
    send_timeout: float | None = None
    upstream_timeout: float = 30.0
    max_connections: int = 10_000
    max_connections_per_address: int | None = None
    wrong_tokens_per_minute: int = 20
    access_log: str | None = None


@attrs.frozen
class Admin:
    listen: tuple[str, ...] = ("tcp:1338:interface=127.0.0.1",)
    token_sha256: bytes | None = attrs.field(default=None, repr=False)
    hosts: tuple[str, ...] = ()


@attrs.frozen
class HostMemory:
    """Thresholds of available memory: a fraction of the total (0..1) or None."""

    stop_idle: float | None = 0.15
    refuse: float | None = None


@attrs.frozen
class Backup:
    at: str | None = None
    keep: int = 7
    dir: Path | None = None


@attrs.frozen
class Log:
    dir: Path | None = None
    max_bytes: int = 10 * MIB
    keep: int = 5


@attrs.frozen
class Restart:
    policy: RestartPolicy = RestartPolicy.ALWAYS
    backoff: float = 0.1
    backoff_max: float = 30.0
    jitter: float = 0.2
    reset_after: float = 60.0
    intensity: int = 5
    period: float = 60.0
    retry_failed: float | None = 300.0


@attrs.frozen
class Monitor:
    interval: float = 5.0
    detail: float = 60.0


@attrs.frozen
class Checkpoint:
    idle: float = 2.0
    age: float = 30.0
    journal: int = 4 * MIB


@attrs.frozen
class Health:
    interval: float = 5.0
    timeout: float = 2.0
    unhealthy_after: int = 3
    healthy_after: int = 1
    start_timeout: float = 10.0
    busy_max: float = 120.0


@attrs.frozen
class Limits:
    memory_soft: int | None = None
    memory_hard: int | None = 2 * GIB
    threads: int | None = 64
    open_files: int | None = 4096
    nice: int = 0


@attrs.frozen
class Rate:
    per_second: float
    burst: int


@attrs.frozen
class Settings:
    """What `defaults:` may hold and every tenant may repeat, merged for one tenant."""

    engine: Engine = Engine.EMBEDDED
    launcher: Launcher = Launcher.AUTO
    command: tuple[str, ...] | None = None
    start: Start = Start.LAZY
    idle_stop: float | None = 900.0
    quota_mb: int | None = 1000
    coordinates: Coordinates = Coordinates.STRICT
    restart: Restart = Restart()
    monitor: Monitor = Monitor()
    checkpoint: Checkpoint = Checkpoint()
    max_loaded: int = 64
    environment: tuple[tuple[str, str], ...] = ()
    health: Health = Health()
    limits: Limits = Limits()
    drain: float = 10.0
    stop_grace: float = 5.0
    max_inflight: int = 32
    queue: int = 128
    queue_timeout: float = 10.0
    max_phext_mb: int = 480
    rate: Rate | None = None
    user: str | None = None

    @property
    def quota_bytes(self) -> int | None:
        """How much data a tenant may have."""
        return None if self.quota_mb is None else self.quota_mb * MIB


@attrs.frozen
class Origin:
    """Where a tenant's entry stands.

    `managed`: in a file that we write. `overlay`: what our overlay changes of it (`stopped`,
    `disabled`, `revoked`, `expires`).
    """

    file: Path
    line: int | None
    managed: bool = False
    overlay: tuple[str, ...] = ()


@attrs.frozen
class Tenant:
    name: str
    tokens: tuple[Token, ...]
    data_dir: Path
    origin: Origin
    port: int | None = None
    enabled: bool = True
    admin_email: str | None = None
    settings: Settings = Settings()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped by hand, and is to stay so."""
        return "stopped" in self.origin.overlay


@attrs.frozen
class Config:
    """A whole, valid configuration. Paths are absolute; `tenants` is in name order."""

    file: Path
    data_root: Path
    run_dir: Path
    gateway: Gateway = Gateway()
    admin: Admin = Admin()
    port_range: tuple[int, int] = (7001, 7999)
    spawn_concurrency: int | None = None
    host_memory: HostMemory = HostMemory()
    on_event: tuple[str, ...] | None = None
    backup: Backup = Backup()
    log: Log = Log()
    token_overlap: float = 86_400.0
    include: tuple[str, ...] = ("tenants.d/*.yaml",)
    tenants: tuple[Tenant, ...] = ()
    warnings: tuple[str, ...] = ()
    defaults: Settings = Settings()
