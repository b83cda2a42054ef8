"""A fresh platform for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.world import World, new_world


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as fresh:
        yield fresh
