"""Crashes on demand: a process dies after its n-th port call, for every n."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tasks.ports import Ports

PORTS = ("ledger", "objects", "training_jobs", "endpoint", "notifications", "executions")


class Crash(BaseException):
    """The process died here; no handler of the product's may catch it."""


@dataclass
class CallCount:
    """How many port calls were made, and after which one the process dies."""

    dies_after: int
    calls: int = 0

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.dies_after:
            raise Crash


class CountedPort:
    """A port whose every call is counted once its effect has happened."""

    def __init__(self, port: Any, calls: CallCount) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            finally:
                self._calls.count()

        return call


def dying(ports: Ports, *, after: int) -> tuple[Ports, CallCount]:
    """Return ports under which the process dies after that many calls, and their count."""
    calls = CallCount(after)
    wrapped = {name: CountedPort(getattr(ports, name), calls) for name in PORTS}
    return replace(ports, **wrapped), calls


def crash_everywhere(
    run: Callable[[Ports], Any], world: Callable[[], Any], look: Callable[[Any], Any]
) -> int:
    """Check that dying after any port call, and running again, leaves what one run leaves.

    Args:
        run: the task.
        world: makes a fresh platform, a context manager with `ports`.
        look: what must be the same afterwards.

    Returns:
        How many crash points there were.
    """
    with world() as whole:
        result, expected = run(whole.ports), look(whole)
        assert run(whole.ports) == result, "running twice gives another result"
        assert look(whole) == expected, "running twice leaves something else"
    for point in range(1, 1000):
        with world() as broken:
            ports, calls = dying(broken.ports, after=point)
            try:
                run(ports)
            except Crash:
                again = run(broken.ports)
                assert again == result, f"after a crash at port call {point}"
                assert look(broken) == expected, f"after a crash at port call {point}"
            else:
                assert calls.calls < point
                return point - 1
    raise AssertionError("no end of port calls")
