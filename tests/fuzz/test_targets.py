"""Every parser refuses politely whatever it is given; each case ever found stays refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import mutations
from tests.fuzz.targets import TARGETS, Target, target

CASES = Path(__file__).with_name("cases")
FOUND = sorted(path for path in CASES.glob("*/*") if path.is_file())
each_target = pytest.mark.parametrize("one", TARGETS, ids=lambda t: t.name)


@each_target
def test_nearly_right_and_random_bytes_are_taken_or_refused_politely(one: Target) -> None:
    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(one.seeds()) | st.binary(max_size=64))
    def tried(data: bytes) -> None:
        one.try_with(data)

    tried()


@each_target
def test_a_fuzzer_starts_from_bytes_that_are_taken(one: Target) -> None:
    assert any(one.try_with(seed) for seed in one.seeds())


@pytest.mark.parametrize("case", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_fuzzer_once_found_is_taken_or_refused_politely(case: Path) -> None:
    target(case.parent.name).try_with(case.read_bytes())


def test_every_kept_case_belongs_to_a_target() -> None:
    assert {path.parent.name for path in FOUND} <= {one.name for one in TARGETS}
