from __future__ import annotations

from sqsuper.gateway.respawn import Respawn


def test_the_first_is_replaced_at_once_and_then_ever_later() -> None:
    respawn = Respawn()
    delays = [respawn.delay(0.5) for _ in range(9)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_one_that_has_proven_itself_is_replaced_at_once() -> None:
    respawn = Respawn()
    for _ in range(5):
        respawn.delay(0.5)
    assert respawn.delay(3600.0) == 0.0
    assert respawn.delay(0.5) == 0.1
