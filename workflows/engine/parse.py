"""From Amazon States Language JSON to `definition.Machine`; what cannot be run is refused here.

Every refusal names the place as a JSON pointer. `parse_machine` is the door; each state type has
one function below, and a field that no function took is an UnsupportedDefinition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from workflows.engine.choices import compile_test, to_timestamp
from workflows.engine.definition import (
    Catcher,
    ChoiceState,
    FailState,
    Machine,
    MapState,
    ParallelState,
    PassState,
    Pattern,
    Resource,
    Retrier,
    Rule,
    State,
    SucceedState,
    TaskState,
    WaitState,
)
from workflows.engine.errors import ALL, RESERVED
from workflows.engine.fields import Fields
from workflows.engine.jsontext import Json
from workflows.engine.paths import Path, compile_path
from workflows.engine.templates import (
    Constant,
    Expression,
    compile_expression,
    compile_template,
)

MAX_SECONDS: Final = 99_999_999
MAX_DELAY_SECONDS: Final = 31_622_400

Supports = Callable[[Resource], bool]
"""Whether whoever runs the machine can perform a Task's resource."""

_ROOT: Final = compile_path("$")
_T = TypeVar("_T")


def parse_machine(definition: Json, *, supports: Supports = lambda _resource: True) -> Machine:
    """Parse a definition.

    Args:
        definition: The definition as `json.loads` returns it.
        supports: Asked for every Task's resource.

    Raises:
        InvalidDefinition: it breaks the language.
        UnsupportedDefinition: it is beyond this engine.
    """
    return _machine(Fields.of(definition, ""), supports, inner=False)


def _machine(fields: Fields, supports: Supports, *, inner: bool) -> Machine:
    fields.drop("Comment")
    _refuse_jsonata(fields)
    timeout = None
    if not inner:
        if fields.take("Version", "1.0") != "1.0":
            raise fields.invalid("Version is 1.0", "Version")
        timeout = fields.integer("TimeoutSeconds", None, least=1, most=MAX_SECONDS)
    elif fields.take("ProcessorConfig", {"Mode": "INLINE"}) not in ({"Mode": "INLINE"}, {}):
        raise fields.unsupported("Only inline Maps are run", "ProcessorConfig")
    start_at = fields.text("StartAt")
    states_at = fields.object("States")
    states = {name: _state(name, states_at.inside(name), supports) for name in states_at.names()}
    fields.close()
    if start_at not in states:
        raise fields.invalid(f"There is no state {start_at!r}", "StartAt")
    for name, state in states.items():
        for target, place in _targets(state):
            if target not in states:
                raise states_at.inside(name).invalid(f"There is no state {target!r}", place)
    return Machine(start_at, states, timeout)


def _state(name: str, fields: Fields, supports: Supports) -> State:
    if not 0 < len(name) <= 80:
        raise fields.invalid("A state's name has 1 to 80 characters", "")
    kind = fields.text("Type")
    if kind not in _STATES:
        raise fields.invalid(f"There is no state type {kind!r}", "Type")
    fields.drop("Comment")
    _refuse_jsonata(fields)
    state = _STATES[kind](fields, name, supports)
    fields.close()
    return state


def _refuse_jsonata(fields: Fields) -> None:
    if fields.take("QueryLanguage", "JSONPath") != "JSONPath":
        raise fields.unsupported("Only the query language JSONPath is run", "QueryLanguage")


def _targets(state: State) -> list[tuple[str, str]]:
    found = [] if state.next is None else [(state.next, "Next")]
    if isinstance(state, ChoiceState):
        found = [] if state.next is None else [(state.next, "Default")]
        found += [(rule.next, f"Choices/{at}/Next") for at, rule in enumerate(state.rules)]
    if isinstance(state, TaskState | ParallelState | MapState):
        found += [(catcher.next, f"Catch/{at}/Next") for at, catcher in enumerate(state.catch)]
    return found


# --- what states have in common ---------------------------------------------------------------


def _base(fields: Fields, name: str, *, ends: bool = False) -> dict[str, Any]:
    """Return the fields of every state; `ends` for the types that are always the last."""
    following: str | None = None
    if not ends:
        if fields.take("End", False) is True:
            if fields.has("Next"):
                raise fields.invalid("A state has Next or End, not both", "Next")
        else:
            following = fields.text("Next")
    return {
        "name": name,
        "input_path": _optional_path(fields, "InputPath"),
        "output_path": _optional_path(fields, "OutputPath"),
        "next": following,
        "assign": None if ends else _template(fields, "Assign"),
    }


def _working(fields: Fields, name: str) -> dict[str, Any]:
    return {
        **_base(fields, name),
        "result_selector": _template(fields, "ResultSelector"),
        "result_path": _result_path(fields),
        "retry": _retry(fields),
        "catch": _catch(fields),
    }


