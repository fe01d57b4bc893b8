"""What is known of a tenant as of now."""

from __future__ import annotations

from sqsuper.admin.snapshot import snapshot_of
from sqsuper.supervisor.instance import State
from tests.unit.admin.page_support import Fake


def test_figures_are_those_of_the_process_that_runs() -> None:
    fake = Fake("alice")
    fake.lives["alice"].become(State.HEALTHY, "takes requests")
    now = snapshot_of(fake.control, "alice")
    assert (now.pid, now.memory, now.threads, now.cpu) == (77, fake.resident, 4, 0.5)
    fake.lives["alice"].state = State.STOPPED
    now = snapshot_of(fake.control, "alice")
    assert (now.pid, now.memory, now.threads, now.cpu) == (None, None, None, None)


def test_what_was_measured_of_the_process_before_is_not_told() -> None:
    fake = Fake("alice")
    fake.lives["alice"].become(State.STARTING, "asked for")
    fake.lives["alice"].pid = 78
    fake.resident = None
    now = snapshot_of(fake.control, "alice")
    assert (now.pid, now.memory, now.threads, now.cpu) == (78, None, None, None)
