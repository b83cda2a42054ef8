"""Announce: those who announce the same at the same moment deliver it once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any

from tasks import announce, cancel
from tasks.turns import Turns
from tests.fakes.world import World

AT_ONCE = 6


class ReadTogether:
    """A ledger of which so many read a notification at the same moment, before any goes on."""

    def __init__(self, ledger: Any) -> None:
        self._ledger, self._barrier, self._reads = ledger, Barrier(AT_ONCE), count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def notification(self, name: str) -> Any:
        found = self._ledger.notification(name)
        if found is not None and next(self._reads) < AT_ONCE:
            self._barrier.wait(10)
        return found


def test_those_who_announce_at_once_deliver_once(world: World) -> None:
    request = world.queued()
    cancel.run({"request": request}, ports=world.ports)
    ports = replace(world.ports, ledger=ReadTogether(world.ledger))
    given = {"request": request, "outcome": "cancelled"}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = [threads.submit(announce.run, given, ports=ports) for _ in range(AT_ONCE)]
    assert [one.result() for one in done] == [{"undelivered": 0}] * AT_ONCE
    assert len(world.notifications.delivered) == 1


def test_a_turn_that_nobody_wants_any_more_is_forgotten() -> None:
    turns = Turns()
    with turns.of("a"), turns.of("b"):
        assert set(turns._turns) == {"a", "b"}
    assert not turns._turns