def _compiled(fields: Fields, key: str, compile_it: Callable[[Json], _T], value: Json) -> _T:
    try:
        return compile_it(value)
    except ValueError as error:
        raise fields.invalid(str(error), key) from error


def _path(fields: Fields, key: str) -> Path:
    return _compiled(fields, key, compile_path, fields.text(key))


def _optional_path(fields: Fields, key: str) -> Path | None:
    """Read a path that defaults to the whole; JSON's null selects nothing."""
    if not fields.has(key):
        return _ROOT
    if fields.peek(key) is None:
        fields.drop(key)
        return None
    return _path(fields, key)


def _result_path(fields: Fields) -> Path | None:
    path = _optional_path(fields, "ResultPath")
    if path is not None and not path.writes:
        raise fields.invalid("A result goes to one place: a reference path", "ResultPath")
    return path


def _template(fields: Fields, key: str) -> Any:
    if not fields.has(key):
        return None
    return _compiled(fields, key, compile_template, fields.take(key, None))


def _constant_or_path(fields: Fields, key: str, *, least: int) -> int | Path | None:
    """Read `TimeoutSeconds` or `TimeoutSecondsPath` and their like; both at once is an error."""
    if fields.has(key + "Path"):
        if fields.has(key):
            raise fields.invalid(f"{key} and {key}Path exclude each other", key)
        return _path(fields, key + "Path")
    return fields.integer(key, None, least=least, most=MAX_SECONDS)


def _retry(fields: Fields) -> tuple[Retrier, ...]:
    entries = fields.list_of_objects("Retry")
    return tuple(_retrier(entry, last=entry is entries[-1]) for entry in entries)


def _retrier(entry: Fields, *, last: bool) -> Retrier:
    entry.drop("Comment")
    jitter = entry.take("JitterStrategy", "NONE")
    if jitter not in ("NONE", "FULL"):
        raise entry.invalid("JitterStrategy is NONE or FULL", "JitterStrategy")
    retrier = Retrier(
        errors=_errors(entry, last=last),
        interval_seconds=entry.integer("IntervalSeconds", 1, least=1, most=MAX_SECONDS) or 1,
        max_attempts=entry.integer("MaxAttempts", 3, least=0, most=MAX_SECONDS) or 0,
        backoff_rate=entry.number("BackoffRate", 2.0, least=1.0),
        max_delay_seconds=entry.integer("MaxDelaySeconds", None, least=1, most=MAX_DELAY_SECONDS),
        full_jitter=jitter == "FULL",
    )
    entry.close()
    return retrier


def _catch(fields: Fields) -> tuple[Catcher, ...]:
    entries = fields.list_of_objects("Catch")
    catchers = []
    for entry in entries:
        entry.drop("Comment")
        errors = _errors(entry, last=entry is entries[-1])
        following, assign = entry.text("Next"), _template(entry, "Assign")
        catchers.append(Catcher(errors, following, _result_path(entry), assign))
        entry.close()
    return tuple(catchers)


def _errors(entry: Fields, *, last: bool) -> tuple[str, ...]:
    names = entry.take("ErrorEquals", None)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise entry.invalid("ErrorEquals lists at least one error name", "ErrorEquals")
    unknown = [name for name in names if name.startswith("States.") and name not in RESERVED]
    if unknown:
        raise entry.invalid(f"There is no error {unknown[0]}", "ErrorEquals")
    if ALL in names and (len(names) > 1 or not last):
        raise entry.invalid(f"{ALL} stands alone and in the last entry", "ErrorEquals")
    return tuple(names)


# --- the state types --------------------------------------------------------------------------


def _pass(fields: Fields, name: str, _supports: Supports) -> State:
    result = Constant(fields.take("Result", None)) if fields.has("Result") else None
    return PassState(
        **_base(fields, name),
        parameters=_template(fields, "Parameters"),
        result=result,
        result_path=_result_path(fields),
    )


def _succeed(fields: Fields, name: str, _supports: Supports) -> State:
    return SucceedState(**_base(fields, name, ends=True))


def _fail(fields: Fields, name: str, _supports: Supports) -> State:
    return FailState(
        **_base(fields, name, ends=True),
        error=_words(fields, "Error"),
        cause=_words(fields, "Cause"),
    )


def _words(fields: Fields, key: str) -> str | Expression | None:
    if fields.has(key + "Path"):
        if fields.has(key):
            raise fields.invalid(f"{key} and {key}Path exclude each other", key)
        return _compiled(fields, key + "Path", compile_expression, fields.take(key + "Path", None))
    return fields.text(key) if fields.has(key) else None


