from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.fakes import FakeDrawer
from tests.serving.house import House


@pytest.fixture
def drawer() -> FakeDrawer:
    return FakeDrawer()


@pytest.fixture
def house(tmp_path: Path, drawer: FakeDrawer) -> Iterator[House]:
    """A model server with a fake drawer, its doors reached without sockets."""
    with House(tmp_path, drawer) as house:
        yield house
