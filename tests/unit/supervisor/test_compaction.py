"""What is moved together stays what it was."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from sqsuper.supervisor import compaction

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")

FACTOR = 3


class Base:
    def name(self) -> str:
        return "base"


class Sample(Base):
    """Has a member of each kind that is made anew."""

    @property
    def size(self) -> int:
        return FACTOR

    @size.setter
    def size(self, value: int) -> None:
        self.given = value

    @staticmethod
    def stays(value: float = 2.5, *, by: bytes = b"a b") -> tuple[float, bytes]:
        return value, by

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    def name(self) -> str:
        return super().name() + "/" + "a text with blanks"

    def listens(self) -> None:
        """Is passed on, not called."""

    def rests(self) -> None:
        """Is called where `work` never comes."""


def work() -> list[object]:
    sample = Sample()
    sample.size = 70_000
    passed_on = sample.listens
    if not sample.size:
        sample.rests()

    def inner(value: int) -> int:
        return value + FACTOR

    return [
        *(sample.size, sample.given, sample.stays(), sample.stays(0.5, by=b"c"), sample.made()),
        *(
            sample.name(),
            inner(1),
            inner(100_000),
            passed_on.__doc__,
            -0.0,
            0.0,
            (1, ("x y", b"z", None, 1.5)),
        ),
    ]


def run() -> None:
    work()


def test_executed_is_what_ran_in_its_order() -> None:
    codes = compaction.executed(run)
    found = [code for code in codes if code.co_filename == __file__]
    places = [
        found.index(each.__code__) for each in (run, work, Sample.made, Sample.name, Base.name)
    ]
    assert places == sorted(places)
    assert sys.getprofile() is None


def test_functions_made_anew_do_what_they_did() -> None:
    gc.unfreeze()  # a test before this one may have frozen all there is, which then is not found
    here = sys.modules[__name__]
    before = work()
    old = {name: getattr(here, name) for name in ("work",)}
    old_name, old_listens, old_size = Sample.name, Sample.listens, Sample.__dict__["size"]
    resting = Sample.rests
    reference = old["work"]
    held = compaction.gather(compaction.executed(run))
    try:
        assert held
        assert work is not reference
        assert Sample.name is not old_name
        assert Sample.listens is not old_listens
        assert Sample.__dict__["size"] is not old_size
        # Nobody touches it, and it would stand between what is touched.
        assert Sample.rests is resting
        # Who has an old one runs the new code.
        assert reference.__code__ is work.__code__
        assert repr(work()) == repr(before) == repr(reference())
        assert (work.__module__, work.__qualname__) == (__name__, "work")
        assert Sample.stays.__kwdefaults__ == {"by": b"a b"}
    finally:
        held.clear()
        gc.collect()


LAYOUT = """
import sys
from sqsuper.supervisor import compaction
held = compaction.fill(whole=True)
size = 160 - sys.getsizeof(b"")
print(*(id(piece) for piece in [bytes(size) for _ in range(20)]))
"""


def test_objects_made_after_a_fill_stand_side_by_side() -> None:
    # In a process of its own: what other tests hold and free decides where new objects stand.
    ran = subprocess.run(
        [sys.executable, "-c", LAYOUT], capture_output=True, text=True, check=True, timeout=60
    )
    places = [int(place) for place in ran.stdout.split()]
    assert places == list(range(places[0], places[0] + 20 * 160, 160))
