"""What a killed engine left in its journal, put into the phext files before they are copied."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from sqsuper.backup.errors import TenantError
from sqsuper.config.model import Tenant
from sqsuper.supervisor import rundir
from sqsuper.supervisor.plan import engine_paths

PATIENCE = 300.0
_PROGRAM = (
    "import sys; at = sys.argv.index('--'); sys.path[:0] = sys.argv[1:at];"
    " from sqsuper.engine.__main__ import main; sys.exit(main(sys.argv[at + 1 :]))"
)


def settle(tenant: Tenant, paths: Sequence[str] | None = None) -> None:
    """Have the engine save everything, as at a clean stop; blocks for that.

    The directory must be nobody's, or be so within seconds. It runs as the tenant's user.
    `paths`: where the engine is imported from, by default our own. Raises TenantError.
    """
    owner = rundir.owner_of(tenant)
    uid, gid = (None, None) if owner is None else owner
    where = engine_paths() if paths is None else paths
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, *where, "--"]
    argv += ["settle", "--data-dir", str(tenant.data_dir)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            env={},
            cwd=tenant.data_dir,
            check=False,
            user=uid,
            group=gid,
            extra_groups=None if owner is None else [],
        )
    except subprocess.TimeoutExpired:
        raise TenantError(tenant.name, f"its journal took over {PATIENCE:g} s") from None
    except OSError as error:
        raise TenantError.of(tenant.name, error) from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = lines[-1] if lines else f"exit status {done.returncode}"
        raise TenantError(tenant.name, f"its journal could not be put into its files: {why}")
