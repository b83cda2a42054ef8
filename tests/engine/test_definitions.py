"""What cannot be run is refused with its place, never ignored."""

from __future__ import annotations

import pytest

from tests.engine.world import INVOKE, callback, task
from workflows.engine.errors import InvalidDefinition, UnsupportedDefinition
from workflows.engine.parse import parse_machine

END = {"Type": "Succeed"}


def machine(state: dict, **top) -> dict:
    return {"StartAt": "S", "States": {"S": state, "End": END}, **top}


@pytest.mark.parametrize(
    ("definition", "location"),
    [
        ([], "/"),
        ({"States": {}}, "/StartAt"),
        ({"StartAt": "S", "States": {"End": END}}, "/StartAt"),
        (machine({"Type": "Sleep"}), "/States/S/Type"),
        (machine({"Type": "Pass"}), "/States/S/Next"),
        (machine({"Type": "Pass", "Next": "End", "End": True}), "/States/S/Next"),
        (machine({"Type": "Pass", "Next": "Nowhere"}), "/States/S/Next"),
        (machine({"Type": "Pass", "InputPath": "a", "End": True}), "/States/S/InputPath"),
        (machine({"Type": "Pass", "ResultPath": "$[*]", "End": True}), "/States/S/ResultPath"),
        (machine({"Type": "Pass", "Parameters": {"a.$": 1}, "End": True}), "/States/S/Parameters"),
        (machine({"Type": "Wait", "End": True}), "/States/S"),
        (machine({"Type": "Wait", "Seconds": -1, "End": True}), "/States/S/Seconds"),
        (machine({"Type": "Wait", "Timestamp": "soon", "End": True}), "/States/S/Timestamp"),
        (machine({"Type": "Choice", "Choices": []}), "/States/S/Choices"),
        (
            machine({"Type": "Choice", "Choices": [{"Variable": "$", "IsNull": True}]}),
            "/States/S/Choices/0/Next",
        ),
        (
            machine(
                {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$", "IsNull": True, "Next": "Nowhere"}],
                }
            ),
            "/States/S/Choices/0/Next",
        ),
        (machine(task(Parameters={"Payload": 1})), "/States/S/Parameters"),
        (machine(task(TimeoutSeconds=0)), "/States/S/TimeoutSeconds"),
        (machine(task(TimeoutSeconds=5, TimeoutSecondsPath="$.t")), "/States/S/TimeoutSeconds"),
        (
            machine(callback(TimeoutSeconds=5, HeartbeatSeconds=5)),
            "/States/S/HeartbeatSeconds",
        ),
        (machine(task(Retry=[{"ErrorEquals": []}])), "/States/S/Retry/0/ErrorEquals"),
        (
            machine(task(Retry=[{"ErrorEquals": ["States.Everything"]}])),
            "/States/S/Retry/0/ErrorEquals",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["States.ALL", "A"]}])),
            "/States/S/Retry/0/ErrorEquals",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["A"]}])),
            "/States/S/Retry/0/ErrorEquals",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["A"], "JitterStrategy": "SOME"}])),
            "/States/S/Retry/0/JitterStrategy",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["A"], "BackoffRate": 0.5}])),
            "/States/S/Retry/0/BackoffRate",
        ),
        (
            machine(task(Catch=[{"ErrorEquals": ["A"], "Next": "Nowhere"}])),
            "/States/S/Catch/0/Next",
        ),
        (machine({"Type": "Parallel", "Branches": [], "End": True}), "/States/S/Branches"),
        (
            machine(
                {
                    "Type": "Parallel",
                    "Branches": [{"StartAt": "X", "States": {"X": {"Type": "Pass"}}}],
                    "End": True,
                }
            ),
            "/States/S/Branches/0/States/X/Next",
        ),
        (machine({"Type": "Map", "End": True}), "/States/S"),
        (machine({"Type": "Pass", "End": True}, TimeoutSeconds="1"), "/TimeoutSeconds"),
        (machine({"Type": "Pass", "End": True}, Version="2.0"), "/Version"),
    ],
)
def test_a_definition_that_breaks_the_language_is_refused_with_its_place(definition, location):
    with pytest.raises(InvalidDefinition) as refused:
        parse_machine(definition)
    assert (refused.value.location or "/") == location


@pytest.mark.parametrize(
    ("definition", "location"),
    [
        (machine({"Type": "Pass", "End": True}, QueryLanguage="JSONata"), "/QueryLanguage"),
        (
            machine({"Type": "Pass", "QueryLanguage": "JSONata", "End": True}),
            "/States/S/QueryLanguage",
        ),
        (machine({"Type": "Pass", "Output": {}, "End": True}), "/States/S/Output"),
        (machine({"Type": "Pass", "TimeoutSeconds": 5, "End": True}), "/States/S/TimeoutSeconds"),
        (machine({"Type": "Succeed", "Assign": {"a": 1}}), "/States/S/Assign"),
        (machine(task(Resource="arn:aws:states:x:1:activity:a")), "/States/S/Resource"),
        (
            machine(
                {
                    "Type": "Map",
                    "ItemProcessor": {
                        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                        "StartAt": "X",
                        "States": {"X": END},
                    },
                    "End": True,
                }
            ),
            "/States/S/ItemProcessor/ProcessorConfig",
        ),
        (
            machine(
                {
                    "Type": "Map",
                    "ItemReader": {},
                    "ItemProcessor": {"StartAt": "X", "States": {"X": END}},
                    "End": True,
                }
            ),
            "/States/S/ItemReader",
        ),
        (
            machine(task(Retry=[{"ErrorEquals": ["A"], "Surprise": 1}])),
            "/States/S/Retry/0/Surprise",
        ),
        (machine(END, Surprise=1), "/Surprise"),
    ],
)
def test_what_goes_beyond_the_engine_is_refused_as_unsupported(definition, location):
    with pytest.raises(UnsupportedDefinition) as refused:
        parse_machine(definition)
    assert refused.value.location == location


def test_only_resources_that_somebody_performs_are_taken():
    parse_machine(machine(task()), supports=lambda resource: resource.arn == INVOKE)
    with pytest.raises(UnsupportedDefinition):
        parse_machine(machine(task()), supports=lambda _resource: False)


def test_a_definition_that_is_nested_without_end_is_refused(world):
    deep: dict = {"Type": "Pass", "End": True}
    for _ in range(5_000):
        deep = {
            "Type": "Parallel",
            "Branches": [{"StartAt": "S", "States": {"S": deep}}],
            "End": True,
        }
    with pytest.raises(InvalidDefinition):
        world.engine.register("machine", {"StartAt": "S", "States": {"S": deep}})