def _wait(fields: Fields, name: str, _supports: Supports) -> State:
    forms = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")
    given = [key for key in forms if fields.has(key)]
    if len(given) != 1:
        raise fields.invalid(f"A Wait has exactly one of {', '.join(forms)}", "")
    timestamp = None
    if given == ["Timestamp"]:
        timestamp = to_timestamp(fields.text("Timestamp"))
        if timestamp is None:
            raise fields.invalid("A timestamp reads 2026-01-31T12:00:00Z", "Timestamp")
    return WaitState(
        **_base(fields, name),
        seconds=_constant_or_path(fields, "Seconds", least=0),
        timestamp=_path(fields, "TimestampPath") if given == ["TimestampPath"] else timestamp,
    )


def _choice(fields: Fields, name: str, _supports: Supports) -> State:
    rules = []
    for entry in fields.list_of_objects("Choices"):
        rule = entry.all()
        test = _compiled(entry, "", compile_test, rule)
        following, assign = entry.text("Next"), _template(entry, "Assign")
        rules.append(Rule(test, following, assign))
    if not rules:
        raise fields.invalid("A Choice has at least one rule", "Choices")
    base = _base(fields, name, ends=True)
    base["assign"] = _template(fields, "Assign")
    base["next"] = fields.text("Default") if fields.has("Default") else None
    return ChoiceState(**base, rules=tuple(rules))


def _task(fields: Fields, name: str, supports: Supports) -> State:
    resource = _resource(fields)
    if not supports(resource):
        raise fields.unsupported(f"Nothing here performs {resource.arn}", "Resource")
    timeout = _constant_or_path(fields, "TimeoutSeconds", least=1)
    heartbeat = _constant_or_path(fields, "HeartbeatSeconds", least=1)
    if isinstance(timeout, int) and isinstance(heartbeat, int) and heartbeat >= timeout:
        raise fields.invalid("HeartbeatSeconds is below TimeoutSeconds", "HeartbeatSeconds")
    parameters = fields.peek("Parameters") if fields.has("Parameters") else {}
    names = parameters if isinstance(parameters, dict) else {}
    nameless = not {"FunctionName", "FunctionName.$"} & set(names)
    if resource.service == "lambda" and not resource.direct and nameless:
        raise fields.invalid("lambda:invoke needs FunctionName", "Parameters")
    return TaskState(
        **_working(fields, name),
        parameters=_template(fields, "Parameters"),
        resource=resource,
        credentials=_template(fields, "Credentials"),
        timeout_seconds=timeout,
        heartbeat_seconds=heartbeat,
    )


_LAMBDA: Final = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:.+")
_INTEGRATION: Final = re.compile(
    r"arn:[^:]+:states:::(?P<service>(?:aws-sdk:)?[^:.]+):(?P<action>[^:.]+)"
    r"(?P<pattern>\.sync(?::2)?|\.waitForTaskToken)?"
)


def _resource(fields: Fields) -> Resource:
    text = fields.text("Resource")
    if _LAMBDA.fullmatch(text):
        return Resource(text, "lambda", "invoke", Pattern.REQUEST_RESPONSE, direct=True)
    match = _INTEGRATION.fullmatch(text)
    if match is None:
        raise fields.unsupported(f"{text!r} is no resource that a Task can call here", "Resource")
    suffix = match["pattern"] or ""
    pattern = Pattern.RUN_A_JOB if suffix.startswith(".sync") else Pattern(suffix)
    return Resource(text, match["service"], match["action"] + suffix, pattern)


def _parallel(fields: Fields, name: str, supports: Supports) -> State:
    branches = fields.list_of_objects("Branches")
    if not branches:
        raise fields.invalid("A Parallel has at least one branch", "Branches")
    return ParallelState(
        **_working(fields, name),
        parameters=_template(fields, "Parameters"),
        branches=tuple(_machine(branch, supports, inner=True) for branch in branches),
    )


def _map(fields: Fields, name: str, supports: Supports) -> State:
    processors = [key for key in ("ItemProcessor", "Iterator") if fields.has(key)]
    selectors = [key for key in ("ItemSelector", "Parameters") if fields.has(key)]
    if len(processors) != 1 or len(selectors) > 1:
        raise fields.invalid("A Map has one ItemProcessor and at most one ItemSelector", "")
    concurrency = _constant_or_path(fields, "MaxConcurrency", least=0)
    return MapState(
        **_working(fields, name),
        parameters=_template(fields, selectors[0]) if selectors else None,
        items_path=_optional_path(fields, "ItemsPath"),
        processor=_machine(fields.object(processors[0]), supports, inner=True),
        max_concurrency=concurrency or 0,
    )


_STATES: Final[Mapping[str, Callable[[Fields, str, Supports], State]]] = {
    "Pass": _pass,
    "Succeed": _succeed,
    "Fail": _fail,
    "Wait": _wait,
    "Choice": _choice,
    "Task": _task,
    "Parallel": _parallel,
    "Map": _map,
}
