"""A supervisor and a gateway in several processes, over the wires that are asked for.

    python -m tests.integration.workers_program CONFIG nested|transports PING_INTERVAL

On SIGUSR1 it stops the instance of the first tenant, as planned. On SIGUSR2 it reads CONFIG
again and goes on with the tenants that it names then; only tokens and settings of the gateway
may be others.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from sqsuper.config.load import load
from sqsuper.gateway.workers import WorkersService
from sqsuper.supervisor.service import Supervisor


def main(file: Path, wires: str, ping_interval: float) -> None:
    from twisted.internet import reactor as running

    reactor: Any = running
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    config = load(file)
    tenants = {tenant.name: tenant for tenant in config.tenants}
    supervisor = Supervisor(config, reactor=reactor)
    gateway = WorkersService(config, supervisor, reactor, wires == "nested", ping_interval)

    def change() -> None:
        now = {tenant.name: tenant for tenant in load(file).tenants}
        changed = [tenant for name, tenant in now.items() if tenants.get(name) != tenant]
        gone = [name for name in tenants if name not in now]
        tenants.clear()
        tenants.update(now)
        gateway.change(changed, gone)

    def failed(failure: Any) -> None:
        Logger().failure("it does not start", failure)
        reactor.stop()

    async def stop() -> None:
        await gateway.stopService()
        await supervisor.stopService()

    supervisor.drain_by(gateway.quiet)
    supervisor.startService()
    started = gateway.startService()
    started.addErrback(lambda failure: reactor.callWhenRunning(failed, failure))
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(change))
    signal.signal(
        signal.SIGUSR1, lambda *_: reactor.callFromThread(supervisor.stop, config.tenants[0].name)
    )
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
