"""The shape of a definition: which fields each type of state has, and of which kind they are.

Every other rule relies on it, so they are asked only when nothing is found here.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html and the
pages of the state types beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from workflows.validator.findings import Finding, meant

MALFORMED: Final = "malformed"
UNKNOWN_FIELD: Final = "unknown-field"

Kind = Callable[[object], bool]


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _path(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("$", "States."))


def _path_or_null(value: object) -> bool:
    return value is None or _path(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: object) -> bool:
    return isinstance(value, Mapping)


def _objects(value: object) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(v, Mapping) for v in value)


def _names(value: object) -> bool:
    return isinstance(value, list) and value != [] and all(_text(v) for v in value)


def _true(value: object) -> bool:
    return value is True


def _anything(_value: object) -> bool:
    return True


WORDS: Final[Mapping[Kind, str]] = {
    _text: "text",
    _path: "a path ($.…) or an intrinsic function (States.…)",
    _path_or_null: "a path ($.…) or null",
    _whole: "a whole number",
    _number: "a number",
    _object: "an object",
    _objects: "a list of objects, not empty",
    _names: "a list of names, not empty",
    _true: "true; leave it out otherwise",
    _anything: "anything",
}

_COMMON: Final[Mapping[str, Kind]] = {"Type": _text, "Comment": _text}
_PATHS: Final[Mapping[str, Kind]] = {"InputPath": _path_or_null, "OutputPath": _path_or_null}
_ONWARD: Final[Mapping[str, Kind]] = {"Next": _text, "End": _true}
_RESULT: Final[Mapping[str, Kind]] = {
    "Parameters": _object,
    "ResultSelector": _object,
    "ResultPath": _path_or_null,
    "Retry": _objects,
    "Catch": _objects,
}

STATE_FIELDS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "Task": {
        **_COMMON,
        **_PATHS,
        **_ONWARD,
        **_RESULT,
        "Resource": _text,
        "Credentials": _object,
        "TimeoutSeconds": _whole,
        "TimeoutSecondsPath": _path,
        "HeartbeatSeconds": _whole,
        "HeartbeatSecondsPath": _path,
    },
    "Pass": {
        **_COMMON,
        **_PATHS,
        **_ONWARD,
        "Parameters": _object,
        "Result": _anything,
        "ResultPath": _path_or_null,
    },
    "Choice": {**_COMMON, **_PATHS, "Choices": _objects, "Default": _text},
    "Wait": {
        **_COMMON,
        **_PATHS,
        **_ONWARD,
        "Seconds": _whole,
        "SecondsPath": _path,
        "Timestamp": _text,
        "TimestampPath": _path,
    },
    "Succeed": {**_COMMON, **_PATHS},
    "Fail": {**_COMMON, "Error": _text, "ErrorPath": _path, "Cause": _text, "CausePath": _path},
    "Parallel": {**_COMMON, **_PATHS, **_ONWARD, **_RESULT, "Branches": _objects},
    "Map": {
        **_COMMON,
        **_PATHS,
        **_ONWARD,
        **_RESULT,
        "ItemProcessor": _object,
        "Iterator": _object,
        "ItemsPath": _path,
        "ItemSelector": _object,
        "ItemReader": _object,
        "ItemBatcher": _object,
        "ResultWriter": _object,
        "Label": _text,
        "MaxConcurrency": _whole,
        "MaxConcurrencyPath": _path,
        "ToleratedFailureCount": _whole,
        "ToleratedFailureCountPath": _path,
        "ToleratedFailurePercentage": _number,
        "ToleratedFailurePercentagePath": _path,
    },
}
MACHINE_FIELDS: Final[Mapping[str, Kind]] = {
    "Comment": _text,
    "Version": _text,
    "TimeoutSeconds": _whole,
    "StartAt": _text,
    "States": _object,
    "ProcessorConfig": _object,
}
RETRIER_FIELDS: Final[Mapping[str, Kind]] = {
    "ErrorEquals": _names,
    "IntervalSeconds": _whole,
    "MaxAttempts": _whole,
    "BackoffRate": _number,
    "MaxDelaySeconds": _whole,
    "JitterStrategy": _text,
    "Comment": _text,
}
CATCHER_FIELDS: Final[Mapping[str, Kind]] = {
    "ErrorEquals": _names,
    "ResultPath": _path_or_null,
    "Next": _text,
    "Comment": _text,
}
NOT_READ: Final = frozenset({"Arguments", "Assign", "Items", "Output", "QueryLanguage"})
"""Fields of JSONata and of variables: the language has them, this validator does not read them."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "Task": ("Resource",),
    "Choice": ("Choices",),
    "Parallel": ("Branches",),
}


