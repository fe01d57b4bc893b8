"""A supervisor in a process of its own, to be killed: DIRECTORY COMMAND-JSON [LAUNCHER].

The first tenant, alice, has the embedded engine; with COMMAND there is bob, who runs it.
Prints one line of JSON, {"alice": pid, "bob": pid}, when both are ready, or the error's line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure

from sqsuper.config.model import Launcher
from sqsuper.supervisor.errors import SupervisorError
from sqsuper.supervisor.service import Supervisor
from tests.unit.supervisor import support
from tests.unit.supervisor.support import command_tenant, config, tenant, upstream_of


async def serve(directory: Path, command: list[str]) -> None:
    tenants = [tenant(directory)]
    if command:
        tenants.append(command_tenant(directory, *command, name="bob"))
    supervisor = Supervisor(
        config(directory, *tenants),
        reactor=reactor,
    )
    reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopService)
    supervisor.privilegedStartService()
    supervisor.startService()
    for one in tenants:
        await upstream_of(supervisor, one.name)
    pids = {one.name: supervisor.pid(one.name) for one in tenants}
    print(json.dumps(pids), flush=True)  # noqa: T201


def failed(failure: Failure) -> None:
    if failure.check(SupervisorError):
        print(failure.value, flush=True)  # noqa: T201
    else:
        failure.printTraceback()
    reactor.stop()


def main() -> None:
    directory, command = Path(sys.argv[1]), json.loads(sys.argv[2])
    support.chosen_launcher = Launcher(*sys.argv[3:] or ["auto"])
    begin = lambda: ensureDeferred(serve(directory, command)).addErrback(failed)  # noqa: E731
    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
