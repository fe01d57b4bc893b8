"""How the slots of one tenant (`max_inflight`) are divided among workers; no I/O.

The supervisor's process owns the division. A worker may use what its last order says; an
order to use less takes effect as its requests end. Rules:

* `held`, what a worker may be using at most, is what it was ever told since it last said
  otherwise. The sum of it never exceeds the total, so neither does what is used.
* An order that raises a share has a new serial number, and what a worker says names the last
  one that it has seen: what crossed such an order on its way is not believed.
* Nobody is left with less than an equal part while others have more than that and it has use
  for it. Slots that nobody asked for stay where they are until somebody does.
* What cannot be divided equally goes round (`rotate`), or with fewer slots than workers some
  would never have one.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Order:
    """What a worker is told: use at most `slots`, let at most `queue` requests wait.

    `contended`: somebody waits for slots, so say at once when fewer are needed.
    """

    worker: int
    serial: int
    slots: int
    queue: int
    contended: bool


@attrs.define
class _Share:
    held: int = 0
    target: int = 0
    demand: int = 0
    waiting: int = 0
    serial: int = 0
    told: tuple[int, int, bool] | None = None


class Shares:
    """The division of `total` slots and of `queue` places to wait among `workers`."""

    def __init__(self, total: int, queue: int, workers: int) -> None:
        self._total = total
        self._queue = queue
        self._equal = max(1, total // max(1, workers))
        self._shares: dict[int, _Share] = {}
        self._turn = 0
        self._left_behind = 0
        self.contended = False

    @property
    def held(self) -> int:
        """How many slots may be in use at most, in sum."""
        return self._left_behind + sum(share.held for share in self._shares.values())

    def report(
        self, worker: int, serial: int, *, cap: int, demand: int, waiting: int
    ) -> list[Order]:
        """Take what a worker says; return the orders that follow from it.

        It uses at most `cap` slots; has use for `demand`, of which `waiting` requests have none.
        """
        share = self._shares.get(worker)
        if share is None:
            share = self._shares[worker] = _Share()
        if serial == share.serial:
            share.held = max(cap, share.target)
        share.demand = demand
        share.waiting = waiting
        return self._balance(worker)

    def leave_behind(self, worker: int) -> int:
        """Forget a worker that has ended; return how many slots its requests may still have.

        They are nobody's until they are `found`.
        """
        share = self._shares.pop(worker, None)
        left = 0 if share is None else share.held
        self._left_behind += left
        return left

    def found(self, slots: int) -> list[Order]:
        """Divide anew what `leave_behind` returned: the requests that had it are over."""
        self._left_behind -= slots
        return self._balance(None)

    def resize(self, total: int, queue: int, workers: int) -> list[Order]:
        """Divide other totals from now on; a smaller one is reached as requests end."""
        self._total = total
        self._queue = queue
        self._equal = max(1, total // max(1, workers))
        return self._balance(None)

    def rotate(self) -> list[Order]:
        """Let the next ones have what cannot be divided equally."""
        self._turn += 1
        return self._balance(None)

    def _balance(self, speaker: int | None) -> list[Order]:
        shares = self._shares
        demands = {worker: share.demand for worker, share in shares.items()}
        fair = divide(self._total, demands, self._turn)
        self._recall(fair)
        self._hand_out(fair)
        self.contended = sum(demands.values()) > self._total or any(
            shares[worker].target < fair[worker] for worker in shares
        )
        if not self.contended and speaker is not None:
            self._be_generous(shares[speaker])
        return self._orders()

    def _recall(self, fair: Mapping[int, int]) -> None:
        """Lower targets, by no more than is missing."""
        shares = self._shares
        missing = sum(max(0, fair[worker] - share.target) for worker, share in shares.items())
        on_its_way = sum(share.held - share.target for share in shares.values())
        free = self._total - self.held
        missing -= free + on_its_way
        # The largest surplus first.
        for worker in sorted(shares, key=lambda w: fair[w] - shares[w].target):
            if missing <= 0:
                break
            share = shares[worker]
            less = min(missing, share.target - fair[worker])
            if less > 0:
                share.target -= less
                missing -= less

    def _hand_out(self, fair: Mapping[int, int]) -> None:
        """Raise targets as far as there is room: one by one, the least served first."""
        shares = self._shares
        for worker in sorted(shares, key=lambda w: shares[w].target):
            share = shares[worker]
            self._raise(share, fair[worker] - share.target)

    def _be_generous(self, share: _Share) -> None:
        """Let a worker that has use for slots have its part in advance: it need not ask again."""
        if share.demand:
            self._raise(share, self._equal - share.target)

    def _raise(self, share: _Share, by: int) -> None:
        if by > 0:
            # What it still holds of more than its target costs nobody anything.
            own = share.held - share.target
            more = min(by, own + max(0, self._total - self.held))
            share.target += more
            share.held = max(share.held, share.target)

    def _orders(self) -> list[Order]:
        orders = []
        waiting = sum(share.waiting for share in self._shares.values())
        for worker, share in self._shares.items():
            # While there is ample room nobody needs to know who else waits.
            others = waiting - share.waiting if 2 * waiting > self._queue else 0
            queue = max(0, self._queue - others)
            told = (share.target, queue, self.contended)
            if told != share.told:
                if share.target > (share.told[0] if share.told else 0):
                    share.serial += 1
                share.told = told
                orders.append(Order(worker, share.serial, *told))
        return orders


def divide(total: int, demands: Mapping[int, int], turn: int = 0) -> dict[int, int]:
    """Divide `total` among `demands`: nobody gets more than asked, the rest equally.

    What cannot be divided equally goes, one each, to those whose turn it is.
    """
    parts: dict[int, int] = {}
    left = total
    order = sorted(demands, key=lambda key: (demands[key], key))
    for index, key in enumerate(order):
        among = len(order) - index
        equal = left // among
        if demands[key] > equal:
            parts.update(dict.fromkeys(order[index:], equal))
            left -= equal * among
            break
        parts[key] = demands[key]
        left -= parts[key]
    unserved = sorted(key for key in demands if parts[key] < demands[key])
    for index in range(min(left, len(unserved))):
        parts[unserved[(turn + index) % len(unserved)]] += 1
    return parts