def shape_findings(machine: object, prefix: str = "") -> Iterator[Finding]:
    """Yield what keeps a definition from being read at all."""
    where = prefix.rstrip("/")
    if not isinstance(machine, Mapping):
        yield Finding(where, MALFORMED, "a state machine is an object; write {…}")
        return
    if machine.get("QueryLanguage", "JSONPath") != "JSONPath":
        yield Finding(where, MALFORMED, "only JSONPath machines are read; drop QueryLanguage")
        return
    fields = {k: v for k, v in machine.items() if k != "QueryLanguage"}
    yield from _fields(where, "", fields, MACHINE_FIELDS, ("StartAt", "States"))
    states = machine.get("States")
    if isinstance(states, Mapping):
        for name, state in states.items():
            yield from _state_findings(f"{prefix}{name}", state)


def _state_findings(where: str, state: object) -> Iterator[Finding]:
    if not isinstance(state, Mapping):
        yield Finding(where, MALFORMED, "a state is an object; write {…}")
        return
    kind = state.get("Type")
    if not isinstance(kind, str) or kind not in STATE_FIELDS:
        yield Finding(
            where, MALFORMED, f"Type is {kind!r}; write one of {', '.join(sorted(STATE_FIELDS))}"
        )
        return
    yield from _fields(where, "", state, STATE_FIELDS[kind], REQUIRED.get(kind, ()))
    for list_name, known, required in (
        ("Retry", RETRIER_FIELDS, ("ErrorEquals",)),
        ("Catch", CATCHER_FIELDS, ("ErrorEquals", "Next")),
    ):
        for number, entry in enumerate(_entries(state.get(list_name))):
            yield from _fields(where, f"{list_name}[{number}].", entry, known, required)
    for number, rule in enumerate(_entries(state.get("Choices"))):
        if not _text(rule.get("Next")):
            yield Finding(where, MALFORMED, f"Choices[{number}] has no Next; name the next state")
        yield from _rule_findings(where, f"Choices[{number}]", rule, top=True)
    for number, branch in enumerate(_entries(state.get("Branches"))):
        yield from shape_findings(branch, f"{where}[{number}]/")
    for name in ("ItemProcessor", "Iterator"):
        if name in state:
            yield from shape_findings(state[name], f"{where}/")


def _rule_findings(
    where: str, place: str, rule: Mapping[str, Any], *, top: bool
) -> Iterator[Finding]:
    """Yield what is wrong with a choice rule: one test each, or And, Or, Not of rules."""
    tests = sorted(set(rule) - {"Variable", "Comment"} - ({"Next"} if top else set()))
    if len(tests) != 1:
        found = ", ".join(tests) or "nothing"
        yield Finding(where, MALFORMED, f"{place} tests {found}; a rule has exactly one test")
        return
    test = tests[0]
    if test == "Not" and isinstance(rule["Not"], Mapping):
        yield from _rule_findings(where, f"{place}.Not", rule["Not"], top=False)
    elif test in {"And", "Or"} and _objects(rule[test]):
        for number, inner in enumerate(rule[test]):
            yield from _rule_findings(where, f"{place}.{test}[{number}]", inner, top=False)
    elif test in {"And", "Or", "Not"}:
        yield Finding(where, MALFORMED, f"{place}.{test} combines rules; write them as objects")
    elif not _path(rule.get("Variable")):
        yield Finding(where, MALFORMED, f"{place} has no Variable; name the path that it tests")


def _fields(
    where: str,
    place: str,
    given: Mapping[str, Any],
    known: Mapping[str, Kind],
    required: tuple[str, ...],
) -> Iterator[Finding]:
    for name in required:
        if name not in given:
            yield Finding(where, MALFORMED, f"{place}{name} is missing; write it")
    for name, value in given.items():
        if name in NOT_READ:
            yield Finding(
                where,
                UNKNOWN_FIELD,
                f"{place}{name} belongs to JSONata or variables, whose data nobody follows here; "
                "write it with JSONPath",
            )
        elif name not in known:
            yield Finding(
                where,
                UNKNOWN_FIELD,
                f"{place}{name} is no field here; {meant(name, sorted(known))}",
            )
        elif not known[name](value):
            yield Finding(
                where, MALFORMED, f"{place}{name} is {value!r}; write {WORDS[known[name]]}"
            )


def _entries(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list; whatever else is there has its own finding."""
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []
