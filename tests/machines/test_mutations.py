"""Break our own machines at random: the validator must notice, or the machine still works."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.machines import asl
from workflows.validator.levels import edges
from workflows.validator.validating import validate

NAMES = st.sampled_from(sorted(asl.MACHINES))


def findings(name: str, machine: dict[str, Any]) -> set[str]:
    known = asl.MACHINES[name]
    found = validate(machine, input_paths=known.input_paths, placeholders=known.placeholders)
    return {finding.rule for finding in found}


@given(name=NAMES, data=st.data())
def test_a_dropped_state_is_missed(name, data):
    machine = asl.load(name)
    del machine["States"][data.draw(st.sampled_from(sorted(machine["States"])))]
    assert "dangling-target" in findings(name, machine)


@given(name=NAMES, data=st.data())
def test_a_renamed_target_is_missed(name, data):
    machine = asl.load(name)
    places = [(state, edge.place) for state, s in machine["States"].items() for edge in edges(s)]
    state, place = data.draw(st.sampled_from(places))
    _rename(machine["States"][state], place, "Elsewhere")
    assert "dangling-target" in findings(name, machine)


@given(name=NAMES, data=st.data())
def test_a_dropped_field_that_matters_is_missed(name, data):
    machine = asl.load(name)
    tasks = sorted(n for n, s in machine["States"].items() if s["Type"] == "Task")
    state = machine["States"][data.draw(st.sampled_from(tasks))]
    field = data.draw(st.sampled_from(["Comment", "Retry", "Next", "Resource", "TimeoutSeconds"]))
    for twin in (field, f"{field}Path"):
        state.pop(twin, None)
    assert findings(name, machine)


READ_LATER = ["Register", "LaunchTraining", "SyncCheckpoints", "RecordFailure"]


@given(state=st.sampled_from(READ_LATER))
def test_a_result_that_goes_elsewhere_is_missed(state):
    machine = asl.load("onboarding")
    machine["States"][state]["ResultPath"] = "$.elsewhere"
    assert findings("onboarding", machine) == {"path-not-written"}


@given(data=st.data())
def test_a_fork_without_its_guard_is_found(data):
    machine = asl.load("onboarding")
    rules = machine["States"]["ResumeAt"]["Choices"]
    guarded = [
        r for r in rules if "And" in r and r["Next"] not in {"RecordFailure", "InvalidInput"}
    ]
    rule = data.draw(st.sampled_from(guarded))
    guard = data.draw(st.sampled_from([g for g in rule["And"] if "IsPresent" in g]))
    rule["And"].remove(guard)
    assert findings("onboarding", machine) == {"path-not-written"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=200)
@given(name=NAMES, value=JSON, data=st.data())
def test_whatever_stands_in_a_field_the_validator_never_stumbles(name, value, data):
    machine = asl.load(name)
    state = machine["States"][data.draw(st.sampled_from(sorted(machine["States"])))]
    state[data.draw(st.sampled_from(sorted(state)))] = value
    findings(name, machine)


def _rename(state: dict[str, Any], place: str, target: str) -> None:
    head, _, last = place.rpartition(".")
    if not head:
        state[last] = target
    else:
        field, number = head.rstrip("]").split("[")
        state[field][int(number)][last] = target
