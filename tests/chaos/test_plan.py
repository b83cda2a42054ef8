"""The plan of a seed: the same everywhere, with every kind of fault within some seeds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from atelier.contracts.documents import canonical_json, decode, encode, parse_json
from infra.chaos.plan import (
    KILLS,
    Kind,
    Photos,
    Plan,
    Posts,
    Program,
    owners_of_poison,
    plan_of,
)

GOLDEN = {
    (7, 20, Program.REAL): "4b96aed970107c58",
    (7, 1000, Program.NOTHING): "33b793434750b7b6",
}
BY_PEOPLE = {
    Kind.CANCEL,
    Kind.POSTED_TWICE,
    Kind.POSTED_AT_ONCE,
    Kind.REJECTED_PHOTOS,
    Kind.POISONOUS,
}
BY_SETTING = {Kind.NO_MEMORY}


@pytest.mark.parametrize("of", GOLDEN, ids=str)
def test_a_seed_has_one_plan_everywhere(of):
    assert plan_of(*of).digest == GOLDEN[of]


def test_a_plan_does_not_depend_on_the_process_that_makes_it():
    program = "from infra.chaos.plan import *; print(plan_of(3, 20, Program.REAL).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {plan_of(3, 20, Program.REAL).digest + "\n"}


def test_another_seed_is_another_plan():
    assert len({plan_of(seed, 20, Program.REAL).digest for seed in range(20)}) == 20


def test_a_plan_reads_back_from_its_document():
    plan = plan_of(5, 20, Program.NOTHING)
    assert decode(Plan, parse_json(canonical_json(encode(plan)))) == plan


def test_every_kind_of_fault_appears_within_ten_seeds():
    plans = [plan_of(seed, 20, Program.REAL) for seed in range(1, 11)]
    planned = {kind for plan in plans for kind in plan.planned()}
    assert {Kind(kind) for kind in planned} | BY_PEOPLE | BY_SETTING == set(Kind)


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_fleet_of_twenty_has_everybody_in_it(seed):
    wishes = plan_of(seed, 20, Program.REAL).wishes
    assert {wish.photos for wish in wishes} == set(Photos)
    assert {wish.posts for wish in wishes} == set(Posts)
    assert any(wish.cancel_after_seconds is not None for wish in wishes)
    assert len({(wish.user, wish.model) for wish in wishes}) == len(wishes) == 20


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_last_life_ends_only_when_all_is_over_and_has_everybody(seed):
    plan = plan_of(seed, 20, Program.REAL)
    *others, last = plan.lives
    assert last.end is None
    assert last.fed == 20
    assert all(life.end is not None for life in others)
    assert [life.number for life in plan.lives] == list(range(1, len(plan.lives) + 1))
    assert [life.fed for life in plan.lives] == sorted(life.fed for life in plan.lives)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_second_kill_comes_before_the_first_is_recovered_from(seed):
    plan = plan_of(seed, 20, Program.REAL)
    kinds = [life.end.kind for life in plan.lives if life.end]
    assert kinds[0] is not Kind.KILL_IN_RECOVERY
    assert Kind.KILL_IN_RECOVERY in kinds
    assert Kind.KILL_IN_RECOVERY in KILLS


def test_a_life_beyond_the_plan_is_calm():
    plan = plan_of(1, 20, Program.REAL)
    beyond = plan.life(len(plan.lives) + 3)
    assert (beyond.faults, beyond.moments, beyond.end) == ((), (), None)
    assert beyond.fed == 20


def test_photos_are_poisoned_of_nobody_but_whom_the_plan_names():
    plan = plan_of(4, 20, Program.REAL)
    poisonous = [wish for wish in plan.wishes if wish.photos is Photos.POISONOUS]
    assert len(owners_of_poison(plan)) == len(poisonous) == 1
    assert sum(wish.user == poisonous[0].user for wish in plan.wishes) == 1
