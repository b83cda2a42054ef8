"""Running a definition on recorded outcomes, and comparing the two histories branch by branch.

A case is `{id, class, definition, input, events}`: an execution on AWS with times removed, JSON
texts decoded, and names replaced by `<placeholders>`. Each task attempt is fed the outcome that
was recorded for the same attempt of the same state in the same branch; waits take no time.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime

from workflows.engine.execution import Execution, Facts
from workflows.engine.happenings import (
    CallbackFailed,
    CallbackSucceeded,
    Purpose,
    SetTimer,
    Started,
    StartTask,
    TaskErred,
    TaskLapsed,
    TaskReturned,
    TimerFired,
)
from workflows.engine.parse import parse_machine

START = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPT = re.compile(
    r"(Task|LambdaFunction)(Scheduled|Started|Submitted|Succeeded|Failed|TimedOut)"
)


def paths_of(events: list[dict]) -> dict[int, tuple]:  # noqa: C901 - one rule per event type
    """Return the branch of each event: a tuple of (Map or Parallel, index or first state)."""
    paths, types = {0: ()}, {0: ""}
    for event in events:
        number, kind, previous = event["id"], event["type"], event["previousEventId"]
        path = paths[previous]
        inside = not types[previous].endswith("StateEntered")
        if kind == "MapIterationStarted":
            told = event["mapIterationStartedEventDetails"]
            if types[previous] != "MapStateStarted":
                while path[-1][0] != told["name"]:
                    path = path[:-1]
                path = path[:-1]
            path = (*path, (told["name"], told["index"]))
        elif kind.startswith("MapIteration"):
            told = event[f"{kind[0].lower()}{kind[1:]}EventDetails"]
            while path and path[-1][0] != told["name"]:
                path = path[:-1]
            path = (*path[:-1], (told["name"], told["index"]))
        elif kind in ("MapStateStarted", "ParallelStateStarted"):
            path = path[:-1] if inside else path
        elif kind in ("MapStateSucceeded", "ParallelStateSucceeded") or (
            kind in ("MapStateFailed", "ParallelStateFailed")
        ):
            path = path if types[previous].endswith("StateStarted") or not inside else path[:-1]
        elif kind in ("MapStateExited", "ParallelStateExited"):
            beside = ("StateStarted", "StateFailed")
            path = path if types[previous].endswith(beside) else path[:-1]
        elif kind.endswith("StateEntered") and types[previous] == "ParallelStateStarted":
            path = (*path, ("Parallel", event["stateEnteredEventDetails"]["name"]))
        elif kind.startswith("Execution"):
            path = ()
        paths[number], types[number] = path, kind
    return paths


def attempts_of(events: list[dict]) -> dict[tuple, list[list[dict]]]:
    """Return what became of each attempt, by branch and state, in the order of attempts."""
    paths = paths_of(events)
    names, roots = {0: ""}, {}
    found = defaultdict(list)
    for event in events:
        number, kind, previous = event["id"], event["type"], event["previousEventId"]
        entered = event.get("stateEnteredEventDetails")
        names[number] = entered["name"] if entered else names[previous]
        match = ATTEMPT.fullmatch(kind)
        if match is None:
            continue
        if match[2] == "Scheduled":
            roots[number] = []
            found[paths[number], names[number]].append(roots[number])
        elif previous in roots:
            roots[number] = roots[previous]
            if match[2] != "Started":
                roots[number].append(event)
    return found


def run(case: dict) -> list[dict]:
    """Return the history that the case's definition has on the case's recorded outcomes."""
    machine = parse_machine(case["definition"])
    facts = Facts(
        arn="arn:aws:states:local:000000000000:execution:recorded:case",
        name="case",
        machine_arn="arn:aws:states:local:000000000000:stateMachine:recorded",
        machine_name="recorded",
        input=case["input"],
        started_at=START,
        role_arn="role",
        region="region",
    )
    execution = Execution(facts, machine, token_key=b"recorded")
    recorded = {key: list(runs) for key, runs in attempts_of(case["events"]).items()}
    history: list[dict] = []
    outcomes: list[tuple[int, object]] = []
    timers: list[SetTimer] = []
    happening: object = Started()
    while True:
        step = execution.advance(happening, START)
        history += [shown(event) for event in step.events]
        for effect in step.effects:
            if isinstance(effect, StartTask):
                outcomes += _outcomes(effect, history, recorded)
            elif isinstance(effect, SetTimer) and effect.purpose in (Purpose.WAIT, Purpose.RETRY):
                timers.append(effect)
        if step.closing is not None:
            return history
        if outcomes:
            outcomes.sort(key=lambda entry: entry[0])
            happening = outcomes.pop(0)[1]
        elif timers:
            timers.sort(key=lambda timer: timer.due)
            happening = TimerFired(timers.pop(0).timer)
        else:
            return history


def _outcomes(effect: StartTask, history: list[dict], recorded: dict) -> list[tuple[int, object]]:
    paths = paths_of(history)
    runs = recorded.get((paths[effect.attempt], effect.state), [])
    found = []
    for event in runs.pop(0) if runs else []:
        told = next(value for key, value in event.items() if key.endswith("EventDetails"))
        submitted = any(happening[0] for happening in found)
        what = ATTEMPT.fullmatch(event["type"])[2]
        number = effect.attempt
        if what == "TimedOut":
            happening = TaskLapsed(number, told["error"], told.get("cause"))
        elif what == "Failed":
            erred = CallbackFailed if submitted else TaskErred
            cause = told.get("cause")
            text = cause if cause is None or isinstance(cause, str) else json.dumps(cause)
            happening = erred(number, told.get("error"), text)
        elif what == "Succeeded" and effect.resource.pattern:
            happening = CallbackSucceeded(number, told["output"])
        else:
            happening = TaskReturned(number, told["output"])
        found.append((event["id"], happening))
    return found


def shown(event) -> dict:
    """Return an event as the recordings show it: JSON texts decoded."""
    told = event.to_dict()
    del told["timestamp"]
    for key, details in told.items():
        if key.endswith("EventDetails"):
            for name in ("input", "output", "parameters"):
                if name in details:
                    details[name] = json.loads(details[name])
            told[key] = details
    return told


# --- comparing ---------------------------------------------------------------------------------

UNTOLD = {"roleArn", "region", "inputDetails", "outputDetails", "assignedVariablesDetails"}
PLACEHOLDER = re.compile(r"<[^<>]*(?:<[^<>]*>[^<>]*)?>|__tbd__")


def disagreement(case: dict) -> str | None:
    """Return the first difference between the recording and the run, in words; None for none."""
    recorded, ours = _by_branch(case["events"]), _by_branch(run(case))
    for path in sorted(recorded.keys() | ours.keys(), key=str):
        theirs, mine = recorded.get(path, []), ours.get(path, [])
        for place, (expected, actual) in enumerate(zip(theirs, mine, strict=False)):
            if expected[0] != actual[0] or not same(expected[1], actual[1]):
                return f"branch {path}, event {place}: recorded {expected}, ours {actual}"
        if len(theirs) != len(mine):
            longer = theirs if len(theirs) > len(mine) else mine
            side = "recorded" if longer is theirs else "ours"
            return f"branch {path}: only {side} goes on, with {longer[min(len(theirs), len(mine))]}"
    return None


def _by_branch(events: list[dict]) -> dict[tuple, list[tuple[str, dict]]]:
    paths = paths_of(events)
    aborted = {paths[event["id"]] for event in events if event["type"] == "MapIterationAborted"}
    found = defaultdict(list)
    for event in events:
        path, kind = paths[event["id"]], event["type"]
        if path in aborted and ATTEMPT.fullmatch(kind) and not kind.endswith("Scheduled"):
            continue  # whether an attempt still ends while its siblings fail is a race
        details = next((v for k, v in event.items() if k.endswith("EventDetails")), {})
        told = {key: value for key, value in details.items() if key not in UNTOLD}
        if kind == "LambdaFunctionScheduled":
            del told["resource"]
        if "assignedVariables" in told:
            told["assignedVariables"] = {
                name: json.loads(value) if isinstance(value, str) else value
                for name, value in told["assignedVariables"].items()
            }
        if isinstance(told.get("cause"), str):
            told["cause"] = _decoded(told["cause"])
        found[path].append((kind, told))
    return found


def _decoded(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text


def same(expected, actual) -> bool:
    """Say whether two values are equal, a recorded placeholder standing for any text."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            same(value, actual[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if isinstance(expected, str) and isinstance(actual, str):
        if actual in (expected, "__tbd__"):
            return True
        pattern = "".join(
            ".*" if PLACEHOLDER.fullmatch(part) else re.escape(part)
            for part in re.split(f"({PLACEHOLDER.pattern})", expected)
        )
        return re.fullmatch(pattern, actual, re.DOTALL) is not None
    return type(expected) is type(actual) and expected == actual
