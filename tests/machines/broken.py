"""A sound little machine, and for each rule of the validator the edit that breaks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Machine = dict[str, Any]
Edit = Callable[[Machine], None]

RETRIER = {
    "ErrorEquals": ["Throttled"],
    "IntervalSeconds": 1,
    "MaxAttempts": 3,
    "BackoffRate": 2.0,
    "MaxDelaySeconds": 20,
    "JitterStrategy": "FULL",
}

SOUND: Machine = {
    "Comment": "Fetches something, waits for a person, tells both neighbours.",
    "StartAt": "Fetch",
    "States": {
        "Fetch": {
            "Type": "Task",
            "Comment": "Gets it.",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "${FetchFunction}", "Payload": {"who.$": "$.who"}},
            "ResultSelector": {"pages.$": "$.Payload.pages"},
            "ResultPath": "$.fetched",
            "TimeoutSeconds": 60,
            "Retry": [RETRIER],
            "Catch": [{"ErrorEquals": ["NotFound"], "ResultPath": "$.error", "Next": "Missing"}],
            "Next": "Enough",
        },
        "Enough": {
            "Type": "Choice",
            "Comment": "Few pages need a person.",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.limit", "IsPresent": True},
                        {"Variable": "$.fetched.pages", "NumericGreaterThanPath": "$.limit"},
                    ],
                    "Next": "Tell",
                }
            ],
            "Default": "Ask",
        },
        "Ask": {
            "Type": "Task",
            "Comment": "Waits for a person.",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {
                "FunctionName": "${FetchFunction}",
                "Payload": {"token.$": "$$.Task.Token", "pages.$": "$.fetched.pages"},
            },
            "ResultPath": "$.answer",
            "TimeoutSeconds": 3600,
            "HeartbeatSeconds": 600,
            "Retry": [RETRIER],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Missing"}],
            "Next": "Pause",
        },
        "Pause": {
            "Type": "Wait",
            "Comment": "Gives the person time.",
            "SecondsPath": "$.answer.seconds",
            "Next": "Tell",
        },
        "Tell": {
            "Type": "Parallel",
            "Comment": "Tells both neighbours at once.",
            "Branches": [
                {
                    "StartAt": "Left",
                    "States": {
                        "Left": {
                            "Type": "Pass",
                            "Comment": "The left one.",
                            "Parameters": {"pages.$": "$.fetched.pages"},
                            "End": True,
                        }
                    },
                },
                {
                    "StartAt": "Right",
                    "States": {
                        "Right": {
                            "Type": "Pass",
                            "Comment": "The right one.",
                            "Parameters": {"who.$": "States.Format('to {}', $.who)"},
                            "End": True,
                        }
                    },
                },
            ],
            "Next": "Done",
        },
        "Done": {"Type": "Succeed", "Comment": "Both know."},
        "Missing": {"Type": "Fail", "Comment": "Nothing there.", "ErrorPath": "$.error.Error"},
    },
}

INPUT_PATHS = ("$.who",)
PLACEHOLDERS = ("FetchFunction",)


def sets(path: str, value: object) -> Edit:
    """Return the edit that sets what lies at `path` below States, as `Fetch/Retry/0`."""

    def edit(machine: Machine) -> None:
        *parents, last = _steps(path)
        _walk(machine["States"], parents)[last] = value

    return edit


def drops(path: str) -> Edit:
    """Return the edit that removes what lies at `path` below States."""

    def edit(machine: Machine) -> None:
        *parents, last = _steps(path)
        del _walk(machine["States"], parents)[last]

    return edit


def machine_sets(field: str, value: object) -> Edit:
    """Return the edit that sets a field of the machine itself."""

    def edit(machine: Machine) -> None:
        machine[field] = value

    return edit


def broken(edit: Edit) -> str:
    """Return the text of the sound machine after an edit."""
    machine = json.loads(json.dumps(SOUND))
    edit(machine)
    return json.dumps(machine)


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.split("/")]


def _walk(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        value = value[step]
    return value


LOST = {"Type": "Pass", "Comment": "Turns round.", "Next": "Lost"}
ALL = {"ErrorEquals": ["States.ALL"], "Next": "Missing"}

BROKEN: dict[str, tuple[Edit, ...]] = {
    "malformed": (
        sets("Fetch/Type", "Tsak"),
        sets("Fetch/TimeoutSeconds", "60"),
        sets("Fetch/Retry", []),
        sets("Enough/Choices/0/And/1", {"Variable": "$.a"}),
        sets("Enough/Choices/0/And/1", {"IsNull": True}),
        drops("Fetch/Resource"),
        drops("Fetch/Catch/0/Next"),
        machine_sets("QueryLanguage", "JSONata"),
    ),
    "unknown-field": (
        sets("Fetch/TimeoutSecond", 60),
        sets("Fetch/Assign", {"pages.$": "$.pages"}),
        sets("Fetch/Retry/0/MaxAttempt", 3),
        machine_sets("Timeout", 60),
    ),
    "dangling-target": (
        sets("Fetch/Next", "Enuogh"),
        sets("Enough/Default", "Aks"),
        sets("Enough/Choices/0/Next", "Tel"),
        sets("Fetch/Catch/0/Next", "Mising"),
        machine_sets("StartAt", "Begin"),
        sets("Tell/Branches/0/StartAt", "Middle"),
    ),
    "orphan-state": (sets("Spare", {"Type": "Succeed", "Comment": "Nobody comes."}),),
    "no-way-out": (lambda m: (sets("Lost", LOST)(m), sets("Pause/Next", "Lost")(m)),),
    "no-continuation": (drops("Pause/Next"), sets("Pause/End", True)),
    "choice-without-default": (drops("Enough/Default"),),
    "bad-name": (
        lambda m: (
            sets("Enough/Default", "x" * 81)(m),
            sets("x" * 81, m["States"].pop("Ask"))(m),
        ),
        lambda m: (sets("Pause/Next", "Tell both?")(m), sets("Tell both?", SOUND_END)(m)),
    ),
    "duplicate-name": (
        lambda m: m["States"]["Tell"]["Branches"].append(m["States"]["Tell"]["Branches"][0]),
    ),
    "no-comment": (drops("Ask/Comment"), lambda m: m.pop("Comment")),
    "task-without-timeout": (drops("Fetch/TimeoutSeconds"),),
    "bad-seconds": (sets("Fetch/TimeoutSeconds", 0), sets("Ask/HeartbeatSeconds", 3600)),
    "task-without-retry": (drops("Fetch/Retry"),),
    "unknown-error": (
        sets("Fetch/Retry/0/ErrorEquals", ["Throtled"]),
        sets("Fetch/Catch/0/ErrorEquals", ["CallerError"]),
    ),
    "all-misplaced": (
        sets("Ask/Catch/0/ErrorEquals", ["States.ALL", "NotFound"]),
        lambda m: m["States"]["Fetch"]["Catch"].insert(0, ALL),
    ),
    "never-matches": (
        sets("Fetch/Catch/0/ErrorEquals", ["States.Runtime"]),
        lambda m: m["States"]["Fetch"]["Retry"].append(RETRIER),
    ),
    "retries-final-error": (sets("Fetch/Retry/0/ErrorEquals", ["PhotosRejected"]),),
    "retry-range": (
        sets("Fetch/Retry/0/IntervalSeconds", 0),
        sets("Fetch/Retry/0/MaxAttempts", -1),
        sets("Fetch/Retry/0/BackoffRate", 0.5),
        sets("Fetch/Retry/0/MaxDelaySeconds", 1),
    ),
    "unknown-jitter": (sets("Fetch/Retry/0/JitterStrategy", "SOME"),),
    "path-not-written": (
        sets("Pause/SecondsPath", "$.anwser.seconds"),
        sets("Fetch/ResultSelector", {"pages.$": "$.payload.pages"}),
        sets("Fetch/ResultSelector", {"sides.$": "$.Payload.pages"}),
        sets("Enough/Choices/0/And/0", {"Variable": "$.limit", "IsPresent": False}),
        sets("Ask/ResultPath", None),
        sets("Ask/InputPath", "$.fetched"),
        sets("Pause/OutputPath", "$.fetched"),
        sets("Fetch/Catch/0/ResultPath", "$.problem"),
        sets("Tell/Parameters", {"who.$": "$.who"}),
    ),
    "bad-expression": (sets("Ask/Parameters/Payload/pages.$", "fetched.pages"),),
    "unknown-context": (sets("Ask/Parameters/Payload/pages.$", "$$.Execution.Nmae"),),
    "callback-without-token": (
        sets("Ask/Parameters/Payload", {}),
        sets("Fetch/Parameters/Payload/token.$", "$$.Task.Token"),
    ),
    "unknown-placeholder": (sets("Fetch/Parameters/FunctionName", "${FecthFunction}"),),
}

SOUND_END = {"Type": "Succeed", "Comment": "Both know."}
