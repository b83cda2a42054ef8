"""One ledger and one bucket per test and platform, on a clock that the test moves."""

from __future__ import annotations

import pytest

from atelier.contracts.clock import ManualClock
from tests.contracts.platforms import LEDGERS, OBJECTS


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=sorted(LEDGERS))
def ledger(request, tmp_path, clock):
    with LEDGERS[request.param](tmp_path, clock) as ledger:
        yield ledger


@pytest.fixture(params=sorted(OBJECTS))
def objects(request, tmp_path, clock):
    with OBJECTS[request.param](tmp_path, clock) as objects:
        yield objects
