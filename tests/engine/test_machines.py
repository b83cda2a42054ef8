"""Whatever machine is run: it ends, its history is a tree, and folding again gives the same."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.world import World, task
from workflows.engine.engine import MemoryHistoryStore, TaskFailure, TaskSuccess

ERRORS = ("A", "B")
retriers = st.lists(
    st.builds(
        lambda error, attempts, jitter: {
            "ErrorEquals": [error],
            "MaxAttempts": attempts,
            "JitterStrategy": jitter,
        },
        st.sampled_from(ERRORS),
        st.integers(0, 2),
        st.sampled_from(["NONE", "FULL"]),
    ),
    max_size=2,
)


@st.composite
def machines(draw, depth: int = 2):
    """Draw a machine whose states only lead forwards; the last one ends it."""
    names = [f"S{depth}{number}" for number in range(draw(st.integers(1, 4)))]
    states = {}
    for place, name in enumerate(names):
        after = names[place + 1 :]
        states[name] = draw(_state(after, depth))
    return {"StartAt": names[0], "States": states}


@st.composite
def _state(draw, after: list[str], depth: int):
    kinds = ["Pass", "Task", "Wait", "Fail", "Choice", "Succeed"]
    kind = draw(st.sampled_from(kinds + (["Parallel", "Map"] * 2 if depth else [])))
    if kind in ("Fail", "Succeed"):
        return {
            "Type": kind,
            **({"Error": draw(st.sampled_from(ERRORS))} if kind == "Fail" else {}),
        }
    if kind == "Choice" and after:
        rule = {"Variable": "$.n", "NumericGreaterThan": draw(st.integers(0, 3))}
        return {
            "Type": "Choice",
            "Choices": [{**rule, "Next": draw(st.sampled_from(after))}],
            "Default": draw(st.sampled_from(after)),
        }
    way = {"Next": draw(st.sampled_from(after))} if after else {"End": True}
    if kind == "Wait":
        return {"Type": "Wait", "Seconds": draw(st.integers(0, 5)), **way}
    if kind in ("Pass", "Choice"):
        return {"Type": "Pass", "Result": draw(st.integers(0, 5)), "ResultPath": "$.n", **way}
    catch = [{"ErrorEquals": ["States.ALL"], "Next": draw(st.sampled_from(after))}] if after else []
    fields = {
        "Retry": draw(retriers),
        "Catch": draw(st.sampled_from([[], [{**entry, "ResultPath": "$.e"} for entry in catch]])),
        "ResultPath": None,
        **way,
    }
    if kind == "Task":
        return task(draw(st.sampled_from("fgh")), TimeoutSeconds=draw(st.integers(1, 9)), **fields)
    if kind == "Parallel":
        branches = draw(st.lists(machines(depth=depth - 1), min_size=1, max_size=3))
        return {"Type": "Parallel", "Branches": branches, **fields}
    return {
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"n.$": "$$.Map.Item.Value", "items": [1, 2]},
        "MaxConcurrency": draw(st.integers(0, 2)),
        "ItemProcessor": draw(machines(depth=depth - 1)),
        **fields,
    }


def world_of(machine: dict, salt: int, store: MemoryHistoryStore) -> World:
    """Return a world whose functions answer by what they are called with: well, badly, or never."""
    world = World(store)
    world.engine.register("machine", machine)

    def start(call, report):
        world.functions.calls.append(call)
        said = hashlib.sha256(f"{salt}{call.id}".encode()).digest()[0] % 5
        if said < 2:
            report(TaskSuccess({"n": said}))
        elif said < 4:
            report(TaskFailure(ERRORS[said - 2], "drawn"))

    world.functions.start = start
    return world


ARN = "arn:aws:states:local:000000000000:execution:machine:one"


@settings(max_examples=120, deadline=None)
@given(machine=machines(), salt=st.integers(0, 9))
def test_a_machine_ends_with_a_history_that_is_a_tree_and_the_same_each_time(machine, salt):
    histories = []
    for _ in range(2):
        world = world_of(machine, salt, MemoryHistoryStore())
        world.engine.start_execution("machine", name="one", input={"n": 1, "items": [1, 2, 3]})
        world.engine.run_until_idle()
        histories.append(world.history(ARN))
    history = histories[0]
    assert histories[1] == history
    assert world.status(ARN) in ("SUCCEEDED", "FAILED")
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    assert all(event["previousEventId"] < event["id"] for event in history)
    assert history[-1]["type"] in ("ExecutionSucceeded", "ExecutionFailed")
    entered = sum(event["type"].endswith("StateEntered") for event in history)
    exited = sum(event["type"].endswith("StateExited") for event in history)
    assert exited <= entered


@settings(max_examples=60, deadline=None)
@given(machine=machines(), salt=st.integers(0, 9), seconds=st.integers(0, 12))
def test_a_crash_in_the_middle_changes_nothing(machine, salt, seconds):
    given_ = {"n": 1, "items": [1, 2, 3]}
    undisturbed = world_of(machine, salt, MemoryHistoryStore())
    undisturbed.engine.start_execution("machine", name="one", input=given_)
    undisturbed.engine.run_until_idle()

    store = MemoryHistoryStore()
    world = world_of(machine, salt, store)
    world.engine.start_execution("machine", name="one", input=given_)
    world.engine.run_for(seconds)
    second = world_of(machine, salt, store)
    second.clock.advance(seconds)
    assert second.engine.recover().abandoned == {}
    second.engine.run_until_idle()
    assert second.history(ARN) == undisturbed.history(ARN)


@settings(max_examples=40, deadline=None)
@given(machine=machines(), salt=st.integers(0, 9), seconds=st.integers(0, 8))
def test_a_stop_ends_everything_that_runs(machine, salt, seconds):
    world = world_of(machine, salt, MemoryHistoryStore())
    world.engine.start_execution("machine", name="one", input={"n": 1, "items": [1, 2, 3]})
    world.engine.run_for(seconds)
    running = world.status(ARN) == "RUNNING"
    open_calls = {
        effect.attempt
        for live in world.engine._host._live.values()
        for effect in live.execution.pending()
        if hasattr(effect, "attempt")
    }
    before = len(world.functions.cancelled)
    world.engine.stop_execution(ARN, error="Enough")
    cancelled = {int(call.rpartition("#")[2]) for call in world.functions.cancelled[before:]}
    assert cancelled == open_calls
    world.engine.run_until_idle()
    assert world.status(ARN) == ("ABORTED" if running else world.status(ARN))
    assert world.engine._host.next_due() is None
