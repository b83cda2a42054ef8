"""What the engine's storage errors are to those who use the port: wait, or mend our promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atelier.contracts.errors import (
    BrokenError,
    ContractBroken,
    LedgerContention,
    ServiceUnavailable,
    WaitError,
)
from infra.local.executions import LocalExecutions
from tests.engine.faulty_store import Fault, FaultyStore
from tests.engine.world import World, callback
from workflows.engine.engine import StorageBroken, StorageContended, StorageUnavailable

CALLS: dict[str, Callable[[LocalExecutions, str], object]] = {
    "start": lambda port, _: port.start("machine", "two", {}),
    "describe": lambda port, _: port.describe("machine", "one"),
    "stop": lambda port, _: port.stop("machine", "one", error="E", cause="C"),
    "redrive": lambda port, _: port.redrive("machine", "one"),
    "succeed_task": lambda port, token: port.succeed_task(token, {}),
    "fail_task": lambda port, token: port.fail_task(token, error="E", cause="C"),
}


@pytest.mark.parametrize(
    ("raised", "expected", "kind"),
    [
        (StorageContended, LedgerContention, WaitError),
        (StorageUnavailable, ServiceUnavailable, WaitError),
        (StorageBroken, ContractBroken, BrokenError),
    ],
)
@pytest.mark.parametrize("call", sorted(CALLS))
def test_every_call_tells_in_the_tree_that_it_could_not_be_stored(call, raised, expected, kind):
    class Refusing(FaultyStore):
        def commit(self, entries):
            try:
                super().commit(entries)
            except StorageUnavailable:
                raise raised("executions.sqlite3 says no") from None

        def __getattr__(self, name):
            if self.reads_fail and name == "find":
                raise raised("executions.sqlite3 says no")
            return super().__getattr__(name)

    world = World(Refusing())
    arn = world.start({"Ask": callback()})
    token = world.functions.calls[0].token
    if call == "redrive":
        world.engine.stop_execution(arn)
    before = world.history(arn)
    world.store.commits, world.store.reads_fail = Fault.BEFORE, call == "describe"
    with pytest.raises(expected, match="says no") as caught:
        CALLS[call](LocalExecutions(world.engine), token)
    assert isinstance(caught.value, kind)
    world.store.heal()
    assert world.history(arn) == before
    assert CALLS[call](LocalExecutions(world.engine), token) is not False
